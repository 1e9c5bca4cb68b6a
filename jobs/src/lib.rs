//! What a job **is**.
//!
//! This crate holds every type that clients, aggregators and providers must agree on byte for byte:
//! digests, the manifest a person writes, the package that is signed, the shard plan, what a
//! provider commits to and reveals, the receipt it leaves behind, and how outputs are compared.
//!
//! It refuses to know how bytes travel, where they are stored, what time it is and how a component
//! is executed: no async, no I/O, no clock, no randomness. Time and nonces are arguments.
//!
//! Start at [`manifest`] (what a person writes) and follow the types: [`manifest::Manifest`] →
//! [`package::Package`] → [`envelope::SignedPackage`] → [`envelope::VerifiedPackage`] →
//! [`plan::ShardSpan`]s → [`commitment::Commitment`] → [`commitment::Reveal`] →
//! [`receipt`] → [`verdict::Verdict`] → [`record::JobRecord`].
#![warn(missing_docs)]
// Sizes, counts and money come from strangers here: arithmetic is checked or saturating.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod digest;
pub mod ids;
pub mod money;
pub mod time;

pub mod component;
pub mod input;
pub mod items;
pub mod manifest;
pub mod merkle;
pub mod npy;
pub mod package;
pub mod policy;
pub mod scan;
pub mod shares;

pub mod envelope;
pub mod statement;

pub mod offer;
pub mod operator;
pub mod plan;

pub mod assignment;
pub mod commitment;
pub mod outcome;
pub mod output;
pub mod receipt;

pub mod accusation;
pub mod compare;
pub mod dispute;
pub mod game;
pub mod openings;
pub mod profile;
pub mod record;
pub mod verdict;

mod canonical;
mod error;
mod spelling;
pub use error::Error;
