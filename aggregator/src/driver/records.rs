//! The records of finished jobs, for whoever asks: how large one can get, and which blobs it names.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use jobs::outcome::{FINGERPRINT_FIELD_MAX, PLACEMENT_NAME_MAX, PROVIDERS_PER_MODEL_MAX};
use jobs::package::Package;
use jobs::plan;
use jobs::record::JobRecord;

use super::Shared;
use super::error::Error;
use super::rows::RECORDS;

/// Records whose blobs are remembered: whoever verifies a job fetches many of one record.
const RECORDS_KNOWN_MAX: usize = 8;

/// Bytes of a record beside its shards: the signed package, which came in a request of 256 KiB at most,
/// and the settlement, whose 64 KiB are written as numbers.
const FRAME_BYTES: u64 = 1 << 20;

/// Bytes of a shard's entry beside its replicas.
const SHARD_BYTES: u64 = 1024;

/// Bytes of a replica's entry beside its receipt.
const REPLICA_BYTES: u64 = 4096;

/// Bytes of a receipt's payload beside the package and the fingerprint.
const RECEIPT_BYTES: u64 = 4096;

/// Bytes that a byte of text takes in JSON at most.
const ESCAPED_BYTES: u64 = 6;

/// Fields of a fingerprint.
const FINGERPRINT_FIELDS: u64 = 5;

/// Bytes of an entry of a placement beside its two names.
const PLACEMENT_BYTES: u64 = 64;

/// The most bytes that the record of a job can have, whose package is `package_bytes` long.
pub(crate) fn record_bytes_max(package: &Package, package_bytes: usize) -> u64 {
    let shards = plan::shard_count(package.input.items, package.items_per_shard);
    let fingerprint = (FINGERPRINT_FIELD_MAX as u64) * FINGERPRINT_FIELDS * ESCAPED_BYTES;
    let names = 2 * (PLACEMENT_NAME_MAX as u64) * ESCAPED_BYTES;
    let placements = PROVIDERS_PER_MODEL_MAX.saturating_mul(package.models.len()) as u64;
    let placements = placements.saturating_mul(names.saturating_add(PLACEMENT_BYTES));
    // A receipt repeats the package, in base64.
    let payload = (package_bytes as u64)
        .saturating_add(fingerprint)
        .saturating_add(placements)
        .saturating_add(RECEIPT_BYTES);
    let replica = payload
        .div_ceil(3)
        .saturating_mul(4)
        .saturating_add(REPLICA_BYTES);
    u64::from(package.replication.max_replicas)
        .saturating_mul(replica)
        .saturating_add(SHARD_BYTES)
        .saturating_mul(u64::from(shards))
        .saturating_add(FRAME_BYTES)
}

/// The blobs that a record names.
type Named = Arc<BTreeMap<Digest, BlobRef>>;

/// The blobs of the records asked for last.
#[derive(Debug, Default)]
pub(crate) struct KnownRecords(Mutex<VecDeque<(JobId, Named)>>);

impl KnownRecords {
    fn get(&self, job: JobId) -> Option<Named> {
        let mut known = self.known();
        let at = known.iter().position(|(id, _)| *id == job)?;
        let found = known.remove(at)?;
        let named = Arc::clone(&found.1);
        known.push_back(found);
        Some(named)
    }

    fn put(&self, job: JobId, named: Named) {
        let mut known = self.known();
        known.retain(|(id, _)| *id != job);
        if known.len() >= RECORDS_KNOWN_MAX {
            known.pop_front();
        }
        known.push_back((job, named));
    }

    fn known(&self) -> MutexGuard<'_, VecDeque<(JobId, Named)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the record of a job is; `None` if there is none.
pub(crate) fn record_of(shared: &Shared, job: JobId) -> Result<Option<BlobRef>, Error> {
    Ok(RECORDS.get(&*shared.store, &job)?)
}

/// A record itself, from its blob.
pub(crate) fn read(shared: &Shared, record: &BlobRef) -> Result<JobRecord, Error> {
    let bytes = shared.blobs.read(record)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Log(error.to_string()))
}

/// The blob of this digest, if the record of this job names it.
pub(crate) fn named(
    shared: &Shared,
    job: JobId,
    record: &BlobRef,
    digest: Digest,
) -> Result<Option<BlobRef>, Error> {
    let named = match shared.records.get(job) {
        Some(named) => named,
        None => {
            let named = Arc::new(blobs_of(&read(shared, record)?));
            shared.records.put(job, Arc::clone(&named));
            named
        }
    };
    Ok(named.get(&digest).copied())
}

/// The blobs that a record names.
pub(crate) fn blobs_of(record: &JobRecord) -> BTreeMap<Digest, BlobRef> {
    let package = Package::from_canonical(record.package.package.as_bytes());
    let asked = package.iter().flat_map(Package::blobs);
    let shards = record.shards.iter();
    let cut = shards
        .clone()
        .flat_map(|shard| [shard.input, shard.canonical]);
    let replicas = shards.flat_map(|shard| shard.replicas.iter().chain(&shard.checks));
    let revealed = replicas.filter_map(|replica| {
        let receipt = replica.receipt.verify(replica.provider).ok()?;
        Some(receipt.statement.opening.outcome.outputs)
    });
    let settlement = record.settlement.verify().ok();
    let result = settlement.map(|settlement| settlement.statement.result);
    let all = asked.chain(cut).chain(result).chain(revealed);
    all.map(|blob| (blob.digest, blob)).collect()
}
