//! Answers that count at once and are checked afterwards.
//!
//! One replica executes a shard. When it has revealed, its answer is accepted, its pay held back, and a beacon that
//! nobody knew when it committed decides what of it is executed again ([`Core::draw_checks`]). A check that finds
//! something else accuses; only executions of the whole shard convict ([`ruling`]). What nobody refuted is final,
//! and paid, when its provider has answered enough more, when enough who have nothing to do with one another agree,
//! or when the operator's time is up and a last sample found nothing ([`finality`]).

mod bans;
mod bench;
mod challenge;
mod checks;
mod finality;
mod ruling;
mod sabotage;
mod tally;
mod vouchers;

pub(super) use bans::Due;
pub(super) use checks::is_audited_in;
pub(super) use tally::AuditStanding;
pub use tally::AuditTally;

use jobs::digest::{BlobRef, Digest};
use jobs::ids::{JobId, ProviderId};
use jobs::money::Amount;
use jobs::policy::Unit;
use ledger::Account;
use policy::audit::{Audit as How, Rates, Risk, audited};
use policy::beacon::Beacon;

use super::action::{Action, FailReason, JobOutcome};
use super::event::JobSpec;
use super::state::{Accepted, Audit, By, Cause, Check, Job, Place, ReplicaState, Shard};
use super::{Core, Effects};

/// Added to a unit's number where a second draw is made for it: the one before an answer becomes final early.
const LAST_DRAW: u64 = 1 << 40;

/// A draw over the units of one answer.
struct Lot {
    beacon: Beacon,
    assignment: Digest,
    /// Added to each unit's number.
    offset: u64,
    units: u32,
    rates: Rates,
}

impl Lot {
    fn falls_on(&self, unit: u32) -> Option<How> {
        let number = self.offset.saturating_add(u64::from(unit));
        audited(&self.beacon, self.assignment.as_bytes(), number, self.rates)
    }
}

impl Core {
    /// Accepts the answer of the one replica of an audited shard, for the time being.
    pub(super) fn accept_provisionally(
        &mut self,
        id: JobId,
        index: u32,
        subject: u32,
        fx: &mut Effects,
    ) {
        let place = Place {
            job: id,
            shard: index,
            replica: subject,
        };
        let unit = self.jobs.get(&id).and_then(|job| job.spec.audit);
        let (Some(unit), Some(shard)) = (unit, self.shard(id, index)) else {
            return;
        };
        let units = match unit {
            Unit::Item => shard.items,
            Unit::Shard => 1,
        };
        let Some(replica) = shard.replicas.get(subject as usize) else {
            return;
        };
        let Some(opening) = &replica.opening else {
            return;
        };
        let (outputs, root) = (opening.outcome.outputs, opening.outcome.root);
        let accepted = Accepted {
            agreeing: vec![subject],
            canonical: subject,
            outputs,
            root,
            // What checks of earlier answers cost.
            fee: self.fee_on(id, paid_in(shard)),
        };
        let (provider, params) = (replica.provider, self.config.audit);
        let Some(known) = self.providers.get_mut(&provider) else {
            return;
        };
        let first = known.answers.produced();
        if known.answers.produce(&params, u64::from(units)).is_err() {
            self.close(place, Cause::Banned, fx);
            return;
        }
        known.provisional.insert(first, (id, index));
        let Some(shard) = self.shard_mut(id, index) else {
            return;
        };
        shard.accepted = Some(accepted);
        shard.audit = Some(Box::new(Audit {
            subject,
            first,
            units,
            drawn: false,
            hurried: false,
            accused: false,
            passed: 0,
            checks: Vec::new(),
        }));
        if let Some(replica) = self.replica_mut(place) {
            replica.state = ReplicaState::Provisional;
        }
        fx.fill = true;
        fx.touched.insert((id, index));
        if self.pays_at_once() {
            self.make_final(id, index, fx);
        }
        self.finalise(provider, fx);
        self.merge_if_complete(id, fx);
    }

