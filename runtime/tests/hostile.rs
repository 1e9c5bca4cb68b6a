//! Hostile guests and hostile models, each through a worker process as a provider has it, random
//! ones, and two jobs that share a provider. This program is its own worker, as `worker.rs` is.
//!
//! * `ASSAY_CORPUS_JSON=path` and `ASSAY_MODELS_JSON=path` write the summaries as JSON.
//! * `ASSAY_SOAK=n` runs so many more instances of random cases.
//! * `ASSAY_SMITH_SEEDS=n` tries so many random modules, `ASSAY_SMITH_FIRST=n` begins with that seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test program, which measures how long a kill takes"
)]

#[path = "support/dice.rs"]
mod dice;
#[path = "support/guests.rs"]
mod guests;
#[path = "support/harness.rs"]
mod harness;
#[path = "support/wasi_guests.rs"]
#[allow(dead_code, reason = "shared by several test programs")]
mod wasi_guests;

#[path = "hostile/case.rs"]
mod case;
#[path = "hostile/corpus.rs"]
mod corpus;
#[path = "hostile/rig.rs"]
mod rig;
#[path = "hostile/watch.rs"]
mod watch;

#[path = "hostile/boundary.rs"]
mod boundary;
#[path = "hostile/compute.rs"]
mod compute;
#[path = "hostile/files.rs"]
mod files;
#[path = "hostile/handles.rs"]
mod handles;
#[path = "hostile/inference.rs"]
mod inference;
#[path = "hostile/memory.rs"]
mod memory;
#[path = "hostile/onnx.rs"]
mod onnx;
#[path = "hostile/proto.rs"]
mod proto;
#[path = "hostile/shape.rs"]
mod shape;
#[path = "hostile/size.rs"]
mod size;
#[path = "hostile/smith.rs"]
mod smith;
#[path = "hostile/turns.rs"]
mod turns;
#[path = "hostile/wasi.rs"]
mod wasi;

/// Makes this program a worker.
const WORKER_ARGUMENT: &str = "--be-a-worker";

fn main() -> std::process::ExitCode {
    let first = std::env::args().nth(1);
    if first.as_deref() == Some(WORKER_ARGUMENT) {
        return runtime::worker::main();
    }
    harness::run(&[corpus::CASES, onnx::CASES, smith::CASES, turns::CASES])
}
