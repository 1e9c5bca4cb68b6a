//! The provider daemon: rents out this machine, one shard at a time.
//!
//! It offers its devices to every aggregator it finds, checks each assignment itself (signatures,
//! policy, limits, blobs), executes it in worker processes that have neither keys nor network, and
//! then commits, reveals and leaves a receipt. What it signed it remembers before anyone hears of it:
//! about one assignment it never makes two statements, restarts included ([`journal`]).
//!
//! It refuses to know who is paid, which replica was right, and what an output means: no ledger, no
//! verdict, no store.
//!
//! Start at [`ProviderConfig`] and [`start`]; then `serve` (what peers ask), `admission` (what is
//! refused), `work` (one assignment from acceptance to commitment), `report` and `offers` (what
//! aggregators are told).
#![warn(missing_docs)]

mod clock;
mod config;
mod error;
mod identity;
mod refusal;

pub mod choices;
pub mod control;
pub mod journal;

mod admission;
mod book;
mod cache;
mod desk;
mod fetch;

mod daemon;
mod misbehave;
mod mode;
mod offers;
mod owed;
mod report;
mod serve;
mod shared;
mod traces;
mod work;

pub use book::Day;
pub use config::{
    ADDRESSES_MAX, CACHE_BYTES_DEFAULT, CACHE_BYTES_MIN, PRICE_DEFAULT, ProviderConfig,
    STOP_GRACE_DEFAULT, STOP_GRACE_MAX, WORKERS_MAX,
};
pub use daemon::{Running, Status, probe, start};
pub use desk::{Stage, TaskView};
pub use error::Error;
pub use identity::{KEY_FILE, load_or_create as identity};
pub use misbehave::Misbehaviour;
pub use mode::{IDLE_CPU_PERCENT_DEFAULT, Rest};
pub use refusal::Refused;

#[cfg(test)]
#[path = "../tests/support/fixture.rs"]
mod fixture;
