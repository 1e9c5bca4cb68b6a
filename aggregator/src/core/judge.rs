//! From commitments to a verdict.
//!
//! Reveals are asked for only when every live replica of the shard has committed, so nobody can answer
//! in the light of another's answer. Undecided shards get more replicas, up to the job's cap.

use std::ops::RangeInclusive;

use jobs::ids::{AssignmentId, JobId};
use jobs::outcome::Outcome;
use jobs::verdict::{self, Verdict};

use super::action::{Action, FailReason, JobOutcome};
use super::audit::is_audited_in;
use super::config::UNCLEAR_FAILURES_MIN;
use super::dispatch::missing;
use super::event::{Comparison, Finding};
use super::recover::compare;
use super::replica::common_failure;
use super::state::{Phase, Place, ReplicaState, Shard};
use super::{Core, Effects};

impl Core {
    /// Moves a shard as far as it can go.
    pub(super) fn progress(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        let Some(job) = self.jobs.get(&id).filter(|job| is_audited_in(&job.phase)) else {
            return;
        };
        let Some(shard) = job.shards.get(index as usize) else {
            return;
        };
        if shard.audit.is_some() {
            self.progress_audit(id, index, fx);
            return;
        }
        if job.phase != Phase::Running || shard.accepted.is_some() {
            return;
        }
        let (order, quorum) = (job.order, usize::from(job.spec.replicas));
        let audited = job.spec.audit.is_some();
        // Where one answers alone, another has to say the same of the guest.
        let failures = if audited {
            UNCLEAR_FAILURES_MIN
        } else {
            quorum
        };
        if let Some(reason) = common_failure(shard, index, failures) {
            self.end_job(id, JobOutcome::Failed(reason), fx);
            return;
        }
        let waiting = shard.replicas.iter().any(|replica| replica.is_busy());
        if missing(shard) > 0 {
            let attempts = u32::try_from(shard.replicas.len()).unwrap_or(u32::MAX);
            if attempts >= self.config.attempts_per_shard_max && !waiting {
                let reason = FailReason::AttemptsExhausted {
                    shard: index,
                    attempts,
                };
                self.end_job(id, JobOutcome::Failed(reason), fx);
                return;
            }
            self.wanting.insert((order, index));
            fx.fill = true;
            return;
        }
        self.wanting.remove(&(order, index));
        if waiting {
            return;
        }
        if !self.ask_for_reveals(id, index, fx) {
            self.judge(id, index, fx);
        }
    }

    /// Asks every committed replica to reveal. Returns whether any reveal is outstanding.
    pub(super) fn ask_for_reveals(&mut self, id: JobId, index: u32, fx: &mut Effects) -> bool {
        let (job, shard) = (self.jobs.get(&id), self.shard(id, index));
        let (Some(job), Some(shard)) = (job, shard) else {
            return false;
        };
        let until = self.now.plus_ms(self.reveal_ms(job, shard));
        let Some(shard) = self.shard_mut(id, index) else {
            return false;
        };
        let mut outstanding = false;
        for replica in &mut shard.replicas {
            if replica.state == ReplicaState::Committed {
                replica.state = ReplicaState::Revealing { until };
                fx.actions.push(Action::RequestReveal {
                    assignment: replica.assignment,
                    provider: replica.provider,
                });
            }
            outstanding |= matches!(replica.state, ReplicaState::Revealing { .. });
        }
        outstanding
    }

