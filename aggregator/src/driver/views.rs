//! The core's state in the words of the HTTP interface.

use api::types::{BalanceView, JobPhase, JobView, ProviderView};
use jobs::ids::JobId;

use crate::core::state::ReplicaState;
use crate::core::view::JobStatus;
use crate::core::{Core, JobOutcome};

/// A job, without what only its package knows.
pub(crate) fn job(core: &Core, id: JobId) -> Option<JobView> {
    let view = core.view_job(id)?;
    let states = || {
        view.shards
            .iter()
            .flat_map(|shard| &shard.replicas)
            .map(|replica| &replica.state)
    };
    let count = |wanted: fn(&ReplicaState) -> bool| {
        u32::try_from(states().filter(|state| wanted(state)).count()).unwrap_or(u32::MAX)
    };
    let (result, reason) = match &view.outcome {
        Some(JobOutcome::Done { result, .. }) => (Some(*result), None),
        Some(JobOutcome::Failed(reason)) => (None, Some(reason.to_string())),
        None => (None, None),
    };
    Some(JobView {
        id,
        name: String::new(),
        client: view.client,
        phase: match view.status {
            JobStatus::Preparing => JobPhase::Waiting,
            JobStatus::Running => JobPhase::Running,
            JobStatus::Merging => JobPhase::Merging,
            JobStatus::Ending => JobPhase::Running,
            // Whoever sees "done" asks for the record next.
            JobStatus::Done if !view.recorded => JobPhase::Merging,
            JobStatus::Done => JobPhase::Done,
            JobStatus::Failed => JobPhase::Failed,
        },
        reason,
        items: view.shards.iter().map(|shard| shard.items).sum(),
        shards: view.quote.shards,
        shards_accepted: view.accepted,
        assignments: u32::try_from(view.assignments).unwrap_or(u32::MAX),
        replicas: count(|s| matches!(s, ReplicaState::Revealed | ReplicaState::Settled { .. })),
        agreements: count(|s| matches!(s, ReplicaState::Settled { agreed: true, .. })),
        disagreements: count(|s| matches!(s, ReplicaState::Settled { agreed: false, .. })),
        escrowed: view.quote.escrow,
        escrow_left: view.escrow,
        paid: core.paid(id),
        fee: view.fee,
        returned: view.returned,
        submitted: view.admitted,
        finished: view.ended,
        result,
    })
}

/// Every provider.
pub(crate) fn providers(core: &Core) -> Vec<ProviderView> {
    core.view_providers()
        .into_iter()
        .map(|view| ProviderView {
            id: view.id,
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
        })
        .collect()
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
