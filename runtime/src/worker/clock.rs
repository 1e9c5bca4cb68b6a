//! Ends a worker whose guest does not let go.
//!
//! A guest looks at the clock each time it has burnt some fuel. One that spends its time inside of host
//! functions, copying, burns next to none, and what a library does in one kernel nobody can interrupt.
//! A thread of its own sees the deadline pass, says so in the worker's place, and ends the process.

use std::fs::File;
use std::io;
use std::process::exit;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::frame::Frame;
use super::protocol::Response;
use crate::failure::{Failure, FailureKind};

/// What the guest gets beyond its deadline to stop by itself, fuel and log included, in milliseconds.
const LATE_MS: u64 = 150;

/// The deadline of the guest that runs now.
#[derive(Debug)]
pub(super) struct Clock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    armed: Mutex<Option<Deadline>>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    limit_ms: u64,
}

impl Clock {
    /// Starts the thread; it speaks through `output`.
    pub(super) fn start(output: File) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            armed: Mutex::default(),
            changed: Condvar::new(),
        });
        let watched = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("worker-clock".into());
        drop(thread.spawn(move || watch(&watched, output))?);
        Ok(Self(shared))
    }

    /// The guest is entered, and may take so long.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where a worker looks at the clock"
    )]
    pub(super) fn arm(&self, limit_ms: u64) {
        let wall = Duration::from_millis(limit_ms.saturating_add(LATE_MS));
        // A deadline that no clock can name never comes.
        let deadline = Instant::now().checked_add(wall);
        *self.0.lock() = deadline.map(|at| Deadline { at, limit_ms });
        self.0.changed.notify_one();
    }

    /// The guest has returned. Nobody else speaks from here on.
    pub(super) fn disarm(&self) {
        *self.0.lock() = None;
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Deadline>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is where a worker looks at the clock"
)]
fn watch(shared: &Shared, mut output: File) {
    let mut armed = shared.lock();
    loop {
        let Some(deadline) = *armed else {
            let waited = shared.changed.wait(armed);
            armed = waited.unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let left = deadline.at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // The lock is held to the end: whoever disarms the clock now waits for it.
            end(&mut output, deadline.limit_ms);
        }
        let waited = shared.changed.wait_timeout(armed, left);
        armed = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Answers that the guest was too slow, and ends the process.
fn end(output: &mut File, limit_ms: u64) -> ! {
    let what = "the guest".to_owned();
    let failure = Failure::from(FailureKind::Deadline { what, limit_ms });
    let said =
        Frame::new(&Response::Failed(failure), Vec::new()).and_then(|frame| frame.write(output));
    exit(i32::from(said.is_err()))
}
