use runtime::Cause;
use runtime::failure::GuestError;

use super::*;

fn text() -> String {
    "text".into()
}

/// One of each kind.
fn kinds() -> Vec<FailureKind> {
    let reason = text();
    vec![
        FailureKind::Guest {
            kind: GuestError::Failed,
            message: text(),
        },
        FailureKind::Component {
            reason: reason.clone(),
        },
        FailureKind::Trap { what: text() },
        FailureKind::FuelExhausted { limit: 1 },
        FailureKind::MemoryLimit {
            wanted: 2,
            limit: 1,
        },
        FailureKind::TableLimit {
            wanted: 2,
            limit: 1,
        },
        FailureKind::InstanceLimit {
            reason: reason.clone(),
        },
        FailureKind::StackLimit { limit: 1 },
        FailureKind::HostcallLimit { limit: 1 },
        FailureKind::HandleLimit { limit: 1 },
        FailureKind::ResourceLimit { limit: 1 },
        FailureKind::OutputLimit {
            item: 0,
            bytes: 2,
            limit: 1,
        },
        FailureKind::OutputCount {
            outputs: 1,
            items: 2,
        },
        FailureKind::LogLimit {
            wanted: 2,
            limit: 1,
        },
        FailureKind::LogLines { limit: 1 },
        FailureKind::ModelRefused {
            name: text(),
            reason: reason.clone(),
        },
        FailureKind::Task {
            reason: reason.clone(),
        },
        FailureKind::Deadline {
            what: text(),
            limit_ms: 1,
        },
        FailureKind::Device {
            reason: reason.clone(),
        },
        FailureKind::Blob {
            what: text(),
            reason: reason.clone(),
        },
        FailureKind::Engine {
            reason: reason.clone(),
        },
        FailureKind::WorkerLost { reason },
        FailureKind::Busy {
            waiting: 2,
            limit: 1,
        },
    ]
}

#[test]
fn the_code_of_a_failure_says_whose_fault_it_was() {
    for kind in kinds() {
        let code = code_of(&kind);
        let guest_caused = matches!(
            code,
            FailureCode::Load | FailureCode::Trap | FailureCode::Guest | FailureCode::Limit
        );
        assert_eq!(
            guest_caused,
            kind.cause() == Cause::Guest,
            "{kind}: {code:?}"
        );
        // What may be the job's fault or the machine's must be told apart from both.
        let (timeout, lost) = (
            code == FailureCode::Timeout,
            code == FailureCode::WorkerLost,
        );
        assert_eq!(timeout, matches!(kind, FailureKind::Deadline { .. }));
        assert_eq!(lost, matches!(kind, FailureKind::WorkerLost { .. }));
    }
}
