//! Typed tables and one atomic batch over a key-value trait.
//!
//! Everything the aggregator remembers goes through here: a [`Table`] says which [`Column`] its rows
//! live in and how keys and values become bytes, a [`Batch`] collects puts and deletes over any number
//! of tables, and [`Kv::commit`] makes the whole batch durable or none of it. There is no other way to
//! write, so "the job is settled but the money is not" cannot be stored. Whoever only reads asks for a
//! [`View`]: the store as it is, or one moment of it ([`Kv::snapshot`]).
//!
//! Two engines pass one test suite: [`RocksStore`] on disk and [`MemoryStore`] for tests and the
//! simulator. [`FaultyStore`] wraps either and makes chosen commits fail the way a full disk, a broken
//! disk or a power cut would.
//!
//! This crate refuses to know what its rows mean: no accounts, no jobs, no clock, no network. It is the
//! only crate that names `rocksdb`.
//!
//! Start with [`Kv`], then [`Table`]; [`Column`] lists everything that is ever stored.
#![warn(missing_docs)]

mod column;
mod error;
mod key;

mod batch;
mod kv;
mod table;

mod memory;
mod rocks;

mod copy;
mod faults;

#[cfg(test)]
mod tests;

pub use batch::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, Batch};
pub use column::Column;
pub use copy::copy;
pub use error::StoreError;
pub use faults::{Fault, FaultyStore};
pub use key::Key;
pub use kv::{
    KEY_BYTES_MAX, KeyRange, Kv, PAGE_BYTES_MAX, PAGE_ROWS_MAX, Page, VALUE_BYTES_MAX, View,
};
pub use memory::MemoryStore;
pub use rocks::{FORMAT_VERSION, RocksStore};
pub use table::{Cell, Rows, Table};
