//! The life of a replica: offered → running → committed → revealing → revealed, and every way out.

use std::collections::BTreeMap;

use jobs::commitment::{Commitment, Opening};
use jobs::ids::{AssignmentId, ProviderId};
use jobs::money::Amount;
use ledger::{Account, Transfer, TransferId};

use super::action::{Action, Evidence, FailReason};
use super::config::{COOLDOWN_DOUBLINGS_MAX, UNCLEAR_FAILURES_MIN};
use super::event::{Code, Failure};
use super::reputation::Deed;
use super::state::{Cause, Place, Replica, ReplicaState, Shard};
use super::{Core, Effects};

impl Core {
    /// A replica whose provider is known, by assignment.
    fn find(&self, assignment: AssignmentId) -> Option<(Place, &Replica)> {
        let place = *self.places.get(&assignment)?;
        Some((place, self.replica(place)?))
    }

    pub(super) fn accepted(&mut self, assignment: AssignmentId, fx: &mut Effects) {
        let Some((place, replica)) = self.find(assignment) else {
            return;
        };
        let provider = replica.provider;
        if !matches!(replica.state, ReplicaState::Offered { .. }) {
            if matches!(replica.state, ReplicaState::Closed(_)) {
                // It took what is no longer wanted, perhaps because our word to stop was lost.
                fx.push(Action::CancelAssignment {
                    assignment,
                    provider,
                });
            }
            return;
        }
        if let Some(known) = self.providers.get_mut(&provider) {
            known.refusals = 0;
        }
        let due_ms = self.jobs.get(&place.job).map(|job| self.due_ms(job));
        let (now, due) = (self.now, self.now.plus_ms(due_ms.unwrap_or(0)));
        self.set_state(place, ReplicaState::Running { due });
        if let Some(replica) = self.replica_mut(place) {
            replica.times.accepted = Some(now);
        }
    }

    pub(super) fn refused(&mut self, assignment: AssignmentId, code: Code, fx: &mut Effects) {
        let Some((place, replica)) = self.find(assignment) else {
            return;
        };
        if !replica.is_busy() {
            return;
        }
        let provider = replica.provider;
        self.cool_down(provider);
        if let Some(job) = self.jobs.get_mut(&place.job) {
            let refusals = job.refusals.entry(provider).or_default();
            *refusals = refusals.saturating_add(1);
        }
        self.close(place, Cause::Refused(code), fx);
        self.record_deed(provider, Deed::Refused, fx);
    }

    /// Leaves a provider alone for a while, the longer the more often in a row it was needed.
    pub(super) fn cool_down(&mut self, provider: ProviderId) {
        let (now, base_ms) = (self.now, self.config.refusal_cooldown_ms);
        if let Some(known) = self.providers.get_mut(&provider) {
            let doublings = known.refusals.min(COOLDOWN_DOUBLINGS_MAX);
            let factor = 1u64.checked_shl(doublings).unwrap_or(1);
            known.cooldown = now.plus_ms(base_ms.saturating_mul(factor));
            known.refusals = known.refusals.saturating_add(1);
        }
    }

    pub(super) fn lost(&mut self, provider: ProviderId, fx: &mut Effects) {
        let Some(known) = self.providers.get_mut(&provider) else {
            return;
        };
        known.online = false;
        // What is committed may still be revealed when the provider comes back in time.
        for assignment in known.live.clone() {
            let Some((place, replica)) = self.find(assignment) else {
                continue;
            };
            if replica.is_busy() {
                self.close(place, Cause::Lost, fx);
                self.record_deed(provider, Deed::Lost, fx);
            }
        }
    }

    pub(super) fn committed(&mut self, commitment: Commitment, fx: &mut Effects) {
        let Some((place, replica)) = self.find(commitment.assignment) else {
            return;
        };
        let about_it = replica.provider == commitment.provider
            && place.job == commitment.job
            && place.shard == commitment.shard;
        if !about_it {
            return;
        }
        let (provider, was_busy) = (replica.provider, replica.is_busy());
        match replica.commitment {
            Some(first) if first != commitment => {
                let evidence = Evidence::Equivocation {
                    assignment: commitment.assignment,
                    first: first.hash,
                    second: commitment.hash,
                };
                self.ban(provider, evidence, fx);
            }
            Some(_) => {}
            None => {
                // Kept even when it is too late to count: a second, different one is evidence.
                let now = self.now;
                if let Some(replica) = self.replica_mut(place) {
                    replica.commitment = Some(commitment);
                    replica.times.committed = Some(now);
                }
                if was_busy {
                    self.set_state(place, ReplicaState::Committed);
                    self.no_longer_busy(provider);
                    fx.touched.insert((place.job, place.shard));
                    fx.fill = true;
                }
            }
        }
    }

