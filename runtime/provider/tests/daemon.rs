//! A provider and a scripted aggregator on a real loopback network, with real worker processes. This
//! program is its own worker and its own provider process, which is why it has a `main` of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test program"
)]

#[path = "support/fixture.rs"]
mod fixture;
#[path = "../../tests/support/harness.rs"]
mod harness;

#[path = "daemon/honest.rs"]
mod honest;
#[path = "daemon/market.rs"]
mod market;
#[path = "daemon/misbehaviour.rs"]
mod misbehaviour;
#[path = "daemon/openings.rs"]
mod openings;
#[path = "daemon/refusals.rs"]
mod refusals;
#[path = "daemon/restarts.rs"]
mod restarts;
#[path = "daemon/rivals.rs"]
mod rivals;

/// Makes this program a worker.
const WORKER_ARGUMENT: &str = "--be-a-worker";

/// Makes this program a provider: data directory, address of an aggregator, misbehaviour or `-`.
const PROVIDER_ARGUMENT: &str = "--be-a-provider";

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [WORKER_ARGUMENT, ..] => runtime::worker::main(),
        [PROVIDER_ARGUMENT, data, address, misbehave] => {
            market::be_a_provider(data.as_ref(), address, misbehave)
        }
        _ => harness::run(&[
            honest::CASES,
            refusals::CASES,
            restarts::CASES,
            rivals::CASES,
            misbehaviour::CASES,
            openings::CASES,
        ]),
    }
}
