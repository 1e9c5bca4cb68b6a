//! Whether a verdict is borne out by what was revealed.

use jobs::outcome::Outcome;
use jobs::verdict::{FUEL_FACTOR_MAX, REPLICAS_MAX};

use super::Violation;
use crate::core::event::Comparison;
use crate::core::state::{Job, Replica, ReplicaState, Shard};

pub(super) fn check_verdict(job: &Job, shard: &Shard, index: u32) -> Result<(), Violation> {
    let wrong = |what| Violation::Verdict {
        job: job.id,
        shard: index,
        what,
    };
    let mut judged = Vec::new();
    let mut winners = Vec::new();
    for (replica, position) in shard.replicas.iter().zip(0u32..) {
        let ReplicaState::Settled { agreed, paid } = replica.state else {
            continue;
        };
        check_evidence(replica)?;
        judged.push(position);
        if agreed {
            winners.push(position);
        } else if !paid.is_zero() {
            return Err(Violation::Unproven {
                assignment: replica.assignment,
                what: "a verdict for it",
            });
        }
    }
    let Some(accepted) = &shard.accepted else {
        if judged.is_empty() {
            return Ok(());
        }
        return Err(wrong("replicas are settled without a verdict"));
    };
    if accepted.agreeing != winners {
        return Err(wrong("the settlement is not the verdict"));
    }
    if winners.len() < usize::from(job.spec.replicas) {
        return Err(wrong("fewer agree than the quorum"));
    }
    if judged.len() > REPLICAS_MAX {
        return Err(wrong("more replicas than a verdict can judge"));
    }
    let agree = |l: u32, r: u32| agrees(job, shard, l, r);
    if !is_clique(&winners, agree) {
        return Err(wrong("two of the agreeing do not agree"));
    }
    if has_rival(&judged, &winners, agree) {
        return Err(wrong("another set of replicas is as large"));
    }
    let roots = winners.iter().filter_map(|w| outcome(shard, *w));
    let outputs = outcome(shard, accepted.canonical);
    let canonical = winners.contains(&accepted.canonical)
        && roots.map(|outcome| outcome.root).min() == Some(accepted.root)
        && outputs.map(|o| (o.root, o.outputs)) == Some((accepted.root, accepted.outputs));
    if canonical {
        Ok(())
    } else {
        Err(wrong("the canonical outputs are not the lowest agreeing"))
    }
}

pub(super) fn check_evidence(replica: &Replica) -> Result<(), Violation> {
    let unproven = |what| Violation::Unproven {
        assignment: replica.assignment,
        what,
    };
    let commitment = replica.commitment.ok_or(unproven("a commitment"))?;
    let opening = replica.opening.as_ref().ok_or(unproven("a reveal"))?;
    let about_it = commitment.assignment == replica.assignment
        && commitment.provider == replica.provider
        && commitment.opens_with(opening);
    if about_it {
        Ok(())
    } else {
        Err(unproven("a reveal that opens its commitment"))
    }
}

pub(super) fn outcome(shard: &Shard, position: u32) -> Option<&Outcome> {
    let replica = shard.replicas.get(position as usize)?;
    Some(&replica.opening.as_ref()?.outcome)
}

fn agrees(job: &Job, shard: &Shard, left: u32, right: u32) -> bool {
    let (Some(l), Some(r)) = (outcome(shard, left), outcome(shard, right)) else {
        return false;
    };
    let factor = match l.fingerprint == r.fingerprint {
        true => 1,
        false => u128::from(FUEL_FACTOR_MAX),
    };
    let [l_fuel, r_fuel] = [l, r].map(|outcome| u128::from(outcome.meters.fuel));
    let most = l_fuel.min(r_fuel).saturating_mul(factor);
    if l_fuel > most || r_fuel > most {
        return false;
    }
    let pair = (left.min(right), left.max(right));
    let compared = shard.comparisons.get(&pair) == Some(&Some(true));
    let numeric = job.spec.comparison == Comparison::Numeric;
    match job.spec.openings {
        true => compared && (l.root == r.root || numeric),
        false => l.root == r.root || numeric && compared,
    }
}

fn is_clique(set: &[u32], agree: impl Fn(u32, u32) -> bool) -> bool {
    set.iter().all(|left| {
        set.iter()
            .all(|right| left == right || agree(*left, *right))
    })
}

/// Whether another set of pairwise agreeing replicas is at least as large as the winners.
fn has_rival(judged: &[u32], winners: &[u32], agree: impl Fn(u32, u32) -> bool) -> bool {
    let sets = 1u32.checked_shl(u32::try_from(judged.len()).unwrap_or(0));
    (1..sets.unwrap_or(0)).any(|mask| {
        let large = mask.count_ones() as usize >= winners.len();
        let members = || {
            let chosen = judged.iter().zip(0u32..);
            chosen.filter(move |(_, bit)| mask.checked_shr(*bit).is_some_and(|m| m & 1 == 1))
        };
        large && {
            let set: Vec<u32> = members().map(|(position, _)| *position).collect();
            set != winners && is_clique(&set, &agree)
        }
    })
}
