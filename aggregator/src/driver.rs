//! The driver: the thin shell around the pure core. It is the only place with a clock, a disk, a
//! network and tasks, and it decides nothing.
//!
//! One [`machine`] owns the core. Events reach it through a bounded queue; it stamps them, steps the
//! core, makes the event, the ledger rows and whatever came with it durable in one synced batch, and
//! only then answers and hands the actions to [`actor`], whose tasks report back with new events. A
//! crash at any point therefore loses nothing that was acknowledged: the log is replayed and what was
//! outstanding is asked for again.
//!
//! Reading order: [`rows`] (what is stored), [`machine`], [`handle`]; then [`peers`] and [`backend`]
//! (what comes in) and [`actor`], [`prepare`], [`reveal`], [`merge`] (what goes out).

mod error;
mod rows;

mod handle;
mod machine;

mod actor;
mod merge;
mod prepare;
mod reveal;

mod backend;
mod peers;
mod views;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::server::OperatorToken;
use ed25519_dalek::SigningKey;
use jobs::envelope::SignerPolicy;
use jobs::ids::AggregatorId;
use jobs::time::Timestamp;
use ledger::{AuditReport, FeeBps};
use network::blobs::BlobStore;
use network::{Network, NetworkConfig, Role};
use serde::Serialize;
use store::{Kv, RocksStore};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::core::{Config, Event};
pub use error::Error;
use handle::Handle;

/// Default bound on the blobs an aggregator holds, in bytes.
pub const BLOB_QUOTA: u64 = 64 << 30;

/// Pause between two ticks while jobs are open.
const TICK: Duration = Duration::from_millis(500);

/// Ticks between two that are sent while no job is open: each is a row in the log.
const IDLE_TICKS: u32 = 60;

/// Time the tasks of a stopping aggregator get to end.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Outputs fetched, shards cut and results merged at the same time.
const HEAVY_TASKS_MAX: usize = 16;

/// Everything an aggregator is told when it starts.
#[derive(Clone)]
pub struct AggregatorConfig {
    /// Directory of its store and blobs.
    pub data: PathBuf,
    /// Ed25519 secret seed of its identity.
    pub seed: [u8; 32],
    /// Where its HTTP interface listens; port 0 picks one.
    pub http: SocketAddr,
    /// Multiaddresses it listens on for peers.
    pub p2p: Vec<String>,
    /// Fee on what providers get, in basis points.
    pub fee_bps: u16,
    /// Whose jobs it takes.
    pub signers: SignerPolicy,
    /// The secret that lets an operator deposit.
    pub operator_token: String,
    /// Bound on blobs, in bytes.
    pub blob_quota: u64,
}

impl std::fmt::Debug for AggregatorConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AggregatorConfig")
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

/// What every task of the driver shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: AggregatorId,
    pub(crate) key: SigningKey,
    pub(crate) handle: Handle,
    pub(crate) store: Arc<dyn Kv>,
    pub(crate) blobs: BlobStore,
    pub(crate) network: network::Client,
    pub(crate) signers: SignerPolicy,
    pub(crate) p2p: Vec<String>,
    pub(crate) heavy: Semaphore,
    pub(crate) preparing: prepare::Preparing,
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
}

impl Running {
    /// Stops taking requests, lets those at hand finish, and closes the store.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let all = futures::future::join_all(self.tasks);
        if tokio::time::timeout(STOP_GRACE, all).await.is_err() {
            tracing::warn!("some tasks did not end in {STOP_GRACE:?}");
        }
    }
}

