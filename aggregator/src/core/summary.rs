//! A job at a glance: what a listing shows, counted without copying shards and replicas.

use jobs::digest::BlobRef;
use jobs::ids::{AssignmentId, ClientId, JobId, ProviderId};
use jobs::money::Amount;
use jobs::time::Timestamp;
use ledger::Account;

use super::Core;
use super::action::{JobOutcome, Quote};
use super::state::{Job, Phase, ReplicaState};
use super::view::JobStatus;

/// A job without its shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSummary {
    /// Its id.
    pub id: JobId,
    /// Who pays.
    pub client: ClientId,
    /// Where it is.
    pub status: JobStatus,
    /// Whether its record is stored.
    pub recorded: bool,
    /// The merged result, if there is one.
    pub result: Option<BlobRef>,
    /// Why it failed, if it did.
    pub reason: Option<String>,
    /// When it was admitted.
    pub admitted: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// On what terms.
    pub quote: Quote,
    /// Items of input.
    pub items: u32,
    /// Shards accepted.
    pub accepted: u32,
    /// Assignments so far, whatever became of them.
    pub assignments: u32,
    /// Replicas that revealed.
    pub revealed: u32,
    /// Replicas that agreed with a verdict.
    pub agreed: u32,
    /// Replicas that a verdict left out.
    pub dissented: u32,
    /// What each provider got so far, ascending by provider.
    pub paid: Vec<(ProviderId, Amount)>,
    /// What the aggregator kept so far.
    pub fee: Amount,
    /// What went back to the client.
    pub returned: Amount,
    /// What its escrow holds now.
    pub escrow: Amount,
}

impl Core {
    /// A job at a glance, unless unknown or forgotten.
    #[must_use]
    pub fn job_summary(&self, id: JobId) -> Option<JobSummary> {
        let job = self.jobs.get(&id)?;
        let end = match &job.phase {
            Phase::Ended(end) => Some(end),
            _ => None,
        };
        let (result, reason) = match end.map(|end| &end.outcome) {
            Some(JobOutcome::Done { result, .. }) => (Some(*result), None),
            Some(JobOutcome::Failed(reason)) => (None, Some(reason.to_string())),
            None => (provisional(job), None),
        };
        let mut summary = JobSummary {
            id,
            client: job.client,
            status: status_of(job),
            recorded: job.recorded,
            result,
            reason,
            admitted: job.admitted,
            ended: end.map(|end| end.at),
            quote: job.quote,
            items: job.spec.items,
            accepted: job.accepted(),
            assignments: 0,
            revealed: 0,
            agreed: 0,
            dissented: 0,
            paid: self.paid(id),
            fee: job.fee,
            returned: end.map_or(Amount::ZERO, |end| end.returned),
            escrow: self.escrow(id),
        };
        for replica in job.shards.iter().flat_map(|shard| &shard.replicas) {
            summary.count(&replica.state);
        }
        Some(summary)
    }

    /// Where a job is, unless unknown or forgotten.
    #[must_use]
    pub fn job_status(&self, id: JobId) -> Option<JobStatus> {
        self.jobs.get(&id).map(status_of)
    }

    /// How far a job is, and whether its record is stored.
    #[must_use]
    pub fn job_stage(&self, id: JobId) -> Option<(JobStatus, bool)> {
        self.jobs.get(&id).map(|job| (status_of(job), job.recorded))
    }

    /// Whether the reveal of this assignment is asked for and has not come.
    #[must_use]
    pub fn is_revealing(&self, assignment: AssignmentId) -> bool {
        let place = self.places.get(&assignment);
        let replica = place.and_then(|place| self.replica(*place));
        replica.is_some_and(|replica| matches!(replica.state, ReplicaState::Revealing { .. }))
    }

    fn escrow(&self, id: JobId) -> Amount {
        let balance = self.ledger.balance(&Account::Escrow(id));
        balance.posted().unwrap_or_default()
    }
}

impl JobSummary {
    fn count(&mut self, state: &ReplicaState) {
        let more = |count: &mut u32| *count = count.saturating_add(1);
        more(&mut self.assignments);
        match state {
            ReplicaState::Revealed => more(&mut self.revealed),
            ReplicaState::Settled { agreed, .. } => {
                more(&mut self.revealed);
                more(match agreed {
                    true => &mut self.agreed,
                    false => &mut self.dissented,
                });
            }
            _ => {}
        }
    }
}

/// The result of a job that is not final yet.
const fn provisional(job: &Job) -> Option<BlobRef> {
    match &job.phase {
        Phase::Provisional { result, .. } => Some(*result),
        _ => None,
    }
}

/// Where a job is, in one word.
pub(super) const fn status_of(job: &Job) -> JobStatus {
    match &job.phase {
        Phase::Preparing => JobStatus::Preparing,
        Phase::Running => JobStatus::Running,
        Phase::Merging => JobStatus::Merging,
        Phase::Provisional { .. } => JobStatus::Provisional,
        Phase::Ending(_) => JobStatus::Ending,
        Phase::Ended(end) => match end.outcome {
            JobOutcome::Done { .. } => JobStatus::Done,
            JobOutcome::Failed(_) => JobStatus::Failed,
        },
    }
}
