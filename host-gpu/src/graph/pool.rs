//! The sessions of one graph, and one queue that feeds them all.
//!
//! For each session there is a thread that runs what is queued. A caller whose own thread has nothing
//! else to do may run a session that nobody waits for by itself: handing a run to another thread and
//! back costs more than many a graph.
//!
//! A graph starts with one session. When somebody would have to wait for it, another is loaded, up to
//! the graph's bound. Each holds its own weights: what ONNX Runtime shares between sessions it looks up
//! by name after its optimiser has turned some of them round, and the answers are then wrong. Whoever asks takes turns with the others: a
//! compute of one tenant waits for at most one compute of each other tenant per session, however many
//! those have asked for.

use crate::backend::{GraphIo, GraphOptions, NnBackend, NnSession, NodesOn, StopFlag};
use crate::budget::MeterCells;
use crate::error::NnError;
use crate::fair::FairQueue;
use crate::models::{ModelDigest, read_verified};
use crate::tensor::{BoundInput, NamedOutput, ReadBack};
use crate::watch;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
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
    /// The longest that one load may take.
    pub(super) wall: Duration,
}

/// What a loaded session says of itself.
pub(super) struct Described {
    pub(super) io: GraphIo,
    pub(super) placement: Vec<NodesOn>,
}

/// The queue and the threads that serve it.
pub(super) struct Pool {
    loader: Loader,
    desk: Mutex<Desk>,
    bell: Condvar,
    /// Stops the load that is under way; there is one at a time.
    loading: Mutex<Arc<StopFlag>>,
}

#[derive(Default)]
struct Desk {
    queue: FairQueue<u64, Request>,
    /// Sessions that are loaded or being loaded.
    sessions: usize,
    /// Of these, the ones that are loaded and at no run.
    idle: Vec<Box<dyn NnSession>>,
    /// One is being loaded beside those that serve. The next has to wait until it is there.
    growing: bool,
    closed: bool,
}

