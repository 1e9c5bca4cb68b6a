//! Checks on their way: somebody is found for each, it reveals, and its answer is compared.

use jobs::ids::{JobId, ProviderId};
use jobs::money::Amount;
use ledger::{Account, Transfer, TransferId};
use policy::auditors::{Candidate, Class, auditors};

use super::count;
use crate::core::action::{FailReason, JobOutcome};
use crate::core::config::REFUSALS_PER_JOB_MAX;
use crate::core::diversity::held_in_audit;
use crate::core::event::{Comparison, Finding};
use crate::core::judge::{same_meters, same_root};
use crate::core::reputation::Deed;
use crate::core::state::{By, Cause, Job, Phase, Place, ReplicaState, Shard};
use crate::core::{Core, Effects};

impl Core {
    /// Moves the audit of an accepted answer as far as it can go.
    pub(in crate::core) fn progress_audit(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        self.draw_checks(id, index, fx);
        self.widen_failed_samples(id, index);
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let Some(shard) = job.shards.get(index as usize) else {
            return;
        };
        let (key, attempts) = ((job.order, index), count(shard.replicas.len()));
        if shard.wanting_checks().next().is_some() {
            let waiting = shard.replicas.iter().any(|replica| replica.is_busy());
            if attempts >= self.config.attempts_per_shard_max && !waiting {
                let shard = index;
                let reason = FailReason::AttemptsExhausted { shard, attempts };
                self.end_job(id, JobOutcome::Failed(reason), fx);
                return;
            }
            self.wanting.insert(key);
            fx.fill = true;
        } else {
            self.wanting.remove(&key);
        }
        self.ask_for_reveals(id, index, fx);
        self.compare_checks(id, index, fx);
        self.conclude(id, index, fx);
    }

    /// A guest that executes a whole shard and not a part of it keeps nobody from checking: the next one executes the
    /// whole.
    fn widen_failed_samples(&mut self, id: JobId, index: u32) {
        let Some(shard) = self.shard_mut(id, index) else {
            return;
        };
        let (whole, replicas) = (shard.input, &shard.replicas);
        for check in shard.audit.iter_mut().flat_map(|audit| &mut audit.checks) {
            let replica = check.replica.and_then(|at| replicas.get(at as usize));
            let failed = replica.is_some_and(|replica| match &replica.state {
                ReplicaState::Closed(Cause::Failed(failure)) => failure.may_be_the_jobs(),
                _ => false,
            });
            if failed && check.finding.is_none() && !check.is_whole() {
                check.items.clear();
                check.input = whole;
            }
        }
    }

    /// Looks at every check that has been revealed.
    fn compare_checks(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        let Some(shard) = self.shard(id, index) else {
            return;
        };
        let Some(audit) = &shard.audit else {
            return;
        };
        let opens = self.jobs.get(&id).is_some_and(|job| self.opens(job));
        let comparison = self.jobs.get(&id).map(|job| job.spec.comparison);
        let exact = comparison == Some(Comparison::Exact);
        let (mut found, mut unknown) = (Vec::new(), Vec::new());
        for (check, number) in audit.checks.iter().zip(0..) {
            let revealed = check.replica.filter(|at| {
                let replica = shard.replicas.get(*at as usize);
                replica.is_some_and(|replica| replica.state == ReplicaState::Revealed)
            });
            let Some(at) = revealed.filter(|_| check.finding.is_none()) else {
                continue;
            };
            let meters = same_meters(shard, audit.subject, at);
            match (check.is_whole(), same_root(shard, audit.subject, at)) {
                (true, true) if meters && !opens => found.push((number, Finding::Agree)),
                // Fuel is deterministic: who claims another amount answers wrongly.
                (true, _) if !meters => found.push((number, Finding::Differ)),
                (true, false) if exact => found.push((number, Finding::Differ)),
                _ => unknown.push((audit.subject, at)),
            }
        }
        for (number, finding) in found {
            self.found(id, index, number, finding, fx);
        }
        self.ask_to_compare(id, index, &unknown, fx);
    }

    /// The driver compared a check with the answer that it checks, or with another check.
    pub(in crate::core) fn check_compared(
        &mut self,
        id: JobId,
        index: u32,
        pair: (u32, u32),
        finding: Finding,
        fx: &mut Effects,
    ) {
        let audit = self.shard(id, index).and_then(|s| s.audit.as_ref());
        let check = audit.filter(|audit| !audit.is_adopted()).and_then(|audit| {
            let other = match audit.subject {
                subject if subject == pair.0 => pair.1,
                subject if subject == pair.1 => pair.0,
                _ => return None,
            };
            audit.checks.iter().position(|c| c.replica == Some(other))
        });
        match check {
            Some(number) => self.found(id, index, count(number), finding, fx),
            None => self.voucher_compared(id, index, pair, finding, fx),
        }
    }

