//! Whether an audited answer is where its checks let it be.

use super::Violation;
use super::verdict::{check_evidence, outcome};
use crate::core::Core;
use crate::core::event::Finding;
use crate::core::state::{Audit, By, Job, Replica, ReplicaState, Shard};

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
        if shard.replicas.iter().any(is_paid_refuted) {
            return Err(wrong("a refuted check was paid"));
        }
        let settled = settled_answers(shard)?;
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
                settled.is_empty()
                    || !is_refuted(job, shard, audit, self.config().audit.confirmations),
                "an answer was paid that referees found to be wrong",
            ),
            (
                self.checkers_are_apart(shard, audit),
                "somebody of the operator or network of who answered checks the answer",
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

    /// Whether nobody checks the answer of its own kin.
    fn checkers_are_apart(&self, shard: &Shard, audit: &Audit) -> bool {
        let at = |at: u32| shard.replicas.get(at as usize);
        let Some(subject) = at(audit.subject) else {
            return false;
        };
        // What a judge found has taken the answer's place: samples of that are not of this.
        let checks = audit.checks.iter().filter(|_| !audit.is_adopted());
        let mut checkers = checks.filter_map(|check| at(check.replica?));
        checkers.all(|checker| {
            let (one, two) = (subject.kin, checker.kin);
            let one_network = one.prefix.is_some() && one.prefix == two.prefix;
            one.operator != two.operator && !one_network
        })
    }

    /// Every answer that a provider is said to have and that is not final is there, once, under its number.
    pub(super) fn check_provisional(&self) -> Result<(), Violation> {
        for (id, provider) in &self.providers {
            for (first, (job, index)) in &provider.provisional {
                let shard = self.shard(*job, *index);
                let audit = shard.and_then(|shard| Some((shard, shard.audit.as_ref()?)));
                let sound = audit.is_some_and(|(shard, audit)| {
                    let subject = shard.replicas.get(audit.subject as usize);
                    let subject = subject.filter(|r| r.state == ReplicaState::Provisional);
                    subject.is_some_and(|r| r.provider == *id) && audit.first == *first
                });
                if !sound {
                    let what = "answers that are not final";
                    return Err(Violation::Index { what });
                }
            }
        }
        Ok(())
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

/// Whether as many referees as convict found that an answer is wrong, and none that it is right.
fn is_refuted(job: &Job, shard: &Shard, audit: &Audit, confirmations: u8) -> bool {
    let class = |at: u32| shard.replicas.get(at as usize).map(|replica| replica.class);
    let judges = audit.checks.iter().filter(|check| {
        let alike = check.replica.and_then(class) == class(audit.subject);
        check.by == By::Referee && check.is_whole() && (alike || job.spec.models == 0)
    });
    let found = |finding| {
        judges
            .clone()
            .filter(move |c| c.finding == Some(finding))
            .count()
    };
    found(Finding::Differ) >= usize::from(confirmations.max(1)) && found(Finding::Agree) == 0
}

fn is_paid_refuted(replica: &Replica) -> bool {
    matches!(replica.state, ReplicaState::Settled { agreed: false, paid } if !paid.is_zero())
}

/// Positions of the answers that were settled: of workers, and of a judge whose answer was adopted. Everything that
/// counts has its evidence.
fn settled_answers(shard: &Shard) -> Result<Vec<u32>, Violation> {
    let canonical = shard.accepted.as_ref().map(|accepted| accepted.canonical);
    let mut settled = Vec::new();
    for (replica, position) in shard.replicas.iter().zip(0u32..) {
        let is_settled = matches!(replica.state, ReplicaState::Settled { .. });
        if is_settled || replica.state == ReplicaState::Provisional {
            check_evidence(replica)?;
        }
        if is_settled && (!replica.check || canonical == Some(position)) {
            settled.push(position);
        }
    }
    Ok(settled)
}

/// Whether nobody says, or is about to say, that an answer is wrong.
fn is_undoubted(audit: &Audit) -> bool {
    !audit.accused && audit.checks.iter().all(|check| check.finding.is_some())
}
