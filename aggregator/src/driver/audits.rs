//! The audit of a ledger in use, for whoever asks: beside the machine, which must not wait for it, on
//! one moment of the store, and once for each end of the journal.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ledger::Head;
use serde_json::Value;

use super::error::Error;
use super::{Audit, Shared};

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
