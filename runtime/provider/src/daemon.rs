//! Putting a provider together, and taking it apart.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use jobs::ids::{AggregatorId, ProviderId};
use jobs::operator::Operates;
use jobs::statement::Signed;
use network::blobs::BlobStore;
use network::protocol::FailureCode;
use network::{Network, NetworkConfig, Role};
use runtime::{DeviceReport, ProbeReport, SandboxConfig, WorkerConfig, WorkerPool};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;

use crate::admission::Terms;
use crate::book::Book;
use crate::cache::Cache;
use crate::choices::Desired;
use crate::clock::now;
use crate::control::Socket;
use crate::desk::Desk;
use crate::error::blocking;
use crate::journal::{Bounds, Failed, Journal, Order};
use crate::offers::{self, Aggregators, Issued};
use crate::owed::Owed;
use crate::report::{Outbox, send_report};
use crate::shared::Shared;
use crate::traces::Traces;
use crate::{Error, ProviderConfig, identity, misbehave, mode, serve};

/// Folder of fetched blobs in the data directory: all of it that workers may read.
const BLOBS: &str = "blobs";

/// Folder of what executions noted.
const TRACES: &str = "traces";

/// What handing back everything that still runs may take when the daemon stops.
const HAND_BACK: Duration = Duration::from_secs(2);

/// Pause without a request for outputs after which nobody fetches any.
const FETCH_PAUSE: Duration = Duration::from_millis(300);

/// What the last tasks may take to end.
const END_WALL: Duration = Duration::from_secs(5);

/// A running provider.
#[derive(Debug)]
pub struct Running {
    /// Who it is.
    pub id: ProviderId,
    /// Where peers reach it, each ending in `/p2p/…`.
    pub addrs: Vec<String>,
    shared: Arc<Shared>,
    issued: Arc<Issued>,
    ended: mpsc::Receiver<()>,
}

/// What a provider is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Who it is.
    pub provider: ProviderId,
    /// How it cheats on purpose, if it does.
    pub misbehaves: Option<&'static str>,
    /// The device it offers.
    pub device: DeviceReport,
    /// Aggregators that hold its offer.
    pub aggregators: Vec<AggregatorId>,
    /// Assignments under way.
    pub held: usize,
    /// Outcomes and failures that an aggregator has not heard of yet.
    pub unreported: usize,
    /// Assignments it can still reveal or tell about.
    pub remembered: usize,
    /// Assignments of which it only knows that it signed them.
    pub sealed: usize,
    /// Bytes of blobs on disk.
    pub cache_bytes: u64,
    /// Worker processes started so far.
    pub workers_started: u64,
}

/// What was opened before the network starts.
struct Opened {
    lock: std::fs::File,
    seed: [u8; 32],
    id: ProviderId,
    operator: Option<Signed<Operates>>,
    journal: Arc<Journal>,
    cache: Cache,
    traces: Traces,
    issued: Issued,
    desired: Desired,
    book: Book,
    control: Socket,
}

/// Starts a provider. It runs until [`Running::stop`].
///
/// # Errors
/// If the configuration is invalid, another daemon uses the data directory, the journal is damaged,
/// the device is not there, or the network does not start.
pub async fn start(mut config: ProviderConfig) -> Result<Running, Error> {
    config.check()?;
    // Workers are told the paths of blobs, and have working directories of their own.
    config.data =
        std::path::absolute(&config.data).map_err(Error::io("find", &config.data.clone()))?;
    let opening = config.clone();
    let opened = blocking(move || open(&opening)).await?;
    let pool = worker_pool(&config);
    let report = pool.probe().await.map_err(Error::Worker)?;
    let device = choose(&config, &report)?;
    let device = misbehave::acts::claimed(config.misbehave.as_ref(), device);
    let (client, events, event_loop) = Network::new(network_config(&config, &opened))?;
    let span = span(opened.id, &config);
    tokio::spawn(event_loop.run().instrument(span.clone()));
    let listeners = client.listeners().await?;
    let addrs: Vec<String> = listeners.iter().map(ToString::to_string).collect();
    let (alive, ended) = mpsc::channel(1);
    let shared = Arc::new(Shared {
        id: opened.id,
        operator: opened.operator,
        key: SigningKey::from_bytes(&opened.seed),
        terms: terms(&config, opened.id, &device, report.no_models),
        device,
        client,
        pool,
        journal: opened.journal,
        cache: opened.cache,
        traces: opened.traces,
        desk: Desk::new(config.workers),
        outbox: Outbox::new(),
        owed: Owed::default(),
        aggregators: Aggregators::new(),
        misbehaved: misbehave::acts::Memory::default(),
        desired: opened.desired,
        book: opened.book,
        started: Instant::now(),
        listens: addrs.clone(),
        ending: watch::Sender::new(false),
        stopping: watch::Sender::new(false),
        draining: watch::Sender::new(false),
        // In mode `auto` nothing is taken before the first comparison of two looks.
        in_use: watch::Sender::new(Some("nobody has looked at the machine yet".into())),
        offer_news: watch::Sender::new(0),
        refused: AtomicU64::new(0),
        over: watch::Sender::new(false),
        span,
        config,
        _lock: opened.lock,
        _alive: alive,
    });
    warn_of_misbehaviour(&shared);
    resume(&shared).await?;
    shared.spawn(serve::serve(Arc::clone(&shared), events));
    shared.spawn(mode::keep(Arc::clone(&shared)));
    shared.spawn(opened.control.serve(Arc::clone(&shared)));
    let issued = Arc::new(opened.issued);
    offers::start(&shared, Arc::clone(&issued));
    Ok(Running {
        id: shared.id,
        addrs,
        shared,
        issued,
        ended,
    })
}

