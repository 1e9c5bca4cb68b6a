//! The traits every engine implements: reading, and on top of it committing.

use std::fmt;
use std::sync::Arc;

use crate::{Batch, Column, StoreError};

/// Longest key, in bytes. Ours are tuples of identifiers and integers, far below it.
pub const KEY_BYTES_MAX: usize = 1024;
/// Largest value, in bytes. Blobs do not belong here; a snapshot of the core does.
pub const VALUE_BYTES_MAX: usize = 64 << 20;
/// Most rows one scan returns, whatever the caller asks for.
pub const PAGE_ROWS_MAX: usize = 4096;
/// Bytes of keys and values after which a page ends early (it always holds at least one row).
pub const PAGE_BYTES_MAX: usize = 8 << 20;

/// Which keys of a column to read: from `from` (included) up to `until` (excluded; `None` is the end).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyRange {
    /// First key, included.
    pub from: Vec<u8>,
    /// End, excluded.
    pub until: Option<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Every key that starts with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut until = prefix.to_vec();
        // The smallest byte string above all that start with the prefix: drop trailing 0xff, add one.
        while until.last() == Some(&u8::MAX) {
            until.pop();
        }
        let until = until.pop().map(|last| {
            until.push(last.saturating_add(1));
            until
        });
        Self {
            from: prefix.to_vec(),
            until,
        }
    }

    /// The rest of this range, starting at `key`.
    #[must_use]
    pub fn starting_at(&self, key: Vec<u8>) -> Self {
        Self {
            from: key.max(self.from.clone()),
            until: self.until.clone(),
        }
    }

    /// True when no key can lie in the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.until.as_ref().is_some_and(|until| *until <= self.from)
    }
}

/// A run of rows in key order, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Keys and values, ascending by key.
    pub rows: Vec<(Vec<u8>, Vec<u8>)>,
    /// The first key that was not returned; `None` when the range is exhausted.
    pub next: Option<Vec<u8>>,
}

/// Rows that can be read: a store as it is now, or as it was when [`Kv::snapshot`] was called.
pub trait View: fmt::Debug {
    /// The value under `key`.
    ///
    /// # Errors
    /// `Io`, `Corrupt` when the engine cannot read.
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Up to `limit` rows of `range` (and never more than [`PAGE_ROWS_MAX`] or about
    /// [`PAGE_BYTES_MAX`]), ascending by key. A limit of zero reads one row.
    ///
    /// # Errors
    /// `Io`, `Corrupt` when the engine cannot read.
    fn scan(&self, column: Column, range: &KeyRange, limit: usize) -> Result<Page, StoreError>;
}

/// An ordered key-value store with atomic, durable batches.
///
/// A commit that returned `Ok` survives a crash whole. One that returned an error, or during which the
/// process died, is wholly present or wholly absent after reopening.
pub trait Kv: View + Send + Sync {
    /// Makes all of `batch` durable, or nothing. Later entries of a batch win over earlier ones. An
    /// empty batch is a no-op. Blocks until the disk has it.
    ///
    /// # Errors
    /// `TooLarge`, `BatchTooLarge` before anything is written; `Full`, `Io`, `Corrupt` when the engine
    /// failed, after which every commit answers `Halted`.
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// Everything committed so far, over all columns, whatever is committed later: for a reader that
    /// takes its time. Costs the engine room for as long as it is held.
    fn snapshot(&self) -> Box<dyn View + '_>;
}

macro_rules! pointer_kv {
    ($($pointer:ident),+) => {$(
        impl<T: View + ?Sized> View for $pointer<T> {
            fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
                (**self).get(column, key)
            }

            fn scan(
                &self,
                column: Column,
                range: &KeyRange,
                limit: usize,
            ) -> Result<Page, StoreError> {
                (**self).scan(column, range, limit)
            }
        }

        impl<T: Kv + ?Sized> Kv for $pointer<T> {
            fn commit(&self, batch: Batch) -> Result<(), StoreError> {
                (**self).commit(batch)
            }

            fn snapshot(&self) -> Box<dyn View + '_> {
                (**self).snapshot()
            }
        }
    )+};
}
pointer_kv!(Arc, Box);

/// Fills a page row by row; both engines use it, so both end pages at the same row.
#[derive(Debug)]
pub(crate) struct PageBuilder {
    page: Page,
    limit: usize,
    bytes: usize,
}

impl PageBuilder {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            page: Page::default(),
            limit: limit.clamp(1, PAGE_ROWS_MAX),
            bytes: 0,
        }
    }

    /// Takes the next row of the range; false when the page was full, and the row is where the next
    /// page starts.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) -> bool {
        let size = key.len().saturating_add(value.len());
        let full = self.page.rows.len() >= self.limit
            || (!self.page.rows.is_empty() && self.bytes.saturating_add(size) > PAGE_BYTES_MAX);
        if full {
            self.page.next = Some(key.to_vec());
            return false;
        }
        self.bytes = self.bytes.saturating_add(size);
        self.page.rows.push((key.to_vec(), value.to_vec()));
        true
    }

    pub(crate) fn finish(self) -> Page {
        self.page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_range_ends_just_after_its_last_key() {
        for (prefix, until) in [
            (&b"a"[..], Some(&b"b"[..])),
            (b"a\xff", Some(b"b")),
            (b"\xff\xff", None),
            (b"", None),
            (b"a\0", Some(b"a\x01")),
        ] {
            let range = KeyRange::prefix(prefix);
            assert_eq!(range.from, prefix);
            assert_eq!(range.until.as_deref(), until);
            assert!(!range.is_empty());
        }
    }
}
