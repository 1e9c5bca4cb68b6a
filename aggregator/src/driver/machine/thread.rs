//! The end of the machine's thread.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::driver::{STOP_GRACE, Shared};

/// The machine's thread. Dropping this ends it: a thread that outlived its executor would keep the
/// store open while the process ends, and the store's library then aborts the process.
#[derive(Debug)]
pub(crate) struct MachineThread {
    shared: Arc<Shared>,
    ended: oneshot::Receiver<()>,
    thread: std::thread::JoinHandle<()>,
}

impl MachineThread {
    pub(super) const fn new(
        shared: Arc<Shared>,
        ended: oneshot::Receiver<()>,
        thread: std::thread::JoinHandle<()>,
    ) -> Self {
        Self {
            shared,
            ended,
            thread,
        }
    }

    /// Lets the machine finish what waits, and waits for its end.
    pub(crate) async fn finish(mut self) {
        self.shared.handle.close();
        // Either way it is over.
        let _ = (&mut self.ended).await;
    }
}

impl Drop for MachineThread {
    fn drop(&mut self) {
        self.shared.handle.close();
        // Not for ever: a sender may wait for room in a task that will never run again.
        for _ in 0..STOP_GRACE.as_millis() {
            if self.thread.is_finished() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        tracing::warn!("the machine did not end in {STOP_GRACE:?}");
    }
}
