//! The shares that this client gave for the draws of its audited jobs. Nobody else but the aggregator knows them, so
//! who shows one is the job's client.

use std::fs::DirEntry;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use jobs::ids::JobId;
use jobs::policy::Share;

use crate::exit::{Coded, Exit};
use crate::home;

/// Longest file in bytes.
const FILE_BYTES_MAX: u64 = 256;

fn path(job: JobId) -> Result<PathBuf> {
    Ok(home::home()?.join("shares").join(job.0.to_hex()))
}

/// How long a share is kept: longer than any job of today lasts.
const KEPT: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// Keeps a job's share, readable by its owner alone, and forgets those of long ago.
pub(crate) fn keep(job: JobId, share: Share) -> Result<()> {
    let path = path(job)?;
    for entry in path
        .parent()
        .into_iter()
        .flat_map(std::fs::read_dir)
        .flatten()
        .flatten()
    {
        if is_old(&entry) {
            // Another submission may be doing the same.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    if !path.exists() {
        home::write_secret(&path, &String::from(share))?;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "how old a file of ours is; no job is decided by it"
)]
fn is_old(file: &DirEntry) -> bool {
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    let age = modified.map(|modified| SystemTime::now().duration_since(modified));
    age.is_ok_and(|age| age.is_ok_and(|age| age > KEPT))
}

/// The share of a job that was submitted from here.
pub(crate) fn find(job: JobId) -> Result<Share> {
    let path = path(job)?;
    let named = || {
        format!(
            "{job} was not submitted from here, or is not audited: no {}",
            path.display()
        )
    };
    let text = crate::read::bounded(&path, "a share", FILE_BYTES_MAX);
    let text = String::from_utf8(text.with_context(named).code(Exit::Usage)?)?;
    Share::try_from(text.trim().to_owned()).with_context(|| path.display().to_string())
}