    /// Decides what of an answer is executed again.
    fn draw_checks(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        let Some(beacon) = self.beacon(id) else {
            return;
        };
        let Some((assignment, provider)) = self.subject(id, index) else {
            return;
        };
        let params = self.config.audit;
        let answers = self.providers.get(&provider).map(|known| &known.answers);
        let Some(rates) = answers.map(|answers| answers.rates(&params, Risk::ORDINARY)) else {
            return;
        };
        let Some(audit) = self.audit_mut(id, index) else {
            return;
        };
        if std::mem::replace(&mut audit.drawn, true) {
            return;
        }
        let lot = Lot {
            beacon,
            assignment,
            offset: 0,
            units: audit.units,
            rates,
        };
        if !self.add_drawn(id, index, &lot, fx) {
            self.give_up(id, index, fx);
        }
    }

    /// Adds the checks that a draw asks for. Whether the job can pay for them.
    fn add_drawn(&mut self, id: JobId, index: u32, lot: &Lot, fx: &mut Effects) -> bool {
        if self.skips_draws() {
            return true;
        }
        let drawn = |unit: &u32| lot.falls_on(*unit);
        if (0..lot.units).any(|unit| drawn(&unit) == Some(How::Trusted)) {
            return self.add_check(id, index, By::Referee, Vec::new(), fx);
        }
        let units = 0..lot.units;
        let mut items: Vec<u32> = units.filter(|unit| drawn(unit).is_some()).collect();
        if items.is_empty() {
            return true;
        }
        let total = self.shard(id, index).map_or(0, |shard| shard.items);
        // Most of a shard is not worth being cut out of it, and the whole shows wrong meters too.
        if lot.units == 1 || items.len().saturating_mul(2) > total as usize {
            items.clear();
        }
        self.add_check(id, index, By::Peer, items, fx)
    }

    /// Nothing is left of the escrow, or of what the client allows, to find out who is right.
    pub(super) fn give_up(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        let shard = self.shard(id, index);
        let replicas = shard.map_or(0, |shard| {
            let revealed = shard.replicas.iter().filter(|r| r.opening.is_some());
            count(revealed.count())
        });
        let reason = FailReason::NoQuorum {
            shard: index,
            replicas,
        };
        self.end_job(id, JobOutcome::Failed(reason), fx);
    }

    /// Has an answer checked once more, if the job can pay for that.
    fn add_check(
        &mut self,
        id: JobId,
        index: u32,
        by: By,
        items: Vec<u32>,
        fx: &mut Effects,
    ) -> bool {
        let (Some(job), Some(shard)) = (self.jobs.get(&id), self.shard(id, index)) else {
            return false;
        };
        let checks = shard.audit.as_ref().map_or(0, |audit| audit.checks.len());
        let executions = checks.saturating_add(1);
        let capped = executions >= usize::from(job.spec.max_replicas);
        if capped || !is_audited_in(&job.phase) || !self.affords_one_more(job) {
            return false;
        }
        let by = match by {
            By::Referee if self.has_referee(job, shard) => By::Referee,
            _ => By::Peer,
        };
        // A part of a shard takes other inferences than the whole, so what they note could not be compared.
        let items = if job.spec.openings { Vec::new() } else { items };
        let whole = shard.input;
        let Some((audit, provider)) = shard.audit.as_ref().zip(self.subject(id, index)) else {
            return false;
        };
        let (first, check) = (audit.first, audit.name_of(count(audit.checks.len())));
        if let Some(known) = self.providers.get_mut(&provider.1) {
            // Without room for one more open audit the answer itself remembers that it has one.
            let _ = known.answers.audit(first);
        }
        if let (false, Some(input)) = (items.is_empty(), whole) {
            fx.push(Action::Sample {
                job: id,
                shard: index,
                check,
                input,
                items: items.clone(),
            });
        }
        if let Some(audit) = self.audit_mut(id, index) {
            audit.checks.push(Check {
                by,
                input: whole.filter(|_| items.is_empty()),
                items,
                replica: None,
                finding: None,
            });
        }
        fx.touched.insert((id, index));
        true
    }

