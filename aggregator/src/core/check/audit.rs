//! Whether an audited answer is where its checks let it be.

use super::Violation;
use super::verdict::{check_evidence, outcome};
use crate::core::Core;
use crate::core::state::{Audit, Job, ReplicaState, Shard};

impl Core {
    pub(super) fn check_audited(
        &self,
        job: &Job,
        shard: &Shard,
        index: u32,
    ) -> Result<(), Violation> {
        let wrong = |what| Violation::Verdict {
            job: job.id,
            shard: index,
            what,
        };
        let mut settled = Vec::new();
        for (replica, position) in shard.replicas.iter().zip(0u32..) {
            match replica.state {
                ReplicaState::Settled { agreed, paid } => {
                    check_evidence(replica)?;
                    if !agreed && !paid.is_zero() {
                        return Err(wrong("a refuted check was paid"));
                    }
                    let adopted = shard.accepted.as_ref().map(|a| a.canonical) == Some(position);
                    if !replica.check || adopted {
                        settled.push(position);
                    }
                }
                ReplicaState::Provisional => check_evidence(replica)?,
                _ => {}
            }
        }
        let (Some(accepted), Some(audit)) = (&shard.accepted, &shard.audit) else {
            let open = shard.accepted.is_none() && shard.audit.is_none() && settled.is_empty();
            return match open {
                true => Ok(()),
                false => Err(wrong("an answer was settled that is not accepted")),
            };
        };
        let answered = outcome(shard, audit.subject);
        let facts = [
            (
                (accepted.agreeing.as_slice(), accepted.canonical)
                    == ([audit.subject].as_slice(), audit.subject),
                "another answer is accepted than is audited",
            ),
            (
                answered.map(|o| (o.root, o.outputs)) == Some((accepted.root, accepted.outputs)),
                "the accepted outputs are not those of the audited answer",
            ),
            (
                settled.iter().all(|at| *at == audit.subject),
                "an answer was settled that is not the audited one",
            ),
            (
                settled.is_empty() || is_undoubted(audit),
                "an answer was paid while it was in doubt",
            ),
            (
                settled.is_empty() || audit.drawn || job.is_closing(),
                "an answer was paid before it was decided whether it is audited",
            ),
            (
                !settled.is_empty() || self.holds(job, shard, audit, index),
                "an answer that is not final is not with its provider",
            ),
            (
                audit.checks.len() < usize::from(job.spec.max_replicas),
                "more executions of one answer than the client allows",
            ),
        ];
        match facts.into_iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(wrong(what)),
            None => Ok(()),
        }
    }

    /// Whether the provider of an answer that is not final knows of it.
    fn holds(&self, job: &Job, shard: &Shard, audit: &Audit, index: u32) -> bool {
        let subject = shard.replicas.get(audit.subject as usize);
        subject.is_some_and(|subject| {
            let known = self.providers.get(&subject.provider);
            let held = known.and_then(|known| known.provisional.get(&audit.first));
            subject.state == ReplicaState::Provisional && held == Some(&(job.id, index))
        })
    }
}

/// Whether nobody says, or is about to say, that an answer is wrong.
fn is_undoubted(audit: &Audit) -> bool {
    !audit.accused && audit.checks.iter().all(|check| check.finding.is_some())
}
