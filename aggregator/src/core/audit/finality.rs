//! When an answer is final and paid, and how one is taken back.

use jobs::ids::{JobId, ProviderId};
use jobs::money::Amount;
use jobs::outcome::Meters;
use jobs::verdict::FUEL_FACTOR_MAX;
use ledger::{Account, Transfer, TransferId};
use policy::Ppb;
use policy::audit::Rates;
use policy::credibility::fast_path;

use super::checks::is_audited_in;
use super::{LAST_DRAW, Lot, count, paid_in};
use crate::core::action::{FailReason, JobOutcome};
use crate::core::event::Finding;
use crate::core::recover::merge;
use crate::core::reputation::Deed;
use crate::core::settlement::{earned, settle_share};
use crate::core::state::{Audit, Cause, Phase, Place, ReplicaState, Shard};
use crate::core::{Core, Effects};

impl Core {
    /// Counts what checks found, and makes the answer final if nothing is in the way.
    pub(super) fn conclude(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        if !self.shard(id, index).is_some_and(is_provisional) {
            return;
        }
        let Some((_, provider)) = self.subject(id, index) else {
            return;
        };
        let Some(audit) = self.audit_mut(id, index) else {
            return;
        };
        if audit.accused {
            self.rule(id, index, fx);
            return;
        }
        let found = audit.checks.iter();
        let agreed = count(found.filter(|c| c.finding == Some(Finding::Agree)).count());
        let newly = agreed.saturating_sub(audit.passed);
        audit.passed = agreed;
        let (first, open, hurried) = (audit.first, audit.is_open(), audit.hurried);
        let params = self.config.audit;
        let Some(known) = self.providers.get_mut(&provider) else {
            return;
        };
        if newly > 0 {
            known.answers.passed_many(&params, u64::from(newly));
        }
        if open {
            return;
        }
        known.answers.close(first);
        if hurried || self.is_beyond_doubt(id, index) {
            self.make_final(id, index, fx);
        }
        self.finalise(provider, fx);
    }

    /// Whether enough who have nothing to do with one another gave the same answer.
    fn is_beyond_doubt(&self, id: JobId, index: u32) -> bool {
        let Some((shard, audit)) = self
            .shard(id, index)
            .and_then(|shard| Some((shard, shard.audit.as_ref()?)))
        else {
            return false;
        };
        let whole = audit.checks.iter().filter(|check| check.is_whole());
        let agreeing = whole.filter(|check| check.finding == Some(Finding::Agree));
        let replicas = agreeing.filter_map(|check| check.replica);
        let passed = [audit.subject].into_iter().chain(replicas).map(|at| {
            let provider = shard.replicas.get(at as usize).map(|r| r.provider);
            let known = provider.and_then(|id| self.providers.get(&id));
            known.map_or(0, |known| known.answers.passed())
        });
        fast_path(&self.config.audit, &passed.collect::<Vec<_>>())
    }

    /// Makes final what its provider has answered enough after.
    pub(in crate::core) fn finalise(&mut self, provider: ProviderId, fx: &mut Effects) {
        loop {
            let Some(known) = self.providers.get(&provider) else {
                return;
            };
            let until = known.answers.finalised();
            let Some((&first, &(id, index))) = known.provisional.first_key_value() else {
                return;
            };
            let audit = self.shard(id, index).and_then(|s| s.audit.as_ref());
            let ready = audit.is_some_and(|audit| {
                let end = first.saturating_add(u64::from(audit.units));
                end <= until && !audit.is_open() && !audit.accused
            });
            if !ready || !fx.has_room() || !self.make_final(id, index, fx) {
                return;
            }
        }
    }

    /// Pays for an answer that nobody refuted. Whether it could be.
    pub(super) fn make_final(&mut self, id: JobId, index: u32, fx: &mut Effects) -> bool {
        let Some((audit, provider)) = self
            .shard(id, index)
            .and_then(|shard| shard.audit.as_ref())
            .zip(self.subject(id, index))
        else {
            return false;
        };
        let (first, place) = (
            audit.first,
            Place {
                job: id,
                shard: index,
                replica: audit.subject,
            },
        );
        let held = self.replica(place).map(|replica| &replica.state);
        if self.is_convicted(&provider.1) {
            return false;
        }
        if held != Some(&ReplicaState::Provisional) || !self.pay(place, true, fx) {
            return false;
        }
        if let Some(known) = self.providers.get_mut(&provider.1) {
            known.provisional.remove(&first);
            known.answers.close(first);
        }
        self.record_deed(provider.1, Deed::Agreed, fx);
        self.merge_if_complete(id, fx);
        true
    }

    /// Has the result merged as soon as every shard is accepted; once more, with what was paid, when all of it is
    /// final.
    pub(super) fn merge_if_complete(&mut self, id: JobId, fx: &mut Effects) {
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let complete = match job.phase {
            Phase::Running => job.shards.iter().all(|shard| shard.accepted.is_some()),
            // Where the last of it becomes final while the driver merges, what it has seen is out of date.
            Phase::Provisional { .. } => !job.shards.iter().any(is_provisional),
            Phase::Merging if job.spec.audit.is_some() => !job.shards.iter().any(is_provisional),
            _ => false,
        };
        if complete {
            job.phase = Phase::Merging;
            job.merges = job.merges.saturating_add(1);
            fx.actions.push(merge(job));
        }
    }

