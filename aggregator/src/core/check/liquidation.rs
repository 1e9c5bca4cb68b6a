//! The invariants of cases: stake is taken only as the rule says, once, and nothing of it grows without bound.

use std::collections::BTreeSet;

use jobs::ids::CaseId;
use ledger::{Account, Transfer};

use super::{Violation, within};
use crate::core::Core;
use crate::core::action::Evidence;
use crate::core::diversity::Kin;
use crate::core::liquidation::{
    CASES_OPEN_MAX, CASES_PER_CLIENT_MAX, DECIDED_KEPT, JOBS_PER_CASE_MAX, pool_id,
};
use crate::core::replica::slash_id;
use crate::core::state::{Case, CaseEnd, Decided, Says};

/// Times the defending stake that must be against an answer.
const RATIO: u128 = 10;
/// Operators that must be against it.
const OPERATORS: usize = 3;

impl Core {
    pub(super) fn check_cases(&self) -> Result<(), Violation> {
        let cases = &self.liquidations;
        within("open cases", cases.open.len(), CASES_OPEN_MAX as u64)?;
        within("decided cases", cases.decided.len(), DECIDED_KEPT as u64)?;
        let mut tied = 0usize;
        for (id, case) in &cases.open {
            self.check_open(*id, case)?;
            tied = tied.saturating_add(case.jobs.len());
        }
        if tied != cases.tied.len() {
            let what = "jobs tied to cases";
            return Err(Violation::Index { what });
        }
        for (id, case) in &cases.decided {
            self.check_decided(*id, case)?;
        }
        self.check_liquidated()
    }

    fn check_open(&self, id: CaseId, case: &Case) -> Result<(), Violation> {
        within("jobs of a case", case.jobs.len(), JOBS_PER_CASE_MAX as u64)?;
        let open = self.liquidations.open.values();
        let own = open.filter(|other| other.client == case.client);
        within(
            "open cases of one client",
            own.count(),
            CASES_PER_CLIENT_MAX as u64,
        )?;
        let tied = |job| self.liquidations.tied.get(job) == Some(&id);
        if !case.jobs.keys().all(tied) {
            return wrong(id, "a job of it is not known to be");
        }
        if self.liquidations.decided.contains_key(&id) {
            return wrong(id, "is open and decided");
        }
        if case.voters.contains_key(&case.accused.provider) {
            return wrong(id, "counts the accused as a voter");
        }
        let known = self.providers.contains_key(&case.accused.provider);
        if !known {
            return wrong(id, "its accused is forgotten");
        }
        Ok(())
    }

    fn check_decided(&self, id: CaseId, case: &Decided) -> Result<(), Violation> {
        let evidence = Evidence::Liquidated {
            assignment: case.assignment,
            root: Default::default(),
        };
        let slash = slash_id(case.provider, evidence);
        let taken = self.ledger.applied_transfer(&slash);
        let CaseEnd::Slashed { slashed, bounty } = case.end else {
            let paid = |one: &crate::core::state::Testimony| {
                let paid = self.ledger.applied_transfer(&pool_id(id, one.provider));
                paid.is_some() && matches!(one.says, Says::Against | Says::Confirms)
            };
            return match case.testimony.iter().any(paid) {
                true => wrong(id, "paid for a wrong answer"),
                false => Ok(()),
            };
        };
        let as_taken = matches!(
            taken,
            Some((_, Transfer::Post { from: Account::Stake(from), to: Account::Slashed, amount, .. }))
                if from == case.provider && amount == slashed
        );
        if !as_taken || slashed != case.stake {
            return wrong(id, "took another stake than it says");
        }
        if bounty > slashed {
            return wrong(id, "gave more than it took");
        }
        self.check_votes(id, case)
    }

    /// Counts once more, from what everybody said.
    fn check_votes(&self, id: CaseId, case: &Decided) -> Result<(), Violation> {
        let (mut against, mut defending, mut sampled) = (0u128, case.stake.0, case.stake.0);
        let mut operators: BTreeSet<_> = BTreeSet::new();
        let mut confirms = 0u8;
        for one in &case.testimony {
            if one.provider == case.provider {
                return wrong(id, "let the accused vote");
            }
            let near = |kin: &Kin| !kin.is_apart(&case.kin);
            match one.says {
                Says::Acquits => return wrong(id, "took a stake that a referee acquits"),
                Says::Against | Says::Confirms if near(&one.kin) => {
                    return wrong(id, "counts the accused's kin against it");
                }
                Says::Confirms => {
                    confirms = confirms.saturating_add(1);
                    continue;
                }
                Says::Against => {
                    against = against.saturating_add(one.stake.0);
                    operators.insert(one.kin.operator);
                }
                Says::Defends => defending = defending.saturating_add(one.stake.0),
                Says::Nothing | Says::Unclear => {}
            }
            if !one.referee {
                sampled = sampled.saturating_add(one.stake.0);
            }
        }
        let facts = [
            (
                against >= defending.saturating_mul(RATIO),
                "took a stake although too many defend it",
            ),
            (
                against.saturating_mul(3) >= sampled.saturating_mul(2),
                "took a stake by less than two thirds of what was sampled",
            ),
            (
                operators.len() >= OPERATORS,
                "took a stake by the word of fewer than three operators",
            ),
            (
                confirms >= self.config.audit.confirmations.max(1),
                "took a stake that no referee confirms",
            ),
        ];
        match facts.into_iter().find(|(holds, _)| !holds) {
            Some((_, what)) => wrong(id, what),
            None => Ok(()),
        }
    }

    /// Nobody is banned for what no case decided.
    fn check_liquidated(&self) -> Result<(), Violation> {
        let full = self.liquidations.decided.len() >= DECIDED_KEPT;
        for (id, provider) in &self.providers {
            let Some(Evidence::Liquidated { assignment, .. }) = provider.banned else {
                continue;
            };
            let mut decided = self.liquidations.decided.values();
            let found = decided.any(|case| {
                let slashed = matches!(case.end, CaseEnd::Slashed { .. });
                slashed && case.provider == *id && case.assignment == assignment
            });
            if !found && !full {
                let what = "providers whose stake a case took";
                return Err(Violation::Index { what });
            }
        }
        Ok(())
    }
}

const fn wrong(case: CaseId, what: &'static str) -> Result<(), Violation> {
    Err(Violation::Case { case, what })
}
