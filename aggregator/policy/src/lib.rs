//! How much checking an answer needs, and what cheating costs.
//!
//! One replica is executed; whether it is checked is decided afterwards, by randomness that nobody had before
//! the commitment. Results count at once and become final later; who is caught loses what is not final yet,
//! and its stake. The rates, the bookkeeping and the inequalities that make cheating a loss are here, in
//! integers, for the aggregator to decide by. [`sim`] attacks the very same functions, and those of other
//! systems beside them; there, and only there, numbers may be floating.
//!
//! This crate refuses to know jobs, networks, ledgers and clocks, and imports none of our crates: providers
//! are 32 bytes, money is a number, and items are numbered.
//!
//! Start with [`Params`], then [`audit`], then [`finality`].
#![warn(missing_docs)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod error;
pub mod params;
mod rate;

pub mod audit;
pub mod auditors;
pub mod beacon;
pub mod finality;
pub mod ticket;

pub mod credibility;
pub mod economics;
pub mod liquidation;

pub mod sim;

pub use error::Error;
pub use params::Params;
pub use rate::{BILLION, Ppb};
