//! A backup: everything an aggregator is, as it was at one moment, in a folder of its own.
//!
//! It is written while the aggregator serves. What was decided after that moment is not in it, so whoever restores one goes
//! back to that moment: clients and providers hold signed statements of what came after.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use api::backend::Answer;
use api::types::{BackupView, Problem};
use network::blobs::BlobStore;
use store::{RocksStore, StoreError};

use super::error::Error;
use super::rows::LOG_HEAD;
use super::{BLOBS, STORE, Shared, audit_at_rest, clock};

/// What a backup says of itself.
const LABEL: &str = "backup.json";

/// Files beside store and blobs that belong to an aggregator, where they are.
const FILES: [&str; 3] = ["identity.key", "operator.token", "aggregator.toml"];

/// Writes a backup into the new folder `to`. An interrupted one leaves nothing there.
pub(super) fn write(shared: &Shared, to: &Path) -> Result<Answer<BackupView>, Error> {
    if !to.is_absolute() || to.file_name().is_none() {
        let detail = format!("to = {to:?}: must be an absolute path on the aggregator's machine");
        return Ok(Err(Problem::invalid(detail)));
    }
    if to.exists() {
        let detail = format!("to = {to:?}: is there already; a backup gets a folder of its own");
        return Ok(Err(Problem::conflict(detail)));
    }
    let staging = staging(to);
    let written = fill(shared, &staging);
    if written.is_err() {
        // What is half written is of no use to anybody.
        let _ = fs::remove_dir_all(&staging);
    }
    let label = written?;
    fs::rename(&staging, to).map_err(|source| failed(to, source))?;
    Ok(Ok(label))
}

fn fill(shared: &Shared, folder: &Path) -> Result<BackupView, Error> {
    fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    let created = clock();
    // Whatever the snapshot names stays until it is copied.
    let _work = shared.blobs.at_work_on_all();
    let view = shared.store.snapshot();
    let events = LOG_HEAD.get(&*view)?.unwrap_or_default();
    let journal = ledger::stored_head(&*view)?;
    store::copy(&*view, &RocksStore::open(folder.join(STORE))?)?;
    drop(view);
    // Whatever the snapshot names is there still, and has been looked at as it was copied.
    let blobs = BlobStore::open(folder.join(BLOBS), u64::MAX)?;
    for blob in shared.blobs.list() {
        if let Some(path) = shared.blobs.get(&blob.digest) {
            let file = File::open(&path).map_err(|source| failed(&path, source))?;
            blobs.put_reader(blob, file)?;
        }
    }
    for name in FILES {
        let path = shared.data.join(name);
        if path.exists() {
            fs::copy(&path, folder.join(name)).map_err(|source| failed(&path, source))?;
        }
    }
    let usage = blobs.usage();
    let label = BackupView {
        aggregator: shared.id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        created,
        events: events.seq,
        journal: journal.seq,
        journal_hash: journal.hash,
        blobs: usage.blobs as u64,
        blob_bytes: usage.used,
    };
    let text = serde_json::to_vec_pretty(&label).map_err(|error| Error::Log(error.to_string()))?;
    let path = folder.join(LABEL);
    fs::write(&path, text).map_err(|source| failed(&path, source))?;
    Ok(label)
}

/// Makes an aggregator's data directory of a backup, and audits what it then holds.
///
/// # Errors
/// If there is something at `data` already, `backup` is none or not whole, or its ledger does not add up.
pub fn restore(backup: &Path, data: &Path) -> Result<BackupView, Error> {
    let path = backup.join(LABEL);
    let text = fs::read(&path).map_err(|source| failed(&path, source))?;
    let label: BackupView = serde_json::from_slice(&text)
        .map_err(|error| Error::Config(format!("{}: {error}", path.display())))?;
    if data.exists() {
        let data = data.display();
        let detail = format!("{data} is there already: a backup is restored to where nothing is");
        return Err(Error::Config(detail));
    }
    let staging = staging(data);
    let restored = unpack(backup, &staging, &label);
    if restored.is_err() {
        let _ = fs::remove_dir_all(&staging);
    }
    restored?;
    fs::rename(&staging, data).map_err(|source| failed(data, source))?;
    Ok(label)
}

fn unpack(backup: &Path, to: &Path, label: &BackupView) -> Result<(), Error> {
    copy_folder(backup, to)?;
    let path = to.join(LABEL);
    fs::remove_file(&path).map_err(|source| failed(&path, source))?;
    let audit = audit_at_rest(to)?;
    let head = audit.report.derived_head;
    if !audit.clean || (head.seq, head.hash) != (label.journal, label.journal_hash) {
        let detail = format!(
            "the backup is not what it says: its journal ends at entry {} ({}), it says {} ({}); {} findings",
            head.seq, head.hash, label.journal, label.journal_hash, audit.report.findings_total
        );
        return Err(StoreError::Corrupt { detail }.into());
    }
    let blobs = BlobStore::open(to.join(BLOBS), u64::MAX)?.usage().blobs as u64;
    if blobs != label.blobs {
        let said = label.blobs;
        let detail = format!("the backup is not what it says: it holds {blobs} blobs of {said}");
        return Err(StoreError::Corrupt { detail }.into());
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(|source| failed(to, source))?;
    for entry in fs::read_dir(from).map_err(|source| failed(from, source))? {
        let entry = entry.map_err(|source| failed(from, source))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(|source| failed(&path, source))?;
        }
    }
    Ok(())
}

/// Where a folder is filled before it has its name.
fn staging(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(format!(".partial-{}", std::process::id()));
    to.with_file_name(name)
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::Directory {
        path: path.to_owned(),
        source,
    }
}
