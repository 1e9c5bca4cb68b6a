use jobs::compare::Comparator;
use jobs::digest::BlobRef;
use jobs::items;
use jobs::money::Amount;
use jobs::package::{Dtype, InputRef, Limits, OutputFormat, PACKAGE_SCHEMA, Replication};
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
        FailureKind::Component { reason: text() },
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
        FailureKind::InstanceLimit { reason: text() },
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
        FailureKind::NotesLimit {
            wanted: 2,
            limit: 1,
        },
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

#[test]
fn outputs_that_cannot_be_judged_are_the_guests_failure() {
    let numeric = Comparator::Numeric {
        dtype: Dtype::F32,
        atol: 1e-4,
        rtol: 1e-3,
        min_cosine: 0.9,
        top1: None,
        rms: None,
    };
    let good = [1.0_f32.to_le_bytes(), f32::INFINITY.to_le_bytes()];
    let nan = [1.0_f32.to_le_bytes(), f32::NAN.to_le_bytes()];
    let half = [[0; 4].as_slice(), &[0; 2]];
    for (comparator, outputs, words) in [
        (numeric.clone(), items::encode(&good), None),
        (
            numeric.clone(),
            items::encode(&nan),
            Some("item 1: element 0 is NaN"),
        ),
        (
            numeric.clone(),
            items::encode(&half),
            Some("no whole number"),
        ),
        (
            numeric,
            items::encode(&good[..1]),
            Some("1 outputs for 2 items"),
        ),
        (Comparator::Exact, items::encode(&nan), None),
    ] {
        let package = package(comparator);
        let checked = check_outputs(&package, 2, &outputs.unwrap());
        let Some(words) = words else {
            checked.unwrap();
            continue;
        };
        let (code, reason) = checked.unwrap_err();
        assert_eq!(code, FailureCode::Guest);
        assert!(reason.contains(words), "{reason}");
    }
}

fn package(comparator: Comparator) -> Package {
    let (input, _) = InputRef::of(&["a", "b"]).unwrap();
    Package {
        schema: PACKAGE_SCHEMA,
        name: "test".into(),
        component: BlobRef::of(b"component"),
        models: Vec::new(),
        input,
        items_per_shard: 2,
        output: OutputFormat::Items,
        policy: jobs::policy::Policy::Replicate,
        replication: Replication {
            replicas: 2,
            max_replicas: 3,
        },
        comparator,
        limits: Limits {
            fuel: 1,
            memory_bytes: 1 << 20,
            output_bytes_per_item: 64,
            wall_ms: 1000,
        },
        max_price: Amount(1),
        deadline_ms: 60_000,
        device: None,
        cpu_nodes: false,
        profile: None,
        openings: None,
        nonce: "0".repeat(32),
    }
}
