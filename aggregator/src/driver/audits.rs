//! The audit of a ledger in use, for whoever asks: beside the machine, which must not wait for it, on
//! one moment of the store, and once for each end of the journal.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ledger::{AuditReport, Head};
use serde::Serialize;
use serde_json::Value;

use super::error::Error;
use super::{STORE, Shared, open_store};

/// The newest audit. It holds for as long as the journal ends where it did.
#[derive(Debug, Default)]
pub(crate) struct Audited(Mutex<Option<(Head, Value)>>);

impl Audited {
    fn newest(&self) -> MutexGuard<'_, Option<(Head, Value)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Audits the ledger as it is now, unless that was done. Reads the whole journal.
pub(crate) fn audit(shared: &Shared) -> Result<Value, Error> {
    let view = shared.store.snapshot();
    // One that cannot be read is for the report to name.
    let head = ledger::stored_head(&*view).ok();
    if let Some((known, report)) = &*shared.audited.newest()
        && Some(*known) == head
    {
        return Ok(report.clone());
    }
    let report = Audit::new(ledger::audit(&*view)?);
    let report = serde_json::to_value(report).map_err(|error| Error::Log(error.to_string()))?;
    if let Some(head) = head {
        *shared.audited.newest() = Some((head, report.clone()));
    }
    Ok(report)
}

/// Audits the ledger of a stopped aggregator.
///
/// # Errors
/// If there is no store, or it cannot be opened or read, for example because the aggregator is running.
pub fn audit_at_rest(data: &Path) -> Result<Audit, Error> {
    // Opening makes what is missing, and nothing adds up as well as nothing.
    let found = std::fs::metadata(data.join(STORE));
    found.map_err(|source| Error::Directory {
        path: data.join(STORE),
        source,
    })?;
    Ok(Audit::new(ledger::audit(&open_store(data)?)?))
}

/// An audit's report and its verdict in one word.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// Whether nothing was found.
    pub clean: bool,
    /// What was looked at and found.
    #[serde(flatten)]
    pub report: AuditReport,
}

impl Audit {
    pub(crate) const fn new(report: AuditReport) -> Self {
        Self {
            clean: report.is_clean(),
            report,
        }
    }
}
