//! What a client asks about a job of its own before and while it runs.

use api::backend::{Answer, Asked, Response};
use api::problem::{Code, Problem};
use api::types::{CancelRequest, QuoteView, SUITORS_MAX, SuitorView};
use jobs::ids::JobId;
use jobs::money;
use jobs::package::Package;

use super::Shared;
use super::backend::{check_same, internal, problem, refused_package};
use super::once::{self, Beginning};
use super::rows::PACKAGES;
use crate::core::{Event, JobSpec, Reply};

/// Ends a job for its client, who also knows what its nonce promised.
pub(super) async fn cancel(
    shared: &Shared,
    asked: Asked,
    job: JobId,
    cancel: &CancelRequest,
) -> Answer<Response> {
    let signed = PACKAGES.get(&*shared.store, &job);
    let signed = signed.map_err(|error| internal(&error.into()))?;
    let signed = signed.ok_or_else(|| Problem::not_found(format_args!("job {job}")))?;
    let verified = signed.verify().map_err(|error| refused_package(&error))?;
    let client = verified.client;
    check_same(asked.client()?, client, "the job")?;
    if !cancel.share.opens(&verified.package.nonce) {
        let detail = "the share is not what the job's nonce promises";
        return Err(Problem::of(Code::WrongShare, detail));
    }
    // How the job stands is answered as it is then, so that no answer is kept.
    let asked = Asked {
        idempotency: None,
        ..asked
    };
    let begun = match once::begin(shared, asked, *client.0.as_bytes()).await? {
        Beginning::Known(response) => return Ok(response),
        Beginning::New(begun) => begun,
    };
    let event = move |request| Event::Cancel {
        request,
        job,
        client,
    };
    let respond = |_: &Reply, _: bool| Some(Response::empty());
    begun.settle(event, Vec::new(), Some(job), respond).await
}

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
