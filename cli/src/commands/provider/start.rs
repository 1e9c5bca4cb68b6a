//! `assay provider start`: the daemon, from its configuration to its end.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use jobs::envelope::SignerPolicy;
use jobs::ids::ClientId;
use jobs::money::Amount;
use jobs::offer::DeviceKind;
use provider::choices::Mode;
use provider::{Misbehaviour, ProviderConfig, Running};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::worker_program;
use crate::control::DataDir;
use crate::devnet::{Parent, Ready};
use crate::exit::{Coded, Exit, fail};
use crate::output::Output;
use crate::provider_file::{KIND, ProviderFile, Size};
use crate::{bytes, machine, service};

/// How long a stop waits for what runs, in seconds, if nothing is said.
pub(crate) const DRAIN_SECONDS_DEFAULT: u64 = 60;

/// Pause between two looks at whether an aggregator that was named by its URL is still there.
const ADDRESSES_PAUSE: Duration = Duration::from_secs(10);

/// The longest that an aggregator may take to tell its addresses.
const ADDRESSES_WALL: Duration = Duration::from_secs(10);

/// Addresses of one aggregator that are tried at most.
const ADDRESSES_MAX: usize = 16;

/// How a provider runs.
#[derive(Debug, Args)]
#[command(
    after_help = "Each value is taken from the last of these that has it: the default, DIR/provider.toml, the variable, \
                  the flag. What was changed while the provider ran (price, policy, mode) goes before all of them."
)]
pub(crate) struct Start {
    #[command(flatten)]
    data: DataDir,
    /// Multiaddress of an aggregator, or the URL of its HTTP interface, which is asked for its addresses again
    /// whenever it is gone; may be repeated. More are found through it.
    #[arg(long, env = "ASSAY_PROVIDER_AGGREGATOR", value_delimiter = ',')]
    aggregator: Vec<String>,
    /// Multiaddress to listen on; may be repeated. `none`: listen nowhere, as behind a router that lets nobody in
    /// [default: loopback, any port, TCP and QUIC].
    #[arg(long, env = "ASSAY_PROVIDER_LISTEN", value_delimiter = ',')]
    listen: Vec<String>,
    /// Shards executed at the same time, each in a process of its own [default: 1].
    #[arg(long, env = "ASSAY_PROVIDER_WORKERS")]
    workers: Option<u16>,
    /// Price of 10^9 units of fuel [default: 0.0001].
    #[arg(long, env = "ASSAY_PROVIDER_PRICE_PER_GFUEL")]
    price_per_gfuel: Option<Amount>,
    /// Price of a second of device time [default: 0.0001].
    #[arg(long, env = "ASSAY_PROVIDER_PRICE_PER_DEVICE_SECOND")]
    price_per_device_second: Option<Amount>,
    /// Smallest reward to work for [default: 0].
    #[arg(long, env = "ASSAY_PROVIDER_REWARD_MIN")]
    reward_min: Option<Amount>,
    /// Largest memory of a guest to accept, for example 2GiB [default: the machine's memory divided by
    /// --workers, less 512 MiB each, at most 4 GiB].
    #[arg(long, env = "ASSAY_PROVIDER_MEMORY_MAX", value_parser = bytes::parse)]
    memory_max: Option<u64>,
    /// Largest fuel limit of a shard to accept [default: any].
    #[arg(long, env = "ASSAY_PROVIDER_FUEL_MAX")]
    fuel_max: Option<u64>,
    /// Largest model to accept, for example 500MiB [default: what fits the cache, at most 2 GiB].
    #[arg(long, env = "ASSAY_PROVIDER_MODEL_MAX", value_parser = bytes::parse)]
    model_max: Option<u64>,
    /// Most components, models, inputs and outputs to keep on disk, at least 64 MiB [default: 20GiB].
    #[arg(long, env = "ASSAY_PROVIDER_CACHE_MAX", value_parser = bytes::parse)]
    cache_max: Option<u64>,
    /// The device to offer: cpu or gpu [default: a GPU if one is usable, else the processor].
    #[arg(long, env = "ASSAY_PROVIDER_DEVICE", value_parser = device)]
    device: Option<DeviceKind>,
    /// File of your operator key, if you run several providers: each then says whose it is, signed, and no two
    /// of yours execute the same shard or check one another. Made if it is not there [default: this provider
    /// is its own operator].
    #[arg(long, env = "ASSAY_PROVIDER_OPERATOR", value_name = "KEY")]
    operator: Option<PathBuf>,
    /// Execute jobs of this client only; may be repeated [default: anyone's].
    #[arg(long, env = "ASSAY_PROVIDER_TRUST", value_delimiter = ',')]
    trust: Vec<ClientId>,
    /// Execute no jobs of this client; may be repeated.
    #[arg(long, env = "ASSAY_PROVIDER_DENY", value_delimiter = ',')]
    deny: Vec<ClientId>,
    /// When to work: always, never, or auto (while nobody else uses the machine) [default: always].
    #[arg(long, env = "ASSAY_PROVIDER_MODE")]
    mode: Option<Mode>,
    /// In mode auto: the share of the processors that other programs may use, in percent [default: 25].
    #[arg(long, env = "ASSAY_PROVIDER_IDLE_CPU_PERCENT")]
    idle_cpu_percent: Option<u8>,
    /// How long a stop waits for what runs before it hands it back, 0 to 3600 [default: 60].
    #[arg(long, env = "ASSAY_PROVIDER_DRAIN_SECONDS")]
    drain_seconds: Option<u64>,
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

fn device(text: &str) -> Result<DeviceKind, String> {
    match text {
        "cpu" => Ok(DeviceKind::Cpu),
        "gpu" => Ok(DeviceKind::Gpu),
        other => Err(format!("{other:?} is neither cpu nor gpu")),
    }
}

/// Requests to stop: Ctrl-C and SIGTERM. Heard from when it is made, so that none is lost between two waits.
struct Stops {
    interrupt: Signal,
    terminate: Signal,
}

impl Stops {
    fn new() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

pub(super) async fn run(settings: Start, output: Output) -> Result<()> {
    settings.parent.bind()?;
    let mut stops = Stops::new()?;
    let data = settings.data.path()?;
    let cheats = settings
        .misbehave
        .as_ref()
        .map(|kind| format!(", CHEATS ON PURPOSE: {kind}"));
    let (config, urls) = config(settings, ProviderFile::load(&data)?)?;
    let waits = !config.aggregators.is_empty() || !urls.is_empty();
    if !waits {
        let file = data.join(KIND.file);
        tracing::warn!(
            "no aggregator is configured, so nobody gives this provider work: name one with --aggregator, \
             ASSAY_PROVIDER_AGGREGATOR or `aggregators` in {}",
            file.display()
        );
    }
    let grace = config.stop_grace;
    let running = match provider::start(config).await {
        Err(error) if error.is_callers_fault() => Err(error).code(Exit::Usage)?,
        result => result?,
    };
    service::ready(if waits {
        "waits for an aggregator"
    } else {
        "serves"
    });
    let work = async {
        if waits {
            running.offered().await;
        }
        announce(&running, &data, cheats.as_deref(), output)?;
        std::future::pending::<Result<()>>().await
    };
    let stopped = tokio::select! {
        failed = work => failed,
        () = seek(&running, &urls) => Ok(()),
        () = live(&running) => Ok(()),
        () = stops.next() => Ok(()),
    };
    service::stopping(grace);
    output.say(format_args!(
        "stopping: finishes what runs within {} s and hands back the rest; again to hand back at once",
        grace.as_secs()
    ));
    running.stop_or(stops.next()).await;
    stopped
}

fn announce(
    running: &Running,
    data: &std::path::Path,
    cheats: Option<&str>,
    output: Output,
) -> Result<()> {
    let ready = Ready {
        id: running.id.to_string(),
        http: String::new(),
        p2p: running.addrs.clone(),
    };
    ready.write(data)?;
    service::ready("offers");
    output.data(&ready, || {
        format!("provider {} offers{}", ready.id, cheats.unwrap_or_default())
    })
}

/// Tells systemd that the daemon lives, for as long as it does. Ends only if nobody wants to know and never else.
async fn live(running: &Running) {
    let Some(pause) = service::watchdog_pause() else {
        return std::future::pending().await;
    };
    loop {
        // Somebody who does not answer is not alive: the process then is ended from outside, and started anew.
        if timeout(pause, running.lives()).await == Ok(true) {
            service::alive();
        }
        sleep(pause).await;
    }
}

/// Asks aggregators that were named by their URLs where they are, at first and whenever one of them is gone: it may have
/// moved.
async fn seek(running: &Running, urls: &[String]) {
    if urls.is_empty() {
        return std::future::pending().await;
    }
    loop {
        for url in urls {
            let client = api::client::Client::new(url).with_patience(ADDRESSES_WALL);
            match timeout(ADDRESSES_WALL, client.health()).await {
                Ok(Ok(health)) => {
                    let holds = running.status().aggregators.contains(&health.aggregator);
                    let addresses = health.p2p.into_iter().take(ADDRESSES_MAX);
                    if !holds {
                        addresses.for_each(|address| running.reach(address));
                    }
                }
                Ok(Err(error)) => tracing::warn!(%url, %error, "aggregator not reached"),
                Err(_) => tracing::warn!(%url, "aggregator not reached in time"),
            }
        }
        sleep(ADDRESSES_PAUSE).await;
    }
}

/// What to start with, and the URLs of aggregators whose addresses are yet to be asked for.
fn config(flags: Start, file: ProviderFile) -> Result<(ProviderConfig, Vec<String>)> {
    let (program, arguments) = worker_program()?;
    let mut config = ProviderConfig::new(flags.data.path()?, program, arguments);
    let aggregators = said(flags.aggregator)
        .or(file.aggregators)
        .unwrap_or_default();
    let (urls, addresses) = aggregators.into_iter().partition(|at| is_url(at));
    config.aggregators = addresses;
    if let Some(listen) = said(flags.listen).or(file.listen) {
        config.listen = listening(listen)?;
    }
    config.workers = flags.workers.or(file.workers).unwrap_or(config.workers);
    let price = &mut config.price;
    price.per_gfuel = flags
        .price_per_gfuel
        .or(file.price_per_gfuel)
        .unwrap_or(price.per_gfuel);
    price.per_device_second = flags
        .price_per_device_second
        .or(file.price_per_device_second)
        .unwrap_or(price.per_device_second);
    let trust = said(flags.trust).map(|trust| trust.into_iter().collect());
    config.signers = match trust.or(file.trust) {
        Some(trust) if !trust.is_empty() => SignerPolicy::Trusted(trust),
        _ => SignerPolicy::Any,
    };
    let deny = said(flags.deny).map(|deny| deny.into_iter().collect());
    config.denied = deny.or(file.deny).unwrap_or_default();
    config.operator = flags.operator.or(file.operator);
    config.reward_min = flags
        .reward_min
        .or(file.reward_min)
        .unwrap_or(config.reward_min);
    config.device = flags.device.or(file.device);
    let size = |size: Option<Size>| size.map(|Size(bytes)| bytes);
    config.memory_bytes_max = flags
        .memory_max
        .or(size(file.memory_max))
        .unwrap_or_else(|| machine::guest_memory(config.workers));
    config.fuel_max = flags.fuel_max.or(file.fuel_max).unwrap_or(config.fuel_max);
    config.cache_bytes = flags
        .cache_max
        .or(size(file.cache_max))
        .unwrap_or(config.cache_bytes);
    config.model_bytes_max = flags
        .model_max
        .or(size(file.model_max))
        .unwrap_or_else(|| config.largest_model());
    config.mode = flags.mode.or(file.mode).unwrap_or_default();
    config.idle_cpu_percent = flags
        .idle_cpu_percent
        .or(file.idle_cpu_percent)
        .unwrap_or(config.idle_cpu_percent);
    let drain = flags
        .drain_seconds
        .or(file.drain_seconds)
        .unwrap_or(DRAIN_SECONDS_DEFAULT);
    config.stop_grace = Duration::from_secs(drain);
    config.misbehave = flags.misbehave;
    Ok((config, urls))
}

/// A list that somebody gave: one that is empty says nothing.
fn said<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn listening(listen: Vec<String>) -> Result<Vec<String>> {
    match listen.iter().any(|address| address == "none") {
        false => Ok(listen),
        true if listen.len() == 1 => Ok(Vec::new()),
        true => fail(
            Exit::Usage,
            format!("--listen {}: `none` stands alone", listen.join(",")),
        ),
    }
}

/// The first URL of an aggregator in the configuration of a data directory.
pub(super) fn configured_url(data: &std::path::Path) -> Result<Option<String>> {
    let file = ProviderFile::load(data).context("the provider's configuration")?;
    let mut named = file.aggregators.into_iter().flatten();
    Ok(named.find(|at| is_url(at)))
}

fn is_url(at: &str) -> bool {
    at.starts_with("http://") || at.starts_with("https://")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        start: Start,
    }

