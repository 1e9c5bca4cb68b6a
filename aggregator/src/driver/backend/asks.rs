//! What clients and the operator ask to be changed.

use api::backend::{Answer, Asked, Response};
use api::problem::{Code, Problem};
use api::types::{CancelReply, ChallengeReply, ChallengeRequest, RECORD_BYTES_MAX, SubmitReply};
use jobs::envelope::{SignedPackage, VerifiedPackage};
use jobs::ids::{ClientId, JobId};
use jobs::package::Package;
use jobs::policy::Share;
use network::trace::TARGET;
use tracing::Instrument;

use super::problems::{chance, internal};
use super::refused_package;
use crate::core::event::Chance;
use crate::core::view::JobStatus;
use crate::core::{Core, Event, JobSpec, Reply};
use crate::driver::once::{self, Beginning};
use crate::driver::rows::{PACKAGES, Row};
use crate::driver::{Shared, prepare, records};

/// Verifies, admits and funds a job.
pub(super) async fn submit(
    shared: &Shared,
    asked: Asked,
    signed: SignedPackage,
) -> Answer<Response> {
    let verified = signed.verify().map_err(|error| refused_package(&error))?;
    let (client, job, package) = (verified.client, verified.id, verified.package);
    check_same(asked.client()?, client, "the package")?;
    shared
        .signers
        .check(client)
        .map_err(|error| refused_package(&error))?;
    let begun = match once::begin(shared, asked, *client.0.as_bytes()).await? {
        Beginning::Known(response) => return Ok(response),
        Beginning::New(begun) => begun,
    };
    check_record(&package, signed.package.len())?;
    let (spec, chance) = (JobSpec::of(&package), chance()?);
    // What is said to be here stays until the job that needs it is known.
    let _work = shared.blobs.at_work();
    let event = move |request| Event::Submit {
        request,
        client,
        job,
        spec,
        chance,
    };
    let missing = prepare::missing(shared, &package);
    let respond = move |reply: &Reply, _: bool| match reply {
        Reply::Admitted { quote, promise, .. } => {
            let reply = SubmitReply {
                promise: *promise,
                job,
                missing,
                escrowed: quote.escrow,
                shards: quote.shards,
            };
            Response::json(202, &reply).ok()
        }
        _ => None,
    };
    let rows = vec![Row::Package(job, signed)];
    // Before the job can be heard of.
    let is_new = shared.spans.begin(job);
    let is_over = move |core: &Core| {
        let status = core.job_status(job);
        matches!(status, Some(JobStatus::Done | JobStatus::Failed))
    };
    let span = tracing::info_span!(target: TARGET, "admit", %job);
    let settled = begun.settle(event, rows, Some(job), respond);
    let answer = settled.instrument(span).await;
    // A job that ended before this was asked ends no more.
    if is_new && (answer.is_err() || shared.handle.ask(is_over).await.unwrap_or(true)) {
        shared.spans.end(job);
    }
    answer
}

/// Takes the client's share of the draw.
pub(super) async fn share(
    shared: &Shared,
    asked: Asked,
    job: JobId,
    share: Share,
) -> Answer<Response> {
    let verified = owned(shared, job, asked.client()?)?;
    if !share.opens(&verified.package.nonce) {
        let detail = "the share is not what the job's nonce promises";
        return Err(Problem::invalid(detail.to_owned()));
    }
    let (client, chance) = (verified.client, Chance(share.0));
    let begun = match once::begin(shared, asked, *client.0.as_bytes()).await? {
        Beginning::Known(response) => return Ok(response),
        Beginning::New(begun) => begun,
    };
    let event = move |request| Event::Share {
        request,
        job,
        client,
        chance,
    };
    let respond = |_: &Reply, _: bool| Some(Response::empty());
    begun.settle(event, Vec::new(), Some(job), respond).await
}

/// Has the shard of a doubted item executed again.
pub(super) async fn challenge(
    shared: &Shared,
    asked: Asked,
    job: JobId,
    challenge: ChallengeRequest,
) -> Answer<Response> {
    let client = asked.client()?;
    check_owner(shared, job, client)?;
    let begun = match once::begin(shared, asked, *client.0.as_bytes()).await? {
        Beginning::Known(response) => return Ok(response),
        Beginning::New(begun) => begun,
    };
    let (chance, item) = (Chance(challenge.share.0), challenge.item);
    let event = move |request| Event::Challenge {
        request,
        job,
        chance,
        item,
    };
    let respond = |reply: &Reply, _: bool| match reply {
        Reply::Challenged { shard, .. } => {
            Response::json(202, &ChallengeReply { shard: *shard }).ok()
        }
        _ => None,
    };
    begun.settle(event, Vec::new(), Some(job), respond).await
}

/// Ends a job for its client.
pub(super) async fn cancel(shared: &Shared, asked: Asked, job: JobId) -> Answer<Response> {
    let client = asked.client()?;
    check_owner(shared, job, client)?;
    let begun = match once::begin(shared, asked, *client.0.as_bytes()).await? {
        Beginning::Known(response) => return Ok(response),
        Beginning::New(begun) => begun,
    };
    let event = move |request| Event::Cancel {
        request,
        job,
        client,
    };
    let respond = move |_: &Reply, _: bool| Response::json(202, &CancelReply { job }).ok();
    begun.settle(event, Vec::new(), Some(job), respond).await
}

/// The package of a job that is this client's.
fn owned(shared: &Shared, job: JobId, client: ClientId) -> Answer<VerifiedPackage> {
    let signed = PACKAGES.get(&*shared.store, &job);
    let signed = signed.map_err(|error| internal(&error.into()))?;
    let signed = signed.ok_or_else(|| Problem::not_found(format_args!("job {job}")))?;
    let verified = signed.verify().map_err(|error| refused_package(&error))?;
    check_same(client, verified.client, "the job")?;
    Ok(verified)
}

/// Whether a job is this client's.
pub(super) fn check_owner(shared: &Shared, job: JobId, client: ClientId) -> Answer<()> {
    owned(shared, job, client).map(drop)
}

/// Whoever signs the request must have signed what it is about.
pub(in crate::driver) fn check_same(asks: ClientId, owner: ClientId, what: &str) -> Answer<()> {
    if asks == owner {
        return Ok(());
    }
    let detail = format!("the request is signed by {asks}, {what} is {owner}'s");
    Err(Problem::of(Code::NotYours, detail))
}

/// Takes no job whose record nobody could fetch in the end.
fn check_record(package: &Package, package_bytes: usize) -> Answer<()> {
    let size = records::record_bytes_max(package, package_bytes);
    if size <= RECORD_BYTES_MAX {
        return Ok(());
    }
    let replicas = package.replication.max_replicas;
    let detail = format!(
        "the record of this job, with up to {replicas} replicas of each shard, may have {size} bytes, \
         more than the {RECORD_BYTES_MAX} allowed: put more items in a shard"
    );
    Err(Problem::of(Code::RecordTooLarge, detail))
}