/// The devices that workers of this configuration see.
///
/// # Errors
/// If no worker starts.
pub async fn probe(config: &ProviderConfig) -> Result<ProbeReport, Error> {
    worker_pool(config).probe().await.map_err(Error::Worker)
}

/// Everything on disk. Blocks.
fn open(config: &ProviderConfig) -> Result<Opened, Error> {
    let data = &config.data;
    let lock = identity::lock(data)?;
    let seed = match config.identity {
        Some(seed) => seed,
        None => identity::load_or_create(data)?,
    };
    let id = network::public_key_of(seed)?;
    let operator = config.operator.as_deref();
    let operator = operator
        .map(|path| identity::vouched(path, id))
        .transpose()?;
    let journal = Journal::open(&data.join("journal"), id, Bounds::default())?;
    let journal = Arc::new(journal);
    let store = BlobStore::open(data.join(BLOBS), config.cache_bytes)?;
    let cache = Cache::new(store, Arc::clone(&journal));
    let traces = Traces::open(data.join(TRACES), Arc::clone(&journal), config.cache_bytes)?;
    let issued = Issued::open(&data.join("offer.issued"))?;
    let desired = Desired::open(config)?;
    let book = Book::open(data)?;
    let control = Socket::bind(data)?;
    Ok(Opened {
        lock,
        seed,
        id,
        operator,
        journal,
        cache,
        traces,
        issued,
        desired,
        book,
        control,
    })
}

fn worker_pool(config: &ProviderConfig) -> WorkerPool {
    let data = &config.data;
    let mut sandbox = SandboxConfig::new(data.join("compiled"));
    sandbox.backend = config.backend;
    sandbox.gpu_processes = config.workers;
    let (exe, args) = (config.worker_exe.clone(), config.worker_args.clone());
    let blobs = vec![data.join(BLOBS)];
    let mut workers = WorkerConfig::new(exe, args, data.join("scratch"), sandbox, blobs);
    let count = usize::from(config.workers);
    workers.memory_bytes_max = runtime::worker::fair_memory_bytes(count);
    WorkerPool::new(workers, count)
}

/// The device to offer: the one asked for, else a GPU, else the processor.
fn choose(config: &ProviderConfig, report: &ProbeReport) -> Result<DeviceReport, Error> {
    let best = report.devices.iter().max_by_key(|device| device.kind);
    let device = match config.device {
        Some(kind) => report.device(kind),
        None => best,
    };
    device.cloned().ok_or_else(|| {
        let there: Vec<&str> = report.devices.iter().map(|device| &*device.name).collect();
        let why = report
            .no_models
            .as_deref()
            .unwrap_or("only others are there");
        Error::NoDevice {
            kind: config
                .device
                .map_or("".into(), |kind| format!("{kind:?}").to_lowercase()),
            reason: format!("{why}: {}", there.join(", ")),
        }
    })
}

fn network_config(config: &ProviderConfig, opened: &Opened) -> NetworkConfig {
    let mut network = NetworkConfig::new(opened.seed, Role::Provider);
    network.listen.clone_from(&config.listen);
    network.bootstrap.clone_from(&config.aggregators);
    network.blobs = Some(Arc::new(opened.cache.clone()));
    network
}

fn terms(
    config: &ProviderConfig,
    provider: ProviderId,
    device: &DeviceReport,
    no_models: Option<String>,
) -> Terms {
    Terms {
        provider,
        device: device.kind,
        no_models,
        memory_bytes_max: config.memory_bytes_max,
        fuel_max: config.fuel_max,
        model_bytes_max: config.model_bytes_max,
        signers: config.signers.clone(),
        denied: config.denied.clone(),
        price: config.price,
        reward_min: config.reward_min,
    }
}

