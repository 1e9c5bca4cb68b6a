//! When a case is decided, and what follows.

use jobs::ids::{CaseId, ProviderId};
use jobs::money::Amount;
use ledger::{Account, Transfer, TransferId};
use policy::liquidation::{Liquidation, Reason, Votes, split};

use super::tally::votes;
use super::{CASE_GRACE_MS, DECIDED_KEPT, TIE_MS};
use crate::core::action::Evidence;
use crate::core::replica::slash_id;
use crate::core::state::{Accused, Case, CaseEnd, Decided, Says, Testimony};
use crate::core::{Core, Effects};

/// What is known when a case is looked at.
struct Findings {
    stake: Amount,
    votes: Votes,
    testimony: Vec<Testimony>,
}

impl Core {
    /// Time passed: some cases are over, and what one step had no room for goes on.
    pub(in crate::core) fn look_at_cases(&mut self, fx: &mut Effects) {
        let open: Vec<CaseId> = self.liquidations.open.keys().copied().collect();
        for case in open {
            self.look_at_case(case, fx);
        }
        self.pay_finders(fx);
    }

    /// Moves a case as far as it can go. A vote that suffices decides as soon as every job is counted that was begun;
    /// one that does not waits for more until the case's time is up.
    pub(super) fn look_at_case(&mut self, id: CaseId, fx: &mut Effects) {
        let Some(case) = self.liquidations.open.get(&id) else {
            return;
        };
        let (now, accused) = (self.now, case.accused.provider);
        let known = self.providers.get(&accused);
        if known.is_none_or(|known| known.banned.is_some()) {
            self.close_case(id, Some(CaseEnd::Moot), fx);
            return;
        }
        if case.jobs.is_empty() && (now >= case.opened.plus_ms(TIE_MS) || now >= case.due) {
            self.close_case(id, None, fx);
            return;
        }
        // Nothing is waited for without end: what is missing then counts for nobody.
        let over = now >= case.due.plus_ms(CASE_GRACE_MS);
        let uncounted = case.jobs.iter().filter(|(_, counted)| !**counted);
        let begun = uncounted.filter(|(job, _)| self.jobs.contains_key(job));
        let begun: Vec<_> = begun.map(|(job, _)| *job).collect();
        if !over && (!begun.is_empty() || case.asked.is_some()) {
            return;
        }
        for job in begun {
            self.count_job(id, job);
        }
        if !over && self.ask_for_case(id, fx) {
            return;
        }
        let Some(found) = self.findings(id) else {
            return;
        };
        let due = self
            .liquidations
            .open
            .get(&id)
            .is_some_and(|case| now >= case.due);
        match self.ruled(&found.votes) {
            Liquidation::Slash => self.take_stake(id, fx),
            Liquidation::Refund(reason) if due || reason == Reason::Acquitted => {
                self.close_case(id, Some(CaseEnd::Refunded(reason)), fx);
            }
            Liquidation::Refund(_) => {}
        }
    }

    /// Has the driver compare what must be known next. Whether there was anything.
    fn ask_for_case(&mut self, id: CaseId, fx: &mut Effects) -> bool {
        let Some(case) = self.liquidations.open.get_mut(&id) else {
            return false;
        };
        let Some(pair) = case.uncompared() else {
            return false;
        };
        let action = case.comparison(id, pair);
        case.asked = Some(pair);
        fx.actions.extend(action);
        true
    }

    fn findings(&self, id: CaseId) -> Option<Findings> {
        let case = self.liquidations.open.get(&id)?;
        let stake = self.ledger.balance(&Account::Stake(case.accused.provider));
        let stake = stake.available().unwrap_or_default();
        let testimony = case.testimony();
        Some(Findings {
            votes: votes(&testimony, stake, self.config.audit.confirmations),
            stake,
            testimony,
        })
    }

