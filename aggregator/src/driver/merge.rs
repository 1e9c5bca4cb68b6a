//! The end of a job: its outputs in one piece, and the signed record of how they came about.

use std::io::{Cursor, Read};
use std::sync::Arc;

use jobs::digest::{BlobRef, Digest};
use jobs::envelope::SignedPackage;
use jobs::ids::JobId;
use jobs::items;
use jobs::output::Merger;
use jobs::package::Package;
use jobs::record::{JobRecord, ReplicaRecord, Settlement, ShardRecord};
use jobs::statement::Signed;
use network::blobs::BlobStore;

use super::Shared;
use super::actor::report;
use super::collect;
use super::error::Error;
use super::prepare;
use super::rows::{COMMITMENT, Kept, PACKAGES, RECEIPT, Row, evidence};
use crate::core::view::{RecordParts, ReplicaParts};
use crate::core::{Code, Event, JobOutcome};

/// Merges the canonical outputs and stores the result.
pub(crate) async fn merge(
    (job, round): (JobId, u32),
    canonical: Vec<BlobRef>,
    shared: &Arc<Shared>,
) -> Result<(), Error> {
    let _permit = shared.heavy.acquire().await.map_err(|_| Error::Stopping)?;
    let _work = shared.blobs.at_work();
    let parts = parts(job, shared).await?;
    let worker = Arc::clone(shared);
    let merged = tokio::task::spawn_blocking(move || -> Result<_, Error> {
        let package = prepare::package(&worker, job)?;
        let shards = shard_records(&worker, &parts)?;
        let digest = shards_digest(&shards)?;
        let result = result(&worker, &package, &canonical)?;
        Ok(result.map(|result| (result, digest)))
    });
    let event = match merged
        .await
        .map_err(|error| Error::Log(error.to_string()))??
    {
        Ok((result, shards)) => Event::Merged {
            job,
            result,
            shards,
            round,
        },
        Err(error) => {
            tracing::info!(%job, %error, "outputs cannot be merged");
            Event::MergeFailed {
                job,
                round,
                code: Code::new("outputs_do_not_fit_format"),
            }
        }
    };
    report(shared, event).await
}

/// Stores the canonical outputs in one piece, or says why they do not fit the format.
fn result(
    shared: &Shared,
    package: &Package,
    canonical: &[BlobRef],
) -> Result<Result<BlobRef, jobs::Error>, Error> {
    let items = package.input.items;
    let (merger, head) = match Merger::begin(&package.output, items) {
        Ok(begun) => begun,
        Err(error) => return Ok(Err(error)),
    };
    // A shard's outputs are encoded as a count and, for each of them, a length and its bytes.
    let numbers = (canonical.len() as u64)
        .saturating_add(items.into())
        .saturating_mul(4);
    let encoded: u64 = canonical.iter().map(|blob| blob.size).sum();
    let size = merger
        .rest(encoded.saturating_sub(numbers))
        .saturating_add(head.len() as u64);
    let mut merging = Merging {
        blobs: &shared.blobs,
        merger,
        rest: canonical.iter(),
        piece: Cursor::new(head),
        failed: None,
    };
    let stored = shared.blobs.put_sized(size, &mut merging);
    match merging.failed {
        Some(Failed::Format(error)) => Ok(Err(error)),
        Some(Failed::Ours(error)) => Err(error.into()),
        None => Ok(Ok(stored?)),
    }
}

/// A result as it is merged, one shard after the other.
struct Merging<'a> {
    blobs: &'a BlobStore,
    merger: Merger<'a>,
    rest: std::slice::Iter<'a, BlobRef>,
    piece: Cursor<Vec<u8>>,
    failed: Option<Failed>,
}

enum Failed {
    Format(jobs::Error),
    Ours(network::Error),
}

impl Merging<'_> {
    /// What the outputs of a shard become.
    fn next(&mut self, blob: &BlobRef) -> Result<Vec<u8>, Failed> {
        let bytes = self.blobs.read(blob).map_err(Failed::Ours)?;
        let outputs = items::decode(&bytes).map_err(Failed::Format)?;
        let mut merged = Vec::new();
        let added = self.merger.add(&outputs, &mut merged);
        added.map(|()| merged).map_err(Failed::Format)
    }
}

impl Read for Merging<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let read = self.piece.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(blob) = self.rest.next() else {
                return Ok(0);
            };
            match self.next(blob) {
                Ok(merged) => self.piece = Cursor::new(merged),
                Err(failed) => {
                    self.failed = Some(failed);
                    return Err(std::io::Error::other("the outputs cannot be merged"));
                }
            }
        }
    }
}

