//! What audits came to, for whoever counts.

use jobs::ids::JobId;

use crate::core::Core;
use crate::core::state::{Cause, ReplicaState};

/// What the audits of one job came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AuditTally {
    /// Executions that checked an answer, or were to.
    pub checks: u64,
    /// Answers that were accepted for the time being and taken back.
    pub withdrawn: u64,
}

impl Core {
    /// What the audits of a job came to; nothing for an unknown one.
    #[must_use]
    pub fn audit_tally(&self, id: JobId) -> AuditTally {
        let job = self.jobs.get(&id).filter(|job| job.spec.audit.is_some());
        let shards = job.map(|job| job.shards.iter());
        let mut tally = AuditTally::default();
        for replica in shards.into_iter().flatten().flat_map(|s| &s.replicas) {
            let withdrawn = matches!(
                replica.state,
                ReplicaState::Closed(Cause::Refuted | Cause::Banned)
            );
            if replica.check {
                tally.checks = tally.checks.saturating_add(1);
            } else if withdrawn && replica.opening.is_some() {
                tally.withdrawn = tally.withdrawn.saturating_add(1);
            }
        }
        tally
    }
}
