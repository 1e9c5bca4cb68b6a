//! What is refused, with the offending value and the bound.

use thiserror::Error as ThisError;

use crate::beacon::Party;

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// A rate of more than one.
    #[error("a rate of {parts} parts per billion is more than the whole, 1000000000")]
    Rate {
        /// What was given.
        parts: u32,
    },
    /// A parameter below its least value.
    #[error("{name} is {value}, at least {bound} is needed")]
    TooSmall {
        /// Which parameter.
        name: &'static str,
        /// What was given.
        value: u128,
        /// The least it may be.
        bound: u128,
    },
    /// A parameter above its greatest value.
    #[error("{name} is {value}, at most {bound} is allowed")]
    TooLarge {
        /// Which parameter.
        name: &'static str,
        /// What was given.
        value: u128,
        /// The most it may be.
        bound: u128,
    },
    /// A configuration under which an inequality of the economics does not hold.
    #[error("unsafe configuration: {name}: {left} is not {relation} {right} ({says})")]
    Unsafe {
        /// Which inequality.
        name: &'static str,
        /// Its left side, as text with its unit.
        left: String,
        /// `>=` or `<=`.
        relation: &'static str,
        /// Its right side, the bound.
        right: String,
        /// What it says.
        says: &'static str,
    },
    /// Fewer committed sources of randomness than it takes for nobody to know the outcome.
    #[error("{sources} sources committed to randomness, at least {bound} are needed")]
    FewSources {
        /// How many did.
        sources: usize,
        /// How many are needed.
        bound: usize,
    },
    /// Every source kept its share to itself.
    #[error("no source revealed its share of {sources}")]
    NoShare {
        /// How many had committed.
        sources: usize,
    },
    /// A source committed or revealed twice, or revealed without having committed.
    #[error("{party:?} is named {times} times, once is expected")]
    Named {
        /// Which.
        party: Party,
        /// How often.
        times: usize,
    },
    /// Fewer providers may check an item than are wanted.
    #[error("{eligible} providers may check this item, {wanted} are wanted")]
    FewAuditors {
        /// How many may.
        eligible: usize,
        /// How many are wanted.
        wanted: usize,
    },
    /// Something about a provider's items that cannot be: an item that was never produced, or a step that its
    /// state does not allow.
    #[error("{what}: item {item} of {produced} produced")]
    Item {
        /// What was asked.
        what: &'static str,
        /// Which item, in order of production.
        item: u64,
        /// How many were produced.
        produced: u64,
    },
    /// More audits open at a time than are kept.
    #[error("{open} audits are open, at most {bound} are kept")]
    OpenAudits {
        /// How many are.
        open: usize,
        /// The most.
        bound: usize,
    },
}