    /// Whether a job has answers that are not final.
    pub(in crate::core) fn has_provisional(&self, id: JobId) -> bool {
        let job = self.jobs.get(&id);
        job.is_some_and(|job| job.shards.iter().any(is_provisional))
    }

    /// The operator's time is up for some jobs: a last sample is drawn, and what it does not fall on is final.
    pub(in crate::core) fn hurry_jobs(&mut self, fx: &mut Effects) {
        let (now, finality_ms) = (self.now, self.config.finality_ms);
        let open = self.open.values().filter_map(|id| self.jobs.get(id));
        let late = open.filter(|job| match job.phase {
            Phase::Provisional { since, .. } => now >= since.plus_ms(finality_ms),
            _ => false,
        });
        let calm = |audit: &&Audit| !audit.hurried;
        let shards = late.flat_map(|job| {
            let numbered = job.shards.iter().zip(0..);
            let slow = numbered.filter(move |(shard, _)| {
                is_provisional(shard) && shard.audit.as_deref().filter(calm).is_some()
            });
            slow.map(|(_, index)| (job.id, index))
        });
        for (id, index) in shards.collect::<Vec<_>>() {
            if !fx.has_room() {
                return;
            }
            self.hurry(id, index, fx);
        }
        self.continue_finalising(fx);
    }

