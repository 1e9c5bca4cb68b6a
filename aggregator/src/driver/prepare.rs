//! Before a job can run: its blobs must be there, its component must be a job, and its input is cut
//! into shards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobs::digest::{BlobHasher, BlobRef, Digest};
use jobs::ids::JobId;
use jobs::package::{InputRef, Package};
use jobs::scan::Scan;
use jobs::{component, items, plan};
use network::trace::TARGET;
use tokio::sync::watch;
use tracing::Instrument;

use super::Shared;
use super::actor::{self, report};
use super::error::Error;
use super::rows::PACKAGES;
use crate::core::view::JobStatus;
use crate::core::{Code, Event};

/// Jobs that have not run yet.
#[derive(Debug, Default)]
pub(crate) struct Preparing(Mutex<Jobs>);

#[derive(Debug, Default)]
struct Jobs {
    /// Those that are being prepared, so that none is twice at once.
    busy: BTreeSet<JobId>,
    /// Those that wait, and one of the blobs that each lacks.
    waiting: BTreeMap<JobId, Digest>,
}

impl Preparing {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to prepare a job, unless somebody does.
    fn enter(&self, job: JobId) -> bool {
        let mut jobs = self.jobs();
        let begins = jobs.busy.insert(job);
        if begins {
            // Whoever is busy with it already has just said what it lacks, perhaps, and looks at that when it ends.
            jobs.waiting.remove(&job);
        }
        begins
    }

    /// Ends that, unless what the job lacked has come meanwhile; whether it has.
    fn leave(&self, job: JobId, shared: &Shared) -> bool {
        let jobs = &mut *self.jobs();
        let lacks = jobs.waiting.get(&job);
        let has_come = lacks.is_some_and(|lacks| shared.blobs.contains(lacks));
        match has_come {
            true => drop(jobs.waiting.remove(&job)),
            false => drop(jobs.busy.remove(&job)),
        }
        has_come
    }

    /// Has a job wait that is being prepared.
    fn wait(&self, job: JobId, lacks: Digest) {
        self.jobs().waiting.insert(job, lacks);
    }

    /// Forgets a job that has ended.
    pub(crate) fn forget(&self, job: JobId) {
        self.jobs().waiting.remove(&job);
    }

    /// Takes those that wait for a blob that is here now. Whoever is still busy with one looks itself.
    fn served(&self, shared: &Shared) -> Vec<JobId> {
        let Jobs { busy, waiting } = &mut *self.jobs();
        let served = waiting.extract_if(.., |job, lacks| {
            !busy.contains(job) && shared.blobs.contains(lacks)
        });
        served.map(|(job, _)| job).collect()
    }
}

/// The package of a known job.
pub(crate) fn package(shared: &Shared, job: JobId) -> Result<Package, Error> {
    let signed = PACKAGES.get(&*shared.store, &job)?;
    let signed = signed.ok_or_else(|| Error::Log(format!("{job} has no package")))?;
    Ok(Package::from_canonical(signed.package.as_bytes())?)
}

/// The blobs of a package that are not here yet. Those that are, somebody needs now.
pub(crate) fn missing(shared: &Shared, package: &Package) -> Vec<BlobRef> {
    lacking(package, |blob| shared.blobs.contains(blob))
}

/// The blobs of a package without those that are here.
pub(crate) fn lacking(package: &Package, is_here: impl Fn(&Digest) -> bool) -> Vec<BlobRef> {
    let mut lacking: Vec<BlobRef> = package
        .blobs()
        .filter(|blob| !is_here(&blob.digest))
        .collect();
    lacking.sort();
    lacking.dedup();
    lacking
}

