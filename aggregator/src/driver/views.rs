//! The core's state in the words of the HTTP interface.

use api::types::{AssignmentView, BalanceView, EpochView, JobPhase, JobView, ProviderView};
use jobs::game::score::Standing;
use jobs::ids::{JobId, ProviderId};
use jobs::time::Timestamp;

use crate::core::Core;
use crate::core::action::JobOutcome;
use crate::core::epoch::ends;
use crate::core::state::{Cause, ReplicaState};
use crate::core::view::{JobStatus, ShardView};

const fn phase_of(status: JobStatus, recorded: bool) -> JobPhase {
    match status {
        JobStatus::Preparing => JobPhase::Waiting,
        JobStatus::Running | JobStatus::Ending => JobPhase::Running,
        JobStatus::Merging => JobPhase::Merging,
        JobStatus::Provisional => JobPhase::Provisional,
        // Whoever sees "done" asks for the record next.
        JobStatus::Done if !recorded => JobPhase::Merging,
        JobStatus::Done => JobPhase::Done,
        JobStatus::Failed => JobPhase::Failed,
    }
}

/// Where a job is, and why it failed.
pub(crate) fn phase(core: &Core, id: JobId) -> Option<(JobPhase, Option<String>)> {
    let (status, recorded) = core.job_stage(id)?;
    let reason = match core.outcome(id) {
        Some(JobOutcome::Failed(reason)) => Some(reason.to_string()),
        _ => None,
    };
    Some((phase_of(status, recorded), reason))
}

/// A job, without what only its package knows.
pub(crate) fn job(core: &Core, id: JobId) -> Option<JobView> {
    let summary = core.job_summary(id)?;
    Some(JobView {
        id,
        name: String::new(),
        client: summary.client,
        phase: phase_of(summary.status, summary.recorded),
        reason: summary.reason,
        items: summary.items,
        shards: summary.quote.shards,
        shards_accepted: summary.accepted,
        assignments: summary.assignments,
        replicas: summary.revealed,
        agreements: summary.agreed,
        disagreements: summary.dissented,
        escrowed: summary.quote.escrow,
        escrow_left: summary.escrow,
        paid: summary.paid,
        fee: summary.fee,
        returned: summary.returned,
        submitted: summary.admitted,
        finished: summary.ended,
        result: summary.result,
    })
}

/// Every provider.
pub(crate) fn providers(core: &Core) -> Vec<ProviderView> {
    core.view_providers()
        .into_iter()
        .map(|view| ProviderView {
            id: view.id,
            operator: view.offer.operator(),
            prefix: format!("{:016x}", view.prefix),
            online: view.online,
            eligible: !view.demoted && view.banned.is_none(),
            banned: view.banned.map(|evidence| format!("{evidence:?}")),
            reputation_ppm: view.score,
            fingerprint: view.offer.fingerprint.digest(),
            device: view.offer.device,
            price: view.offer.price,
            in_flight: view.busy,
            agreements: view.tally.agreed,
            disagreements: view.tally.dissented,
            failures: view.tally.failed,
            game_points: view.game.map(|game| game.points),
            game_epoch: view.game.map(|game| game.epoch),
            rewarded: view.game.map(|game| game.rewarded).unwrap_or_default(),
            held_answers: view.audits.held,
            held_at_most: view.audits.held_at_most,
            checks_passed: view.audits.passed,
            audit_rate_ppb: view.audits.rate_ppb,
        })
        .collect()
}

/// What the core audits by.
pub(crate) fn auditing(core: &Core) -> serde_json::Value {
    let config = core.config();
    serde_json::json!({
        "params": config.audit,
        "stake_min": config.stake_min,
        "referees": config.referees,
        "finality_ms": config.finality_ms,
    })
}

/// Every account that was ever touched.
pub(crate) fn balances(core: &Core) -> Vec<BalanceView> {
    core.ledger()
        .balances()
        .map(|(account, balance)| BalanceView {
            account: account.to_string(),
            credits: balance.credits_posted,
            debits: balance.debits_posted,
            pending: balance.debits_pending,
        })
        .collect()
}

/// Every assignment of a job that has ended; `None` while it has not, because whoever knows with whom
/// it shares a shard could agree with it on an answer.
pub(crate) fn assignments(core: &Core, id: JobId) -> Option<Vec<AssignmentView>> {
    let job = core.view_job(id)?;
    if !matches!(job.status, JobStatus::Done | JobStatus::Failed) {
        return None;
    }
    let of_shard = |shard: &ShardView| -> Vec<AssignmentView> {
        let replicas = shard.replicas.iter();
        let views = replicas.map(|replica| AssignmentView {
            assignment: replica.assignment,
            shard: shard.index,
            first_item: shard.first_item,
            items: shard.items,
            provider: replica.provider,
            standing: standing(&replica.state, shard.accepted),
            dispatched: replica.times.dispatched,
            accepted: replica.times.accepted,
            committed: replica.times.committed,
            cause: match &replica.state {
                ReplicaState::Closed(cause) => Some(super::shards::why(cause)),
                _ => None,
            },
        });
        views.collect()
    };
    Some(job.shards.iter().flat_map(of_shard).collect())
}

/// What became of an assignment. A failure that may be the job's is its provider's only where others
/// executed the shard.
pub(super) fn standing(state: &ReplicaState, accepted: bool) -> Standing {
    match state {
        ReplicaState::Settled { agreed: true, .. } => Standing::Agreed,
        ReplicaState::Settled { agreed: false, .. } => Standing::Outvoted,
        ReplicaState::Closed(cause) => match cause {
            Cause::Refused(code) if code.as_str() == "not_sent" => Standing::Excused,
            Cause::Failed(failure) if failure.may_be_the_jobs() && !accepted => Standing::Excused,
            Cause::Refused(_)
            | Cause::NotAccepted
            | Cause::Overdue
            | Cause::Lost
            | Cause::Failed(_)
            | Cause::RevealFailed
            | Cause::OpeningFailed
            | Cause::OutputsInvalid
            | Cause::Banned => Standing::Failed,
            Cause::Refuted => Standing::Outvoted,
            Cause::JobEnded | Cause::Moot => Standing::Excused,
        },
        _ => Standing::Excused,
    }
}

/// The epoch of the game at `now`, and what came of the latest ones.
pub(crate) fn epoch(core: &Core, now: Timestamp) -> EpochView {
    let config = core.config();
    let epoch = jobs::game::epoch::epoch_of(now, config.epoch_ms);
    let closed = core.closed_epochs().iter().map(|(epoch, closing)| {
        let points = closing.points.iter().map(|(id, points)| (*id, *points));
        let awards = closing.awards.iter().map(|(id, award)| (*id, *award));
        api::types::ClosedEpoch {
            epoch: *epoch,
            reporters: closing.reporters,
            pot: closing.pot,
            points: points.collect(),
            awards: awards.collect(),
        }
    });
    let validators: Vec<ProviderId> = config.validators.iter().copied().collect();
    EpochView {
        epoch,
        epoch_ms: config.epoch_ms,
        now,
        ends: ends(epoch, config.epoch_ms),
        validators,
        reward: config.epoch_reward,
        rewards_left: core.rewards_left(),
        closed: closed.collect(),
    }
}
