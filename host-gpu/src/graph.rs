//! A loaded graph: threads run its sessions, everyone else sends requests.
//!
//! `run` takes a session exclusively and blocks for as long as the graph does, so it happens on a
//! thread of its own, away from the executor that drives guests (`graph/pool.rs`), unless that
//! executor is the guest's alone. The queue is
//! bounded; who finds it full waits, within the wall limit of the request. Dropping the future that
//! waits stops the run.

pub(crate) mod cache;
mod pool;
#[cfg(test)]
mod tests;

use crate::backend::{
    Device, FingerprintParts, GraphIo, GraphOptions, NnBackend, NodesOn, StopFlag,
};
use crate::budget::MeterCells;
use crate::error::NnError;
use crate::models::ModelDigest;
use crate::tensor::{BoundInput, NamedOutput, ReadBack, TensorValue};
use crate::watch;
use pool::{Loader, Pool, Request, Run, Taken};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Requests that wait for the sessions of one graph; more senders wait their turn to enter.
pub const MAX_QUEUED_COMPUTES: usize = 64;

/// What a run that was stopped on its caller's thread leaves to the clocks around it.
const OTHERS_FIRST: Duration = Duration::from_millis(5);

/// A graph that is loaded on a device, shared by every instance of the process.
pub struct Graph {
    digest: ModelDigest,
    options: GraphOptions,
    io: GraphIo,
    placement: Vec<NodesOn>,
    fingerprint: FingerprintParts,
    pool: Arc<Pool>,
    places: Arc<Semaphore>,
    owners: Mutex<Vec<JoinHandle<()>>>,
}

/// A verified model file, and how it shall be loaded.
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    pub(crate) digest: ModelDigest,
    pub(crate) path: &'a Path,
    /// The file's content, whose digest was checked.
    pub(crate) bytes: Vec<u8>,
    /// The largest file that is read again for another session.
    pub(crate) bytes_max: u64,
    /// Sessions at most.
    pub(crate) sessions: usize,
}

/// Who asks for a run, and what it may take.
pub(crate) struct Caller<'a> {
    /// Tenants take turns.
    pub(crate) tenant: u64,
    pub(crate) read_back: &'a Arc<ReadBack>,
    pub(crate) meters: &'a Arc<MeterCells>,
    pub(crate) wall: Duration,
    /// Whether the thread may be blocked for the length of a run.
    pub(crate) own_thread: bool,
}

