//! What audits came to, for whoever counts.

use jobs::ids::{JobId, ProviderId};
use jobs::money::Amount;
use policy::audit::{Risk, audit_rate};
use serde::{Deserialize, Serialize};

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

/// How the answers of a provider are checked, and what waits for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditStanding {
    /// Answers that are not final.
    pub held: u64,
    /// What they earn at most, when they are.
    pub held_at_most: Amount,
    /// Checks that it passed since it began or last failed.
    pub passed: u64,
    /// Which part of its answers other providers check, in parts per billion.
    pub rate_ppb: u32,
}

impl Core {
    /// How a provider's answers are checked; nothing for an unknown one.
    #[must_use]
    pub fn audit_standing(&self, id: ProviderId) -> AuditStanding {
        let Some(provider) = self.providers.get(&id) else {
            return AuditStanding::default();
        };
        let shares = provider.provisional.values();
        let shares = shares.filter_map(|(job, _)| self.jobs.get(job).map(|job| job.quote.share));
        let (mut held, mut held_at_most) = (0_u64, Amount::ZERO);
        for share in shares {
            held = held.saturating_add(1);
            held_at_most = held_at_most.checked_add(share).unwrap_or(held_at_most);
        }
        let passed = provider.answers.passed();
        AuditStanding {
            held,
            held_at_most,
            passed,
            rate_ppb: audit_rate(&self.config.audit, passed, Risk::ORDINARY)
                .peer
                .get(),
        }
    }

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
