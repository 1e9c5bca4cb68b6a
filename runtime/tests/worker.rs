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
#[path = "worker/lifecycle.rs"]
mod lifecycle;
#[path = "worker/onnx.rs"]
mod onnx;
#[path = "worker/protocol.rs"]
mod protocol;

/// Makes this program a worker.
const WORKER_ARGUMENT: &str = "--be-a-worker";

fn main() -> std::process::ExitCode {
    if std::env::args()
        .nth(1)
        .is_some_and(|argument| argument == WORKER_ARGUMENT)
    {
        return runtime::worker::main();
    }
    if std::env::args()
        .nth(1)
        .is_some_and(|argument| argument == drill::ARGUMENT)
    {
        return runtime::worker::main_with(drill::attack);
    }
    harness::run(&[
        lifecycle::CASES,
        isolation::CASES,
        drill::CASES,
        onnx::CASES,
        protocol::CASES,
    ])
}
