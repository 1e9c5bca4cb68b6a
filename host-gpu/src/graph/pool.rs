//! The sessions of one graph: a thread owns each, and one queue feeds them all.
//!
//! A graph starts with one session. When somebody would have to wait for it, another is loaded, up to
//! the graph's bound; sessions share their weights. Whoever asks takes turns with the others: a
//! compute of one tenant waits for at most one compute of each other tenant per session, however many
//! those have asked for.

use crate::backend::{
    GraphIo, GraphOptions, NnBackend, NnSession, NodesOn, SharedWeights, StopFlag,
};
use crate::budget::MeterCells;
use crate::error::NnError;
use crate::fair::FairQueue;
use crate::models::{ModelDigest, read_verified};
use crate::tensor::{BoundInput, NamedOutput, ReadBack};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// One run, on its way to whichever session is free first.
pub(super) struct Request {
    pub(super) inputs: Vec<BoundInput>,
    pub(super) read_back: Arc<ReadBack>,
    pub(super) stop: Arc<StopFlag>,
    pub(super) meters: Arc<MeterCells>,
    pub(super) reply: oneshot::Sender<Result<Vec<NamedOutput>, NnError>>,
    /// Its place in the queue, held until it is served or dropped.
    pub(super) _place: OwnedSemaphorePermit,
}

/// What it takes to load a session of the graph.
pub(super) struct Loader {
    pub(super) backend: Arc<dyn NnBackend>,
    pub(super) name: String,
    pub(super) digest: ModelDigest,
    pub(super) source: PathBuf,
    pub(super) source_bytes_max: u64,
    pub(super) options: GraphOptions,
    /// Sessions at most.
    pub(super) sessions: usize,
}

/// What a loaded session says of itself.
pub(super) struct Described {
    pub(super) io: GraphIo,
    pub(super) placement: Vec<NodesOn>,
}

/// The queue and the threads that serve it.
pub(super) struct Pool {
    loader: Loader,
    /// Set by the first load.
    weights: Mutex<SharedWeights>,
    desk: Mutex<Desk>,
    bell: Condvar,
    /// Stops loads when nobody is left to use what they load.
    stop: StopFlag,
}

#[derive(Default)]
struct Desk {
    queue: FairQueue<u64, Request>,
    /// Sessions that are loaded or being loaded.
    sessions: usize,
    /// Of these, the ones that are loaded and at no run.
    free: usize,
    /// One is being loaded beside those that serve. The next has to wait until it is there.
    growing: bool,
    closed: bool,
}

impl Pool {
    pub(super) fn new(loader: Loader) -> Arc<Self> {
        Arc::new(Self {
            loader,
            weights: Mutex::default(),
            desk: Mutex::new(Desk {
                sessions: 1,
                ..Desk::default()
            }),
            bell: Condvar::new(),
            stop: StopFlag::default(),
        })
    }

    /// Starts the first session, from bytes that are already read and verified; tells `loaded`.
    pub(super) fn start(
        self: &Arc<Self>,
        bytes: Vec<u8>,
        loaded: std::sync::mpsc::SyncSender<Result<Described, NnError>>,
    ) -> Result<JoinHandle<()>, NnError> {
        let pool = Arc::clone(self);
        spawn(move || {
            let session = match pool.first(bytes) {
                Ok(session) => session,
                Err(error) => {
                    // The one who asked may have given up waiting.
                    let _ = loaded.send(Err(error));
                    return;
                }
            };
            let described = Described {
                io: session.io().clone(),
                placement: session.placement(),
            };
            if loaded.send(Ok(described)).is_ok() {
                pool.serve(session);
            }
        })
    }

    /// Queues a request; a thread that now starts to load one more session is returned.
    pub(super) fn push(
        self: &Arc<Self>,
        tenant: u64,
        request: Request,
    ) -> Result<Option<JoinHandle<()>>, NnError> {
        let mut desk = self.desk();
        if desk.closed {
            return Err(NnError::SessionGone);
        }
        desk.queue.push(tenant, request);
        let room = desk.sessions < self.loader.sessions && !desk.growing;
        let grow = room && desk.queue.len() > desk.free;
        if grow {
            desk.growing = true;
            desk.sessions = desk.sessions.saturating_add(1);
        }
        drop(desk);
        self.bell.notify_one();
        Ok(if grow { self.grow() } else { None })
    }