/// Stops a run when nobody waits for it any more.
struct StopOnDrop(Arc<StopFlag>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Graph {
    /// Loads a graph on a new thread, which then runs its queue, and waits for it, at most `wall`. Blocks.
    pub(crate) fn start(
        backend: Arc<dyn NnBackend>,
        source: Source<'_>,
        options: GraphOptions,
        wall: Duration,
    ) -> Result<Self, NnError> {
        let fingerprint = backend.fingerprint(&options)?;
        let pool = Pool::new(Loader {
            backend,
            name: source.name.to_owned(),
            digest: source.digest,
            source: source.path.to_owned(),
            source_bytes_max: source.bytes_max,
            options,
            sessions: sessions(&options, source.sessions),
            wall,
        });
        let (loaded, outcome) = std::sync::mpsc::sync_channel(1);
        let owner = pool.start(source.bytes, loaded)?;
        let described = match outcome.recv_timeout(wall) {
            Ok(described) => described?,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                // What is loaded all the same has nobody to serve.
                pool.close();
                return Err(NnError::Timeout {
                    what: "the load of a graph",
                    limit: wall,
                });
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                return Err(NnError::SessionGone);
            }
        };
        let graph = Self {
            digest: source.digest,
            options,
            io: described.io,
            placement: described.placement,
            fingerprint,
            pool,
            places: Arc::new(Semaphore::new(MAX_QUEUED_COMPUTES)),
            owners: Mutex::new(vec![owner]),
        };
        let provider = &graph.fingerprint.execution_provider;
        check_placement(source.name, &options, provider, &graph.placement)?;
        Ok(graph)
    }

    /// The digest of the model's bytes.
    pub fn digest(&self) -> &ModelDigest {
        &self.digest
    }

    /// The device and options it was loaded with.
    pub fn options(&self) -> &GraphOptions {
        &self.options
    }

    /// Its inputs and outputs.
    pub fn io(&self) -> &GraphIo {
        &self.io
    }

    /// Which execution provider runs how many of its nodes, each of them counted once.
    pub fn placement(&self) -> &[NodesOn] {
        &self.placement
    }

    /// What decides the bits of its results.
    pub fn fingerprint(&self) -> &FingerprintParts {
        &self.fingerprint
    }

    /// Sessions that are loaded or being loaded.
    pub fn sessions(&self) -> usize {
        self.pool.sessions()
    }

    /// Runs the graph once. Checks the inputs first; then waits its turn and for the run, together
    /// at most the caller's wall limit. Dropping the future stops the run; the time it took is
    /// metered all the same.
    pub(crate) async fn compute(
        &self,
        inputs: Vec<(String, Arc<TensorValue>)>,
        caller: Caller<'_>,
    ) -> Result<Vec<NamedOutput>, NnError> {
        let inputs = self.io.bind(inputs)?;
        let stop = Arc::new(StopFlag::default());
        if caller.own_thread
            && let Some(session) = self.pool.take()
        {
            return run_here(session, inputs, &caller, &stop).await;
        }
        let _stop_if_dropped = StopOnDrop(Arc::clone(&stop));
        let (reply, answer) = oneshot::channel();
        let run = async {
            let place = Arc::clone(&self.places).acquire_owned().await;
            let request = Request {
                inputs,
                read_back: Arc::clone(caller.read_back),
                stop,
                meters: Arc::clone(caller.meters),
                reply,
                _place: place.map_err(|_| NnError::SessionGone)?,
            };
            if let Some(owner) = self.pool.push(caller.tenant, request)? {
                self.adopt(owner);
            }
            answer.await.map_err(|_| NnError::SessionGone)?
        };
        let limit = caller.wall;
        let timeout = |_| too_long(limit);
        tokio::time::timeout(limit, run).await.map_err(timeout)?
    }

    fn adopt(&self, owner: JoinHandle<()>) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.retain(|owner| !owner.is_finished());
        owners.push(owner);
    }
}

fn too_long(limit: Duration) -> NnError {
    NnError::Timeout {
        what: "a compute",
        limit,
    }
}

/// Runs a session on the caller's thread, stopped by a clock on another. The executor gets to look at
/// its own clock once for each millisecond of device time.
async fn run_here(
    session: Taken<'_>,
    inputs: Vec<BoundInput>,
    caller: &Caller<'_>,
    stop: &Arc<StopFlag>,
) -> Result<Vec<NamedOutput>, NnError> {
    let before = caller.meters.device_ms();
    let result = {
        let _watched = watch::stop_after(caller.wall, stop)?;
        session.run(Run {
            inputs,
            read_back: caller.read_back,
            stop,
            meters: caller.meters,
        })
    };
    if caller.meters.device_ms() != before {
        tokio::task::yield_now().await;
    }
    if !matches!(result, Err(NnError::Stopped)) {
        return result;
    }
    // Whoever waits for the guest as a whole, and not for this run, has the better words for it.
    tokio::time::sleep(OTHERS_FIRST).await;
    Err(too_long(caller.wall))
}

/// Refuses a graph of which some nodes would run elsewhere than on the device that was asked for.
fn check_placement(
    name: &str,
    options: &GraphOptions,
    provider: &str,
    placement: &[NodesOn],
) -> Result<(), NnError> {
    if options.device == Device::Cpu || options.host_nodes {
        return Ok(());
    }
    match placement.iter().find(|on| on.provider != provider) {
        None => Ok(()),
        Some(other) => Err(NnError::Misplaced {
            name: name.to_owned(),
            device: options.device.to_string(),
            nodes: other.nodes,
            provider: other.provider.clone(),
            operators: other.operators.join(", "),
        }),
    }
}

/// A device has one session: two would take turns on it all the same, and hold the weights twice.
fn sessions(options: &GraphOptions, most: usize) -> usize {
    match options.device {
        Device::Cpu => most.max(1),
        Device::Cuda(_) => 1,
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Graph({} on {})", self.digest, self.options.device)
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // A run still under way was stopped when its future was dropped, so this waits for one kernel
        // at most. Not waiting would let the process exit while a native library is at work on
        // another thread.
        self.pool.close();
        let owners = self
            .owners
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        for owner in owners.drain(..) {
            let _ = owner.join();
        }
    }
}
