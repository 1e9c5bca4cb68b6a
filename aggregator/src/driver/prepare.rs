//! Before a job can run: its blobs must be there, its component must be a job, and its input is cut
//! into shards.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use jobs::digest::BlobRef;
use jobs::ids::JobId;
use jobs::package::Package;
use jobs::{component, items, merkle, plan};

use super::Shared;
use super::actor::{self, report};
use super::error::Error;
use super::rows::PACKAGES;
use crate::core::view::JobStatus;
use crate::core::{Code, Event};

/// Jobs that are being prepared, so that the last two uploads of one do not prepare it twice.
#[derive(Debug, Default)]
pub(crate) struct Preparing(Mutex<BTreeSet<JobId>>);

impl Preparing {
    fn enter(&self, job: JobId) -> bool {
        self.0.lock().is_ok_and(|mut jobs| jobs.insert(job))
    }

    fn leave(&self, job: JobId) {
        if let Ok(mut jobs) = self.0.lock() {
            jobs.remove(&job);
        }
    }
}

/// The package of a known job.
pub(crate) fn package(shared: &Shared, job: JobId) -> Result<Package, Error> {
    let signed = PACKAGES.get(&*shared.store, &job)?;
    let signed = signed.ok_or_else(|| Error::Log(format!("{job} has no package")))?;
    Ok(Package::from_canonical(signed.package.as_bytes())?)
}

/// The blobs of a package that are not here yet.
pub(crate) fn missing(shared: &Shared, package: &Package) -> Vec<BlobRef> {
    let mut missing: Vec<BlobRef> = package
        .blobs()
        .filter(|blob| !shared.blobs.contains(&blob.digest))
        .collect();
    missing.sort();
    missing.dedup();
    missing
}

/// Prepares a job if all of its blobs are here; the last upload starts this again. One task a job.
pub(crate) fn start(job: JobId, shared: Arc<Shared>) {
    if !shared.preparing.enter(job) {
        return;
    }
    let task = Arc::clone(&shared);
    actor::spawn(&shared, async move {
        let wanted = actor::is(job, JobStatus::Preparing);
        loop {
            let ended = actor::stubborn(&task, wanted.clone(), || run(job, &task)).await;
            task.preparing.leave(job);
            ended?;
            // The last blob may have come after we looked and before we left.
            let complete = missing(&task, &package(&task, job)?).is_empty();
            let wanted = complete && task.handle.ask(wanted.clone()).await?;
            if !wanted || !task.preparing.enter(job) {
                return Ok(());
            }
        }
    });
}

/// Prepares a job, unless some of its blobs are not here yet.
async fn run(job: JobId, shared: &Arc<Shared>) -> Result<(), Error> {
    let _permit = shared.heavy.acquire().await.map_err(|_| Error::Stopping)?;
    let worker = Arc::clone(shared);
    let prepared = tokio::task::spawn_blocking(move || prepare(&worker, job)).await;
    let event = match prepared.map_err(|error| Error::Log(error.to_string()))? {
        Ok(Some(shard_inputs)) => Event::BlobsReady { job, shard_inputs },
        Ok(None) => return Ok(()),
        Err(Failure::Job(code)) => Event::BlobsInvalid { job, code },
        Err(Failure::Ours(error)) => return Err(error),
    };
    report(shared, event).await
}

/// Whose fault it is that a job cannot be prepared.
enum Failure {
    Job(Code),
    Ours(Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Ours(error.into())
    }
}

fn prepare(shared: &Shared, job: JobId) -> Result<Option<Vec<BlobRef>>, Failure> {
    let package = package(shared, job)?;
    if !missing(shared, &package).is_empty() {
        return Ok(None);
    }
    let fault = |what: &str, error: jobs::Error| {
        tracing::info!(%job, %error, "job refused: {what}");
        Failure::Job(Code::new(what))
    };
    check_sizes(shared, &package)?;
    let bytes = read(shared, &package.component, "component_damaged")?;
    component::check(&bytes).map_err(|error| fault("component_refused", error))?;

    let input = read(shared, &package.input.blob, "input_damaged")?;
    let items = items::decode(&input).map_err(|error| fault("input_malformed", error))?;
    if items.len() != package.input.items as usize || merkle::root(&items) != package.input.root {
        return Err(Failure::Job(Code::new("input_differs_from_package")));
    }
    let spans = plan::plan(package.input.items, package.items_per_shard);
    let mut shards = Vec::with_capacity(spans.len());
    for span in spans {
        let run = items
            .iter()
            .skip(span.first_item as usize)
            .take(span.items as usize);
        let encoded = items::encode(&run.collect::<Vec<_>>())?;
        shards.push(shared.blobs.put_bytes(&encoded)?);
    }
    Ok(Some(shards))
}

/// Cuts a sample out of a shard's items and stores it.
pub(crate) async fn sample(
    input: BlobRef,
    items: Vec<u32>,
    shared: &Arc<Shared>,
) -> Result<BlobRef, Error> {
    let _permit = shared.heavy.acquire().await.map_err(|_| Error::Stopping)?;
    let worker = Arc::clone(shared);
    let cut = tokio::task::spawn_blocking(move || -> Result<BlobRef, Error> {
        let bytes = worker.blobs.read(&input)?;
        let all = items::decode(&bytes)?;
        let encoded = items::encode(&sampled(&all, &items))?;
        Ok(worker.blobs.put_bytes(&encoded)?)
    });
    cut.await
        .unwrap_or_else(|error| Err(Error::Log(error.to_string())))
}

/// The items at these positions; all of them if none is named.
pub(crate) fn sampled<'a>(all: &[&'a [u8]], positions: &[u32]) -> Vec<&'a [u8]> {
    if positions.is_empty() {
        return all.to_vec();
    }
    let at = |position: &u32| all.get(*position as usize).copied();
    positions.iter().filter_map(at).collect()
}

/// A blob may have come with another job, which declared its true size. Nobody could fetch it under
/// another one.
fn check_sizes(shared: &Shared, package: &Package) -> Result<(), Failure> {
    let models = package.models.iter().map(|model| ("model", model.blob));
    let declared = [
        ("component", package.component),
        ("input", package.input.blob),
    ];
    for (what, blob) in declared.into_iter().chain(models) {
        if shared.blobs.size(&blob.digest) != Some(blob.size) {
            return Err(Failure::Job(Code::new(&format!("{what}_size_differs"))));
        }
    }
    Ok(())
}

/// A blob that is here. One whose content is lost for good ends the job, which gets its money back.
fn read(shared: &Shared, blob: &BlobRef, damaged: &str) -> Result<Vec<u8>, Failure> {
    shared.blobs.read(blob).map_err(|error| match error {
        network::Error::BlobDigest { .. } | network::Error::BlobSize { .. } => {
            tracing::error!(%error, "a stored blob is damaged");
            Failure::Job(Code::new(damaged))
        }
        error => error.into(),
    })
}
