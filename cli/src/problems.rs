//! How the program ends on an aggregator's refusals. What each of them means, and what to do, is in the interface's own
//! catalogue.

pub(crate) use api::problem::{Explained, catalogue};

use crate::exit::Exit;

/// What stands in the catalogue about a code.
pub(crate) fn find(code: &str) -> Option<&'static Explained> {
    catalogue().iter().find(|known| known.code == code)
}

/// How the program ends on a refusal of this code.
pub(crate) fn exit_of(code: &str) -> Exit {
    match (code, find(code).map(|known| known.status)) {
        ("price-too-low" | "nothing-left", _) | (_, Some(402)) => Exit::Payment,
        (_, Some(401 | 403)) => Exit::Signature,
        (_, Some(400 | 405 | 413 | 415 | 416 | 421 | 422 | 431)) => Exit::Usage,
        (_, Some(408)) => Exit::Timeout,
        (_, Some(429 | 503 | 507)) => Exit::Resource,
        _ => Exit::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_end_as_they_are_documented_to() {
        for (code, exit) in [
            ("insufficient-funds", Exit::Payment),
            ("price-too-low", Exit::Payment),
            ("nothing-left", Exit::Payment),
            ("unsigned", Exit::Signature),
            ("not-yours", Exit::Signature),
            ("wrong-share", Exit::Signature),
            ("invalid-request", Exit::Usage),
            ("idempotency-mismatch", Exit::Usage),
            ("request-timeout", Exit::Timeout),
            ("too-many-requests", Exit::Resource),
            ("storage-full", Exit::Resource),
            ("overloaded", Exit::Resource),
            ("not-found", Exit::Failure),
            ("no code at all", Exit::Failure),
        ] {
            assert_eq!(exit_of(code), exit, "{code}");
        }
    }
}
