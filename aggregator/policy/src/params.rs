//! What an operator chooses. One struct, validated once.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::rate::Ppb;

/// The most checks before the audit rate reaches its floor.
pub const RAMP_CHECKS_MAX: u64 = 1_000_000;
/// The longest window and horizon, in items of one provider.
pub const ITEMS_MAX: u64 = 10_000_000_000;
/// The most failures that are forgiven.
pub const FORGIVEN_MAX: u32 = 64;
/// The most agreeing results that the fast path may ask for.
pub const FAST_RESULTS_MAX: u8 = 16;
/// The most confirmations of a mismatch.
pub const CONFIRMATIONS_MAX: u8 = 8;
/// The largest planning share of malicious providers: half of all stake.
pub const PLANNING_MAX: Ppb = Ppb::millionths(500_000);
/// The least rate of peer audits, however good a record: 0.1 %. The floor is hard, or a long record would
/// be a licence to cheat.
pub const PEER_MIN: Ppb = Ppb::millionths(1_000);
/// The most money of any parameter, in micro-units.
pub const MONEY_MAX: u128 = 1_000_000_000_000_000_000;
/// The most providers that a configuration plans for.
pub const PROVIDERS_MAX: u64 = 1_000_000;

/// The parameters of the audit policy and of its economics. Money is in micro-units, as in the
/// ledger; rates are in parts per billion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Floor of the peer audit rate: the share of items that another provider checks.
    pub peer: Ppb,
    /// Share of items that somebody trusted recomputes.
    pub trusted: Ppb,
    /// Checks passed in a row after which the peer audit rate has come down from all items to its floor (K0).
    pub ramp_checks: u64,
    /// Further clean items of its provider after which an item is final (W).
    pub window: u64,
    /// Share of the items not yet final that is recomputed when their provider failed and was forgiven.
    pub recheck: Ppb,
    /// Share of the items not yet final that is recomputed when their provider leaves.
    pub leave: Ppb,
    /// Independent executions by somebody trusted that must confirm a mismatch before it counts.
    pub confirmations: u8,
    /// Confirmed failures that cost a fine instead of the stake.
    pub forgiven: u32,
    /// Agreeing, diverse results that make an item final at once (m).
    pub fast_results: u8,
    /// The most that the fast path may leave of the probability of a wrong item.
    pub fast_bound: Ppb,
    /// Share of stake that is assumed to be in one malicious hand (f).
    pub planning: Ppb,
    /// Items of one provider over which error and cost are reckoned (H).
    pub horizon: u64,
    /// Providers for which honest losses are reckoned.
    pub providers: u64,
    /// Share of an honest provider's executions that are wrong and that nobody notices at the time.
    pub silent_faults: Ppb,
    /// The residual error that is promised, over the horizon.
    pub error_max: Ppb,
    /// The mean number of executions of an item beyond the first that is promised.
    pub overhead_max: Ppb,
    /// Stake of a provider (S).
    pub stake: u128,
    /// Reward of an item (r).
    pub reward: u128,
    /// What executing an item costs (c).
    pub cost: u128,
    /// What a wrong item that became final is worth to whoever wanted it (g).
    pub gain: u128,
    /// What a forgiven failure costs.
    pub fine: u128,
    /// Share of a slashed stake that goes to who reported the cheat, accomplices included.
    pub bounty: Ppb,
    /// Share of the verification pool that one completed audit is paid on top of its reward.
    pub pool_share: Ppb,
    /// Stake that must be against an answer for each unit of stake that is for it, before anything is
    /// liquidated (10 in `n >= 10 m`).
    pub liquidation_ratio: u32,
    /// Share of the sampled stake that must be against it.
    pub liquidation_quorum: Ppb,
    /// Operators that must be against it.
    pub liquidation_operators: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            peer: Ppb::millionths(75_000),
            trusted: Ppb::millionths(7_000),
            ramp_checks: 200,
            window: 250_000,
            recheck: Ppb::ONE,
            leave: Ppb::millionths(100_000),
            confirmations: 2,
            forgiven: 1,
            fast_results: 2,
            fast_bound: Ppb::millionths(100),
            planning: Ppb::millionths(300_000),
            horizon: 10_000_000,
            providers: 1_000,
            silent_faults: Ppb::billionths(1),
            error_max: Ppb::millionths(1),
            overhead_max: Ppb::millionths(100_000),
            stake: 1_000_000_000,
            reward: 1_000_000,
            cost: 600_000,
            gain: 10_000_000,
            fine: 250_000_000,
            bounty: Ppb::millionths(500_000),
            pool_share: Ppb::millionths(100),
            liquidation_ratio: 10,
            liquidation_quorum: Ppb::millionths(666_667),
            liquidation_operators: 3,
        }
    }
}

