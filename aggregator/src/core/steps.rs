//! How far jobs and shards are, looked up one at a time: for who tells others of each step.

use jobs::ids::{AssignmentId, JobId};
use jobs::money::Amount;

use super::Core;
use super::settlement::total;
use super::state::ReplicaState;

/// How far a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Step {
    /// Whether it has an accepted answer.
    pub accepted: bool,
    /// Live replicas that it should have.
    pub wanted: u32,
    /// Replicas that a verdict left out.
    pub dissenting: u32,
}

impl Core {
    /// Where an assignment belongs: its job, and which shard of it.
    #[must_use]
    pub fn place_of(&self, assignment: AssignmentId) -> Option<(JobId, u32)> {
        let place = self.places.get(&assignment)?;
        Some((place.job, place.shard))
    }

    /// How far a shard is; nothing for one that there is not, or not any more.
    #[must_use]
    pub fn shard_step(&self, job: JobId, shard: u32) -> Option<Step> {
        let shard = self.jobs.get(&job)?.shards.get(shard as usize)?;
        let left_out =
            |state: &ReplicaState| matches!(state, ReplicaState::Settled { agreed: false, .. });
        let dissenting = shard.replicas.iter().filter(|one| left_out(&one.state));
        Some(Step {
            accepted: shard.accepted.is_some(),
            wanted: shard.wanted.into(),
            dissenting: u32::try_from(dissenting.count()).unwrap_or(u32::MAX),
        })
    }

    /// What a job's providers got so far, in all.
    #[must_use]
    pub fn paid_in_all(&self, job: JobId) -> Option<Amount> {
        self.jobs.get(&job).map(|job| total(&job.paid))
    }

    /// Whether a provider is connected.
    #[must_use]
    pub fn is_online(&self, provider: jobs::ids::ProviderId) -> bool {
        let known = self.providers.get(&provider);
        known.is_some_and(|known| known.online)
    }
}
