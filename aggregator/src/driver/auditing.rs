//! What an operator says about audits, checked once.

use std::collections::BTreeSet;

use jobs::ids::ProviderId;
use jobs::money::Amount;
use policy::economics;

use super::error::Error;
use crate::core::Config;
use crate::core::config::{DEADLINE_MS_MAX, FINALITY_MS};

/// How answers are audited, and what is at stake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auditing {
    /// Rates, windows and what cheating costs. Its `stake` is what [`Auditing::stake_min`] says, if that says anything.
    pub params: policy::Params,
    /// Stake below which a provider gets no work. Without any, cheating costs work and reputation only, and whether
    /// that deters nobody can say.
    pub stake_min: Amount,
    /// Providers that the operator trusts to execute anything again: its own.
    pub referees: BTreeSet<ProviderId>,
    /// Milliseconds after which a result becomes final by a last sample.
    pub finality_ms: u64,
}

impl Default for Auditing {
    fn default() -> Self {
        Self {
            params: policy::Params::default(),
            stake_min: Amount::ZERO,
            referees: BTreeSet::new(),
            finality_ms: FINALITY_MS,
        }
    }
}

impl Auditing {
    /// The parameters with the stake that is really asked for.
    #[must_use]
    pub fn live(&self) -> policy::Params {
        let mut params = self.params;
        if !self.stake_min.is_zero() {
            params.stake = self.stake_min.0;
        }
        params
    }

    /// Refuses what is out of bounds, and what would make cheating pay.
    pub(crate) fn configure(self, core: &mut Config) -> Result<(), Error> {
        let refuse = |error: String| Err(Error::Config(error));
        let params = self.live();
        if self.stake_min.is_zero() {
            if let Err(error) = params.validate() {
                return refuse(error.to_string());
            }
            tracing::warn!(
                "no stake is asked for: a cheat that is caught loses work and reputation only"
            );
        } else if let Err(error) = economics::check(&params) {
            return refuse(error.to_string());
        }
        let (referees, confirmations) = (self.referees.len(), usize::from(params.confirmations));
        if (1..confirmations).contains(&referees) {
            return refuse(format!(
                "{referees} referee: as many as confirm a conviction, {confirmations}, are needed, or none"
            ));
        }
        if self.finality_ms > DEADLINE_MS_MAX {
            let finality_ms = self.finality_ms;
            return refuse(format!(
                "finality after {finality_ms} ms: at most {DEADLINE_MS_MAX}"
            ));
        }
        core.audit = params;
        core.stake_min = self.stake_min;
        core.referees = self.referees;
        core.finality_ms = self.finality_ms;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ledger::FeeBps;

    use super::*;

    #[test]
    fn a_configuration_that_makes_cheating_pay_is_refused_with_the_inequality_it_breaks() {
        let referee = |index| ProviderId([index; 32]);
        let of = |change: fn(&mut Auditing)| {
            let mut auditing = Auditing::default();
            change(&mut auditing);
            let mut core = Config::new(referee(9), FeeBps::new(100).unwrap());
            auditing
                .configure(&mut core)
                .map_err(|error| error.to_string())
        };
        assert_eq!(of(|_| ()), Ok(()));
        assert_eq!(of(|a| a.stake_min = Amount(1_000_000_000)), Ok(()));
        for (change, words) in [
            (
                (|a| a.stake_min = Amount(1_000_000)) as fn(&mut Auditing),
                "fines-are-covered",
            ),
            (|a| a.params.ramp_checks = 0, "ramp_checks is 0"),
            (
                |a| a.referees = [ProviderId([1; 32])].into(),
                "1 referee: as many as confirm a conviction, 2,",
            ),
            (|a| a.finality_ms = u64::MAX, "at most"),
        ] {
            let error = of(change).unwrap_err();
            assert!(error.contains(words), "{error:?} does not say {words:?}");
        }
    }
}
