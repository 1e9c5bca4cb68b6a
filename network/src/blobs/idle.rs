//! Which blobs nobody needs now: when each was last needed, and since when somebody is at work.
//!
//! Whoever removes blobs looks first at who refers to them, and both take time. A blob that was needed
//! since the look began stays, and so does one that was needed since the oldest work began that has not
//! told anybody yet what it refers to when the look begins.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::store::BlobStore;

/// A moment in the life of a store, in milliseconds since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// So much earlier, or the moment when the store was opened.
    #[must_use]
    pub fn earlier(self, by: Duration) -> Self {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(by))
    }
}

/// Works that are under way, by number.
#[derive(Debug)]
pub(super) struct Works {
    opened: Instant,
    next: u64,
    begun: BTreeMap<u64, Moment>,
}

impl Default for Works {
    fn default() -> Self {
        Self {
            opened: Instant::now(),
            next: 0,
            begun: BTreeMap::new(),
        }
    }
}

impl Works {
    pub(super) fn now(&self) -> Moment {
        Moment(u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn begin(&mut self) -> u64 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.begun.insert(number, self.now());
        number
    }

    /// `before`, or when the oldest work began, whichever is earlier.
    pub(super) fn oldest(&self, before: Moment) -> Moment {
        self.begun.values().copied().fold(before, Moment::min)
    }
}

/// Somebody is at work: no blob that is needed from now on is removed before this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Work {
    store: BlobStore,
    number: u64,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.store.account().works.begun.remove(&self.number);
    }
}

impl BlobStore {
    /// Begins a work: what it writes, reads or asks for stays until it ends, whoever refers to it.
    pub fn at_work(&self) -> Work {
        let number = self.account().works.begin();
        Work {
            store: self.clone(),
            number,
        }
    }

    /// As [`BlobStore::at_work`], of somebody who may need every blob there is.
    pub fn at_work_on_all(&self) -> Work {
        let work = self.at_work();
        self.account().touch_all();
        work
    }

    /// When the oldest work began that is under way, or now: what was needed since may be referred to by somebody
    /// of whom nobody knows yet.
    pub fn settled(&self) -> Moment {
        let works = &self.account().works;
        works.oldest(works.now())
    }

    /// Now, in the life of this store.
    pub fn now(&self) -> Moment {
        self.account().works.now()
    }
}
