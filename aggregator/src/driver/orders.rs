//! What a client asks before it submits a job.

use api::backend::Answer;
use api::types::{QuoteView, SUITORS_MAX, SuitorView};
use jobs::money;
use jobs::package::Package;

use super::Shared;
use super::backend::{internal, problem, refused_package};
use crate::core::JobSpec;

/// What a job would cost now.
pub(super) async fn quote(shared: &Shared, package: Package) -> Answer<QuoteView> {
    // The same bounds as for a submission, whatever the spelling.
    let checked = package.to_canonical();
    let package = checked.and_then(|bytes| Package::from_canonical(&bytes));
    let package = package.map_err(|error| refused_package(&error))?;
    let spec = JobSpec::of(&package);
    let estimate = shared.handle.ask(move |core| core.estimate(&spec)).await;
    let estimate = estimate.map_err(|error| internal(&error))?;
    let estimate = estimate.map_err(|refusal| problem(&refusal))?;
    let quote = estimate.quote;
    let eligible = u32::try_from(estimate.able.len()).unwrap_or(u32::MAX);
    let cheapest = estimate.able.into_iter().take(SUITORS_MAX);
    let cheapest = cheapest.map(|suitor| SuitorView {
        provider: suitor.provider,
        price: suitor.price,
        most: suitor.most,
    });
    Ok(QuoteView {
        escrow: quote.escrow,
        fee_most: money::fee(quote.escrow, quote.fee_bps),
        fee_bps: quote.fee_bps,
        shards: quote.shards,
        replicas: package.replication.replicas,
        max_replicas: package.replication.max_replicas,
        share: quote.share,
        served: estimate.refused.is_none(),
        missing: estimate.refused.map(|refusal| refusal.to_string()),
        eligible,
        cheapest: cheapest.collect(),
    })
}