    /// The driver cut a sample out.
    pub(super) fn sampled(
        &mut self,
        id: JobId,
        index: u32,
        check: u32,
        input: BlobRef,
        fx: &mut Effects,
    ) {
        let audit = self.audit_mut(id, index);
        let Some(check) = audit.and_then(|audit| audit.named_mut(check)) else {
            return;
        };
        if !check.is_whole() && check.input.is_none() {
            check.input = Some(input);
            fx.touched.insert((id, index));
        }
    }

    /// Whose answer is audited: the assignment and the provider.
    fn subject(&self, id: JobId, index: u32) -> Option<(Digest, ProviderId)> {
        let shard = self.shard(id, index)?;
        let subject = shard.audit.as_ref()?.subject;
        let replica = shard.replicas.get(subject as usize)?;
        Some((replica.assignment.0, replica.provider))
    }

    fn audit_mut(&mut self, id: JobId, index: u32) -> Option<&mut Audit> {
        self.shard_mut(id, index)?.audit.as_deref_mut()
    }

    /// Whether a job's escrow covers one more execution, beside those that are reserved for and those that somebody
    /// is still needed for.
    pub(super) fn affords_one_more(&self, job: &Job) -> bool {
        let executions = job.shards.iter().map(Shard::unassigned).sum::<usize>();
        let executions = executions.saturating_add(1) as u128;
        let balance = self.ledger.balance(&Account::Escrow(job.id));
        let share = job.quote.share.0;
        let needed = share.saturating_mul(executions);
        let payable = Amount(balance.debits_pending.0.saturating_add(needed));
        // The fee on a shard is rounded up.
        let fees = self.fee_on(job.id, payable).0;
        let fees = fees.saturating_add(job.shards.len() as u128);
        let available = balance.available().unwrap_or_default();
        available.0 >= needed.saturating_add(fees)
    }

    /// Whether a referee could check the answer of a shard.
    pub(super) fn has_referee(&self, job: &Job, shard: &Shard) -> bool {
        let mut referees = self.config.referees.iter();
        referees.any(|id| self.could_check(job, shard, By::Referee, *id))
    }

    /// Whether anybody else could, who has not let this shard lie before: one that stalls must not hold up what others
    /// answered.
    pub(super) fn has_peer(&self, job: &Job, shard: &Shard) -> bool {
        let mut providers = self.providers.keys();
        providers.any(|id| {
            let fresh = super::dispatch::tries(shard, *id) == Some(0);
            fresh && self.could_check(job, shard, By::Peer, *id)
        })
    }

    /// Whether a provider is kept for checking the answers of others: who is to decide about an accused answer must
    /// not have answered itself.
    pub(super) fn only_judges(&self, spec: &JobSpec, id: ProviderId) -> bool {
        spec.audit.is_some() && self.config.referees.contains(&id)
    }

    pub(super) fn fee_on(&self, id: JobId, paid: Amount) -> Amount {
        let bps = self.jobs.get(&id).map(|job| job.quote.fee_bps);
        let rate = bps.and_then(|bps| ledger::FeeBps::new(bps).ok());
        rate.unwrap_or(self.config.fee).fee(paid)
    }
}

/// What all replicas of a shard were paid so far.
pub(super) fn paid_in(shard: &Shard) -> Amount {
    let paid = shard
        .replicas
        .iter()
        .filter_map(|replica| match replica.state {
            ReplicaState::Settled { paid, .. } => Some(paid),
            _ => None,
        });
    paid.fold(Amount::ZERO, |sum, paid| {
        sum.checked_add(paid).unwrap_or(sum)
    })
}

/// A number of things of which there are far fewer than 2^32.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
