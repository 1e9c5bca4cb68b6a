//! How far the shards of a job are, in one word each: what a person looks at while they are executed.
//!
//! It never says who executes a shard, nor what was answered: before the verdict, either would help a provider to agree
//! with a stranger on an answer.

use jobs::ids::JobId;

use super::Core;
use super::state::{Job, ReplicaState, Shard};

/// Where a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Progress {
    /// Nobody executes it.
    Waiting,
    /// Somebody executes it.
    Working,
    /// It was executed as often as is wanted; the answers are compared.
    Answered,
    /// Its answers did not agree, and more replicas were asked for.
    Undecided,
    /// It is accepted, and every replica that answered agreed.
    Accepted,
    /// It is accepted, and a replica that answered is out of line.
    Contested,
    /// The job ended without it.
    Failed,
}

impl Core {
    /// How far every shard of a job is, in plan order; `None` if the job is unknown or forgotten.
    #[must_use]
    pub fn shard_progress(&self, id: JobId) -> Option<Vec<Progress>> {
        let job = self.jobs.get(&id)?;
        Some(
            job.shards
                .iter()
                .map(|shard| of_shard(job, shard))
                .collect(),
        )
    }
}

fn of_shard(job: &Job, shard: &Shard) -> Progress {
    let any = |of: fn(&ReplicaState) -> bool| shard.replicas.iter().any(|r| of(&r.state));
    if shard.accepted.is_some() {
        let lost = any(|state| matches!(state, ReplicaState::Settled { agreed: false, .. }));
        return if lost {
            Progress::Contested
        } else {
            Progress::Accepted
        };
    }
    if job.is_ended() {
        return Progress::Failed;
    }
    if shard.wanted > job.spec.replicas {
        return Progress::Undecided;
    }
    let busy = any(|state| {
        matches!(
            state,
            ReplicaState::Offered { .. } | ReplicaState::Running { .. }
        )
    });
    let live = shard
        .replicas
        .iter()
        .filter(|replica| replica.is_live())
        .count();
    match (busy, live) {
        (true, _) => Progress::Working,
        (false, 0) => Progress::Waiting,
        (false, live) if live < usize::from(shard.wanted) => Progress::Working,
        (false, _) => Progress::Answered,
    }
}