    fn judge(&mut self, id: JobId, index: u32, fx: &mut Effects) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let Some(shard) = job.shards.get(index as usize) else {
            return;
        };
        let revealed = revealed(shard);
        let opens = self.opens(job);
        if job.spec.comparison == Comparison::Numeric || opens {
            let exact = job.spec.comparison == Comparison::Exact;
            let unknown = uncompared(shard, &revealed, opens, exact);
            if !unknown.is_empty() {
                self.ask_to_compare(id, index, &unknown, fx);
                return;
            }
        }
        let quorum = usize::from(job.spec.replicas);
        let max = usize::from(job.spec.max_replicas);
        let verdict = self.verdict(shard, &revealed, quorum, opens);
        match verdict {
            Verdict::Accepted { agreeing } => {
                let winners = agreeing.iter().filter_map(|i| revealed.get(*i).copied());
                let winners: Vec<u32> = winners.collect();
                match (job.spec.audit, winners.first()) {
                    (Some(_), Some(subject)) => {
                        self.accept_provisionally(id, index, *subject, fx);
                    }
                    _ => self.settle(id, index, winners, fx),
                }
            }
            Verdict::Undecided { more } => {
                let wanted = revealed.len().saturating_add(more).min(max);
                if wanted <= revealed.len() {
                    let reason = FailReason::NoQuorum {
                        shard: index,
                        replicas: u32::try_from(revealed.len()).unwrap_or(u32::MAX),
                    };
                    self.end_job(id, JobOutcome::Failed(reason), fx);
                    return;
                }
                if let Some(shard) = self.shard_mut(id, index) {
                    shard.wanted = u8::try_from(wanted).unwrap_or(u8::MAX);
                }
                fx.touched.insert((id, index));
            }
        }
    }

    fn verdict(&self, shard: &Shard, revealed: &[u32], quorum: usize, opens: bool) -> Verdict {
        let agree = |i: usize, j: usize| match (revealed.get(i), revealed.get(j)) {
            (Some(&left), Some(&right)) => {
                agree(shard, left, right, opens)
                    || self.ignores_fuel() && same_root(shard, left, right)
            }
            _ => false,
        };
        #[cfg(any(test, feature = "sabotage"))]
        if let Some(wrong) = sabotaged(self.config.sabotage, revealed.len(), quorum, agree) {
            return wrong;
        }
        verdict::judge(revealed.len(), quorum, agree)
    }

    #[cfg(any(test, feature = "sabotage"))]
    fn ignores_fuel(&self) -> bool {
        self.config.sabotage == Some(super::Sabotage::IgnoreFuel)
    }

    #[cfg(not(any(test, feature = "sabotage")))]
    #[expect(
        clippy::unused_self,
        reason = "the sabotaged twin reads the configuration"
    )]
    const fn ignores_fuel(&self) -> bool {
        false
    }

    /// Asks for the comparisons that are not yet asked for, as far as there is room.
    pub(super) fn ask_to_compare(
        &mut self,
        id: JobId,
        index: u32,
        pairs: &[(u32, u32)],
        fx: &mut Effects,
    ) {
        for pair in pairs {
            let (left, right) = (pair.0.min(pair.1), pair.0.max(pair.1));
            if self.comparing.contains(&(id, index, left, right)) {
                continue;
            }
            if self.comparing.len() >= self.config.compares_open_max as usize {
                self.held.insert((id, index));
                return;
            }
            let Some(shard) = self.shard_mut(id, index) else {
                return;
            };
            shard.comparisons.insert((left, right), None);
            let (job, shard) = (self.jobs.get(&id), self.shard(id, index));
            let both = job.zip(shard);
            let action = both.and_then(|(job, shard)| compare(job, index, shard, left, right));
            self.comparing.insert((id, index, left, right));
            fx.actions.extend(action);
        }
    }

    pub(super) fn compared(
        &mut self,
        id: JobId,
        index: u32,
        left: AssignmentId,
        right: AssignmentId,
        finding: Finding,
        fx: &mut Effects,
    ) {
        let position = |assignment| match self.places.get(&assignment) {
            Some(Place {
                job,
                shard,
                replica,
            }) if (*job, *shard) == (id, index) => Some(*replica),
            _ => None,
        };
        let (Some(left), Some(right)) = (position(left), position(right)) else {
            return;
        };
        let pair = (left.min(right), left.max(right));
        if !self.comparing.remove(&(id, index, pair.0, pair.1)) {
            return;
        }
        let checks = |at: u32| {
            let shard = self.shard(id, index);
            let replica = shard.and_then(|shard| shard.replicas.get(at as usize));
            replica.is_some_and(|replica| replica.check)
        };
        let is_check = checks(pair.0) || checks(pair.1);
        if let Some(shard) = self.shard_mut(id, index) {
            let agrees = finding == Finding::Agree;
            shard.comparisons.insert(pair, Some(agrees));
        }
        if is_check {
            self.check_compared(id, index, pair, finding, fx);
        }
        fx.touched.insert((id, index));
        fx.touched.append(&mut self.held);
    }

    /// Forgets the comparisons of shards that need no verdict any more.
    pub(super) fn drop_comparisons(
        &mut self,
        id: JobId,
        shards: RangeInclusive<u32>,
        fx: &mut Effects,
    ) {
        let (first, last) = (*shards.start(), *shards.end());
        let held = self.held.range((id, first)..=(id, last));
        for key in held.copied().collect::<Vec<_>>() {
            self.held.remove(&key);
        }
        let mine = (id, first, 0, 0)..=(id, last, u32::MAX, u32::MAX);
        let gone: Vec<_> = self.comparing.range(mine).copied().collect();
        if gone.is_empty() {
            return;
        }
        for key in gone {
            self.comparing.remove(&key);
        }
        fx.touched.append(&mut self.held);
    }
}

