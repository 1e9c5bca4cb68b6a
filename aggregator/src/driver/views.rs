//! The core's state in the words of the HTTP interface.

use api::types::{BalanceView, JobPhase, JobView, ProviderView};
use jobs::ids::JobId;

use crate::core::Core;
use crate::core::view::JobStatus;

/// A job, without what only its package knows.
pub(crate) fn job(core: &Core, id: JobId) -> Option<JobView> {
    let summary = core.job_summary(id)?;
    Some(JobView {
        id,
        name: String::new(),
        client: summary.client,
        phase: match summary.status {
            JobStatus::Preparing => JobPhase::Waiting,
            JobStatus::Running => JobPhase::Running,
            JobStatus::Merging => JobPhase::Merging,
            JobStatus::Provisional => JobPhase::Provisional,
            JobStatus::Ending => JobPhase::Running,
            // Whoever sees "done" asks for the record next.
            JobStatus::Done if !summary.recorded => JobPhase::Merging,
            JobStatus::Done => JobPhase::Done,
            JobStatus::Failed => JobPhase::Failed,
        },
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