    /// Goes on where a step had no room to pay for all that became final.
    fn continue_finalising(&mut self, fx: &mut Effects) {
        let waiting = self.providers.iter().filter(|(_, known)| {
            let first = known.provisional.first_key_value();
            first.is_some_and(|(first, _)| *first < known.answers.finalised())
        });
        for provider in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.finalise(provider, fx);
        }
    }

    /// Everything of a provider that wants its stake back is looked at once more, so that it can go.
    pub(in crate::core) fn hurry_provider(&mut self, provider: ProviderId, fx: &mut Effects) {
        let known = self.providers.get(&provider);
        let held = known.map(|known| known.provisional.values().copied());
        for (id, index) in held.into_iter().flatten().collect::<Vec<_>>() {
            if !fx.has_room() {
                return;
            }
            self.hurry(id, index, fx);
        }
    }

    fn hurry(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        let (beacon, subject) = (self.beacon(id), self.subject(id, index));
        let looked = self.is_looked_through(id, index);
        let rates = Rates {
            peer: self.config.audit.leave,
            trusted: Ppb::ZERO,
        };
        let Some(audit) = self.audit_mut(id, index) else {
            return;
        };
        if std::mem::replace(&mut audit.hurried, true) {
            return;
        }
        if let Some((beacon, subject)) = beacon.zip(subject).filter(|_| !looked) {
            let lot = Lot {
                beacon,
                assignment: subject.0,
                offset: LAST_DRAW,
                units: audit.units,
                rates,
            };
            self.add_drawn(id, index, &lot, fx);
        }
        self.progress(id, index, fx);
    }

    /// Whether all of an answer was executed again and found right, and nobody is left who could do so once more: a last
    /// look would wait for somebody who does not come.
    fn is_looked_through(&self, id: JobId, index: u32) -> bool {
        let (Some(job), Some(shard)) = (self.jobs.get(&id), self.shard(id, index)) else {
            return false;
        };
        let checks = shard.audit.iter().flat_map(|audit| &audit.checks);
        let mut whole = checks.filter(|check| check.is_whole());
        let found = whole.any(|check| check.finding == Some(Finding::Agree));
        found && !self.has_peer(job, shard) && !self.has_referee(job, shard)
    }

    /// Pays a replica what it earned, or gives its reservation back, and takes the fee on it.
    pub(super) fn pay(&mut self, place: Place, agreed: bool, fx: &mut Effects) -> bool {
        let (Some(job), Some(replica)) = (self.jobs.get(&place.job), self.replica(place)) else {
            return false;
        };
        let Some(shard) = self.shard(place.job, place.shard) else {
            return false;
        };
        let meters = metered(shard, place.replica);
        let amount = match meters.filter(|_| agreed) {
            Some(meters) => earned(&job.spec.limits, replica, &meters).min(job.quote.share),
            None => Amount::ZERO,
        };
        let (assignment, provider) = (replica.assignment, replica.provider);
        let before = paid_in(shard);
        let after = before.checked_add(amount).unwrap_or(before);
        let fee = self.fee_on(place.job, after);
        let fee = fee.saturating_sub(self.fee_on(place.job, before));
        let mut transfers = vec![settle_share(assignment, replica.reservation, amount)];
        if !fee.is_zero() {
            transfers.push(Transfer::Post {
                id: TransferId::derive(&[b"fee".as_slice(), assignment.0.as_bytes()]),
                from: Account::Escrow(place.job),
                to: Account::Fee,
                amount: fee,
            });
        }
        if !self.transfer(&transfers, fx) {
            self.end_job(place.job, JobOutcome::Failed(FailReason::Ledger), fx);
            return false;
        }
        if let Some(replica) = self.replica_mut(place) {
            let paid = amount;
            replica.state = ReplicaState::Settled { agreed, paid };
        }
        fx.spend();
        self.let_go(provider, assignment, false);
        if let Some(job) = self.jobs.get_mut(&place.job) {
            job.fee = job.fee.checked_add(fee).unwrap_or(job.fee);
            if !amount.is_zero() {
                let sum = job.paid.entry(provider).or_default();
                *sum = sum.checked_add(amount).unwrap_or(*sum);
            }
        }
        let shard = self.shard_mut(place.job, place.shard);
        if let Some(accepted) = shard.and_then(|shard| shard.accepted.as_mut()) {
            accepted.fee = accepted.fee.checked_add(fee).unwrap_or(accepted.fee);
        }
        true
    }

    /// A job ends with an answer that is not final: it is paid unless somebody says that it is wrong, or is about to
    /// find out.
    pub(in crate::core) fn end_provisional(&mut self, place: Place, fx: &mut Effects) {
        let shard = self.shard(place.job, place.shard);
        let audit = shard.and_then(|shard| shard.audit.as_ref());
        let doubted = audit.is_none_or(|audit| {
            let open = audit.checks.iter().any(|check| check.finding.is_none());
            audit.accused || open
        });
        if doubted || !self.make_final(place.job, place.shard, fx) {
            self.close(place, Cause::JobEnded, fx);
        }
    }

    /// Ends the checks of answers that are gone, where the step that took them back had no room for it.
    pub(in crate::core) fn dismiss_moot(&mut self, fx: &mut Effects) {
        let live = self.providers.values().flat_map(|known| &known.live);
        let places = live.filter_map(|assignment| self.places.get(assignment));
        let moot = places.filter(|place| {
            let job = self.jobs.get(&place.job);
            let shard = self.shard(place.job, place.shard);
            let audit = shard.and_then(|shard| shard.audit.as_ref());
            let checks = audit.and_then(|audit| audit.check_of(place.replica));
            let is_check = self.replica(**place).is_some_and(|replica| replica.check);
            is_check && checks.is_none() && job.is_some_and(|job| !job.is_closing())
        });
        for place in moot.copied().collect::<Vec<_>>() {
            if !fx.has_room() {
                return;
            }
            self.close(place, Cause::Moot, fx);
        }
    }

    /// An answer that was accepted is taken back: its shard is open again, and who was to check it may stop.
    pub(in crate::core) fn withdraw(
        &mut self,
        place: Place,
        provider: ProviderId,
        fx: &mut Effects,
    ) {
        let Place { job: id, shard, .. } = place;
        let Some(held) = self.shard_mut(id, shard) else {
            return;
        };
        held.accepted = None;
        let Some(audit) = held.audit.take() else {
            return;
        };
        let live = held
            .replicas
            .iter()
            .zip(0..)
            .filter(|(r, _)| r.check && r.is_live());
        let moot: Vec<u32> = live.map(|(_, replica)| replica).collect();
        if let Some(known) = self.providers.get_mut(&provider) {
            known.provisional.remove(&audit.first);
            known.answers.close(audit.first);
        }
        // A ban takes many answers back at once: what a step has no room for is found by the next.
        for replica in moot {
            if fx.has_room() {
                self.close(Place { replica, ..place }, Cause::Moot, fx);
            }
        }
        if let Some(job) = self.jobs.get_mut(&id)
            && is_audited_in(&job.phase)
        {
            job.phase = Phase::Running;
        }
        fx.touched.insert((id, shard));
    }
}

/// What a replica metered. Nobody repeats a sample, so its fuel counts up to that of the whole answer.
fn metered(shard: &Shard, position: u32) -> Option<Meters> {
    let of = |at: u32| {
        let replica = shard.replicas.get(at as usize)?;
        Some((replica.class, replica.opening.as_ref()?.outcome.meters))
    };
    let (class, mut meters) = of(position)?;
    let audit = shard.audit.as_ref();
    let whole = audit.filter(|_| !shard.sample_of(position).is_empty());
    if let Some((of_class, whole)) = whole.and_then(|audit| of(audit.subject)) {
        let factor = match of_class == class {
            true => 1,
            false => FUEL_FACTOR_MAX,
        };
        meters.fuel = meters.fuel.min(whole.fuel.saturating_mul(factor));
    }
    Some(meters)
}

/// Whether a shard's answer is accepted and not final.
pub(in crate::core) fn is_provisional(shard: &Shard) -> bool {
    let subject = shard.audit.as_ref().map(|audit| audit.subject);
    let subject = subject.and_then(|at| shard.replicas.get(at as usize));
    subject.is_some_and(|replica| replica.state == ReplicaState::Provisional)
}
