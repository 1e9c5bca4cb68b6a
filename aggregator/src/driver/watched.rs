//! A store that says when it is closed.

use store::{Batch, Column, KeyRange, Kv, Page, StoreError, View};
use tokio::sync::oneshot;

/// Passes everything on. Fields are dropped in this order, so the receiver hears of it only when the
/// store has let go of its directory.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    store: S,
    _open: oneshot::Sender<()>,
}

impl<S: Kv> Watched<S> {
    /// The store, and a receiver that fails as soon as it is closed.
    pub(crate) fn new(store: S) -> (Self, oneshot::Receiver<()>) {
        let (open, closed) = oneshot::channel();
        (Self { store, _open: open }, closed)
    }
}

impl<S: Kv> View for Watched<S> {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(column, key)
    }

    fn scan(&self, column: Column, range: &KeyRange, limit: usize) -> Result<Page, StoreError> {
        self.store.scan(column, range, limit)
    }
}

impl<S: Kv> Kv for Watched<S> {
    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.store.commit(batch)
    }

    fn snapshot(&self) -> Box<dyn View + '_> {
        self.store.snapshot()
    }
}