impl Pool {
    pub(super) fn new(loader: Loader) -> Arc<Self> {
        Arc::new(Self {
            loader,
            desk: Mutex::new(Desk {
                sessions: 1,
                ..Desk::default()
            }),
            bell: Condvar::new(),
            loading: Mutex::default(),
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
            let stop = Arc::clone(&pool.loading());
            let session = match pool.load(&bytes, &stop) {
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
            drop(bytes);
            // Before anybody can ask: who finds no session idle has another one loaded.
            pool.put(session);
            if loaded.send(Ok(described)).is_ok() {
                pool.serve();
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
        let grow = room && desk.queue.len() > desk.idle.len();
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
                Ok(session) => {
                    pool.put(session);
                    pool.serve();
                }
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

    /// Ends the threads once they are done with what they do, and drops what still waits.
    pub(super) fn close(&self) {
        let mut desk = self.desk();
        desk.closed = true;
        desk.queue = FairQueue::default();
        drop(desk);
        self.loading().stop();
        self.bell.notify_all();
    }

    /// Sessions that are loaded or being loaded.
    pub(super) fn sessions(&self) -> usize {
        self.desk().sessions
    }

    fn another(&self) -> Result<Box<dyn NnSession>, NnError> {
        let Loader {
            source,
            digest,
            source_bytes_max,
            wall,
            ..
        } = &self.loader;
        let bytes = read_verified(source, digest, *source_bytes_max)?;
        let stop = Arc::new(StopFlag::default());
        *self.loading() = Arc::clone(&stop);
        if self.desk().closed {
            return Err(NnError::SessionGone);
        }
        let _watched = watch::stop_after(*wall, &stop)?;
        self.load(&bytes, &stop)
    }

    fn load(&self, bytes: &[u8], stop: &StopFlag) -> Result<Box<dyn NnSession>, NnError> {
        let Loader {
            backend,
            name,
            options,
            ..
        } = &self.loader;
        let load = || backend.load(name, bytes, options, stop);
        catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|_| {
            let panicked = "the backend panicked in a load".to_owned();
            Err(NnError::Backend(panicked))
        })
    }

    /// A session that is idle and that nobody waits for.
    pub(super) fn take(&self) -> Option<Taken<'_>> {
        let mut desk = self.desk();
        if desk.closed || !desk.queue.is_empty() {
            return None;
        }
        let session = desk.idle.pop();
        session.map(|session| Taken {
            pool: self,
            session: Some(session),
        })
    }

    /// The life of a thread once its session is at everyone's disposal: run what is queued, until nobody
    /// can ask any more or a session breaks.
    fn serve(&self) {
        while let Some((mut session, request)) = self.next() {
            let Request {
                inputs,
                read_back,
                stop,
                meters,
                reply,
                _place,
            } = request;
            if stop.is_stopped() {
                self.put(session);
                continue;
            }
            let run = Run {
                inputs,
                read_back: &read_back,
                stop: &stop,
                meters: &meters,
            };
            let (result, sound) = run.on(session.as_mut());
            // Before the one who asked hears of it and asks again.
            match sound {
                true => self.put(session),
                false => self.leave(),
            }
            // Nobody may be waiting any more.
            let _ = reply.send(result);
            if !sound {
                return;
            }
        }
    }

    fn put(&self, session: Box<dyn NnSession>) {
        let mut desk = self.desk();
        desk.idle.push(session);
        let wanted = !desk.queue.is_empty();
        drop(desk);
        if wanted {
            self.bell.notify_one();
        }
    }

    fn next(&self) -> Option<(Box<dyn NnSession>, Request)> {
        let mut desk = self.desk();
        loop {
            if desk.closed {
                return None;
            }
            if let Some(session) = desk.idle.pop() {
                match desk.queue.pop() {
                    Some(request) => return Some((session, request)),
                    None => desk.idle.push(session),
                }
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
            drop(desk);
            self.bell.notify_all();
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn loading(&self) -> MutexGuard<'_, Arc<StopFlag>> {
        self.loading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, NnError> {
    std::thread::Builder::new()
        .name("nn-session".to_owned())
        .spawn(work)
        .map_err(|error| NnError::Backend(format!("cannot start a thread: {error}")))
}

/// A session that its holder runs by itself. Dropping it makes room for the next.
pub(super) struct Taken<'a> {
    pool: &'a Pool,
    /// `None` once it can no longer be trusted.
    session: Option<Box<dyn NnSession>>,
}

impl Taken<'_> {
    /// Runs it, on this thread.
    pub(super) fn run(mut self, run: Run<'_>) -> Result<Vec<NamedOutput>, NnError> {
        let session = self.session.as_mut().ok_or(NnError::SessionGone)?;
        let (result, sound) = run.on(session.as_mut());
        if !sound {
            self.session = None;
        }
        result
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        match self.session.take() {
            Some(session) => self.pool.put(session),
            None => self.pool.leave(),
        }
    }
}

/// What one run needs beside a session.
pub(super) struct Run<'a> {
    pub(super) inputs: Vec<BoundInput>,
    pub(super) read_back: &'a Arc<ReadBack>,
    pub(super) stop: &'a StopFlag,
    pub(super) meters: &'a MeterCells,
}

impl Run<'_> {
    /// The outputs, and whether the session can still be trusted.
    #[allow(
        clippy::disallowed_methods,
        reason = "device time is measured where the device is driven"
    )]
    fn on(self, session: &mut dyn NnSession) -> (Result<Vec<NamedOutput>, NnError>, bool) {
        let start = Instant::now();
        let run = || session.run_for(&self.inputs, self.read_back, self.stop);
        let result = catch_unwind(AssertUnwindSafe(run));
        self.meters.add_run(start.elapsed());
        // The inputs go before the answer, so that their bytes are free again when the guest goes on.
        drop(self.inputs);
        match result {
            Ok(result) => (result, true),
            Err(_) => {
                let panicked = "the backend panicked in a run".to_owned();
                (Err(NnError::Backend(panicked)), false)
            }
        }
    }
}
