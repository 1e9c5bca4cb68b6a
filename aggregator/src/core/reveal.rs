//! How long a reveal may take, and what is neither a reveal nor a failure to reveal: trouble of the
//! driver's own, which must not count against a provider, and outputs that nobody can judge.

use jobs::commitment::Opening;
use jobs::ids::AssignmentId;

use super::config::reveal_window_ms;
use super::event::{Code, Failure};
use super::state::{Cause, Job, ReplicaState, Shard};
use super::{Core, Effects};

impl Core {
    /// Milliseconds within which a replica of this shard must reveal and hand its outputs over. How
    /// large they are is not known before the reveal, so the largest possible count.
    pub(super) fn reveal_ms(&self, job: &Job, shard: &Shard) -> u64 {
        let per_item = u64::from(job.spec.limits.output_bytes_per_item);
        let bytes = per_item.saturating_mul(u64::from(shard.items));
        reveal_window_ms(self.config.reveal_timeout_ms, bytes)
    }

    /// The driver could not ask or look: the provider's time starts anew.
    pub(super) fn reveal_delayed(&mut self, assignment: AssignmentId) {
        let Some(place) = self.places.get(&assignment).copied() else {
            return;
        };
        let (job, shard) = (
            self.jobs.get(&place.job),
            self.shard(place.job, place.shard),
        );
        let (Some(job), Some(shard)) = (job, shard) else {
            return;
        };
        let anew = self.now.plus_ms(self.reveal_ms(job, shard));
        if let Some(replica) = self.replica_mut(place)
            && let ReplicaState::Revealing { until } = &mut replica.state
        {
            *until = anew;
        }
    }

    /// Outputs that do not agree with themselves are the guest's doing, as far as anybody knows: an
    /// honest provider commits to what the guest gave it. If a quorum has them, the job fails by its
    /// own fault; if the others answer, the provider blamed the guest wrongly.
    pub(super) fn outputs_incomparable(
        &mut self,
        assignment: AssignmentId,
        opening: Box<Opening>,
        code: Code,
        fx: &mut Effects,
    ) {
        let Some(place) = self.places.get(&assignment).copied() else {
            return;
        };
        let opens = self.replica(place).is_some_and(|replica| {
            let opened = replica.commitment.is_some_and(|c| c.opens_with(&opening));
            opened && matches!(replica.state, ReplicaState::Revealing { .. })
        });
        if opens {
            self.close(place, Cause::Failed(Failure::Guest(code)), fx);
        } else {
            // Too early, too late, or evidence of a lie.
            self.revealed(assignment, opening, false, fx);
        }
    }

    /// The driver had no room to send an assignment, so its provider has not heard of it. It is left
    /// alone for a while, without blame.
    pub(super) fn unsent(&mut self, assignment: AssignmentId, fx: &mut Effects) {
        let Some(place) = self.places.get(&assignment).copied() else {
            return;
        };
        let replica = self.replica(place);
        let offered = replica.filter(|r| matches!(r.state, ReplicaState::Offered { .. }));
        let Some(provider) = offered.map(|replica| replica.provider) else {
            return;
        };
        self.cool_down(provider);
        self.close(place, Cause::Refused(Code::new("not_sent")), fx);
    }
}
