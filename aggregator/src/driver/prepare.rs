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
        loop {
            let ended = run(job, &task).await;
            task.preparing.leave(job);
            // The last blob may have come after we looked and before we left.
            let complete = || Ok::<_, Error>(missing(&task, &package(&task, job)?).is_empty());
            if ended? || !complete()? || !task.preparing.enter(job) {
                return Ok(());
            }
        }
    });
}

/// Prepares a job; answers whether its blobs were all here.
async fn run(job: JobId, shared: &Arc<Shared>) -> Result<bool, Error> {
    let _permit = shared.heavy.acquire().await.map_err(|_| Error::Stopping)?;
    let worker = Arc::clone(shared);
    let prepared = tokio::task::spawn_blocking(move || prepare(&worker, job)).await;
    let event = match prepared.map_err(|error| Error::Log(error.to_string()))? {
        Ok(Some(shard_inputs)) => Event::BlobsReady { job, shard_inputs },
        Ok(None) => return Ok(false),
        Err(Failure::Job(code)) => Event::BlobsInvalid { job, code },
        Err(Failure::Ours(error)) => return Err(error),
    };
    report(shared, event).await?;
    Ok(true)
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
    let bytes = shared.blobs.read(&package.component)?;
    component::check(&bytes).map_err(|error| fault("component_refused", error))?;

    let input = shared.blobs.read(&package.input.blob)?;
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