/// The span of every log line: a cheat is named in each of them.
fn span(id: ProviderId, config: &ProviderConfig) -> tracing::Span {
    let id = id.short();
    match &config.misbehave {
        Some(kind) => tracing::error_span!("provider", %id, MISBEHAVES = kind.name()),
        None => tracing::error_span!("provider", %id),
    }
}

fn warn_of_misbehaviour(shared: &Shared) {
    let Some(kind) = shared.misbehaves() else {
        return;
    };
    shared.span.in_scope(|| {
        tracing::warn!(
            "THIS PROVIDER CHEATS ON PURPOSE (--misbehave {kind}); it is for tests and demonstrations"
        );
    });
}

/// Goes on where the last process ended: what it had accepted and not signed is handed back, and what
/// nobody acknowledged is told again.
async fn resume(shared: &Arc<Shared>) -> Result<(), Error> {
    let journal = Arc::clone(&shared.journal);
    let unsettled = blocking(move || {
        for order in journal.abandoned() {
            journal.fail(Failed {
                order: Order { at: now(), ..order },
                code: FailureCode::Internal,
                reason: "the provider was restarted".into(),
            })?;
        }
        Ok(journal.unsettled())
    });
    for id in unsettled.await? {
        send_report(shared, id);
    }
    Ok(())
}

/// Waits until nothing is under way, everything is revealed, and nobody fetches outputs any more.
async fn finished(shared: &Shared) {
    shared.desk.empty().await;
    shared.outbox.empty().await;
    shared.owed.none(now).await;
    loop {
        let before = shared.cache.served();
        sleep(FETCH_PAUSE).await;
        if shared.cache.served() == before {
            return;
        }
    }
}

impl Running {
    /// Waits until an aggregator has accepted its offer.
    pub async fn offered(&self) {
        self.shared.aggregators.first().await;
    }

    /// What it is doing now.
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        let (remembered, sealed) = shared.journal.remembered();
        Status {
            provider: self.id,
            misbehaves: shared.misbehaves().map(crate::Misbehaviour::name),
            device: shared.device.clone(),
            aggregators: shared.aggregators.listed(),
            held: shared.desk.count(),
            unreported: shared.outbox.count(),
            remembered,
            sealed,
            cache_bytes: shared.cache.store().usage().used,
            workers_started: shared.pool.started(),
        }
    }

    /// Looks for an aggregator at an address where one was just heard of, and offers to it from then on.
    pub fn reach(&self, address: String) {
        let (shared, issued) = (Arc::clone(&self.shared), Arc::clone(&self.issued));
        let task = Arc::clone(&shared);
        self.shared.spawn(async move {
            tokio::select! {
                () = offers::reach(shared, issued, address) => {}
                () = task.stopped() => {}
            }
        });
    }

    /// Whether every part that must answer does: the network's task among them.
    pub async fn lives(&self) -> bool {
        self.shared.client.peers().await.is_ok()
    }

    /// Waits until no assignment is under way.
    pub async fn idle(&self) {
        self.shared.desk.empty().await;
    }

    /// Stops: takes no more assignments, gives those under way the configured grace, hands back the
    /// rest, and says good-bye. What an aggregator has not heard is told after the next start.
    pub async fn stop(self) {
        self.stop_or(std::future::pending()).await;
    }

    /// As [`Running::stop`]; the grace is over as soon as `at_once` is.
    pub async fn stop_or(mut self, at_once: impl Future<Output = ()>) {
        let shared = &self.shared;
        shared.ending.send_replace(true);
        // Aggregators hear that nothing more is taken while they can still be told what came of the rest.
        shared.renew_offers();
        let grace = shared.config.stop_grace;
        let finished = tokio::select! {
            finished = timeout(grace, finished(shared)) => finished.is_ok(),
            () = at_once => false,
        };
        if !finished && shared.desk.count() > 0 {
            tracing::warn!(held = shared.desk.count(), "hands back what still runs");
            shared.desk.halt_all();
        }
        let told = async {
            shared.desk.empty().await;
            shared.outbox.empty().await;
        };
        if timeout(HAND_BACK, told).await.is_err() {
            let unreported = shared.outbox.count();
            tracing::warn!(unreported, "will be told after the next start");
        }
        shared.stopping.send_replace(true);
        shared.client.shutdown().await;
        shared.over.send_replace(true);
        drop(self.shared);
        if timeout(END_WALL, self.ended.recv()).await.is_err() {
            tracing::warn!("a task does not end");
        }
    }
}
