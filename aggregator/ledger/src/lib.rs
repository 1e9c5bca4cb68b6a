//! Accounts and two-phase transfers: escrow, fees, stake.
//!
//! [`Ledger`] is a deterministic state machine in memory: transfers go in, balances change or a
//! [`Rejection`] says by name why not, and each accepted transfer becomes one [`JournalEntry`] of a hash
//! chain. Money only moves, it is never made: every transfer debits one account and credits another by
//! the same amount, and only [`Account::Outside`] may stand below zero. A pending transfer reserves money
//! and is resolved exactly once. Applying the same transfer twice is a retry and changes nothing.
//!
//! The same crate keeps the ledger in a `store`: [`Ledger::stage`] adds the rows to the caller's batch,
//! so that money and whatever it was paid for become durable together; [`Ledger::load`] rebuilds it;
//! [`audit`] re-derives every balance from the journal alone and reports every difference.
//!
//! This crate refuses to know what time it is, what a network is, and why money moves: deadlines,
//! verdicts and prices belong to the aggregator.
//!
//! Start with [`Transfer`], then [`Ledger::apply_all`].
#![warn(missing_docs)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod account;
mod fee;
mod transfer;

mod error;
mod journal;

mod draft;
mod state;

mod check;

mod tables;

mod audit;

#[cfg(test)]
mod tests;

pub use account::{Account, Balance};
pub use audit::{
    AccountLine, AuditReport, FINDINGS_LISTED_MAX, Finding, LINES_LISTED_MAX, audit, audit_against,
};
pub use check::Violation;
pub use error::{LedgerError, Rejection};
pub use fee::{BPS_PER_WHOLE, FEE_BPS_MAX, FEE_BPS_MIN, FeeBps};
pub use journal::{Head, JOURNAL_ENTRIES_MAX, JournalEntry};
pub use state::{Applied, Ledger};
pub use tables::{journal, stored_head};
pub use transfer::{Pending, PendingState, Transfer, TransferId};