    pub(super) fn execution_failed(
        &mut self,
        assignment: AssignmentId,
        failure: Failure,
        fx: &mut Effects,
    ) {
        let Some((place, replica)) = self.find(assignment) else {
            return;
        };
        if !replica.is_busy() {
            return;
        }
        let provider = replica.provider;
        // Whether the job is to blame is known only when others have tried.
        let own = !failure.may_be_the_jobs();
        self.close(place, Cause::Failed(failure), fx);
        if own {
            self.record_deed(provider, Deed::Failed, fx);
        }
    }

    pub(super) fn revealed(
        &mut self,
        assignment: AssignmentId,
        opening: Box<Opening>,
        outputs_valid: bool,
        fx: &mut Effects,
    ) {
        let Some((place, replica)) = self.find(assignment) else {
            return;
        };
        let (provider, state) = (replica.provider, replica.state.clone());
        let Some(commitment) = replica.commitment else {
            return;
        };
        if !commitment.opens_with(&opening) {
            let evidence = Evidence::RevealMismatch {
                assignment,
                committed: commitment.hash,
                revealed_root: opening.outcome.root,
            };
            self.ban(provider, evidence, fx);
            return;
        }
        if !matches!(state, ReplicaState::Revealing { .. }) {
            return;
        }
        if !outputs_valid || !self.is_plausible(place, &opening) {
            self.close(place, Cause::OutputsInvalid, fx);
            self.record_deed(provider, Deed::OutputsInvalid, fx);
            return;
        }
        if let Some(replica) = self.replica_mut(place) {
            replica.opening = Some(opening);
            replica.state = ReplicaState::Revealed;
        }
        fx.touched.insert((place.job, place.shard));
    }

    /// Whether an outcome can be one of this assignment: as many outputs as items, no more fuel than
    /// allowed, and from the execution class for which the provider was chosen.
    fn is_plausible(&self, place: Place, opening: &Opening) -> bool {
        let outcome = &opening.outcome;
        let job = self.jobs.get(&place.job);
        let shard = self.shard(place.job, place.shard);
        let (Some(job), Some(shard), Some(replica)) = (job, shard, self.replica(place)) else {
            return false;
        };
        outcome.items == shard.items_of(place.replica)
            && outcome.meters.fuel <= job.spec.limits.fuel
            && outcome.is_bounded(job.spec.models as usize)
            && outcome.fingerprint.digest() == replica.class
            && Self::notes_rightly(job, outcome.noted)
    }

    pub(super) fn reveal_failed(&mut self, assignment: AssignmentId, fx: &mut Effects) {
        let Some((place, replica)) = self.find(assignment) else {
            return;
        };
        if matches!(replica.state, ReplicaState::Revealing { .. }) {
            let provider = replica.provider;
            self.close(place, Cause::RevealFailed, fx);
            self.record_deed(provider, Deed::RevealFailed, fx);
        }
    }

    /// Ends a live replica without pay and gives its reservation back.
    pub(super) fn close(&mut self, place: Place, cause: Cause, fx: &mut Effects) {
        let Some(replica) = self.replica(place).filter(|replica| replica.is_live()) else {
            return;
        };
        let (assignment, provider) = (replica.assignment, replica.provider);
        let (pending, busy) = (replica.reservation, replica.is_busy());
        let withdrawn = replica.state == ReplicaState::Provisional;
        let id = TransferId::derive(&[b"void".as_slice(), assignment.0.as_bytes()]);
        let timed_out = matches!(cause, Cause::NotAccepted | Cause::Overdue);
        let give_back = if timed_out {
            Transfer::Expire { id, pending }
        } else {
            Transfer::VoidPending { id, pending }
        };
        fx.spend();
        self.transfer(&[give_back], fx);
        let wanted_to_stop = !matches!(
            cause,
            Cause::Refused(_) | Cause::Failed(_) | Cause::Banned | Cause::Refuted
        );
        if wanted_to_stop {
            fx.push(Action::CancelAssignment {
                assignment,
                provider,
            });
        }
        self.set_state(place, ReplicaState::Closed(cause));
        self.let_go(provider, assignment, busy);
        if withdrawn {
            self.withdraw(place, provider, fx);
        }
        fx.touched.insert((place.job, place.shard));
        fx.fill = true;
    }

    /// Whether a replica's answer counts for the time being.
    fn is_not_final(&self, place: Place) -> bool {
        let replica = self.replica(place);
        replica.is_some_and(|replica| replica.state == ReplicaState::Provisional)
    }

