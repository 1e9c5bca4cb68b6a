//! Who refers to which blobs.

use std::collections::HashSet;
use std::sync::Arc;

use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use jobs::record::JobRecord;
use jobs::time::Timestamp;
use store::{Batch, KeyRange};

use super::plan::Left;
use crate::core::Core;
use crate::driver::error::Error;
use crate::driver::rows::{COLLECTED, KEPT, KEPT_WHOLE, Kept, RECORDS};
use crate::driver::{Shared, clock, prepare, records};

/// Jobs looked at before the machine goes on with its events.
const JOBS_PER_QUESTION: usize = 4;

/// Finished jobs of before there were rows for what is kept, which get theirs in one round.
const OLD_JOBS_PER_ROUND: usize = 64;

/// Bytes of a digest in a list.
const DIGEST_BYTES: usize = 32;

/// What open jobs and cases refer to, and what failed jobs left behind.
#[derive(Debug, Default)]
pub(super) struct Open {
    pub(super) blobs: HashSet<Digest>,
    failed: Vec<Left>,
}

/// Asks the core. What becomes an open job's after this was asked is somebody's work, and stays for that reason.
pub(super) async fn open(shared: &Arc<Shared>) -> Result<Open, Error> {
    let look = |core: &Core| (core.unfinished(), core.failed(), core.blobs_of_cases());
    let (jobs, failed, cases) = shared.handle.ask(look).await?;
    let mut open = Open::default();
    open.blobs.extend(cases);
    for ids in jobs.chunks(JOBS_PER_QUESTION) {
        for (job, blobs) in blobs_of(shared, ids).await? {
            open.blobs.extend(blobs);
            let package = prepare::package(shared, job)?;
            open.blobs.extend(package.blobs().map(|blob| blob.digest));
        }
    }
    for ended in failed.chunks(JOBS_PER_QUESTION) {
        let ids: Vec<JobId> = ended.iter().map(|(_, job)| *job).collect();
        for ((ended, _), (job, blobs)) in ended.iter().zip(blobs_of(shared, &ids).await?) {
            open.failed.push(Left {
                job,
                ended: *ended,
                fetchable: false,
                blobs,
            });
        }
    }
    Ok(open)
}

async fn blobs_of(shared: &Shared, jobs: &[JobId]) -> Result<Vec<(JobId, Vec<Digest>)>, Error> {
    let ids = jobs.to_vec();
    let look = move |core: &Core| -> Vec<(JobId, Vec<Digest>)> {
        let jobs = ids.into_iter();
        jobs.map(|job| (job, core.blobs_of(job).into_iter().collect()))
            .collect()
    };
    shared.handle.ask(look).await
}

/// What ended jobs left behind and is kept; nothing while some of them have no row.
pub(super) fn left(shared: &Shared, open: &Open) -> Result<Option<Vec<Left>>, Error> {
    if !complete(shared)? {
        return Ok(None);
    }
    let mut left = open.failed.clone();
    KEPT.for_each(&*shared.store, KeyRange::all(), |job, kept| {
        left.push(Left {
            job,
            ended: kept.ended,
            fetchable: true,
            blobs: named(shared, job, &kept)?,
        });
        Ok::<(), Error>(())
    })?;
    Ok(Some(left))
}

/// Every blob of a finished job: its record, the list, and what is on that.
fn named(shared: &Shared, job: JobId, kept: &Kept) -> Result<Vec<Digest>, Error> {
    let own = [kept.record.digest, kept.named.digest];
    let listed: Vec<Digest> = match unless_lost(shared.blobs.peek(&kept.named))? {
        Some(bytes) => {
            let (digests, _) = bytes.as_chunks::<DIGEST_BYTES>();
            let digests = digests.iter();
            digests.map(|bytes| Digest::from_bytes(*bytes)).collect()
        }
        None => {
            tracing::warn!(%job, "a list of kept blobs is lost");
            recorded(shared, &kept.record)?
        }
    };
    let named: HashSet<Digest> = own.into_iter().chain(listed).collect();
    Ok(named.into_iter().collect())
}

/// What a record names. One that is lost names nothing.
fn recorded(shared: &Shared, record: &BlobRef) -> Result<Vec<Digest>, Error> {
    let Some(bytes) = unless_lost(shared.blobs.peek(record))? else {
        tracing::warn!(record = %record.digest, "a record is lost");
        return Ok(Vec::new());
    };
    let record = serde_json::from_slice(&bytes).map_err(|error| Error::Log(error.to_string()))?;
    Ok(digests_of(&record))
}

/// What was read, unless it is lost for good. Whatever else keeps it from being read may be over soon (too many open
/// files, say) and must not look as if nobody named anything: then nothing is removed at all.
fn unless_lost(read: Result<Vec<u8>, network::Error>) -> Result<Option<Vec<u8>>, Error> {
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(
            network::Error::BlobMissing { .. }
            | network::Error::BlobDigest { .. }
            | network::Error::BlobSize { .. },
        ) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn digests_of(record: &JobRecord) -> Vec<Digest> {
    records::blobs_of(record).into_keys().collect()
}

/// The digests of every blob that a record names, as they are stored.
pub(super) fn list_of(record: &JobRecord) -> Vec<u8> {
    written(&digests_of(record))
}

fn written(digests: &[Digest]) -> Vec<u8> {
    let digests = digests.iter();
    digests.flat_map(|digest| *digest.as_bytes()).collect()
}

/// Gives jobs their rows that ended before there were any; whether all have one. Their time begins now, because
/// nobody noted when they ended.
fn complete(shared: &Shared) -> Result<bool, Error> {
    if KEPT_WHOLE.get(&*shared.store)? == Some(true) {
        return Ok(true);
    }
    let _work = shared.blobs.at_work();
    let mut old: Vec<(JobId, BlobRef)> = Vec::new();
    let mut more = false;
    RECORDS.for_each(&*shared.store, KeyRange::all(), |job, record| {
        let known = KEPT.get(&*shared.store, &job)?.is_some()
            || COLLECTED.get(&*shared.store, &job)?.is_some();
        match known {
            false if old.len() < OLD_JOBS_PER_ROUND => old.push((job, record)),
            known => more |= !known,
        }
        Ok::<(), Error>(())
    })?;
    let (mut batch, ended) = (Batch::default(), clock());
    for (job, record) in old {
        let kept = adopt(shared, record, ended)?;
        KEPT.put(&mut batch, &job, &kept)?;
    }
    if !more {
        KEPT_WHOLE.put(&mut batch, &true)?;
    }
    shared.store.commit(batch)?;
    Ok(!more)
}

/// What is kept of a job that ended before there were rows.
fn adopt(shared: &Shared, record: BlobRef, ended: Timestamp) -> Result<Kept, Error> {
    let list = written(&recorded(shared, &record)?);
    Ok(Kept {
        ended,
        record,
        named: shared.blobs.put_bytes(&list)?,
    })
}
