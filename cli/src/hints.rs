//! What to do about an error, where that is known: said where it arose, or told by its kind.

use api::client::Error;

use crate::exit::{among_causes, fix_of};
use crate::problems;

/// What mends this error.
pub(crate) fn of(error: &anyhow::Error) -> Option<String> {
    fix_of(error).or_else(|| {
        among_causes(error, &|cause| {
            if let Some(error) = cause.downcast_ref::<Error>() {
                return of_api(error);
            }
            cause.downcast_ref::<std::io::Error>().and_then(of_io)
        })
    })
}

fn of_api(error: &Error) -> Option<String> {
    match error {
        Error::Unreachable { base, reason } => Some(unreachable(base, reason)),
        Error::Refused(problem) => problems::find(&problem.code).map(|row| row.fix.to_owned()),
        Error::Unexpected(_) => {
            Some("is this an aggregator's HTTP interface? `assay doctor` looks".to_owned())
        }
        _ => None,
    }
}

fn unreachable(base: &str, reason: &str) -> String {
    if reason.contains("refused") {
        let how = "start it (`assay aggregator start`, `assay devnet up`), or name another";
        return format!("nobody listens at {base}: {how} with --aggregator or `assay context use`");
    }
    if reason.contains("certificate") {
        return format!(
            "if the authority that certified {base} is to be trusted here, name its certificate: SSL_CERT_FILE=FILE"
        );
    }
    if reason.contains("InvalidContentType") {
        return "nobody speaks TLS there: write http:// instead of https://".to_owned();
    }
    format!("check the address {base} and the network; `assay doctor` looks at both")
}

fn of_io(error: &std::io::Error) -> Option<String> {
    use std::io::ErrorKind;
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on the disk and try again",
        ErrorKind::AddrInUse => {
            "another program, perhaps another of ours, listens there: stop it, or choose another port"
        }
        ErrorKind::PermissionDenied => "check who may read and write there",
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{Exit, Fix, fail};

    #[test]
    fn a_fix_said_on_the_spot_goes_before_one_told_by_kind() {
        let unreachable = || Error::Unreachable {
            base: "http://there:1".into(),
            reason: "Connection refused (os error 111)".into(),
        };
        let told = anyhow::Error::from(unreachable()).context("while asking");
        let hint = of(&told).unwrap();
        assert!(hint.contains("nobody listens at http://there:1"), "{hint}");
        let said: anyhow::Result<()> = Err(unreachable().into());
        let said = said.fix("ask somebody else").unwrap_err();
        assert_eq!(of(&said).as_deref(), Some("ask somebody else"));
        assert_eq!(of(&fail::<()>(Exit::Usage, "wrong").unwrap_err()), None);
    }
}
