//! What the driver stores beside the ledger: the event log, and signed statements as evidence.

use std::collections::BTreeMap;

use jobs::assignment::Assignment;
use jobs::commitment::Commitment;
use jobs::digest::Digest;
use jobs::envelope::SignedPackage;
use jobs::ids::{AssignmentId, JobId};
use jobs::receipt::Envelope;
use jobs::record::JobRecord;
use jobs::statement::Signed;
use jobs::time::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Batch, Cell, Column, StoreError, Table};

use crate::core::{Core, Event};

/// Every event, by number.
pub(crate) const EVENTS: Table<u64, Logged> = Table::new(Column::Events, 1);
/// The newest snapshot of the core.
pub(crate) const SNAPSHOT: Table<u64, Snapshot> = Table::new(Column::Snapshots, 1);
/// The end of the event log.
pub(crate) const LOG_HEAD: Cell<LogHead> = Cell::new("events.head", 1);
/// The client's signed package of every job.
pub(crate) const PACKAGES: Table<JobId, SignedPackage> = Table::new(Column::Jobs, 1);
/// Every assignment that was ever dispatched.
pub(crate) const ASSIGNMENTS: Table<AssignmentId, Assignment> = Table::new(Column::Assignments, 1);
/// The first signed commitment of every assignment, and the receipt of every reveal.
pub(crate) const EVIDENCE: Table<(AssignmentId, u8), Vec<u8>> = Table::new(Column::Receipts, 1);
/// The record of every finished job, in JSON as it is served.
pub(crate) const RECORDS: Table<JobId, Vec<u8>> = Table::new(Column::Results, 1);
/// Which package an idempotency key was used for.
pub(crate) const IDEMPOTENCY: Table<String, Digest> = Table::new(Column::Idempotency, 1);

/// Kinds of [`EVIDENCE`].
pub(crate) const COMMITMENT: u8 = 1;
/// A receipt.
pub(crate) const RECEIPT: u8 = 2;
/// A second commitment that contradicts the first.
pub(crate) const CONTRADICTION: u8 = 3;

/// A logged event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Logged {
    pub(crate) now: Timestamp,
    pub(crate) event: Event,
    /// Digest over the previous row's chain, the number, the time and the event.
    pub(crate) chain: Digest,
}

/// The end of the event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct LogHead {
    /// Number of events.
    pub(crate) seq: u64,
    /// Chain of the last one.
    pub(crate) chain: Digest,
}

/// The core after `head.seq` events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) head: LogHead,
    pub(crate) core: Core,
}

/// A row that becomes durable together with the event it came with.
#[derive(Clone, Debug)]
pub(crate) enum Row {
    Package(JobId, SignedPackage),
    Commitment(AssignmentId, Signed<Commitment>),
    Receipt(AssignmentId, Envelope),
    Record(JobId, Box<JobRecord>),
    Idempotency(String, Digest),
}

impl Row {
    /// Adds the row to `batch`.
    ///
    /// A commitment never replaces an earlier one: the first is what the provider is bound to, a
    /// different second one is kept beside it as evidence.
    pub(crate) fn stage(
        &self,
        kv: &dyn store::Kv,
        fresh: &mut BTreeMap<AssignmentId, Vec<u8>>,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        match self {
            Self::Package(job, package) => PACKAGES.put(batch, job, package),
            Self::Commitment(assignment, commitment) => {
                let bytes = encode(commitment, Column::Receipts)?;
                let stored = EVIDENCE.get(kv, &(*assignment, COMMITMENT))?;
                let first = stored.as_ref().or_else(|| fresh.get(assignment));
                let kind = match first {
                    Some(first) if *first != bytes => CONTRADICTION,
                    _ => COMMITMENT,
                };
                fresh.entry(*assignment).or_insert_with(|| bytes.clone());
                EVIDENCE.put(batch, &(*assignment, kind), &bytes)
            }
            Self::Receipt(assignment, receipt) => {
                let bytes = encode(receipt, Column::Receipts)?;
                EVIDENCE.put(batch, &(*assignment, RECEIPT), &bytes)
            }
            Self::Record(job, record) => {
                let bytes = serde_json::to_vec(record).map_err(|error| StoreError::Encode {
                    column: Column::Results,
                    detail: error.to_string(),
                })?;
                RECORDS.put(batch, job, &bytes)
            }
            Self::Idempotency(key, package) => IDEMPOTENCY.put(batch, key, package),
        }
    }
}

fn encode<T: Serialize>(value: &T, column: Column) -> Result<Vec<u8>, StoreError> {
    postcard::to_stdvec(value).map_err(|error| StoreError::Encode {
        column,
        detail: error.to_string(),
    })
}

/// A piece of evidence, decoded.
pub(crate) fn evidence<T: serde::de::DeserializeOwned>(
    kv: &dyn store::Kv,
    assignment: AssignmentId,
    kind: u8,
) -> Result<Option<T>, StoreError> {
    let Some(bytes) = EVIDENCE.get(kv, &(assignment, kind))? else {
        return Ok(None);
    };
    let value = postcard::from_bytes(&bytes).map_err(|error| StoreError::Row {
        column: Column::Receipts,
        key: assignment.to_string(),
        detail: error.to_string(),
    })?;
    Ok(Some(value))
}
