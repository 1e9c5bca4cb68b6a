//! The driver: the thin shell around the pure core. It is the only place with a clock, a disk, a
//! network and tasks, and it decides nothing.
//!
//! One [`machine`] owns the core. Events reach it through a bounded queue; it stamps them, steps the
//! core, makes the event, the ledger rows and whatever came with it durable in one synced batch, and
//! only then answers and hands the actions to [`actor`], whose tasks report back with new events. A
//! crash at any point therefore loses nothing that was acknowledged: the log is replayed and what was
//! outstanding is asked for again.
//!
//! Reading order: [`rows`] (what is stored), [`log`], [`once`], [`machine`], [`handle`]; then [`peers`] and [`backend`]
//! with [`audits`], [`games`], [`liquidations`] and [`records`] (what comes in); [`actor`], [`prepare`], [`reveal`], [`merge`] (what
//! goes out).

mod auditing;
mod config;
mod error;
mod reached;
mod rows;

mod feed;
mod handle;
mod log;
mod machine;
mod metrics;
mod once;
mod spans;
mod watched;

mod actor;
mod merge;
mod openings;
mod orders;
mod prepare;
mod reveal;

mod audits;
mod backend;
mod backup;
mod collect;
mod games;
mod liquidations;
mod operator;
mod peers;
mod prefix;
mod records;
mod shards;
mod uploads;
mod views;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use api::server::Settings;
use ed25519_dalek::SigningKey;
use jobs::envelope::SignerPolicy;
use jobs::ids::AggregatorId;
use jobs::time::Timestamp;
use ledger::FeeBps;
use network::EventReceiver;
use network::blobs::BlobStore;
use store::{Kv, RocksStore};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;

use crate::core::{Config, Event};
pub use auditing::Auditing;
pub use audits::{Audit, audit_at_rest};
pub use backup::restore;
pub use collect::{KEEP_DAYS, KEEP_DAYS_MAX};
pub use config::{AggregatorConfig, GameConfig};
pub use error::Error;
use handle::Handle;
use watched::Watched;

/// Default bound on the blobs an aggregator holds, in bytes.
pub const BLOB_QUOTA: u64 = 64 << 30;

/// Folder of the store in the data directory.
const STORE: &str = "store";

/// Folder of the blobs in the data directory.
const BLOBS: &str = "blobs";

/// Pause between two ticks while jobs are open.
const TICK: Duration = Duration::from_millis(500);

/// Milliseconds that a job waits for its client's share of the draw of who executes it. Clients of ours give it at once.
const SHARE_WAIT_MS: u64 = 1_000;

/// Ticks between two that are sent while no job is open: each is a row in the log.
const IDLE_TICKS: u32 = 60;

/// Time the tasks of a stopping aggregator get to end.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Outputs compared, shards cut and results merged at the same time: each holds whole blobs in memory.
const HEAVY_TASKS_MAX: usize = 16;

/// Revealed outputs checked at the same time: each holds a whole blob in memory.
const CHECKS_MAX: usize = 8;

/// Outputs fetched at the same time. Each waits for its provider, and none longer than a reveal of its
/// size may take, so that slow providers cannot keep honest ones waiting for long.
const FETCHES_MAX: usize = 256;

/// Audits and searches through records at the same time: strangers may ask for them.
const INQUIRIES_MAX: usize = 2;

/// What every task of the driver shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: AggregatorId,
    /// The data directory.
    pub(crate) data: PathBuf,
    pub(crate) key: SigningKey,
    pub(crate) handle: Handle,
    pub(crate) store: Arc<dyn Kv>,
    pub(crate) blobs: BlobStore,
    pub(crate) network: network::Client,
    pub(crate) signers: SignerPolicy,
    pub(crate) p2p: Vec<String>,
    pub(crate) heavy: Semaphore,
    pub(crate) checks: Semaphore,
    pub(crate) fetches: Semaphore,
    pub(crate) turns: reveal::Turns,
    pub(crate) in_flight: once::InFlight,
    pub(crate) feed: Arc<api::feed::Feed>,
    pub(crate) inquiries: Semaphore,
    pub(crate) audited: audits::Audited,
    pub(crate) records: records::KnownRecords,
    pub(crate) accept_timeout: Duration,
    pub(crate) reveal_timeout: Duration,
    /// Turns true, or loses its sender, when the aggregator stops.
    pub(crate) stop: watch::Receiver<bool>,
    /// Whether the store failed, so that only reads are served.
    pub(crate) halted: AtomicBool,
    pub(crate) preparing: prepare::Preparing,
    pub(crate) collector: collect::Collector,
    pub(crate) uploads: uploads::Uploads,
    pub(crate) meters: metrics::Meters,
    pub(crate) spans: spans::Spans,
}

