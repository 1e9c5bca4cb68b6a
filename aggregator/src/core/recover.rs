//! What is outstanding, emitted again after a restart.

use std::collections::BTreeMap;

use jobs::digest::BlobRef;
use jobs::ids::JobId;
use ledger::Account;

use super::action::Action;
use super::openings;
use super::state::{Job, Phase, ReplicaState, Shard};
use super::{Core, Effects};

impl Core {
    /// Everything that was asked of the driver and is not known to be done. Changes nothing; performing
    /// it twice does no harm.
    #[must_use]
    pub fn recover(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (id, provider) in &self.providers {
            if let Some(evidence) = provider.banned {
                let slashed = self
                    .ledger
                    .applied_transfer(&super::replica::slash_id(*id, evidence));
                let slashed = slashed.and_then(|(_, transfer)| match transfer {
                    ledger::Transfer::Post { amount, .. } => Some(amount),
                    _ => None,
                });
                actions.push(Action::Banned {
                    provider: *id,
                    evidence,
                    slashed: slashed.unwrap_or_default(),
                });
            }
        }
        self.recover_cases(&mut actions);
        for job in self.jobs.values() {
            match &job.phase {
                Phase::Preparing => actions.push(Action::Prepare { job: job.id }),
                Phase::Running | Phase::Provisional { .. } => {
                    self.recover_shards(job, &mut actions);
                }
                Phase::Merging => {
                    self.recover_shards(job, &mut actions);
                    actions.push(merge(job));
                }
                Phase::Ended(end) if !job.recorded => actions.push(Action::Finished {
                    job: job.id,
                    outcome: end.outcome.clone(),
                }),
                Phase::Ending(_) | Phase::Ended(_) => {}
            }
        }
        actions
    }

    fn recover_shards(&self, job: &Job, actions: &mut Vec<Action>) {
        for (shard, index) in job.shards.iter().zip(0..) {
            for (replica, attempt) in shard.replicas.iter().zip(0..) {
                match replica.state {
                    ReplicaState::Offered { .. } | ReplicaState::Running { .. } => {
                        let assignment = self.assignment(job, index, attempt);
                        actions.extend(assignment.map(|a| Action::Dispatch(Box::new(a))));
                    }
                    ReplicaState::Revealing { .. } => actions.push(Action::RequestReveal {
                        assignment: replica.assignment,
                        provider: replica.provider,
                    }),
                    _ => {}
                }
            }
            recover_samples(job.id, shard, index, actions);
        }
        let mine = (job.id, 0, 0, 0)..=(job.id, u32::MAX, u32::MAX, u32::MAX);
        for &(id, index, left, right) in self.comparing.range(mine) {
            let shard = self.shard(id, index);
            actions.extend(shard.and_then(|shard| compare(job, index, shard, left, right)));
        }
    }

    /// Nobody could answer while we were away: leases start anew. The job's deadline does not move.
    pub(super) fn restarted(&mut self, fx: &mut Effects) {
        self.expire_jobs(fx);
        let config = self.config.clone();
        let now = self.now;
        let mut due: BTreeMap<JobId, (u64, u64)> = BTreeMap::new();
        for id in self.open.values() {
            if let Some(job) = self.jobs.get(id) {
                let due_ms = job.spec.limits.wall_ms.saturating_add(config.due_grace_ms);
                let reveal_ms = job.shards.iter().map(|shard| self.reveal_ms(job, shard));
                due.insert(*id, (due_ms, reveal_ms.max().unwrap_or(0)));
            }
        }
        for (id, (due_ms, reveal_ms)) in due {
            let shards = self.jobs.get_mut(&id).map(|job| job.shards.iter_mut());
            let replicas = shards.into_iter().flatten().flat_map(|s| &mut s.replicas);
            for replica in replicas {
                match &mut replica.state {
                    ReplicaState::Offered { until } => {
                        *until = now.plus_ms(config.accept_timeout_ms);
                    }
                    ReplicaState::Running { due } => *due = now.plus_ms(due_ms),
                    ReplicaState::Revealing { until } => {
                        *until = now.plus_ms(reveal_ms);
                    }
                    _ => {}
                }
            }
        }
        for provider in self.providers.values_mut().filter(|p| p.online) {
            provider.seen = now;
        }
        fx.actions.extend(self.recover());
        fx.fill = true;
    }

    /// Whether a job's escrow holds nothing.
    pub(super) fn escrow_is_empty(&self, job: JobId) -> bool {
        self.ledger.balance(&Account::Escrow(job)).is_settled()
    }
}

/// The order to merge, once every shard is accepted.
pub(super) fn merge(job: &Job) -> Action {
    let accepted = job.shards.iter().filter_map(|s| s.accepted.as_ref());
    Action::Merge {
        job: job.id,
        canonical: accepted.map(|a| a.outputs).collect(),
        round: job.merges,
    }
}

/// The order to compare two revealed replicas.
pub(super) fn compare(
    job: &Job,
    index: u32,
    shard: &Shard,
    left: u32,
    right: u32,
) -> Option<Action> {
    let side = |position: u32| -> Option<_> {
        let replica = shard.replicas.get(position as usize)?;
        let outputs: BlobRef = replica.opening.as_ref()?.outcome.outputs;
        Some((replica.assignment, outputs, shard.sample_of(position)))
    };
    // Whole shards alone are compared where something is opened, so nothing is swapped there.
    let openings = openings::between(job, shard, left, right);
    // Of the two, at most one is of a sample.
    let (mut whole, mut other) = (side(left)?, side(right)?);
    if !whole.2.is_empty() {
        std::mem::swap(&mut whole, &mut other);
    }
    Some(Action::Compare {
        job: job.id,
        shard: index,
        left: whole.0,
        right: other.0,
        left_outputs: whole.1,
        right_outputs: other.1,
        sample: other.2.to_vec(),
        openings,
    })
}

/// The samples that are still to be cut out.
fn recover_samples(job: JobId, shard: &Shard, index: u32, actions: &mut Vec<Action>) {
    let Some(audit) = &shard.audit else {
        return;
    };
    let numbered = audit.checks.iter().zip(0..);
    let missing = numbered.filter(|(check, _)| check.input.is_none());
    actions.extend(missing.filter_map(|(check, position)| {
        Some(Action::Sample {
            job,
            shard: index,
            check: audit.name_of(position),
            input: shard.input?,
            items: check.items.clone(),
        })
    }));
}