    /// A check has a result.
    fn found(&mut self, id: JobId, index: u32, number: u32, finding: Finding, fx: &mut Effects) {
        let Some(audit) = self.audit_mut(id, index) else {
            return;
        };
        let Some(check) = audit.checks.get_mut(number as usize) else {
            return;
        };
        if check.finding.is_some() {
            return;
        }
        check.finding = Some(finding);
        let at = check.replica;
        if finding != Finding::Agree {
            audit.accused = true;
        } else if let Some(replica) = at {
            let place = Place {
                job: id,
                shard: index,
                replica,
            };
            self.reward_check(place, fx);
        }
        fx.touched.insert((id, index));
    }

    /// Pays for a check that was right, and a little more from what cheats lost: less than the fee on it, or a client
    /// that is its own provider could empty the pool.
    pub(super) fn reward_check(&mut self, place: Place, fx: &mut Effects) {
        let Some(replica) = self.replica(place) else {
            return;
        };
        let (assignment, provider) = (replica.assignment, replica.provider);
        if !self.pay(place, true, fx) {
            return;
        }
        self.record_deed(provider, Deed::Agreed, fx);
        let pool = self.ledger.balance(&Account::Slashed).available();
        let share = self.config.audit.pool_share;
        let paid = match self.replica(place).map(|replica| &replica.state) {
            Some(ReplicaState::Settled { paid, .. }) => *paid,
            _ => Amount::ZERO,
        };
        let bonus = share.of(pool.unwrap_or_default().0);
        let bonus = bonus.min(self.fee_on(place.job, paid).0);
        if bonus > 0 {
            let id = TransferId::derive(&[b"pool".as_slice(), assignment.0.as_bytes()]);
            let post = Transfer::Post {
                id,
                from: Account::Slashed,
                to: Account::Provider(provider),
                amount: Amount(bonus),
            };
            self.transfer(&[post], fx);
        }
    }

    /// Draws who does the next check of a shard's answer, among those who are free: by the beacon, in proportion to
    /// stake.
    pub(in crate::core) fn choose_auditor(
        &self,
        job: &Job,
        shard: &Shard,
        able: &[ProviderId],
    ) -> Option<ProviderId> {
        let (number, check) = shard.wanting_checks().next()?;
        let audit = shard.audit.as_ref()?;
        let subject = shard.replicas.get(audit.subject as usize)?;
        let beacon = job.draw.beacon?;
        // Where nobody of the one kind could, the other is better than nobody.
        let by = match check.by {
            By::Peer if !self.has_peer(job, shard) && self.has_referee(job, shard) => By::Referee,
            By::Referee if !self.has_referee(job, shard) => By::Peer,
            by => by,
        };
        let may = |id: &&ProviderId| self.could_check(job, shard, by, **id);
        let able = able.iter().filter(may).copied();
        let tried = able.filter_map(|id| Some((id, crate::core::dispatch::tries(shard, id)?)));
        let tried: Vec<(ProviderId, usize)> = tried.collect();
        // Who stalled once is asked again only when nobody else is left.
        let fewest = tried.iter().map(|(_, tries)| *tries).min()?;
        let able = tried.iter().filter(|(_, tries)| *tries == fewest);
        let able: Vec<ProviderId> = able.map(|(id, _)| *id).collect();
        if self.audits_itself() {
            return able.first().copied();
        }
        let known = |id: &ProviderId| {
            let mut candidate = self.audit_candidate(*id)?;
            // Where no stake is asked for, everybody has the same chance.
            candidate.stake = candidate.stake.max(1);
            Some(candidate)
        };
        let candidates: Vec<Candidate> = able.iter().filter_map(known).collect();
        let subject_known = known(&subject.provider)?;
        let assignment = subject.assignment.0;
        let drawn = auditors(
            &beacon,
            assignment.as_bytes(),
            u64::from(number),
            &subject_known,
            &candidates,
            Class::Any,
            1,
        );
        let at = drawn.ok()?.first().copied()?;
        able.get(at).copied()
    }

    /// Whether `id` could check the answer of a shard, busy or not.
    pub(super) fn could_check(&self, job: &Job, shard: &Shard, by: By, id: ProviderId) -> bool {
        let subject = shard.audit.as_ref().map(|audit| audit.subject);
        let subject = subject.and_then(|at| shard.replicas.get(at as usize));
        let (Some(subject), Some(known)) = (subject, self.providers.get(&id)) else {
            return false;
        };
        let named = (by == By::Referee) == self.config.referees.contains(&id);
        let class = !job.spec.needs_one_class() || known.class == subject.class;
        let refusals = job.refusals.get(&id).copied().unwrap_or(0);
        let kin = self.kin(known);
        // Referees are the operator's own, all of them.
        let apart = match by {
            _ if self.audits_itself() => true,
            By::Peer => self.may_join(kin, &held_in_audit(shard)),
            By::Referee => kin.is_apart(&subject.kin),
        };
        named
            && class
            && apart
            && id != subject.provider
            && refusals < REFUSALS_PER_JOB_MAX
            && self.is_trusted(known)
            && self.suits(known, job)
            && crate::core::dispatch::tries(shard, id).is_some()
    }
}

/// Whether anything of a job may still be checked.
pub(in crate::core) const fn is_audited_in(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::Running | Phase::Merging | Phase::Provisional { .. }
    )
}