/// Goes on with jobs whose blobs have come, whoever brought them.
pub(crate) async fn run(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut news = shared.blobs.news();
    loop {
        for job in shared.preparing.served(&shared) {
            start(job, Arc::clone(&shared));
        }
        tokio::select! {
            told = news.changed() => if told.is_err() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Prepares a job if all of its blobs are here, or has it wait for one that is not. One task a job.
pub(crate) fn start(job: JobId, shared: Arc<Shared>) {
    if !shared.preparing.enter(job) {
        return;
    }
    let task = Arc::clone(&shared);
    let span = shared.spans.child(
        job,
        |job| tracing::info_span!(target: TARGET, parent: job, "prepare"),
    );
    let prepared = async move {
        let wanted = actor::is(job, JobStatus::Preparing);
        loop {
            let ended = actor::stubborn(&task, wanted.clone(), || attempt(job, &task)).await;
            let again = task.preparing.leave(job, &task);
            ended?;
            if again {
                continue;
            }
            if !task.handle.ask(wanted).await? {
                // It may have ended before it waited, and nobody else would forget it.
                task.preparing.forget(job);
            }
            return Ok(());
        }
    };
    actor::spawn(&shared, prepared.instrument(span));
}

/// Prepares a job, or has it wait for a blob that is not here yet.
async fn attempt(job: JobId, shared: &Arc<Shared>) -> Result<(), Error> {
    let _permit = shared.heavy.acquire().await.map_err(|_| Error::Stopping)?;
    let _work = shared.blobs.at_work();
    let worker = Arc::clone(shared);
    let prepared = tokio::task::spawn_blocking(move || prepare(&worker, job)).await;
    let event = match prepared.map_err(|error| Error::Log(error.to_string()))? {
        Ok(Ok(shard_inputs)) => Event::BlobsReady { job, shard_inputs },
        Ok(Err(Lacking(blob))) => {
            shared.preparing.wait(job, blob);
            return Ok(());
        }
        Err(Failure::Job(code)) => Event::BlobsInvalid { job, code },
        Err(Failure::Ours(error)) => return Err(error),
    };
    report(shared, event).await
}

/// A blob that a job waits for.
struct Lacking(Digest);

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

fn prepare(shared: &Shared, job: JobId) -> Result<Result<Vec<BlobRef>, Lacking>, Failure> {
    let package = package(shared, job)?;
    if let Some(blob) = missing(shared, &package).first() {
        return Ok(Err(Lacking(blob.digest)));
    }
    let fault = |what: &str, error: jobs::Error| {
        tracing::info!(%job, %error, "job refused: {what}");
        Failure::Job(Code::new(what))
    };
    check_sizes(shared, &package)?;
    let bytes = read(shared, &package.component, "component_damaged")?;
    component::check(&bytes).map_err(|error| fault("component_refused", error))?;

    let blob = package.input.blob;
    let path = shared.blobs.get(&blob.digest);
    let path = path.ok_or_else(|| Error::Log(format!("{job} has no input")))?;
    let scanned = scan(&path, package.items_per_shard)?;
    let damaged = |actual: &BlobRef| {
        tracing::error!(%job, %actual.digest, "a stored input is damaged");
        Failure::Job(Code::new("input_damaged"))
    };
    let (input, runs) = match scanned {
        (_, Ok(scanned)) => scanned,
        (actual, Err(_)) if actual != blob => return Err(damaged(&actual)),
        (_, Err(error)) => return Err(fault("input_malformed", error)),
    };
    if input.blob != blob {
        return Err(damaged(&input.blob));
    }
    if input != package.input {
        return Err(Failure::Job(Code::new("input_differs_from_package")));
    }
    let spans = plan::plan(package.input.items, package.items_per_shard);
    let cut = spans.iter().zip(runs);
    let shards = cut.map(|(span, run)| cut_out(shared, &path, span.items, run));
    Ok(Ok(shards.collect::<Result<_, Error>>()?))
}

/// Bytes of an input read at a time.
const PIECE_BYTES: usize = 256 << 10;

type Scanned = Result<(InputRef, Vec<Range<u64>>), jobs::Error>;

/// Reads an input piece by piece: which blob it really is, what it says of its items, and where its shards lie.
fn scan(path: &Path, per_shard: u32) -> Result<(BlobRef, Scanned), Error> {
    let failed = |source| Error::Directory {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let (mut hasher, mut scan) = (BlobHasher::default(), Ok(Scan::new(per_shard)));
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece).map_err(failed)?;
        let bytes = piece.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok((hasher.finish(), scan.and_then(Scan::finish)));
        }
        hasher.update(bytes);
        scan = scan.and_then(|mut scan| scan.push(bytes).map(|()| scan));
    }
}

/// Stores a shard's items: how many there are, and the bytes of the input in which they lie.
fn cut_out(shared: &Shared, path: &Path, items: u32, run: Range<u64>) -> Result<BlobRef, Error> {
    let failed = |source| Error::Directory {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(run.start)).map_err(failed)?;
    let (count, length) = (items.to_le_bytes(), run.end.saturating_sub(run.start));
    let size = length.saturating_add(count.len() as u64);
    let shard = count.as_slice().chain(file.take(length));
    Ok(shared.blobs.put_sized(size, shard)?)
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