/// Starts an aggregator: opens its store, replays its log, listens, and resumes what was outstanding.
///
/// # Errors
/// If a setting is out of bounds, the store cannot be opened or does not add up, or an address is in
/// use.
pub async fn start(config: AggregatorConfig) -> Result<Running, Error> {
    let fee = FeeBps::new(config.fee_bps).map_err(|error| Error::Config(error.to_string()))?;
    let key = SigningKey::from_bytes(&config.seed);
    let id = jobs::ids::ProviderId(key.verifying_key().to_bytes());
    let store: Arc<dyn Kv> = Arc::new(open_store(&config.data)?);
    let machine = machine::Machine::load(Arc::clone(&store), Config::new(id, fee))?;
    let blobs = BlobStore::open(config.data.join("blobs"), config.blob_quota)?;

    let mut settings = NetworkConfig::new(config.seed, Role::Aggregator);
    settings.listen = config.p2p.clone();
    settings.blobs = Some(Arc::new(blobs.clone()));
    let (network, events, event_loop) = Network::new(settings)?;
    let mut tasks = vec![tokio::spawn(event_loop.run())];
    let p2p = network
        .listeners()
        .await?
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();

    let listener = api::server::bind(config.http)
        .await
        .map_err(|source| Error::Http {
            address: config.http,
            source,
        })?;
    let http = listener.local_addr().map_err(|source| Error::Http {
        address: config.http,
        source,
    })?;

    let (handle, inbox) = handle::channel();
    let shared = Arc::new(Shared {
        id,
        key,
        handle,
        store,
        blobs,
        network,
        signers: config.signers,
        p2p: p2p.clone(),
        heavy: Semaphore::new(HEAVY_TASKS_MAX),
        preparing: prepare::Preparing::default(),
    });
    let (stop, stopping) = watch::channel(false);
    tasks.push(machine.spawn(inbox, Arc::clone(&shared)));
    shared.handle.event(Event::Restarted).await?;
    tasks.push(tokio::spawn(tick(Arc::clone(&shared), stopping.clone())));
    tasks.push(tokio::spawn(peers::serve(
        Arc::clone(&shared),
        events,
        stopping.clone(),
    )));
    let token = OperatorToken::new(config.operator_token);
    let backend = backend::Driver::new(Arc::clone(&shared));
    tasks.push(tokio::spawn(api::server::serve(
        listener,
        backend,
        token,
        stopping.clone(),
    )));
    tasks.push(tokio::spawn(close(shared, stopping)));
    Ok(Running {
        id,
        http,
        p2p,
        stop,
        tasks,
    })
}

/// Audits the ledger of a stopped aggregator.
///
/// # Errors
/// If the store cannot be opened or read, for example because the aggregator is running.
pub fn audit_at_rest(data: &Path) -> Result<Audit, Error> {
    Ok(Audit::new(ledger::audit(&open_store(data)?)?))
}

/// An audit's report and its verdict in one word.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// Whether nothing was found.
    pub clean: bool,
    /// What was looked at and found.
    #[serde(flatten)]
    pub report: AuditReport,
}

impl Audit {
    pub(crate) const fn new(report: AuditReport) -> Self {
        Self {
            clean: report.is_clean(),
            report,
        }
    }
}

fn open_store(data: &Path) -> Result<RocksStore, Error> {
    let directory = |source| Error::Directory {
        path: data.to_owned(),
        source,
    };
    std::fs::create_dir_all(data).map_err(directory)?;
    Ok(RocksStore::open(data.join("store"))?)
}

/// Lets time pass for the core.
async fn tick(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut idle = 0;
    while !pause(TICK, &mut stop).await {
        let open = shared
            .handle
            .ask(crate::core::Core::open_jobs)
            .await
            .unwrap_or(0);
        idle = if open == 0 { idle + 1 } else { 0 };
        if idle % IDLE_TICKS != 0 {
            continue;
        }
        if let Err(error) = shared.handle.event(Event::Tick).await {
            tracing::debug!(%error, "a tick was not taken");
        }
    }
}

/// Closes what the tasks share, so that they end, once the aggregator stops.
async fn close(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let stopped = stop.wait_for(|stop| *stop).await.is_err();
    tracing::debug!(stopped, "closing");
    shared.handle.close();
    shared.network.shutdown().await;
}

/// Waits; answers whether the aggregator stops.
pub(crate) async fn pause(time: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => false,
        _ = stop.wait_for(|stop| *stop) => true,
    }
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
