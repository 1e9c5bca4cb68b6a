//! The only way to write: puts and deletes over several tables, committed together.

use crate::{Column, KEY_BYTES_MAX, StoreError, VALUE_BYTES_MAX};

/// Most puts and deletes in one commit.
pub const BATCH_ROWS_MAX: usize = 65_536;
/// Most bytes of keys and values in one commit. Twice the largest value, so that a snapshot and the
/// rows beside it always fit.
pub const BATCH_BYTES_MAX: usize = 2 * VALUE_BYTES_MAX;

/// One put (`value` present) or delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) column: Column,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

/// Puts and deletes that become durable together. Later entries win over earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch {
    ops: Vec<Op>,
    bytes: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts raw bytes. Prefer [`crate::Table::put`].
    pub fn put_raw(&mut self, column: Column, key: Vec<u8>, value: Vec<u8>) {
        self.push(Op {
            column,
            key,
            value: Some(value),
        });
    }

    /// Deletes a raw key. Prefer [`crate::Table::delete`].
    pub fn delete_raw(&mut self, column: Column, key: Vec<u8>) {
        self.push(Op {
            column,
            key,
            value: None,
        });
    }

    /// Adds everything of `later` after what is here: several transitions, one sync.
    pub fn append(&mut self, mut later: Self) {
        self.bytes = self.bytes.saturating_add(later.bytes);
        self.ops.append(&mut later.ops);
    }

    /// Puts and deletes collected so far.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.ops.len()
    }

    /// Bytes of keys and values collected so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    fn push(&mut self, op: Op) {
        let value = op.value.as_ref().map_or(0, Vec::len);
        self.bytes = self
            .bytes
            .saturating_add(op.key.len())
            .saturating_add(value);
        self.ops.push(op);
    }

    /// Every operation in order, once the whole batch is known to be within bounds.
    pub(crate) fn checked(self) -> Result<Vec<Op>, StoreError> {
        if self.ops.len() > BATCH_ROWS_MAX || self.bytes > BATCH_BYTES_MAX {
            return Err(StoreError::BatchTooLarge {
                rows: self.ops.len(),
                bytes: self.bytes,
                rows_max: BATCH_ROWS_MAX,
                bytes_max: BATCH_BYTES_MAX,
            });
        }
        for op in &self.ops {
            let value = op.value.as_ref().map_or(0, Vec::len);
            for (what, bytes, max) in [
                ("key", op.key.len(), KEY_BYTES_MAX),
                ("value", value, VALUE_BYTES_MAX),
            ] {
                if bytes > max {
                    return Err(StoreError::TooLarge {
                        what,
                        column: op.column,
                        bytes,
                        max,
                    });
                }
            }
        }
        Ok(self.ops)
    }
}