    /// Loads one more session. If that fails, those that are there go on, and the next who has to wait
    /// tries again.
    fn grow(self: &Arc<Self>) -> Option<JoinHandle<()>> {
        let pool = Arc::clone(self);
        let owner = spawn(move || {
            let session = pool.another();
            pool.desk().growing = false;
            match session {
                Ok(session) => pool.serve(session),
                Err(error) => pool.no_further(&error),
            }
        });
        match owner {
            Ok(owner) => Some(owner),
            Err(error) => {
                self.desk().growing = false;
                self.no_further(&error);
                None
            }
        }
    }

    fn no_further(&self, error: &NnError) {
        tracing::warn!(graph = self.loader.name, %error, "no further session");
        self.leave();
    }

    /// Ends the owners once they are done with what they do, and drops what still waits.
    pub(super) fn close(&self) {
        self.stop.stop();
        let mut desk = self.desk();
        desk.closed = true;
        desk.queue = FairQueue::default();
        drop(desk);
        self.bell.notify_all();
    }

    /// Stops a load that takes too long.
    pub(super) fn stop_loading(&self) {
        self.stop.stop();
    }

    /// Sessions that are loaded or being loaded.
    pub(super) fn sessions(&self) -> usize {
        self.desk().sessions
    }

    fn first(&self, bytes: Vec<u8>) -> Result<Box<dyn NnSession>, NnError> {
        if self.loader.sessions > 1 {
            let share = || {
                self.loader
                    .backend
                    .share(&self.loader.name, &bytes, &self.loader.options)
            };
            *self.weights() = guarded("share", share)?;
        }
        self.load(&bytes)
    }

    fn another(&self) -> Result<Box<dyn NnSession>, NnError> {
        let Loader {
            source,
            digest,
            source_bytes_max,
            ..
        } = &self.loader;
        self.load(&read_verified(source, digest, *source_bytes_max)?)
    }

    fn load(&self, bytes: &[u8]) -> Result<Box<dyn NnSession>, NnError> {
        let Loader {
            backend,
            name,
            options,
            ..
        } = &self.loader;
        let weights = self.weights().clone();
        guarded("load", || {
            backend.load_shared(name, bytes, options, &weights, &self.stop)
        })
    }

    /// The life of an owner: serve until nobody can ask any more, or the session breaks.
    fn serve(&self, mut session: Box<dyn NnSession>) {
        self.free();
        while let Some(request) = self.next() {
            if !run(session.as_mut(), request, || self.free()) {
                break;
            }
        }
        self.leave();
    }

    fn free(&self) {
        let mut desk = self.desk();
        desk.free = desk.free.saturating_add(1);
    }

    fn next(&self) -> Option<Request> {
        let mut desk = self.desk();
        loop {
            if desk.closed {
                return None;
            }
            if let Some(request) = desk.queue.pop() {
                desk.free = desk.free.saturating_sub(1);
                return Some(request);
            }
            desk = self.bell.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A session is gone. With the last one everybody who waits is let go.
    fn leave(&self) {
        let mut desk = self.desk();
        desk.sessions = desk.sessions.saturating_sub(1);
        if desk.sessions == 0 {
            desk.closed = true;
            desk.queue = FairQueue::default();
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn weights(&self) -> MutexGuard<'_, SharedWeights> {
        self.weights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, NnError> {
    std::thread::Builder::new()
        .name("nn-session".to_owned())
        .spawn(work)
        .map_err(|error| NnError::Backend(format!("cannot start a thread: {error}")))
}

fn guarded<T>(what: &str, work: impl FnOnce() -> Result<T, NnError>) -> Result<T, NnError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(NnError::Backend(format!(
            "the backend panicked in a {what}"
        )))
    })
}

/// Runs one request; false if the session can no longer be trusted. `free` is called when it can take
/// the next, before the one who asked hears of it and asks again.
#[allow(
    clippy::disallowed_methods,
    reason = "device time is measured where the device is driven"
)]
fn run(session: &mut dyn NnSession, request: Request, free: impl FnOnce()) -> bool {
    let Request {
        inputs,
        read_back,
        stop,
        meters,
        reply,
        _place,
    } = request;
    if stop.is_stopped() {
        free();
        return true;
    }
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| {
        session.run_for(&inputs, &read_back, &stop)
    }));
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
    if sound {
        free();
    }
    // Nobody may be waiting any more.
    let _ = reply.send(result);
    sound
}
