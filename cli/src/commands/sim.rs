//! `assay sim`: attack the aggregator's core.

use std::time::Instant;

use aggregator::sim::{SimConfig, run as simulate};
use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use crate::exit::{Exit, fail};
use crate::output::Output;

/// Attack the aggregator's core with simulated providers.
#[derive(Debug, Subcommand)]
pub(crate) enum SimCommand {
    /// Run seeded markets of liars, stalls, crashes and a lossy network; check every invariant after
    /// every step. Ends with code 4 on a violation, which names the seed that replays it.
    Run {
        /// Number of seeds.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// First seed.
        #[arg(long, default_value_t = 0)]
        seed_start: u64,
        /// Threads.
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
}

pub(crate) fn run(command: &SimCommand, output: Output) -> Result<()> {
    let SimCommand::Run {
        seeds,
        seed_start,
        threads,
    } = command;
    let bar = output.bar(*seeds, "seeds");
    let started = now();
    let config = SimConfig {
        threads: *threads,
        ..SimConfig::new(*seeds, *seed_start)
    };
    let report = simulate(config, |_| bar.inc(1));
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64().max(1e-9);
    let value = json!({
        "seeds": report.seeds,
        "seed_start": seed_start,
        "violations": report.violated,
        "violation_list": report.violations,
        "sim_hours": report.sim_hours(),
        "faults": report.faults(),
        "events": report.counts.events,
        "restarts": report.counts.restarts,
        "jobs_done": report.counts.done,
        "jobs_failed": report.counts.failed,
        "providers_banned": report.counts.banned,
        "seeds_per_s": report.seeds as f64 / seconds,
        "log_hash": report.log_hash,
    });
    output.data(&value, || format!("{value:#}"))?;
    if report.violated == 0 {
        return Ok(());
    }
    fail(
        Exit::Verification,
        format!("{} seeds break an invariant", report.violated),
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command measures its own speed; the simulator never sees this"
)]
fn now() -> Instant {
    Instant::now()
}