/// Positions of the replicas that wait for a verdict. Who checked an answer that is gone is not among them.
fn revealed(shard: &Shard) -> Vec<u32> {
    let positions = shard.replicas.iter().zip(0..);
    let positions = positions.filter(|(replica, _)| !replica.check);
    let revealed = positions.filter(|(replica, _)| replica.state == ReplicaState::Revealed);
    revealed.map(|(_, position)| position).collect()
}

/// Pairs that might agree and that nobody has compared yet: those with different roots, unless outputs are compared bit
/// by bit, and where something is opened those with equal ones too.
fn uncompared(shard: &Shard, revealed: &[u32], opens: bool, exact: bool) -> Vec<(u32, u32)> {
    let mut pairs = Vec::new();
    for (&left, i) in revealed.iter().zip(1usize..) {
        for &right in revealed.get(i..).unwrap_or_default() {
            let answer = shard.comparisons.get(&(left, right)).copied().flatten();
            let unsettled = match same_root(shard, left, right) {
                true => opens,
                false => !exact,
            };
            let open = unsettled && same_meters(shard, left, right);
            if open && answer.is_none() {
                pairs.push((left, right));
            }
        }
    }
    pairs
}

/// Whether two revealed replicas agree: their meters and placements do, and either their roots are equal or the
/// driver compared the outputs and said so. Where something is opened only the driver can say so.
fn agree(shard: &Shard, left: u32, right: u32, opens: bool) -> bool {
    let pair = (left.min(right), left.max(right));
    let answer = shard.comparisons.get(&pair).copied().flatten();
    let alike = same_root(shard, left, right) && !opens;
    same_meters(shard, left, right) && (alike || answer == Some(true))
}

pub(super) fn same_root(shard: &Shard, left: u32, right: u32) -> bool {
    both(shard, left, right, |l, r| l.root == r.root)
}

pub(super) fn same_meters(shard: &Shard, left: u32, right: u32) -> bool {
    both(shard, left, right, verdict::meters_agree)
}

/// Whether two replicas are revealed and `hold`s of what they revealed.
fn both(shard: &Shard, left: u32, right: u32, hold: impl Fn(&Outcome, &Outcome) -> bool) -> bool {
    let outcome = |position: u32| {
        let replica = shard.replicas.get(position as usize)?;
        Some(&replica.opening.as_ref()?.outcome)
    };
    matches!((outcome(left), outcome(right)), (Some(l), Some(r)) if hold(l, r))
}

#[cfg(any(test, feature = "sabotage"))]
fn sabotaged(
    sabotage: Option<super::Sabotage>,
    replicas: usize,
    quorum: usize,
    agree: impl Fn(usize, usize) -> bool,
) -> Option<Verdict> {
    match sabotage? {
        super::Sabotage::FirstReplicaWins => Some(Verdict::Accepted { agreeing: vec![0] }),
        super::Sabotage::StarVerdict => (0..replicas).find_map(|centre| {
            let near = |i: &usize| *i == centre || agree(centre.min(*i), centre.max(*i));
            let agreeing: Vec<usize> = (0..replicas).filter(near).collect();
            (agreeing.len() >= quorum).then_some(Verdict::Accepted { agreeing })
        }),
        _ => None,
    }
}