    /// Takes a replica that is no longer live off its provider.
    pub(super) fn let_go(&mut self, provider: ProviderId, assignment: AssignmentId, busy: bool) {
        if let Some(known) = self.providers.get_mut(&provider) {
            known.live.remove(&assignment);
        }
        if busy {
            self.no_longer_busy(provider);
        }
    }

    fn no_longer_busy(&mut self, provider: ProviderId) {
        if let Some(known) = self.providers.get_mut(&provider) {
            known.busy = known.busy.saturating_sub(1);
        }
    }

    fn set_state(&mut self, place: Place, state: ReplicaState) {
        if let Some(replica) = self.replica_mut(place) {
            replica.state = state;
        }
    }

    /// Records a deed in a provider's score and tally.
    pub(super) fn record_deed(&mut self, id: ProviderId, deed: Deed, fx: &mut Effects) {
        let now = self.now;
        let Some(provider) = self.providers.get_mut(&id) else {
            return;
        };
        let tally = &mut provider.tally;
        let count = match deed {
            Deed::Agreed => &mut tally.agreed,
            Deed::Dissented => &mut tally.dissented,
            _ => &mut tally.failed,
        };
        *count = count.saturating_add(1);
        if provider.score.record(now, deed) {
            fx.push(Action::Demoted {
                provider: id,
                score: provider.score.points(now),
            });
        }
    }

    /// Bans a provider, takes its stake if there is evidence, and ends everything it holds.
    /// Answers what was taken.
    pub(super) fn ban(&mut self, id: ProviderId, evidence: Evidence, fx: &mut Effects) -> Amount {
        let Some(provider) = self.providers.get_mut(&id) else {
            return Amount::ZERO;
        };
        if provider.banned.is_some() {
            return Amount::ZERO;
        }
        provider.banned = Some(evidence);
        fx.banned = true;
        let live = provider.live.clone();
        let stake = self.ledger.balance(&Account::Stake(id)).available();
        let mut slashed = stake.unwrap_or_default();
        if evidence == Evidence::Operator || slashed.is_zero() {
            slashed = Amount::ZERO;
        } else {
            let slash = Transfer::Post {
                id: slash_id(id, evidence),
                from: Account::Stake(id),
                to: Account::Slashed,
                amount: slashed,
            };
            self.transfer(&[slash], fx);
        }
        fx.push(Action::Banned {
            provider: id,
            evidence,
            slashed,
        });
        for assignment in live {
            if let Some(place) = self.places.get(&assignment).copied()
                && !(self.keeps_invalid() && self.is_not_final(place))
            {
                self.close(place, Cause::Banned, fx);
            }
        }
        slashed
    }
}

/// The transfer that takes a provider's stake: one for each piece of evidence.
pub(super) fn slash_id(provider: ProviderId, evidence: Evidence) -> TransferId {
    match evidence {
        Evidence::Equivocation { assignment, .. }
        | Evidence::RevealMismatch { assignment, .. }
        | Evidence::AuditFailed { assignment, .. }
        | Evidence::Vouched { assignment, .. }
        | Evidence::Liquidated { assignment, .. } => {
            TransferId::derive(&[b"slash".as_slice(), &provider.0, assignment.0.as_bytes()])
        }
        Evidence::Operator => TransferId::derive(&[b"slash".as_slice(), &provider.0]),
    }
}

/// How a shard fails that cannot be executed: because a quorum of providers, and of those whose clock
/// or worker gave up more than one, report the same failure.
pub(super) fn common_failure(shard: &Shard, index: u32, quorum: usize) -> Option<FailReason> {
    // No provider gets a shard again after it failed at it, so each failure counts one provider.
    let mut counts: BTreeMap<&Failure, usize> = BTreeMap::new();
    // What a check reports of itself says nothing: somebody has answered.
    for replica in shard.replicas.iter().filter(|replica| !replica.check) {
        if let ReplicaState::Closed(Cause::Failed(failure)) = &replica.state {
            let count = counts.entry(failure).or_default();
            *count = count.saturating_add(1);
        }
    }
    let shard = index;
    counts.into_iter().find_map(|(failure, count)| {
        let (enough, reason) = match failure {
            Failure::Guest(code) => {
                let code = code.clone();
                (quorum, FailReason::GuestFailed { shard, code })
            }
            Failure::Timeout => (
                quorum.max(UNCLEAR_FAILURES_MIN),
                FailReason::TimedOut { shard },
            ),
            Failure::WorkerLost => {
                let reason = FailReason::WorkerLost { shard };
                (quorum.max(UNCLEAR_FAILURES_MIN), reason)
            }
            Failure::Provider(_) => return None,
        };
        (count >= enough).then_some(reason)
    })
}
