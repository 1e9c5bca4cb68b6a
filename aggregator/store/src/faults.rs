//! A store whose chosen commits fail the way disks and machines do.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::{Batch, Column, KeyRange, Kv, Page, StoreError, View};

/// How a commit fails.
///
/// A commit is synced before it is acknowledged, so there is never a half of one to lose: the two
/// possible outcomes of a failure are the batch wholly absent and the batch wholly present without the
/// caller having heard of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full; the batch is absent.
    Full,
    /// The sync failed; the batch is absent.
    Io,
    /// The sync failed after the bytes had reached the disk; the batch is present.
    IoLanded,
    /// The process dies before the batch is durable; the batch is absent and no call answers any more.
    CrashBefore,
    /// The process dies after the batch is durable and before the caller hears of it.
    CrashAfter,
}

#[derive(Debug, Default)]
struct State {
    /// Commits seen, the failed ones included.
    commits: u64,
    /// What halted the store.
    halted: Option<StoreError>,
    /// True after a crash: reads do not answer either.
    dead: bool,
}

/// Wraps a store and injects faults by commit number (the first commit is number 0).
#[derive(Debug)]
pub struct FaultyStore<S> {
    inner: S,
    plan: BTreeMap<u64, Fault>,
    state: Mutex<State>,
}

impl<S: Kv> FaultyStore<S> {
    /// A store that fails commit `n` as `plan` says, then behaves as a halted or dead one.
    pub fn new(inner: S, plan: impl IntoIterator<Item = (u64, Fault)>) -> Self {
        Self {
            inner,
            plan: plan.into_iter().collect(),
            state: Mutex::default(),
        }
    }

    /// Commits asked for so far, the failed ones included.
    pub fn commits(&self) -> u64 {
        self.lock().commits
    }

    /// What is on the disk: the restart after a fault.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readable(&self) -> Result<(), StoreError> {
        let state = self.lock();
        match &state.halted {
            Some(cause) if state.dead => Err(cause.clone()),
            _ => Ok(()),
        }
    }
}

impl<S: Kv> View for FaultyStore<S> {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.readable()?;
        self.inner.get(column, key)
    }

    fn scan(&self, column: Column, range: &KeyRange, limit: usize) -> Result<Page, StoreError> {
        self.readable()?;
        self.inner.scan(column, range, limit)
    }
}

impl<S: Kv> Kv for FaultyStore<S> {
    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut state = self.lock();
        if let Some(cause) = &state.halted {
            return Err(StoreError::Halted {
                cause: cause.to_string(),
            });
        }
        let number = state.commits;
        state.commits = state.commits.saturating_add(1);
        let Some(&fault) = self.plan.get(&number) else {
            return self.inner.commit(batch);
        };
        if matches!(fault, Fault::IoLanded | Fault::CrashAfter) {
            self.inner.commit(batch)?;
        }
        let detail = format!("injected {fault:?} at commit {number}");
        let error = match fault {
            Fault::Full => StoreError::Full { detail },
            _ => StoreError::Io { detail },
        };
        state.dead = matches!(fault, Fault::CrashBefore | Fault::CrashAfter);
        state.halted = Some(error.clone());
        Err(error)
    }

    fn snapshot(&self) -> Box<dyn View + '_> {
        Box::new(FaultyView {
            store: self,
            inner: self.inner.snapshot(),
        })
    }
}

/// A snapshot of a [`FaultyStore`]: answers for as long as its store does.
#[derive(Debug)]
struct FaultyView<'a, S> {
    store: &'a FaultyStore<S>,
    inner: Box<dyn View + 'a>,
}

impl<S: Kv> View for FaultyView<'_, S> {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.readable()?;
        self.inner.get(column, key)
    }

    fn scan(&self, column: Column, range: &KeyRange, limit: usize) -> Result<Page, StoreError> {
        self.store.readable()?;
        self.inner.scan(column, range, limit)
    }
}
