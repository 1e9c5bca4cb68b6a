//! Workers as real processes. This program is its own worker: started with [`WORKER_ARGUMENT`] it
//! becomes one, which is why it has a `main` of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test program"
)]

#[path = "support/guests.rs"]
mod guests;
#[path = "support/harness.rs"]
mod harness;

#[path = "worker/drill.rs"]
mod drill;
#[path = "worker/isolation.rs"]
mod isolation;
#[path = "worker/liar.rs"]
mod liar;
#[path = "worker/lifecycle.rs"]
mod lifecycle;
#[path = "worker/onnx.rs"]
mod onnx;
#[path = "worker/protocol.rs"]
mod protocol;

/// Makes this program a worker.
const WORKER_ARGUMENT: &str = "--be-a-worker";

/// Makes this program the parent of a worker, which works in the folder that follows.
const PARENT_ARGUMENT: &str = "--be-a-parent";

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [WORKER_ARGUMENT, ..] => runtime::worker::main(),
        [drill::ARGUMENT, ..] => runtime::worker::main_with(runtime::worker::drill::attack),
        [liar::ARGUMENT, how] => liar::answer(how),
        [PARENT_ARGUMENT, dir] => isolation::be_a_parent(dir.as_ref()),
        _ => harness::run(&[
            lifecycle::CASES,
            isolation::CASES,
            drill::CASES,
            onnx::CASES,
            protocol::CASES,
            liar::CASES,
        ]),
    }
}
