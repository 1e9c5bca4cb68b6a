//! Accounts and two-phase transfers.
