//! The escape drill, as `assay provider selftest` runs it: see `runtime::worker::drill`.

use runtime::FailureKind;
use runtime::WorkerHandle;
use runtime::worker::drill::{ATTEMPTS, Drilled, drill};

use crate::harness::Case;
use crate::lifecycle::{block_on, config};

/// Makes this program a worker that attacks before it serves.
pub(crate) const ARGUMENT: &str = "--be-an-attacker";

pub(crate) const CASES: &[Case] = &[
    (
        "native_code_in_a_worker_gets_nowhere",
        native_code_in_a_worker_gets_nowhere,
    ),
    (
        "a_worker_takes_no_more_memory_than_it_may",
        a_worker_takes_no_more_memory_than_it_may,
    ),
    (
        "a_worker_that_may_not_read_its_blobs_does_not_start",
        a_worker_that_may_not_read_its_blobs_does_not_start,
    ),
];

/// Less than the attacker asks for.
const ENOUGH: u64 = 512 << 20;

/// What an attacker achieved in a worker with this bound on its memory.
fn drilled(memory_bytes_max: Option<u64>) -> Drilled {
    let dir = tempfile::tempdir().unwrap();
    let exe = std::env::current_exe().unwrap();
    let args = vec![ARGUMENT.into()];
    block_on(drill(exe, args, dir.path(), memory_bytes_max)).unwrap()
}

/// Without a bound there is memory for it: in the next test the refusal is the bound's.
fn native_code_in_a_worker_gets_nowhere() {
    let drilled = drilled(None);
    println!("{drilled:#?}");
    assert_eq!(drilled.attempts.len(), ATTEMPTS, "attempts were made");
    assert!(drilled.unharmed);
    if !drilled.missing.is_empty() {
        let missing = drilled.missing;
        assert!(
            std::env::var_os("CI").is_none(),
            "this machine does not let a worker have {missing:?}"
        );
        println!("NOT CHECKED: this machine does not let a worker have {missing:?}");
        return;
    }
    let not_refused = drilled.attempts.iter().filter(|attempt| !attempt.blocked);
    assert_eq!(not_refused.collect::<Vec<_>>(), [&drilled.attempts[0]; 0]);
    assert!(drilled.is_held() && drilled.memory_granted);
}

fn a_worker_takes_no_more_memory_than_it_may() {
    let drilled = drilled(Some(ENOUGH));
    assert!(!drilled.memory_granted, "{drilled:#?}");
}

fn a_worker_that_may_not_read_its_blobs_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.readable.push(dir.path().join("missing"));
    block_on(async {
        let error = WorkerHandle::spawn(&config).await.unwrap_err();
        assert!(matches!(error, FailureKind::WorkerLost { .. }), "{error}");
    });
}
