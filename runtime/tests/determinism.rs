//! Equal fingerprints mean equal bits: many different shards, each executed by two worker processes
//! that share nothing, give equal outputs and burn equal fuel. And another library, thread count or
//! backend is another fingerprint.
//!
//! `ASSAY_DETERMINISM_SHARDS` sets how many shards are executed twice. This program is its own worker,
//! which is why it has a `main` of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test program"
)]

#[path = "support/dice.rs"]
mod dice;
#[path = "support/guests.rs"]
#[allow(dead_code, reason = "shared by several test programs")]
mod guests;
#[path = "support/harness.rs"]
mod harness;
#[path = "support/wasi_guests.rs"]
#[allow(dead_code, reason = "shared by several test programs")]
mod wasi_guests;

#[path = "determinism/fingerprints.rs"]
mod fingerprints;
#[path = "determinism/kinds.rs"]
mod kinds;
#[path = "determinism/replicas.rs"]
mod replicas;

/// Makes this program a worker.
const WORKER_ARGUMENT: &str = "--be-a-worker";

fn main() -> std::process::ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(WORKER_ARGUMENT) => runtime::worker::main(),
        _ => harness::run(&[replicas::CASES, fingerprints::CASES]),
    }
}
