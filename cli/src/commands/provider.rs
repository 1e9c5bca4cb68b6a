//! `assay provider`: rent out this machine; and the same sandbox for `assay job run --local`.
//!
//! `init` and `start` make a provider and run it ([`start`]); most of the rest asks the one that runs ([`control`]).

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use jobs::outcome::Meters;
use runtime::{LocalJob, SandboxConfig, WorkerConfig, WorkerPool, run_local};

use crate::exit::{Coded, Exit};
use crate::home;
use crate::job::Prepared;
use crate::output::Output;

mod accounts;
mod control;
mod init;
mod machine;
mod selftest;
mod start;
mod trial;

pub(crate) use start::DRAIN_SECONDS_DEFAULT;

/// Workers of a local run: the demo's machine has two cores.
const LOCAL_WORKERS: usize = 2;

/// Rent out this machine.
#[derive(Debug, Subcommand)]
pub(crate) enum ProviderCommand {
    /// Look at this machine, measure it, and write a provider's key and configuration.
    Init(init::Init),
    /// Offer this machine and execute what is assigned, until Ctrl-C or SIGTERM: then what runs is finished within
    /// --drain-seconds, and the rest handed back. A second signal hands back at once.
    Start(Box<start::Start>),
    /// Show the devices that jobs could use here, and their fingerprints.
    Probe,
    /// Show what the provider is doing, and how it stands with its aggregators.
    Status(accounts::Status),
    /// Take no more work and finish what runs.
    Drain(control::Drain),
    /// Say when to work: `auto` only while nobody else uses the machine, `always`, or `never`. Kept over restarts.
    Mode(control::ModeArgs),
    /// Show or change what is asked for work. A change is announced at once and kept over restarts.
    Price(control::Of<control::PriceCommand>),
    /// Show or change whose jobs are executed, and which. Kept over restarts.
    Policy(control::Of<control::PolicyCommand>),
    /// Show what is being executed, or hand it back.
    Tasks(control::Of<control::TasksCommand>),
    /// Show what was asked for work day by day, and what an aggregator paid.
    Earnings(accounts::Earnings),
    /// Show what is kept on disk, or remove what nobody needs.
    Cache(control::Of<control::CacheCommand>),
    /// Try to break out of a worker in every way that is known, and to disagree with itself. Ends with code 1 if anything
    /// succeeds.
    Selftest,
}

pub(crate) async fn run(command: ProviderCommand, output: Output) -> Result<()> {
    match command {
        ProviderCommand::Init(settings) => init::run(settings, output).await,
        ProviderCommand::Start(settings) => start::run(*settings, output).await,
        ProviderCommand::Probe => probe(output).await,
        ProviderCommand::Status(args) => accounts::status(args, output).await,
        ProviderCommand::Drain(args) => control::drain(args, output).await,
        ProviderCommand::Mode(args) => control::mode(args, output).await,
        ProviderCommand::Price(of) => control::price(of, output).await,
        ProviderCommand::Policy(of) => control::policy(of, output).await,
        ProviderCommand::Tasks(of) => control::tasks(of, output).await,
        ProviderCommand::Earnings(args) => accounts::earnings(args, output).await,
        ProviderCommand::Cache(of) => control::cache(of, output).await,
        ProviderCommand::Selftest => selftest::run(output).await,
    }
}

async fn probe(output: Output) -> Result<()> {
    let report = local_pool(1, Vec::new())?.probe().await?;
    output.data(&report, || {
        let devices = report.devices.iter().map(|device| {
            let print = &device.fingerprint;
            format!(
                "{:?}  {}  {} bytes\n  fingerprint  {}\n  engine       {}\n  library      {}\n  \
                 provider     {}\n  device       {}\n  options      {}",
                device.kind,
                device.name,
                device.memory_bytes,
                print.digest(),
                print.engine,
                print.library,
                print.execution_provider,
                print.device,
                print.options,
            )
        });
        let refused = report
            .no_models
            .iter()
            .map(|why| format!("models cannot be used: {why}"));
        devices.chain(refused).collect::<Vec<_>>().join("\n")
    })
}

/// Runs a whole job on this machine.
pub(crate) async fn execute_locally(
    prepared: &Prepared,
    output: Output,
) -> Result<(Vec<Vec<u8>>, Meters)> {
    execute_items_locally(prepared, prepared.items()?, output).await
}

/// Runs a job's component over other items on this machine.
pub(crate) async fn execute_items_locally(
    prepared: &Prepared,
    items: Vec<Vec<u8>>,
    output: Output,
) -> Result<(Vec<Vec<u8>>, Meters)> {
    let paths = prepared
        .models
        .iter()
        .map(|(_, _, path)| absolute(path))
        .collect::<Result<_>>()?;
    let (_, component) = prepared.files.first().context("a job has a component")?;
    let package = &prepared.package;
    let job = LocalJob::from_package(package.id()?, package, absolute(component)?, paths, items)?;
    let shards = jobs::plan::shard_count(
        u32::try_from(job.items.len()).unwrap_or(u32::MAX),
        job.items_per_shard,
    );
    let bar = output.bar(u64::from(shards), "shards");
    let models = job.models.iter().map(|model| &model.file);
    let read = models.chain([&job.component]).map(|file| file.path.clone());
    let pool = local_pool(LOCAL_WORKERS, read.collect())?;
    let ran = run_local(&job, &pool, |shard| {
        for line in &shard.log {
            bar.suspend(|| output.say(format_args!("shard {}: {line}", shard.span.index)));
        }
        bar.inc(1);
    });
    let result = ran.await.inspect_err(|error| {
        // What the guest said before it failed is often why.
        for line in &error.failure.log {
            bar.suspend(|| output.say(format_args!("shard {}: {line}", error.shard)));
        }
    });
    let result = result.code(Exit::JobFailed)?;
    bar.finish_and_clear();
    Ok((result.outputs, result.meters))
}

/// Workers that may read these files.
pub(crate) fn local_pool(workers: usize, readable: Vec<PathBuf>) -> Result<WorkerPool> {
    Ok(WorkerPool::new(local_workers(workers, readable)?, workers))
}

/// How workers of this machine's user are started, which may read these files.
pub(crate) fn local_workers(workers: usize, readable: Vec<PathBuf>) -> Result<WorkerConfig> {
    let (program, arguments) = worker_program()?;
    let home = std::path::absolute(home::home()?)?;
    let mut sandbox = SandboxConfig::new(home.join("compiled"));
    sandbox.gpu_processes = u16::try_from(workers).unwrap_or(u16::MAX);
    let mut config = WorkerConfig::new(program, arguments, home.join("scratch"), sandbox, readable);
    config.memory_bytes_max = runtime::worker::fair_memory_bytes(workers);
    Ok(config)
}

/// This program becomes its own worker.
pub(crate) fn worker_program() -> Result<(PathBuf, Vec<OsString>)> {
    Ok((
        std::env::current_exe().context("cannot find this program")?,
        vec!["worker".into()],
    ))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}