/// Signs and stores the record of a job that ended. Signing it again after a crash gives the same
/// bytes: everything in it is in the log, and Ed25519 is deterministic.
pub(crate) async fn record(
    job: JobId,
    outcome: JobOutcome,
    shared: &Arc<Shared>,
) -> Result<(), Error> {
    let JobOutcome::Done {
        result,
        shards: expected,
    } = outcome
    else {
        return report(shared, Event::Recorded { job }).await;
    };
    let _permit = shared.heavy.acquire().await.map_err(|_| Error::Stopping)?;
    let _work = shared.blobs.at_work();
    let parts = parts(job, shared).await?;
    let worker = Arc::clone(shared);
    let built = tokio::task::spawn_blocking(move || -> Result<Kept, Error> {
        let shards = shard_records(&worker, &parts)?;
        let digest = shards_digest(&shards)?;
        if digest != expected {
            return Err(Error::Log(format!(
                "records of {job} changed since they were merged"
            )));
        }
        let package = signed_package(&worker, job)?;
        let ended = parts.end.as_ref().map(|end| end.at).unwrap_or_default();
        let settlement = settlement(job, &parts, result, digest)?;
        let settlement = Signed::sign(&settlement, &worker.key)?;
        let record = JobRecord {
            package,
            shards,
            settlement,
        };
        collect::keep(&worker.blobs, &record, ended)
    });
    let kept = built
        .await
        .map_err(|error| Error::Log(error.to_string()))??;
    let rows = vec![Row::Record(job, kept)];
    shared
        .handle
        .event_with(Event::Recorded { job }, rows)
        .await
        .map(drop)
}

async fn parts(job: JobId, shared: &Shared) -> Result<RecordParts, Error> {
    let parts = shared
        .handle
        .ask(move |core| core.record_parts(job))
        .await?;
    parts.ok_or_else(|| Error::Log(format!("{job} is not to be merged")))
}

fn signed_package(shared: &Shared, job: JobId) -> Result<SignedPackage, Error> {
    let package = PACKAGES.get(&*shared.store, &job)?;
    package.ok_or_else(|| Error::Log(format!("{job} has no package")))
}

fn settlement(
    job: JobId,
    parts: &RecordParts,
    result: BlobRef,
    shards: Digest,
) -> Result<Settlement, Error> {
    let end = parts
        .end
        .as_ref()
        .ok_or_else(|| Error::Log(format!("{job} has not ended")))?;
    Ok(Settlement {
        job,
        client: parts.client,
        escrowed: parts.escrowed,
        paid: parts.paid.clone(),
        fee: parts.fee,
        fee_bps: parts.fee_bps,
        returned: end.returned,
        result,
        shards,
        journal_head: (end.journal_head.seq, end.journal_head.hash),
        draw: parts.draw,
    })
}

fn shard_records(shared: &Shared, parts: &RecordParts) -> Result<Vec<ShardRecord>, Error> {
    parts
        .shards
        .iter()
        .map(|shard| {
            let replicas = shard
                .replicas
                .iter()
                .map(|replica| replica_record(shared, replica));
            let checks = shard.checks.iter();
            let checks = checks.map(|replica| replica_record(shared, replica));
            Ok(ShardRecord {
                index: shard.index,
                input: shard.input,
                replicas: replicas.collect::<Result<_, Error>>()?,
                canonical: shard.canonical,
                canonical_root: shard.canonical_root,
                checks: checks.collect::<Result<_, _>>()?,
                adopted: shard.adopted,
            })
        })
        .collect()
}

fn replica_record(shared: &Shared, replica: &ReplicaParts) -> Result<ReplicaRecord, Error> {
    let id = replica.assignment;
    let lost = |what: &str| Error::Log(format!("the {what} of assignment {id} is missing"));
    let commitment = evidence(&*shared.store, id, COMMITMENT)?.ok_or_else(|| lost("commitment"))?;
    let receipt = evidence(&*shared.store, id, RECEIPT)?.ok_or_else(|| lost("receipt"))?;
    Ok(ReplicaRecord {
        assignment: id,
        provider: replica.provider,
        commitment,
        receipt,
        agreed: replica.agreed,
        paid: replica.paid,
    })
}

fn shards_digest(shards: &[ShardRecord]) -> Result<Digest, Error> {
    Ok(jobs::record::shards_digest(shards)?)
}
