//! What can go wrong between a table and the disk.

use std::path::PathBuf;

use crate::Column;

/// Why a read or a commit did not happen.
///
/// `TooLarge`, `TooManyRows` and `Encode` are the caller's fault and change nothing. Everything else is
/// the store's: after `Full`, `Io` or `Corrupt` from a commit the store answers every further commit
/// with `Halted`, because nobody can know what a disk kept of a write it refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A key or value is beyond its bound.
    #[error("{what} in column {column} is {bytes} bytes, above the bound of {max}")]
    TooLarge {
        /// "key" or "value".
        what: &'static str,
        /// Where it was to be put.
        column: Column,
        /// Its size in bytes.
        bytes: usize,
        /// The bound in bytes.
        max: usize,
    },
    /// A batch holds more than one commit may carry.
    #[error(
        "batch of {rows} rows and {bytes} bytes is above the bound of {rows_max} rows or {bytes_max} bytes"
    )]
    BatchTooLarge {
        /// Puts and deletes in the batch.
        rows: usize,
        /// Bytes of keys and values in the batch.
        bytes: usize,
        /// The bound on rows.
        rows_max: usize,
        /// The bound on bytes.
        bytes_max: usize,
    },
    /// A value could not be serialised.
    #[error("cannot encode a value for column {column}: {detail}")]
    Encode {
        /// Where it was to be put.
        column: Column,
        /// What the serialiser said.
        detail: String,
    },
    /// A stored row does not read back as what the table holds.
    #[error("column {column}, key {key}: {detail}")]
    Row {
        /// Where the row lies.
        column: Column,
        /// Its key in hexadecimal.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A row was written under another version of its table's schema.
    #[error(
        "column {column}, key {key}: row has schema version {found}, this program reads version {expected}"
    )]
    Version {
        /// Where the row lies.
        column: Column,
        /// Its key in hexadecimal.
        key: String,
        /// The version in the row.
        found: u8,
        /// The version of the table.
        expected: u8,
    },
    /// The directory was written by a program with another layout.
    #[error("store in {} has format {found}, this program reads format {expected}", path.display())]
    Format {
        /// The store's directory.
        path: PathBuf,
        /// The format found there.
        found: u32,
        /// The format this program reads.
        expected: u32,
    },
    /// Another process, or another handle in this one, has the directory open.
    #[error("store in {} is already open: is another aggregator running on this directory?", path.display())]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
    /// The disk, quota or file-size limit is used up. Nothing of the batch was acknowledged.
    #[error("no space left for the store: {detail}")]
    Full {
        /// What the engine said.
        detail: String,
    },
    /// The disk failed. Nothing of the batch was acknowledged.
    #[error("store input/output failed: {detail}")]
    Io {
        /// What the engine said.
        detail: String,
    },
    /// The engine's own checksums or structures do not hold.
    #[error("store is corrupt: {detail}")]
    Corrupt {
        /// What the engine said.
        detail: String,
    },
    /// An earlier commit failed, so this handle writes nothing more. Reopen the store to go on.
    #[error("store is halted after a failed commit ({cause}); restart to reopen it")]
    Halted {
        /// The failure that halted it.
        cause: String,
    },
}

impl StoreError {
    /// True for the failures after which an engine must stop writing.
    #[must_use]
    pub const fn halts(&self) -> bool {
        matches!(
            self,
            Self::Full { .. } | Self::Io { .. } | Self::Corrupt { .. }
        )
    }
}
