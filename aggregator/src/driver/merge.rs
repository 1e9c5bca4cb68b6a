//! The end of a job: its outputs in one piece, and the signed record of how they came about.

use std::sync::Arc;

use jobs::digest::{BlobRef, Digest};
use jobs::envelope::SignedPackage;
use jobs::ids::JobId;
use jobs::record::{JobRecord, ReplicaRecord, Settlement, ShardRecord};
use jobs::statement::Signed;
use jobs::{items, output};

use super::Shared;
use super::actor::report;
use super::error::Error;
use super::prepare;
use super::rows::{COMMITMENT, PACKAGES, RECEIPT, Row, evidence};
use crate::core::view::{RecordParts, ReplicaParts};
use crate::core::{Code, Event, JobOutcome};

/// Merges the canonical outputs and stores the result.
pub(crate) async fn merge(
    (job, round): (JobId, u32),
    canonical: Vec<BlobRef>,
    shared: &Arc<Shared>,
) -> Result<(), Error> {
    let _permit = shared.heavy.acquire().await.map_err(|_| Error::Stopping)?;
    let parts = parts(job, shared).await?;
    let worker = Arc::clone(shared);
    let merged = tokio::task::spawn_blocking(move || -> Result<_, Error> {
        let package = prepare::package(&worker, job)?;
        let shards = shard_records(&worker, &parts)?;
        let digest = shards_digest(&shards)?;
        let mut outputs: Vec<Vec<u8>> = Vec::with_capacity(package.input.items as usize);
        for blob in &canonical {
            let bytes = worker.blobs.read(blob)?;
            outputs.extend(items::decode(&bytes)?.into_iter().map(<[u8]>::to_vec));
        }
        match output::merge(&package.output, &outputs) {
            Ok(merged) => Ok(Ok((worker.blobs.put_bytes(&merged)?, digest))),
            Err(error) => Ok(Err(error)),
        }
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
    let parts = parts(job, shared).await?;
    let worker = Arc::clone(shared);
    let built = tokio::task::spawn_blocking(move || -> Result<BlobRef, Error> {
        let shards = shard_records(&worker, &parts)?;
        let digest = shards_digest(&shards)?;
        if digest != expected {
            return Err(Error::Log(format!(
                "records of {job} changed since they were merged"
            )));
        }
        let package = signed_package(&worker, job)?;
        let settlement = settlement(job, &parts, result, digest)?;
        let settlement = Signed::sign(&settlement, &worker.key)?;
        let record = JobRecord {
            package,
            shards,
            settlement,
        };
        let bytes = serde_json::to_vec(&record).map_err(|error| Error::Log(error.to_string()))?;
        Ok(worker.blobs.put_bytes(&bytes)?)
    });
    let record = built
        .await
        .map_err(|error| Error::Log(error.to_string()))??;
    let rows = vec![Row::Record(job, record)];
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
