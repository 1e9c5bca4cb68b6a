//! Who decides: the pure core and the driver that acts.
//!
//! [`core`] decides and does nothing: `step(now, event) -> actions`, no clock, no randomness, no I/O.
//! A driver feeds it verified events from network, API and timers, persists them with the ledger rows
//! and performs the actions. [`sim`] drives the very same core with seeded liars, crashes and a lossy
//! network, and checks every promise after every step.
//!
//! This crate refuses to know how a component is executed: it never sees a sandbox or a model.
//!
//! Start at [`core`].
#![warn(missing_docs)]

pub mod core;
pub mod driver;
pub mod sim;

pub use driver::{
    AggregatorConfig, Audit, Auditing, Error, Running, audit_at_rest, restore, start,
};