    fn merged(arguments: &[&str], file: &str) -> (ProviderConfig, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("schema = 1\n{file}\ncomplete = true\n");
        std::fs::write(dir.path().join(crate::provider_file::KIND.file), text).unwrap();
        let arguments = ["start", "--data", "/nowhere"]
            .into_iter()
            .chain(arguments.iter().copied());
        let start = Command::try_parse_from(arguments).unwrap().start;
        config(start, ProviderFile::load(dir.path()).unwrap()).unwrap()
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
        let (default, _) = merged(&[], "");
        assert_eq!((default.workers, default.mode), (1, Mode::Always));
        assert_eq!(default.stop_grace, Duration::from_secs(60));
        let file = "workers = 3\nmode = \"auto\"\nlisten = [\"none\"]\ndrain_seconds = 7\ncache_max = \"1GiB\"";
        let (file_only, _) = merged(&[], file);
        assert_eq!((file_only.workers, file_only.mode), (3, Mode::Auto));
        assert_eq!(file_only.listen, [""; 0]);
        assert_eq!(file_only.stop_grace, Duration::from_secs(7));
        assert_eq!(file_only.model_bytes_max, (1 << 30) - (32 << 20));
        let (both, _) = merged(
            &[
                "--workers=4",
                "--mode=never",
                "--listen=/ip4/127.0.0.1/tcp/0",
            ],
            file,
        );
        assert_eq!((both.workers, both.mode), (4, Mode::Never));
        assert_eq!(both.listen, ["/ip4/127.0.0.1/tcp/0"]);
        assert_eq!(both.cache_bytes, 1 << 30);
    }

    #[test]
    fn aggregators_are_named_by_address_or_by_url() {
        let (config, urls) = merged(
            &["--aggregator=/ip4/192.0.2.1/tcp/1,http://192.0.2.2:7700"],
            "aggregators = [\"/ip4/192.0.2.3/tcp/1\"]",
        );
        assert_eq!(config.aggregators, ["/ip4/192.0.2.1/tcp/1"]);
        assert_eq!(urls, ["http://192.0.2.2:7700"]);
    }

    #[test]
    fn nowhere_stands_alone() {
        assert_eq!(listening(vec!["none".into()]).unwrap(), [""; 0]);
        let error = listening(vec!["none".into(), "/ip4/127.0.0.1/tcp/0".into()]).unwrap_err();
        assert_eq!(crate::exit::code_of(&error), Exit::Usage);
    }
}
