//! What becomes durable in one write, and who waits for it.

use api::feed::Happening;
use store::Batch;
use tokio::sync::oneshot;
use tracing::Span;

use crate::core::Action;
use crate::driver::error::Error;
use crate::driver::handle::Decided;

/// Rows after which a batch is written although more events wait: well below what one commit may
/// carry, because a single event may add many.
const BATCH_ROWS_FULL: usize = store::BATCH_ROWS_MAX / 4;

/// Bytes after which a batch is written although more events wait.
const BATCH_BYTES_FULL: usize = store::BATCH_BYTES_MAX / 8;

/// What stands in a batch: to be answered once it is durable.
pub(super) struct Staged {
    pub(super) answer: oneshot::Sender<Result<Decided, Error>>,
    pub(super) decided: Decided,
    pub(super) effects: Effects,
}

/// What to do once an event is durable.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) actions: Vec<Action>,
    /// Open until then.
    pub(super) spans: Vec<Span>,
    /// The log entry, and what it means to who watches.
    pub(super) news: (u64, Vec<Happening>),
}

/// A batch and who waits for it.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) batch: Batch,
    pub(super) staged: Vec<Staged>,
}

impl Pending {
    /// Whether it is written although more events wait.
    pub(super) fn is_full(&self) -> bool {
        self.batch.rows() >= BATCH_ROWS_FULL || self.batch.bytes() >= BATCH_BYTES_FULL
    }

    /// Tells everyone that it did not happen.
    pub(super) fn refuse(self, reason: &str) {
        for Staged { answer, .. } in self.staged {
            // A requester that went away is no concern of ours, here and below.
            let _ = answer.send(Err(Error::NotStored(reason.to_owned())));
        }
    }
}
