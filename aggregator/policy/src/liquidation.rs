//! When stake is taken, and where it goes.
//!
//! Votes alone never take anybody's stake: `n > min(10 m, 66 %)` as once published would let a dozen cheap
//! identities liquidate one honest provider. Here it takes ten times the stake that defends the answer, two
//! thirds of the stake that was sampled, three operators, and a referee who recomputed. Otherwise everybody gets
//! back what was reserved.

use serde::{Deserialize, Serialize};

use crate::params::Params;
use crate::rate::BILLION;

/// What is known about an accused answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Votes {
    /// Stake of those who found another answer (n).
    pub against: u128,
    /// Operators among them.
    pub operators: u32,
    /// Stake of those who found this answer (m), the accused included.
    pub defending: u128,
    /// Stake of all who were drawn, silent ones included.
    pub sampled: u128,
    /// Whether the referee's own execution refutes the answer; `None` if there was none.
    pub refuted: Option<bool>,
}

/// What becomes of the stake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Liquidation {
    /// It is taken.
    Slash,
    /// It stays, and what the dispute held back is returned, for this reason.
    Refund(Reason),
}

/// Why nothing is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Less than ten times the defending stake is against it.
    TooManyDefend,
    /// Less than two thirds of the sampled stake is against it.
    TooFewSampled,
    /// Fewer than three operators are against it.
    TooFewOperators,
    /// No referee has recomputed it.
    Unconfirmed,
    /// A referee has, and it is right.
    Acquitted,
}

/// Decides.
#[must_use]
pub fn liquidate(params: &Params, votes: &Votes) -> Liquidation {
    // What cannot be reckoned is not enough.
    let defence = votes
        .defending
        .checked_mul(u128::from(params.liquidation_ratio));
    let against = votes.against.checked_mul(u128::from(BILLION));
    let quorum = votes
        .sampled
        .checked_mul(u128::from(params.liquidation_quorum.get()));
    let sampled = matches!((against, quorum), (Some(n), Some(least)) if n >= least);
    if votes.refuted == Some(false) {
        Liquidation::Refund(Reason::Acquitted)
    } else if defence.is_none_or(|least| votes.against < least) {
        Liquidation::Refund(Reason::TooManyDefend)
    } else if votes.sampled == 0 || !sampled {
        Liquidation::Refund(Reason::TooFewSampled)
    } else if votes.operators < params.liquidation_operators {
        Liquidation::Refund(Reason::TooFewOperators)
    } else if votes.refuted.is_none() {
        Liquidation::Refund(Reason::Unconfirmed)
    } else {
        Liquidation::Slash
    }
}

/// What becomes of slashed stake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// To who reported it: an auditor, or an accomplice, who besides keeps its own stake.
    pub bounty: u128,
    /// To the verification pool.
    pub pool: u128,
}

/// Divides slashed stake. Nothing is lost and nothing is made; without a reporter the pool gets all.
#[must_use]
pub fn split(params: &Params, slashed: u128, reported: bool) -> Split {
    let bounty = if reported {
        params.bounty.of(slashed)
    } else {
        0
    };
    let pool = slashed.saturating_sub(bounty);
    Split { bounty, pool }
}

/// The verification pool: it grows with what cheats lose and pays a share of itself for every audit, so
/// checking pays most after there was much to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pool {
    balance: u128,
}

impl Pool {
    /// What is in it.
    #[must_use]
    pub const fn balance(&self) -> u128 {
        self.balance
    }

    /// Adds to it. Returns what did not fit, which is nothing below 2^128.
    pub const fn add(&mut self, amount: u128) -> u128 {
        let room = u128::MAX.saturating_sub(self.balance);
        let taken = if amount < room { amount } else { room };
        self.balance = self.balance.saturating_add(taken);
        amount.saturating_sub(taken)
    }

    /// Pays for one completed audit.
    pub fn pay(&mut self, params: &Params) -> u128 {
        let amount = params.pool_share.of(self.balance);
        self.balance = self.balance.saturating_sub(amount);
        amount
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stake_is_taken_only_if_all_four_conditions_hold() {
        let guilty = Votes {
            against: 3_000,
            operators: 3,
            defending: 300,
            sampled: 4_000,
            refuted: Some(true),
        };
        assert_eq!(liquidate(&Params::default(), &guilty), Liquidation::Slash);
        for (change, reason) in [
            (
                (|v| v.defending = 301) as fn(&mut Votes),
                Reason::TooManyDefend,
            ),
            (|v| v.sampled = 4_600, Reason::TooFewSampled),
            (|v| v.operators = 2, Reason::TooFewOperators),
            (|v| v.refuted = None, Reason::Unconfirmed),
            (|v| v.refuted = Some(false), Reason::Acquitted),
            (
                |v| (v.against, v.defending, v.sampled) = (0, 0, 0),
                Reason::TooFewSampled,
            ),
            // What cannot be reckoned is not enough.
            (
                |v| (v.against, v.defending) = (u128::MAX, u128::MAX),
                Reason::TooManyDefend,
            ),
            (
                |v| (v.against, v.sampled) = (u128::MAX, u128::MAX),
                Reason::TooFewSampled,
            ),
        ] {
            let mut votes = guilty;
            change(&mut votes);
            let decision = liquidate(&Params::default(), &votes);
            assert_eq!(decision, Liquidation::Refund(reason), "{votes:?}");
        }
    }

    #[test]
    fn eleven_cheap_identities_do_not_liquidate_an_honest_provider() {
        let votes = Votes {
            against: 11,
            operators: 11,
            defending: 1,
            sampled: 1_000,
            refuted: Some(true),
        };
        let decision = liquidate(&Params::default(), &votes);
        assert_eq!(decision, Liquidation::Refund(Reason::TooFewSampled));
    }

    #[test]
    fn slashed_stake_is_divided_without_loss() {
        let params = Params::default();
        for (slashed, reported, bounty) in [(1_001, true, 500), (1_001, false, 0), (0, true, 0)] {
            let split = split(&params, slashed, reported);
            assert_eq!((split.bounty, split.bounty + split.pool), (bounty, slashed));
        }
    }

    #[test]
    fn the_pool_grows_by_what_cheats_lose_and_pays_a_share_of_itself() {
        let (params, mut pool) = (Params::default(), Pool::default());
        assert_eq!(pool.pay(&params), 0);
        assert_eq!(pool.add(10_000_000), 0);
        let (first, second) = (pool.pay(&params), pool.pay(&params));
        assert_eq!((first, second), (1_000, 999));
        assert_eq!(pool.balance(), 10_000_000 - 1_999);
        assert_eq!(pool.add(u128::MAX), 10_000_000 - 1_999);
    }
}
