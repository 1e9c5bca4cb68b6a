//! `assay provider`: rent out this machine; and the same sandbox for `assay job run --local`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use jobs::ids::ClientId;
use jobs::money::Amount;
use jobs::offer::{DeviceKind, Price};
use jobs::outcome::Meters;
use provider::{Misbehaviour, ProviderConfig};
use runtime::{LocalJob, SandboxConfig, WorkerConfig, WorkerPool, run_local};

use crate::commands::wait_for_stop;
use crate::devnet::{Parent, Ready};
use crate::exit::{Coded, Exit};
use crate::job::Prepared;
use crate::output::Output;
use crate::{bytes, home, machine};

/// Workers of a local run: the demo's machine has two cores.
const LOCAL_WORKERS: usize = 2;

/// Rent out this machine.
#[derive(Debug, Subcommand)]
pub(crate) enum ProviderCommand {
    /// Offer this machine and execute what is assigned, until Ctrl-C or SIGTERM.
    Start(Box<Start>),
    /// Show the devices that jobs could use here, and their fingerprints.
    Probe,
}

/// How a provider runs.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Directory of its key, journal and caches.
    #[arg(long)]
    data: PathBuf,
    /// Multiaddress of an aggregator; may be repeated. More are found through it.
    #[arg(long)]
    aggregator: Vec<String>,
    /// Multiaddress to listen on; may be repeated [default: loopback, any port, TCP and QUIC].
    #[arg(long)]
    listen: Vec<String>,
    /// Shards executed at the same time, each in a process of its own.
    #[arg(long, default_value_t = 1)]
    workers: u16,
    /// Price of 10^9 units of fuel.
    #[arg(long, default_value = "0.0001")]
    price_per_gfuel: Amount,
    /// Price of a second of device time.
    #[arg(long, default_value = "0.0001")]
    price_per_device_second: Amount,
    /// Smallest reward to work for.
    #[arg(long, default_value = "0")]
    reward_min: Amount,
    /// Largest memory of a guest to accept, for example 2GiB [default: the machine's memory divided by
    /// --workers, less 512 MiB each, at most 4 GiB].
    #[arg(long, value_parser = bytes::parse)]
    memory_max: Option<u64>,
    /// Largest fuel limit of a shard to accept [default: any].
    #[arg(long)]
    fuel_max: Option<u64>,
    /// Largest model to accept, for example 500MiB [default: what fits the cache, at most 2 GiB].
    #[arg(long, value_parser = bytes::parse)]
    model_max: Option<u64>,
    /// Most components, models, inputs and outputs to keep on disk, at least 64 MiB [default: 20GiB].
    #[arg(long, value_parser = bytes::parse)]
    cache_max: Option<u64>,
    /// The device to offer: cpu or gpu [default: a GPU if one is usable, else the processor].
    #[arg(long, value_parser = device)]
    device: Option<DeviceKind>,
    /// File of your operator key, if you run several providers: each then says whose it is, signed, and no two
    /// of yours execute the same shard or check one another. Made if it is not there [default: this provider
    /// is its own operator].
    #[arg(long, value_name = "KEY")]
    operator: Option<PathBuf>,
    /// Execute jobs of this client only; may be repeated [default: anyone's].
    #[arg(long)]
    trust: Vec<ClientId>,
    /// CHEAT on purpose, for tests and demonstrations: wrong, lazy, copy, stall, crash, equivocate,
    /// sometimes=Q (each item with this probability), replay (a shard's answer for every shard), model=FILE
    /// (in place of the job's), cpu-as-gpu, overclaim=FACTOR (fuel), slow, collude=[Q:]FILE (as all with this
    /// secret), conspire=FOLDER (only where another of the folder has the shard too) or relay=FOLDER (executes
    /// once for all who share it).
    #[arg(long)]
    misbehave: Option<Misbehaviour>,
    #[command(flatten)]
    parent: Parent,
}

pub(crate) async fn run(command: ProviderCommand, output: Output) -> Result<()> {
    match command {
        ProviderCommand::Start(settings) => start(*settings, output).await,
        ProviderCommand::Probe => probe(output).await,
    }
}

async fn start(settings: Start, output: Output) -> Result<()> {
    settings.parent.bind()?;
    let data = settings.data.clone();
    let waits = !settings.aggregator.is_empty();
    let cheats = settings
        .misbehave
        .as_ref()
        .map(|kind| format!(", CHEATS ON PURPOSE: {kind}"));
    let running = match provider::start(config(settings)?).await {
        Err(error) if error.is_callers_fault() => Err(error).code(Exit::Usage)?,
        result => result?,
    };
    if waits {
        tokio::select! {
            () = running.offered() => {}
            stopped = wait_for_stop() => {
                stopped?;
                running.stop().await;
                return Ok(());
            }
        }
    }
    let ready = Ready {
        id: running.id.to_string(),
        http: String::new(),
        p2p: running.addrs.clone(),
    };
    ready.write(&data)?;
    output.data(&ready, || {
        format!(
            "provider {} offers{}",
            ready.id,
            cheats.as_deref().unwrap_or_default()
        )
    })?;
    wait_for_stop().await?;
    output.say("stopping: hands back what does not finish in time");
    running.stop().await;
    Ok(())
}

fn config(settings: Start) -> Result<ProviderConfig> {
    let (program, arguments) = worker_program()?;
    let mut config = ProviderConfig::new(settings.data, program, arguments);
    config.aggregators = settings.aggregator;
    if !settings.listen.is_empty() {
        config.listen = settings.listen;
    }
    config.workers = settings.workers;
    config.price = Price {
        per_gfuel: settings.price_per_gfuel,
        per_device_second: settings.price_per_device_second,
    };
    config.signers = super::aggregator::policy(settings.trust);
    config.operator = settings.operator;
    config.reward_min = settings.reward_min;
    config.device = settings.device;
    let memory = settings.memory_max;
    config.memory_bytes_max = memory.unwrap_or_else(|| machine::guest_memory(settings.workers));
    config.fuel_max = settings.fuel_max.unwrap_or(config.fuel_max);
    config.cache_bytes = settings.cache_max.unwrap_or(config.cache_bytes);
    config.model_bytes_max = settings.model_max.unwrap_or_else(|| config.largest_model());
    config.misbehave = settings.misbehave;
    Ok(config)
}

fn device(text: &str) -> Result<DeviceKind, String> {
    match text {
        "cpu" => Ok(DeviceKind::Cpu),
        "gpu" => Ok(DeviceKind::Gpu),
        other => Err(format!("{other:?} is neither cpu nor gpu")),
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
    execute_items_locally(prepared, prepared.items.clone(), output).await
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
fn worker_program() -> Result<(PathBuf, Vec<OsString>)> {
    Ok((
        std::env::current_exe().context("cannot find this program")?,
        vec!["worker".into()],
    ))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}
