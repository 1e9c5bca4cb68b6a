//! A loaded graph: one thread owns its session, everyone else sends requests.
//!
//! `run` takes the session exclusively and blocks for as long as the graph does, so it happens on a
//! thread of its own, away from the executor that drives guests. The queue is bounded; who finds it
//! full waits, within the wall limit of the request. Dropping the future that waits stops the run.

pub(crate) mod cache;

use crate::backend::{FingerprintParts, GraphIo, GraphOptions, NnBackend, NnSession, StopFlag};
use crate::budget::MeterCells;
use crate::error::NnError;
use crate::models::ModelDigest;
use crate::tensor::{BoundInput, NamedOutput, TensorValue};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Requests that wait for one session; more senders wait their turn to enter.
pub const MAX_QUEUED_COMPUTES: usize = 64;

/// A graph that is loaded on a device, shared by every instance of the process.
pub struct Graph {
    digest: ModelDigest,
    options: GraphOptions,
    io: GraphIo,
    fingerprint: FingerprintParts,
    /// `None` only while the graph is being dropped.
    queue: Option<mpsc::Sender<Request>>,
    owner: Option<JoinHandle<()>>,
}

struct Request {
    inputs: Vec<BoundInput>,
    stop: Arc<StopFlag>,
    meters: Arc<MeterCells>,
    reply: oneshot::Sender<Result<Vec<NamedOutput>, NnError>>,
}

/// What the owner needs to load its session.
struct LoadOrder {
    backend: Arc<dyn NnBackend>,
    name: String,
    bytes: Vec<u8>,
    options: GraphOptions,
    stop: Arc<StopFlag>,
}

/// Stops a run when nobody waits for it any more.
struct StopOnDrop(Arc<StopFlag>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Graph {
    /// Loads a graph on a new owner thread and waits for it, at most `wall`. Blocks.
    pub(crate) fn start(
        backend: Arc<dyn NnBackend>,
        name: &str,
        digest: ModelDigest,
        bytes: Vec<u8>,
        options: GraphOptions,
        wall: Duration,
    ) -> Result<Self, NnError> {
        let fingerprint = backend.fingerprint(&options)?;
        let stop = Arc::new(StopFlag::default());
        let order = LoadOrder {
            backend,
            name: name.to_owned(),
            bytes,
            options,
            stop: Arc::clone(&stop),
        };
        let (queue, requests) = mpsc::channel(MAX_QUEUED_COMPUTES);
        let (loaded, outcome) = std::sync::mpsc::sync_channel(1);
        let owner = std::thread::Builder::new()
            .name("nn-session".to_owned())
            .spawn(move || own(order, &loaded, requests))
            .map_err(|error| NnError::Backend(format!("cannot start a thread: {error}")))?;
        let io = match outcome.recv_timeout(wall) {
            Ok(io) => io?,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                stop.stop();
                return Err(NnError::Timeout {
                    what: "the load of a graph",
                    limit: wall,
                });
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                return Err(NnError::SessionGone);
            }
        };
        Ok(Self {
            digest,
            options,
            io,
            fingerprint,
            queue: Some(queue),
            owner: Some(owner),
        })
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

    /// What decides the bits of its results.
    pub fn fingerprint(&self) -> &FingerprintParts {
        &self.fingerprint
    }

    /// Runs the graph once. Checks the inputs first; then waits its turn and for the run, together
    /// at most `wall`. Dropping the future stops the run; the time it took is metered all the same.
    pub(crate) async fn compute(
        &self,
        inputs: Vec<(String, Arc<TensorValue>)>,
        meters: &Arc<MeterCells>,
        wall: Duration,
    ) -> Result<Vec<NamedOutput>, NnError> {
        let inputs = self.io.bind(inputs)?;
        let queue = self.queue.as_ref().ok_or(NnError::SessionGone)?;
        let stop = Arc::new(StopFlag::default());
        let _stop_if_dropped = StopOnDrop(Arc::clone(&stop));
        let (reply, answer) = oneshot::channel();
        let request = Request {
            inputs,
            stop,
            meters: Arc::clone(meters),
            reply,
        };
        let run = async {
            queue
                .send(request)
                .await
                .map_err(|_| NnError::SessionGone)?;
            answer.await.map_err(|_| NnError::SessionGone)?
        };
        let timeout = |_| NnError::Timeout {
            what: "a compute",
            limit: wall,
        };
        tokio::time::timeout(wall, run).await.map_err(timeout)?
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Graph({} on {})", self.digest, self.options.device)
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // Closing the queue ends the owner. A run still under way was stopped when its future was
        // dropped, so this waits for one kernel at most. Not waiting would let the process exit
        // while a native library is at work on another thread.
        drop(self.queue.take());
        if let Some(owner) = self.owner.take() {
            let _ = owner.join();
        }
    }
}

/// The life of an owner thread: load, answer, serve until nobody can ask any more.
fn own(
    order: LoadOrder,
    loaded: &std::sync::mpsc::SyncSender<Result<GraphIo, NnError>>,
    mut requests: mpsc::Receiver<Request>,
) {
    let LoadOrder {
        backend,
        name,
        bytes,
        options,
        stop,
    } = order;
    let load = || backend.load(&name, &bytes, &options, &stop);
    let session = catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| {
        Err(NnError::Backend(
            "the backend panicked in a load".to_owned(),
        ))
    });
    drop(bytes);
    let mut session = match session {
        Ok(session) => session,
        Err(error) => {
            // The one who asked may have given up waiting.
            let _ = loaded.send(Err(error));
            return;
        }
    };
    if loaded.send(Ok(session.io().clone())).is_err() {
        return;
    }
    while let Some(request) = requests.blocking_recv() {
        if !serve(session.as_mut(), request) {
            return;
        }
    }
}

/// Runs one request; false if the session can no longer be trusted.
#[allow(
    clippy::disallowed_methods,
    reason = "device time is measured where the device is driven"
)]
fn serve(session: &mut dyn NnSession, request: Request) -> bool {
    let Request {
        inputs,
        stop,
        meters,
        reply,
    } = request;
    if stop.is_stopped() {
        return true;
    }
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| session.run(&inputs, &stop)));
    meters.add_run(start.elapsed());
    // Inputs go before the answer, so that their bytes are free again when the guest goes on.
    drop(inputs);
    let (result, sound) = match result {
        Ok(result) => (result, true),
        Err(_) => (
            Err(NnError::Backend("the backend panicked in a run".to_owned())),
            false,
        ),
    };
    // Nobody may be waiting any more.
    let _ = reply.send(result);
    sound
}
