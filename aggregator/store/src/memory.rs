//! The in-memory twin: a sorted map behind a lock.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use crate::kv::PageBuilder;
use crate::{Batch, Column, KeyRange, Kv, Page, StoreError, View};

/// One column's rows.
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store in memory for tests and the simulator. Clones share their rows, as two handles on one disk
/// would; [`MemoryStore::fork`] copies them.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    columns: Arc<RwLock<BTreeMap<Column, Rows>>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An independent copy of everything committed so far: the disk as a crash at this moment leaves it.
    #[must_use]
    pub fn fork(&self) -> Self {
        let columns = self.columns.read().unwrap_or_else(PoisonError::into_inner);
        Self {
            columns: Arc::new(RwLock::new(columns.clone())),
        }
    }
}

impl View for MemoryStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let columns = self.columns.read().unwrap_or_else(PoisonError::into_inner);
        Ok(columns.get(&column).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan(&self, column: Column, range: &KeyRange, limit: usize) -> Result<Page, StoreError> {
        let mut page = PageBuilder::new(limit);
        let columns = self.columns.read().unwrap_or_else(PoisonError::into_inner);
        // BTreeMap panics on a range that ends before it starts.
        if let Some(rows) = columns.get(&column).filter(|_| !range.is_empty()) {
            let until = match &range.until {
                Some(until) => Bound::Excluded(until.as_slice()),
                None => Bound::Unbounded,
            };
            let bounds = (Bound::Included(range.from.as_slice()), until);
            for (key, value) in rows.range::<[u8], _>(bounds) {
                if !page.push(key, value) {
                    break;
                }
            }
        }
        Ok(page.finish())
    }
}

impl Kv for MemoryStore {
    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let ops = batch.checked()?;
        let mut columns = self.columns.write().unwrap_or_else(PoisonError::into_inner);
        for op in ops {
            let rows = columns.entry(op.column).or_default();
            match op.value {
                Some(value) => rows.insert(op.key, value),
                None => rows.remove(&op.key),
            };
        }
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn View + '_> {
        Box::new(self.fork())
    }
}
