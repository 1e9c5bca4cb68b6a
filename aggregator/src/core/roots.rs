//! Which blobs the core still refers to: nobody may remove these.

use std::collections::BTreeSet;

use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use jobs::time::Timestamp;

use super::Core;
use super::action::JobOutcome;
use super::state::{Job, Phase, Shard};

impl Core {
    /// Jobs that have not ended, or whose record is not stored yet.
    #[must_use]
    pub fn unfinished(&self) -> Vec<JobId> {
        let jobs = self.jobs.values();
        let unfinished = jobs.filter(|job| !job.is_ended() || !job.recorded);
        unfinished.map(|job| job.id).collect()
    }

    /// Jobs that failed and are remembered, with the time of their end.
    #[must_use]
    pub fn failed(&self) -> Vec<(Timestamp, JobId)> {
        let ended = |job: &Job| match &job.phase {
            Phase::Ended(end) if job.recorded => match end.outcome {
                JobOutcome::Failed(_) => Some((end.at, job.id)),
                JobOutcome::Done { .. } => None,
            },
            _ => None,
        };
        self.jobs.values().filter_map(ended).collect()
    }

    /// Every blob that a known job led to, beside those of its package.
    #[must_use]
    pub fn blobs_of(&self, id: JobId) -> BTreeSet<Digest> {
        let Some(job) = self.jobs.get(&id) else {
            return BTreeSet::new();
        };
        let result = match &job.phase {
            Phase::Provisional { result, .. } => Some(*result),
            Phase::Ending(outcome) => result_of(outcome),
            Phase::Ended(end) => result_of(&end.outcome),
            Phase::Preparing | Phase::Running | Phase::Merging => None,
        };
        let blobs = job.shards.iter().flat_map(blobs_of_shard).chain(result);
        blobs.map(|blob| blob.digest).collect()
    }

    /// Every blob that an open case is about.
    #[must_use]
    pub fn blobs_of_cases(&self) -> BTreeSet<Digest> {
        let cases = self.liquidations.open.values();
        let blobs = cases.flat_map(|case| {
            let found = case
                .voters
                .values()
                .filter_map(|voter| voter.found.as_ref());
            let found = found.map(|found| found.outcome.outputs);
            [case.accused.input, case.accused.outcome.outputs]
                .into_iter()
                .chain(found)
        });
        blobs.map(|blob| blob.digest).collect()
    }
}

const fn result_of(outcome: &JobOutcome) -> Option<BlobRef> {
    match outcome {
        JobOutcome::Done { result, .. } => Some(*result),
        JobOutcome::Failed(_) => None,
    }
}

fn blobs_of_shard(shard: &Shard) -> impl Iterator<Item = BlobRef> {
    let audit = shard.audit.iter().flat_map(|audit| &audit.checks);
    let samples = audit.filter_map(|check| check.input);
    let openings = shard.replicas.iter().filter_map(|r| r.opening.as_ref());
    let outputs = openings.map(|opening| opening.outcome.outputs);
    let accepted = shard.accepted.iter().map(|accepted| accepted.outputs);
    shard
        .input
        .into_iter()
        .chain(samples)
        .chain(outputs)
        .chain(accepted)
}