/// A running aggregator.
#[derive(Debug)]
pub struct Running {
    /// Its key.
    pub id: AggregatorId,
    /// Where its HTTP interface listens.
    pub http: SocketAddr,
    /// Where peers reach it.
    pub p2p: Vec<String>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    /// Fails when the last one that uses the store is gone, and the store is closed: requests and
    /// actions have no handle of ours.
    closed: oneshot::Receiver<()>,
    #[cfg(test)]
    shared: std::sync::Weak<Shared>,
}

impl Running {
    /// Stops taking requests, lets those at hand finish, and closes the store: afterwards its
    /// directory can be opened again, unless a task did not end in time, which is logged.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let ended = async {
            futures::future::join_all(self.tasks).await;
            let _ = self.closed.await;
        };
        if tokio::time::timeout(STOP_GRACE, ended).await.is_err() {
            tracing::warn!("some tasks did not end in {STOP_GRACE:?}");
        }
    }

    /// Ends without a good-bye and without letting anything finish, as far as one process can.
    #[cfg(test)]
    async fn crash(mut self) {
        // The last task is the one that lets the machine end.
        self.tasks.pop();
        for task in &self.tasks {
            task.abort();
        }
        drop(self.stop);
        let closed = tokio::time::timeout(STOP_GRACE, self.closed);
        assert!(closed.await.is_ok(), "the store is still in use");
    }
}

/// Starts an aggregator: opens its store, replays its log, listens, and resumes what was outstanding.
///
/// # Errors
/// If a setting is out of bounds, the store cannot be opened or does not add up, or an address is in
/// use.
pub async fn start(config: AggregatorConfig) -> Result<Running, Error> {
    let store = open_store(&config.data)?;
    start_on(store, config).await
}

/// Starts on a store that is open.
async fn start_on(store: impl Kv + 'static, config: AggregatorConfig) -> Result<Running, Error> {
    let fee = FeeBps::new(config.fee_bps).map_err(|error| Error::Config(error.to_string()))?;
    let key = SigningKey::from_bytes(&config.seed);
    let id = jobs::ids::ProviderId(key.verifying_key().to_bytes());
    let mut settings = Config::new(id, fee);
    config.auditing.clone().configure(&mut settings)?;
    config.game.apply(&mut settings)?;
    settings.share_wait_ms = SHARE_WAIT_MS;
    start_with(store, config, key, settings).await
}