impl Params {
    /// Checks every parameter against its own bounds. Whether they are safe together is
    /// [`crate::economics::check`]'s question.
    ///
    /// # Errors
    /// [`Error::TooSmall`] or [`Error::TooLarge`], with the parameter, its value and the bound.
    pub fn validate(&self) -> Result<(), Error> {
        for (name, value, low, high) in self.bounds() {
            if value < low {
                let bound = low;
                return Err(Error::TooSmall { name, value, bound });
            }
            if value > high {
                let bound = high;
                return Err(Error::TooLarge { name, value, bound });
            }
        }
        Ok(())
    }

    /// Name, value, least and greatest value of what is bounded.
    fn bounds(&self) -> [(&'static str, u128, u128, u128); 20] {
        let ppb = |rate: Ppb| u128::from(rate.get());
        let whole = ppb(Ppb::ONE);
        let items = u128::from(ITEMS_MAX);
        let left = ppb(self.trusted.complement());
        [
            ("peer", ppb(self.peer), ppb(PEER_MIN), left),
            ("trusted", ppb(self.trusted), 1, whole),
            (
                "ramp_checks",
                u128::from(self.ramp_checks),
                1,
                u128::from(RAMP_CHECKS_MAX),
            ),
            (
                "window",
                u128::from(self.window),
                1,
                u128::from(self.horizon),
            ),
            ("recheck", ppb(self.recheck), 1, whole),
            ("leave", ppb(self.leave), 1, whole),
            (
                "confirmations",
                u128::from(self.confirmations),
                1,
                u128::from(CONFIRMATIONS_MAX),
            ),
            (
                "forgiven",
                u128::from(self.forgiven),
                0,
                u128::from(FORGIVEN_MAX),
            ),
            (
                "fast_results",
                u128::from(self.fast_results),
                2,
                u128::from(FAST_RESULTS_MAX),
            ),
            ("fast_bound", ppb(self.fast_bound), 1, whole),
            ("planning", ppb(self.planning), 0, ppb(PLANNING_MAX)),
            ("horizon", u128::from(self.horizon), 1, items),
            (
                "providers",
                u128::from(self.providers),
                1,
                u128::from(PROVIDERS_MAX),
            ),
            ("stake", self.stake, 0, MONEY_MAX),
            ("reward", self.reward, 0, MONEY_MAX),
            ("cost", self.cost, 0, MONEY_MAX),
            ("gain", self.gain, 0, MONEY_MAX),
            ("fine", self.fine, 0, MONEY_MAX),
            (
                "liquidation_ratio",
                u128::from(self.liquidation_ratio),
                10,
                1_000_000,
            ),
            (
                "liquidation_operators",
                u128::from(self.liquidation_operators),
                3,
                1_000,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_bounds() {
        assert_eq!(Params::default().validate(), Ok(()));
    }

    #[test]
    fn a_parameter_out_of_bounds_is_named_with_value_and_bound() {
        let spoil = |change: fn(&mut Params)| {
            let mut params = Params::default();
            change(&mut params);
            params.validate().unwrap_err().to_string()
        };
        for (change, text) in [
            (
                (|p| p.peer = Ppb::ZERO) as fn(&mut Params),
                "peer is 0, at least 1000000 is needed",
            ),
            (
                |p| p.trusted = Ppb::millionths(950_000),
                "peer is 75000000, at most 50000000 is allowed",
            ),
            (
                |p| p.ramp_checks = 0,
                "ramp_checks is 0, at least 1 is needed",
            ),
            (
                |p| p.window = p.horizon + 1,
                "window is 10000001, at most 10000000 is allowed",
            ),
            (
                |p| p.planning = Ppb::ONE,
                "planning is 1000000000, at most 500000000 is allowed",
            ),
            (
                |p| p.fast_results = 1,
                "fast_results is 1, at least 2 is needed",
            ),
            (
                |p| p.liquidation_operators = 1,
                "liquidation_operators is 1, at least 3 is needed",
            ),
        ] {
            assert_eq!(spoil(change), text);
        }
    }
}
