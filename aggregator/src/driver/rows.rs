//! What the driver stores beside the ledger: the event log, and signed statements as evidence.

use std::collections::BTreeMap;

use jobs::accusation::SignedAccusation;
use jobs::assignment::Assignment;
use jobs::commitment::Commitment;
use jobs::digest::{BlobRef, Digest};
use jobs::envelope::SignedPackage;
use jobs::game::report::ScoreReport;
use jobs::ids::{AssignmentId, CaseId, JobId, ProviderId};
use jobs::receipt::Envelope;
use jobs::statement::Signed;
use jobs::time::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Batch, Cell, Column, Kv, StoreError, Table};

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
/// Signed statements about an assignment, by kind: commitment, receipt, contradiction.
pub(crate) const EVIDENCE: Table<(AssignmentId, u8), Vec<u8>> = Table::new(Column::Receipts, 1);
/// Where the record of every finished job is: a blob of JSON, because a large job's record is larger
/// than a row may be.
pub(crate) const RECORDS: Table<JobId, BlobRef> = Table::new(Column::Results, 1);
/// What every finished job left behind, for as long as it is kept.
pub(crate) const KEPT: Table<JobId, Kept> = Table::new(Column::Kept, 1);
/// Finished jobs whose results are kept no longer.
pub(crate) const COLLECTED: Table<JobId, Collected> = Table::new(Column::Collected, 1);
/// Whether every finished job has its row in one of these: jobs from before there were such rows get theirs
/// before anything is removed.
pub(crate) const KEPT_WHOLE: Cell<bool> = Cell::new("kept.whole", 1);
/// What validators signed about an epoch: the first report, and the first that contradicts it.
pub(crate) const REPORTS: Table<(ProviderId, u64, u8), Signed<ScoreReport>> =
    Table::new(Column::Scores, 1);

/// What opened every case.
pub(crate) const ACCUSATIONS: Table<CaseId, SignedAccusation> = Table::new(Column::Cases, 1);

/// A validator's first report of an epoch.
pub(crate) const REPORT: u8 = 1;
/// Kinds of [`EVIDENCE`].
pub(crate) const COMMITMENT: u8 = 1;
/// A receipt.
pub(crate) const RECEIPT: u8 = 2;
/// A second commitment, or report, that contradicts the first.
pub(crate) const CONTRADICTION: u8 = 3;

/// A logged event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Logged {
    pub(crate) now: Timestamp,
    pub(crate) event: Event,
    /// Digest over the previous row's chain, the number, the time and the event.
    pub(crate) chain: Digest,
}

/// What a finished job left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// When it ended.
    pub(crate) ended: Timestamp,
    /// Its record.
    pub(crate) record: BlobRef,
    /// The digests of every blob that its record names, one after the other.
    pub(crate) named: BlobRef,
}

/// Why nothing is left of a finished job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Collected {
    /// When it ended.
    pub(crate) ended: Timestamp,
    /// When its results were removed.
    pub(crate) at: Timestamp,
    /// For how many days results were kept then; 0: until their room was needed.
    pub(crate) keep_days: u32,
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

/// Rows of the batch at hand, which the store does not show yet.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    evidence: BTreeMap<(AssignmentId, u8), Vec<u8>>,
    reports: BTreeMap<(ProviderId, u64, u8), Signed<ScoreReport>>,
}

impl Fresh {
    fn evidence(
        &self,
        kv: &dyn Kv,
        key: (AssignmentId, u8),
    ) -> Result<Option<Vec<u8>>, StoreError> {
        match self.evidence.get(&key) {
            Some(bytes) => Ok(Some(bytes.clone())),
            None => EVIDENCE.get(kv, &key),
        }
    }

    /// Keeps a validator's first report of an epoch, and the first that says something else.
    fn report(
        &mut self,
        (validator, epoch): (ProviderId, u64),
        report: &Signed<ScoreReport>,
        kv: &dyn Kv,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let mut key = (validator, epoch, REPORT);
        if let Some(first) = self.known_report(kv, &key)? {
            let says = |signed: &Signed<ScoreReport>| signed.verify().map(|known| known.statement);
            key.2 = CONTRADICTION;
            let same = says(&first).ok() == says(report).ok();
            if same || self.known_report(kv, &key)?.is_some() {
                return Ok(());
            }
        }
        REPORTS.put(batch, &key, report)?;
        self.reports.insert(key, report.clone());
        Ok(())
    }

    fn known_report(
        &self,
        kv: &dyn Kv,
        key: &(ProviderId, u64, u8),
    ) -> Result<Option<Signed<ScoreReport>>, StoreError> {
        match self.reports.get(key) {
            Some(report) => Ok(Some(report.clone())),
            None => REPORTS.get(kv, key),
        }
    }

    fn keep(
        &mut self,
        key: (AssignmentId, u8),
        bytes: Vec<u8>,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        EVIDENCE.put(batch, &key, &bytes)?;
        self.evidence.insert(key, bytes);
        Ok(())
    }
}

/// A row that becomes durable together with the event it came with.
#[derive(Clone, Debug)]
pub(crate) enum Row {
    Package(JobId, SignedPackage),
    Commitment(AssignmentId, Signed<Commitment>),
    Receipt(AssignmentId, Envelope),
    Record(JobId, Kept),
    Report(ProviderId, u64, Signed<ScoreReport>),
    Accusation(CaseId, SignedAccusation),
}

impl Row {
    /// Adds the row to `batch`. `repeated`: the job was submitted before.
    ///
    /// The first commitment and the first receipt about an assignment stay: they are what the provider
    /// is bound to, and what was settled on. The first commitment that contradicts is kept beside it.
    pub(crate) fn stage(
        &self,
        kv: &dyn Kv,
        repeated: bool,
        fresh: &mut Fresh,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        match self {
            Self::Package(job, package) if !repeated => PACKAGES.put(batch, job, package),
            Self::Package(..) => Ok(()),
            Self::Commitment(assignment, commitment) => {
                let bytes = encode(commitment, Column::Receipts)?;
                let kind = match fresh.evidence(kv, (*assignment, COMMITMENT))? {
                    None => COMMITMENT,
                    Some(first) if contradicts(&first, commitment) => CONTRADICTION,
                    Some(_) => return Ok(()),
                };
                if kind == CONTRADICTION && fresh.evidence(kv, (*assignment, kind))?.is_some() {
                    return Ok(());
                }
                fresh.keep((*assignment, kind), bytes, batch)
            }
            Self::Receipt(assignment, receipt) => {
                let key = (*assignment, RECEIPT);
                if fresh.evidence(kv, key)?.is_some() {
                    return Ok(());
                }
                fresh.keep(key, encode(receipt, Column::Receipts)?, batch)
            }
            Self::Record(job, kept) => {
                RECORDS.put(batch, job, &kept.record)?;
                KEPT.put(batch, job, kept)
            }
            Self::Accusation(case, accusation) => ACCUSATIONS.put(batch, case, accusation),
            Self::Report(validator, epoch, report) => {
                fresh.report((*validator, *epoch), report, kv, batch)
            }
        }
    }
}

/// Whether a commitment says something else than the stored one. Two signatures under one statement
/// are no contradiction.
fn contradicts(first: &[u8], second: &Signed<Commitment>) -> bool {
    let statement = |signed: &Signed<Commitment>| signed.verify().map(|known| known.statement);
    match postcard::from_bytes(first) {
        Ok(first) => statement(&first).ok() != statement(second).ok(),
        Err(_) => true,
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
    kv: &dyn Kv,
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