/// Starts under settings of the core's.
async fn start_with(
    store: impl Kv + 'static,
    config: AggregatorConfig,
    key: SigningKey,
    mut settings: Config,
) -> Result<Running, Error> {
    settings.prefix_diversity = config.prefix_diversity;
    let asked_by = Settings::from(&config);
    let collector = collect::Collector::new(config.keep_days)?;
    let (store, closed) = Watched::new(store);
    let store: Arc<dyn Kv> = Arc::new(store);
    let id = settings.aggregator;
    let reached = reached::Reached::new(id, &config.p2p_external)?;
    let [accept_timeout, reveal_timeout] =
        [settings.accept_timeout_ms, settings.reveal_timeout_ms].map(Duration::from_millis);
    let machine = machine::Machine::load(Arc::clone(&store), settings)?;
    let blobs = BlobStore::open(config.data.join(BLOBS), config.blob_quota)?;

    let (network, events, event_loop) = reached.join(&config, &blobs)?;
    let mut tasks = vec![tokio::spawn(event_loop.run())];
    let p2p = reached.addresses(&network.listeners().await?);
    let (listener, http) = listen(config.http).await?;
    let (stop, stopping) = watch::channel(false);
    let (handle, inbox) = handle::channel();
    let shared = Arc::new(Shared {
        id,
        data: config.data,
        key,
        handle,
        store,
        blobs,
        network,
        signers: config.signers,
        p2p: p2p.clone(),
        heavy: Semaphore::new(HEAVY_TASKS_MAX),
        checks: Semaphore::new(CHECKS_MAX),
        fetches: Semaphore::new(FETCHES_MAX),
        turns: reveal::Turns::default(),
        in_flight: once::InFlight::default(),
        feed: machine.feed(),
        inquiries: Semaphore::new(INQUIRIES_MAX),
        audited: audits::Audited::default(),
        records: records::KnownRecords::default(),
        accept_timeout,
        reveal_timeout,
        stop: stopping,
        halted: AtomicBool::new(false),
        preparing: prepare::Preparing::default(),
        collector,
        uploads: uploads::Uploads::default(),
        meters: machine.meters(),
        spans: machine.spans(),
    });
    let machine = machine.spawn(inbox, Arc::clone(&shared))?;
    shared.handle.event(Event::Restarted).await?;
    #[cfg(test)]
    let weak = Arc::downgrade(&shared);
    tasks.extend(serve(listener, events, asked_by, shared, machine));
    Ok(Running {
        id,
        http,
        p2p,
        stop,
        tasks,
        closed,
        #[cfg(test)]
        shared: weak,
    })
}

/// The tasks that let things in, and last the one that ends it all.
fn serve(
    listener: TcpListener,
    events: EventReceiver,
    http: Settings,
    shared: Arc<Shared>,
    machine: machine::MachineThread,
) -> [JoinHandle<()>; 6] {
    let stop = || shared.stop.clone();
    let backend = backend::Driver::new(&shared);
    let http = api::server::serve(listener, backend, http, stop());
    let peers = peers::serve(Arc::clone(&shared), events, stop());
    let ticks = tick(Arc::clone(&shared), stop());
    let collecting = collect::run(Arc::clone(&shared), stop());
    let preparing = prepare::run(Arc::clone(&shared), stop());
    let stop = stop();
    [
        tokio::spawn(ticks),
        tokio::spawn(collecting),
        tokio::spawn(preparing),
        tokio::spawn(peers),
        tokio::spawn(http),
        tokio::spawn(close(shared, machine, stop)),
    ]
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Http { address, source };
    let listener = api::server::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn open_store(data: &Path) -> Result<RocksStore, Error> {
    std::fs::create_dir_all(data).map_err(|source| Error::Directory {
        path: data.to_owned(),
        source,
    })?;
    Ok(RocksStore::open(data.join(STORE))?)
}

/// Lets time pass for the core.
async fn tick(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut idle: u32 = 0;
    while !pause(TICK, &mut stop).await {
        let open = shared
            .handle
            .ask(crate::core::Core::open_jobs)
            .await
            .unwrap_or(0);
        idle = if open == 0 { idle.wrapping_add(1) } else { 0 };
        if !idle.is_multiple_of(IDLE_TICKS) {
            continue;
        }
        if let Err(error) = shared.handle.event(Event::Tick).await {
            tracing::debug!(%error, "a tick was not taken");
        }
    }
}

/// Closes what the tasks share, so that they end, once the aggregator stops.
async fn close(
    shared: Arc<Shared>,
    machine: machine::MachineThread,
    mut stop: watch::Receiver<bool>,
) {
    let stopped = stop.wait_for(|stop| *stop).await.is_err();
    tracing::debug!(stopped, "closing");
    machine.finish().await;
    shared.network.shutdown().await;
}

/// Waits; answers whether the aggregator stops.
pub(crate) async fn pause(time: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => false,
        _ = stop.wait_for(|stop| *stop) => true,
    }
}

/// Measures how long something takes. Nothing is decided by it.
#[expect(
    clippy::disallowed_methods,
    reason = "how long a write took is for an operator's instruments"
)]
pub(crate) fn stopwatch() -> std::time::Instant {
    std::time::Instant::now()
}

/// The wall clock. The only place that reads it; the core sees it as data and never lets it run
/// backwards.
#[expect(clippy::disallowed_methods, reason = "the driver's one clock")]
pub(crate) fn clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }))
}
