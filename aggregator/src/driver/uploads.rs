//! Uploads that go on where they broke off.
//!
//! What came of a blob lies in a file of its own for each job, so that no client can spoil another's. One request writes to
//! it at a time: a new one ends the one before, whose connection may be dead without anybody having noticed.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::backend::Answer;
use api::problem::{Code, Problem};
use api::types::UploadView;
use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use network::blobs::{BlobStore, Upload};
use tokio::io::AsyncRead;
use tokio::sync::Notify;
use tokio_util::io::SyncIoBridge;

use super::Shared;
use super::backend::internal;
use super::error::Error;

/// Bytes on their way from a connection to the disk.
const BUFFER_BYTES: usize = 256 * 1024;

/// How long a request waits for the one before it to end.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// Milliseconds for which an upload that broke off is kept after its last byte.
pub(super) const KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// Uploads that are being written to.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<BTreeMap<Digest, Arc<Live>>>);

/// An upload that is being written to.
#[derive(Debug, Default)]
struct Live {
    /// Somebody else goes on.
    over: Notify,
    /// Bytes on the disk.
    offset: AtomicU64,
}

/// A request's turn to write; given up when dropped. Whoever writes has it, and not the request, which may be gone
/// before the last byte is on the disk.
struct Turn {
    shared: Arc<Shared>,
    name: Digest,
    live: Arc<Live>,
}

impl Uploads {
    fn live(&self) -> MutexGuard<'_, BTreeMap<Digest, Arc<Live>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offset(&self, name: &Digest) -> Option<u64> {
        let live = self.live();
        live.get(name)
            .map(|live| live.offset.load(Ordering::Relaxed))
    }
}

impl Turn {
    /// Begins a turn, and asks whoever has it to end.
    fn take(shared: &Arc<Shared>, name: Digest) -> Self {
        let begun = received(shared, &name);
        let live = Arc::new(Live {
            offset: AtomicU64::new(begun),
            ..Live::default()
        });
        if let Some(former) = shared.uploads.live().insert(name, Arc::clone(&live)) {
            former.over.notify_one();
        }
        Self {
            shared: Arc::clone(shared),
            name,
            live,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut live = self.shared.uploads.live();
        if live
            .get(&self.name)
            .is_some_and(|now| Arc::ptr_eq(now, &self.live))
        {
            live.remove(&self.name);
        }
    }
}

/// What the file of a job's blob is called until it is whole.
fn name_of(job: JobId, blob: BlobRef) -> Digest {
    Digest::of(&[*job.0.as_bytes(), *blob.digest.as_bytes()].concat())
}

/// Bytes from which an upload may go on.
fn received(shared: &Shared, name: &Digest) -> u64 {
    let live = shared.uploads.offset(name).map(BlobStore::resumable);
    live.unwrap_or_else(|| shared.blobs.upload_offset(name))
}

/// How far an upload is.
pub(super) fn view(shared: &Shared, job: JobId, blob: BlobRef) -> UploadView {
    // An open job keeps what it needs; asking for it again and again keeps nothing.
    let complete = shared.blobs.holds(&blob.digest);
    let received = match complete {
        true => blob.size,
        false => received(shared, &name_of(job, blob)),
    };
    UploadView {
        blob,
        received: received.min(blob.size),
        complete,
    }
}

/// Takes a blob's bytes from `offset` on. What came stays if the rest does not.
pub(super) async fn take(
    shared: &Arc<Shared>,
    (job, blob): (JobId, BlobRef),
    offset: u64,
    mut body: impl AsyncRead + Send + Unpin,
) -> Answer<()> {
    let name = name_of(job, blob);
    let turn = Turn::take(shared, name);
    let lock = shared.blobs.upload_lock(&name).lock_owned();
    let Ok(mine) = tokio::time::timeout(TURN_TIMEOUT, lock).await else {
        return Err(Problem::unavailable(format!(
            "blob {} is still being written or checked",
            blob.digest
        )));
    };
    // The request before this one may have lost its connection and all the same brought the rest.
    if shared.blobs.contains(&blob.digest) {
        return Ok(());
    }
    let there = shared.blobs.upload_offset(&name);
    if offset > there {
        let detail = format!(
            "offset = {offset}: {there} bytes of blob {} are here, go on from there",
            blob.digest
        );
        return Err(Problem::of(Code::UploadOffset, detail));
    }
    let (receiver, mut sender) = tokio::io::duplex(BUFFER_BYTES);
    let (blobs, live) = (shared.blobs.clone(), Arc::clone(&turn.live));
    let stored = tokio::task::spawn_blocking(move || {
        // Until nothing is written any more, whatever becomes of the request.
        let (_mine, turn) = (mine, turn);
        let upload = blobs.begin_upload(name, blob, offset)?;
        write(upload, SyncIoBridge::new(receiver), &turn.live)
    });
    let mut stop = shared.stop.clone();
    let copied = tokio::select! {
        copied = tokio::io::copy(&mut body, &mut sender) => copied,
        () = live.over.notified() => {
            return Err(Problem::conflict(format!("another request goes on with blob {}", blob.digest)));
        }
        _ = stop.wait_for(|stop| *stop) => return Err(internal(&Error::Stopping)),
    };
    drop(sender);
    let stored = stored.await;
    let stored = stored.map_err(|error| internal(&Error::Log(error.to_string())))?;
    if let Err(error) = copied {
        tracing::debug!(%error, blob = %blob.digest, "an upload broke off");
    }
    stored.map_err(|error| match error {
        error @ (network::Error::QuotaFull { .. } | network::Error::DiskFull { .. }) => {
            tracing::warn!(%error, "no room for a blob");
            let detail = "the aggregator has no room for this blob";
            Problem::of(Code::StorageFull, detail)
        }
        network::Error::Io { source, .. } => internal(&Error::Log(source.to_string())),
        error => Problem::invalid(error.to_string()),
    })
}

fn write(mut upload: Upload, mut body: impl Read, live: &Live) -> Result<(), network::Error> {
    let mut piece = vec![0; BUFFER_BYTES];
    loop {
        live.offset.store(upload.offset(), Ordering::Relaxed);
        match body.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => upload.append(piece.get(..read).unwrap_or_default())?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    upload.finish().map(drop)
}
