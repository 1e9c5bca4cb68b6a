//! What this client and the aggregator contributed to the draws of its jobs. Nobody else but the aggregator knows the
//! client's share, so who shows it is the job's client; and the aggregator promised its own before it knew that.

use std::fs::DirEntry;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use jobs::digest::Digest;
use jobs::ids::JobId;
use jobs::policy::Share;
use serde::{Deserialize, Serialize};

use crate::exit::{Coded, Exit, Fix};
use crate::home;

/// Longest file in bytes: a share, digests and a path.
const FILE_BYTES_MAX: u64 = 8 << 10;

/// What is kept of a job that was submitted from here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The client's share.
    pub(crate) share: Share,
    /// What the aggregator promised.
    pub(crate) promise: Digest,
    /// The manifest that it was made from, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<PathBuf>,
    /// What names its package, whatever the nonce ([`crate::submission::work`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) work: Option<Digest>,
}

fn path(job: JobId) -> Result<PathBuf> {
    Ok(home::home()?.join("shares").join(job.0.to_hex()))
}

/// How long a share is kept: longer than any job of today lasts.
const KEPT: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// Keeps a job's share and promise, readable by its owner alone, and forgets those of long ago. What was promised first
/// stays.
pub(crate) fn keep(job: JobId, kept: &Kept) -> Result<()> {
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
        home::write_secret(&path, &serde_json::to_string(kept)?)?;
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

/// What is kept of a job; `None` if it was not submitted from here, or long ago.
pub(crate) fn known(job: JobId) -> Result<Option<Kept>> {
    let path = path(job)?;
    if !path.exists() {
        return Ok(None);
    }
    let bytes = crate::read::bounded(&path, "a share", FILE_BYTES_MAX).code(Exit::Usage)?;
    let kept = serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
    Ok(Some(kept))
}

/// The share of a job that was submitted from here.
pub(crate) fn find(job: JobId) -> Result<Share> {
    let missing = || {
        let path = path(job).map_or_else(|error| error.to_string(), |p| p.display().to_string());
        format!("{job} was not submitted from here: no {path}")
    };
    let kept = known(job)?.with_context(missing).code(Exit::Usage);
    let kept = kept.fix("run this on the machine, and as the user, that submitted the job")?;
    Ok(kept.share)
}
