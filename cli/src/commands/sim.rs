//! `assay sim`: attack the aggregator's core, and the policy by which answers are checked.

use std::path::PathBuf;
use std::time::Instant;

use aggregator::sim::{SimConfig, run as simulate};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use policy::sim::{Campaign, plot, table};
use serde_json::json;

use crate::exit::{Exit, fail};
use crate::output::Output;

/// Attack the aggregator's core, or its policy, with simulated providers.
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
    /// Attack the audit policy and those of other systems with every adversary, at the same horizon, and
    /// show what each costs and how many wrong answers it lets through.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Malicious lives behind each figure (20 to 1000000).
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(20..=policy::sim::LIVES_MAX))]
    lives: u64,
    /// Items of each provider (1000 to 100000000); may be repeated.
    #[arg(long, default_values_t = [10_000_000], value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    horizon: Vec<u64>,
    /// Share of providers that is malicious, 0 to 0.5; may be repeated.
    #[arg(long, default_values_t = [0.0, 0.1, 0.3, 0.45], value_parser = share)]
    share: Vec<f64>,
    /// Only policies whose name contains this; may be repeated.
    #[arg(long)]
    policy: Vec<String>,
    /// Only adversaries whose name contains this; may be repeated.
    #[arg(long)]
    adversary: Vec<String>,
    /// Where the seeds begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Leave the sweeps over parameters and noise out, as naming policies or adversaries does.
    #[arg(long)]
    no_sweeps: bool,
    /// Write pictures (SVG) into this folder.
    #[arg(long)]
    plots: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if (0.0..=0.5).contains(&share) {
        return Ok(share);
    }
    Err(format!("{share} is not between 0 and 0.5"))
}

fn verify(args: &VerifyArgs, output: Output) -> Result<()> {
    let campaign = Campaign {
        lives: args.lives,
        seed: args.seed,
        threads: args.threads,
        shares: args.share.clone(),
        horizons: args.horizon.clone(),
        policies: args.policy.clone(),
        adversaries: args.adversary.clone(),
        sweeps: !args.no_sweeps && args.policy.is_empty() && args.adversary.is_empty(),
        ..Campaign::default()
    };
    let bar = output.bar(1, "cells");
    let report = policy::sim::run(&campaign, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    if report.rows.is_empty() {
        return fail(
            Exit::Usage,
            format!(
                "no policy is called {:?} or no adversary {:?}",
                args.policy, args.adversary
            ),
        );
    }
    if let Some(folder) = &args.plots {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        for (name, svg) in plot::all(&report) {
            let path = folder.join(name);
            std::fs::write(&path, svg).with_context(|| path.display().to_string())?;
            output.say(format_args!("wrote {}", path.display()));
        }
    }
    output.data(&report, || table::text(&report))
}

pub(crate) fn run(command: &SimCommand, output: Output) -> Result<()> {
    let (seeds, seed_start, threads) = match command {
        SimCommand::Run {
            seeds,
            seed_start,
            threads,
        } => (seeds, seed_start, threads),
        SimCommand::Verify(args) => return verify(args, output),
    };
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
        "audits": report.counts.audits,
        "answers_accused": report.counts.accused,
        "stakes_liquidated": report.counts.liquidated,
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