    /// The answer is wrong, and it is known: its provider loses its stake and everything that is not final.
    fn take_stake(&mut self, id: CaseId, fx: &mut Effects) {
        // One such decision ends all that a provider holds, which is as much as one step may do.
        if !fx.has_room() || fx.banned {
            fx.more = true;
            return;
        }
        let Some(case) = self.liquidations.open.get(&id) else {
            return;
        };
        let (provider, client) = (case.accused.provider, case.client);
        let evidence = evidence(&case.accused);
        let found = self.findings(id);
        let slashed = self.ban(provider, evidence, fx);
        let bounty = Amount(split(&self.config.audit, slashed.0, true).bounty);
        if !bounty.is_zero() {
            let slash = slash_id(provider, evidence);
            let post = Transfer::Post {
                id: TransferId::derive(&[b"bounty".as_slice(), slash.0.as_bytes()]),
                from: Account::Slashed,
                to: Account::Client(client),
                amount: bounty,
            };
            self.transfer(&[post], fx);
        }
        fx.spend();
        let end = CaseEnd::Slashed { slashed, bounty };
        self.decide(id, end, found, fx);
    }

    /// Ends a case in which nobody loses anything; one that came to nothing at all is forgotten.
    fn close_case(&mut self, id: CaseId, end: Option<CaseEnd>, fx: &mut Effects) {
        let found = self.findings(id);
        match end {
            Some(end) => self.decide(id, end, found, fx),
            None => {
                self.liquidations.open.remove(&id);
            }
        }
    }

    fn decide(&mut self, id: CaseId, end: CaseEnd, found: Option<Findings>, fx: &mut Effects) {
        let (Some(case), Some(found)) = (self.liquidations.open.remove(&id), found) else {
            return;
        };
        for job in case.jobs.keys() {
            self.liquidations.tied.remove(job);
        }
        self.owe_finders(id, &case, &found.testimony, end);
        let decided = Decided {
            client: case.client,
            job: case.accused.job,
            shard: case.accused.shard,
            assignment: case.accused.assignment,
            provider: case.accused.provider,
            kin: case.accused.kin,
            opened: case.opened,
            at: self.now,
            jobs: case.jobs.into_keys().collect(),
            stake: found.stake,
            votes: found.votes,
            testimony: found.testimony,
            end,
        };
        self.liquidations.decided.insert(id, decided);
        while self.liquidations.decided.len() > DECIDED_KEPT {
            let decided = self.liquidations.decided.iter();
            let oldest = decided.min_by_key(|(id, case)| (case.at, **id));
            let Some(oldest) = oldest.map(|(id, _)| *id) else {
                break;
            };
            self.liquidations.decided.remove(&oldest);
        }
        self.pay_finders(fx);
    }

    /// Who found what a referee bore out gets a little from what cheats lost: less than the fee on its pay, or an
    /// accuser that is its own voter could empty the pool.
    fn owe_finders(&mut self, id: CaseId, case: &Case, testimony: &[Testimony], end: CaseEnd) {
        let right = match end {
            CaseEnd::Slashed { .. } => [Says::Against, Says::Confirms],
            CaseEnd::Refunded(Reason::Acquitted) => [Says::Defends, Says::Acquits],
            CaseEnd::Refunded(_) | CaseEnd::Moot => return,
        };
        for one in testimony.iter().filter(|one| right.contains(&one.says)) {
            let voter = case.voters.get(&one.provider);
            let most = voter.map_or(Amount::ZERO, |voter| voter.bonus_max);
            if !most.is_zero() {
                self.liquidations.owed.insert((id, one.provider), most);
            }
        }
    }

    /// Pays what the pool owes to those who checked, as far as this step has room.
    fn pay_finders(&mut self, fx: &mut Effects) {
        while let Some((&(case, provider), &most)) = self.liquidations.owed.first_key_value() {
            if !fx.has_room() {
                return;
            }
            fx.spend();
            self.liquidations.owed.remove(&(case, provider));
            let pool = self.ledger.balance(&Account::Slashed).available();
            let share = self.config.audit.pool_share;
            let amount = Amount(share.of(pool.unwrap_or_default().0)).min(most);
            if amount.is_zero() {
                continue;
            }
            let post = Transfer::Post {
                id: pool_id(case, provider),
                from: Account::Slashed,
                to: Account::Provider(provider),
                amount,
            };
            self.transfer(&[post], fx);
        }
    }
}

/// What a taken stake is taken for.
const fn evidence(accused: &Accused) -> Evidence {
    Evidence::Liquidated {
        assignment: accused.assignment,
        root: accused.outcome.root,
    }
}

/// The transfer by which the pool pays somebody for what it found in a case.
pub(in crate::core) fn pool_id(case: CaseId, provider: ProviderId) -> TransferId {
    TransferId::derive(&[b"pool-case".as_slice(), case.0.as_bytes(), &provider.0])
}
