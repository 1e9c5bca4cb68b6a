//! Values within a model that replicas open to one another ([`jobs::openings`]).
//!
//! In a job that has some opened two replicas agree only if the driver has compared what they opened, equal outputs or
//! not. Whoever opens nothing, or what it had not committed to, is out, as one that does not reveal.

use jobs::digest::Digest;
use jobs::ids::{AssignmentId, JobId, ProviderId};
use jobs::openings::{self, Noted};
use serde::{Deserialize, Serialize};

use super::event::Finding;
use super::reputation::Deed;
use super::state::{Cause, Job, Place, ReplicaState, Shard};
use super::{Core, Effects};

/// What two replicas must open before they can agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Openings {
    /// From which, and from their signatures, the places follow. For nobody but the driver.
    pub challenge: Digest,
    /// Who is the first, and what it noted.
    pub left: (ProviderId, Noted),
    /// Who is the second, and what it noted.
    pub right: (ProviderId, Noted),
}

/// The challenge of a job. Its secret is the aggregator's own share of the job's draws, told when the job is over; who
/// knew it before it has committed would make up the few values that it will be asked for.
pub(super) fn challenge(job: &Job) -> Option<Digest> {
    let wanted = job.spec.openings;
    wanted.then(|| openings::challenge(&job.draw.own.0, &job.id))
}

/// What two replicas of a shard have to open, in a job that has something opened.
pub(super) fn between(job: &Job, shard: &Shard, left: u32, right: u32) -> Option<Box<Openings>> {
    let side = |position: u32| {
        let replica = shard.replicas.get(position as usize)?;
        let noted = replica.opening.as_ref()?.outcome.noted?;
        Some((replica.provider, noted))
    };
    Some(Box::new(Openings {
        challenge: challenge(job)?,
        left: side(left)?,
        right: side(right)?,
    }))
}

impl Core {
    /// Whether replicas of a job must have opened what agrees.
    pub(super) fn opens(&self, job: &Job) -> bool {
        job.spec.openings && !self.ignores_openings()
    }

    /// Whether an outcome notes as much as its job wants, and no more than it may.
    pub(super) fn notes_rightly(job: &Job, noted: Option<Noted>) -> bool {
        job.spec.openings == noted.is_some() && noted.is_none_or(|noted| noted.is_bounded())
    }

    /// A replica did not open what it had noted. It is out; of one that was paid already nothing is taken, and the other
    /// one learns that nobody agrees with it.
    pub(super) fn opening_failed(
        &mut self,
        (id, index): (JobId, u32),
        (failed, other): (AssignmentId, AssignmentId),
        fx: &mut Effects,
    ) {
        let at = |assignment| match self.places.get(&assignment) {
            Some(place) if (place.job, place.shard) == (id, index) => Some(*place),
            _ => None,
        };
        let (Some(place), Some(rival)) = (at(failed), at(other)) else {
            return;
        };
        let Some(replica) = self.replica(place) else {
            return;
        };
        let provider = replica.provider;
        if !matches!(
            replica.state,
            ReplicaState::Revealed | ReplicaState::Provisional
        ) {
            self.compared(id, index, failed, other, Finding::Differ, fx);
            return;
        }
        self.forget_comparison(place, rival);
        self.close(place, Cause::OpeningFailed, fx);
        self.record_deed(provider, Deed::RevealFailed, fx);
        fx.touched.insert((id, index));
        fx.touched.append(&mut self.held);
    }

    /// A comparison that comes to nothing: asked for again if it is still needed.
    fn forget_comparison(&mut self, one: Place, two: Place) {
        let pair = (one.replica.min(two.replica), one.replica.max(two.replica));
        self.comparing.remove(&(one.job, one.shard, pair.0, pair.1));
        if let Some(shard) = self.shard_mut(one.job, one.shard) {
            shard.comparisons.remove(&pair);
        }
    }

    #[cfg(any(test, feature = "sabotage"))]
    fn ignores_openings(&self) -> bool {
        self.config.sabotage == Some(super::Sabotage::IgnoreOpenings)
    }

    #[cfg(not(any(test, feature = "sabotage")))]
    #[expect(
        clippy::unused_self,
        reason = "the sabotaged twin reads the configuration"
    )]
    const fn ignores_openings(&self) -> bool {
        false
    }
}
