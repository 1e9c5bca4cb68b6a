//! Fetching a blob: chunk by chunk, each verified before it is stored, from whichever of the given
//! peers delivers.

use std::path::PathBuf;
use std::time::Duration;

use jobs::digest::BlobRef;
use jobs::ids::ProviderId;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::Client;
use crate::Error;
use crate::blobs::{BlobStore, Partial, verify_slice};
use crate::protocol::blob::{BlobWire, CHUNK_MAX};
use crate::protocol::{BlobReply, BlobRequest, RefusalCode, Wire};

/// How often a busy peer is asked again for one chunk.
const BUSY_RETRIES: u32 = 5;

/// How long a busy peer is left alone, times the number of tries.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// How often the list of peers is gone through.
const ROUNDS: usize = 2;

impl Client {
    /// Fetches a blob into `store` and returns its path, at once if it is stored already. Peers are
    /// tried in order; one that fails is left for the next, which continues at the same offset, and
    /// a later call continues where this one stopped. Two fetches of one blob share one transfer.
    ///
    /// # Errors
    /// If the store has no room, the disk fails, or no peer could deliver ([`Error::NoSource`]).
    pub async fn fetch_blob(
        &self,
        peers: &[ProviderId],
        blob: BlobRef,
        store: &BlobStore,
    ) -> Result<PathBuf, Error> {
        let lock = store.fetch_lock(&blob.digest);
        let _only_one = lock.lock().await;
        self.fetch_alone(peers, blob, store).await
    }

    /// As [`Client::fetch_blob`], given up after `within`: a peer that hands out a little now and
    /// then must not keep anybody waiting for ever. Waiting for another fetch of the same blob does
    /// not count, because that is none of these peers' doing.
    ///
    /// # Errors
    /// As [`Client::fetch_blob`], or [`Error::FetchTimeout`].
    pub async fn fetch_blob_within(
        &self,
        peers: &[ProviderId],
        blob: BlobRef,
        store: &BlobStore,
        within: Duration,
    ) -> Result<PathBuf, Error> {
        let lock = store.fetch_lock(&blob.digest);
        let _only_one = lock.lock().await;
        let fetched = timeout(within, self.fetch_alone(peers, blob, store)).await;
        fetched.unwrap_or(Err(Error::FetchTimeout {
            digest: blob.digest,
            within,
        }))
    }

    /// Fetches a blob that nobody else is fetching.
    async fn fetch_alone(
        &self,
        peers: &[ProviderId],
        blob: BlobRef,
        store: &BlobStore,
    ) -> Result<PathBuf, Error> {
        if let Some(path) = store.get(&blob.digest) {
            return Ok(path);
        }
        let begin = store.clone();
        let mut partial = blocking(move || begin.begin(blob.digest, blob)).await?;
        let mut last = None;
        for peer in (0..ROUNDS).flat_map(|_| peers) {
            match self.fetch_from(*peer, blob, partial).await {
                (Some(complete), Ok(())) => return blocking(move || complete.finish()).await,
                (Some(stopped), Err(error)) if !is_ours(&error) => {
                    debug!(%peer, %error, offset = stopped.offset(), "blob source failed");
                    partial = stopped;
                    last = Some(error);
                }
                (_, result) => {
                    let died = || Error::Task {
                        reason: "the partial blob was lost".into(),
                    };
                    return Err(result.err().unwrap_or_else(died));
                }
            }
        }
        Err(Error::NoSource {
            digest: blob.digest,
            peers: peers.len(),
            last: Box::new(last.unwrap_or(Error::BlobMissing {
                digest: blob.digest,
            })),
        })
    }

    /// Fetches from one peer until the blob is complete or the peer fails. Hands the partial blob
    /// back, unless a task of ours died with it.
    async fn fetch_from(
        &self,
        peer: ProviderId,
        blob: BlobRef,
        mut partial: Partial,
    ) -> (Option<Partial>, Result<(), Error>) {
        while partial.offset() < blob.size {
            let offset = partial.offset();
            let len = chunk_length(blob, offset);
            let slice = match self.fetch_slice(peer, blob, offset, len).await {
                Ok(slice) => slice,
                Err(error) => return (Some(partial), Err(error)),
            };
            let stored = blocking(move || {
                let appended = verify_slice(blob, offset, len, &slice)
                    .map_err(|reason| Error::BlobChunk {
                        peer,
                        digest: blob.digest,
                        offset,
                        reason,
                    })
                    .and_then(|bytes| partial.append(&bytes));
                Ok((partial, appended))
            });
            match stored.await {
                Ok((stored, Ok(()))) => partial = stored,
                Ok((stored, Err(error))) => return (Some(stored), Err(error)),
                Err(error) => return (None, Err(error)),
            }
        }
        (Some(partial), Ok(()))
    }

    /// One slice, its claims checked but not its content. A busy peer is asked again.
    async fn fetch_slice(
        &self,
        peer: ProviderId,
        blob: BlobRef,
        offset: u64,
        len: u32,
    ) -> Result<Vec<u8>, Error> {
        let digest = blob.digest;
        let mut tries = 0;
        loop {
            let request = BlobRequest {
                digest,
                offset,
                len,
            };
            let reply = timeout(self.chunk_timeout, self.chunk(peer, request)).await;
            let protocol = BlobWire::NAME;
            let reply = match reply.map_err(|_| Error::Timeout { peer, protocol })? {
                // Other fetches fill the connection; they end.
                Err(Error::Busy { .. }) if tries < BUSY_RETRIES => {
                    tries += 1;
                    sleep(BUSY_PAUSE * tries).await;
                    continue;
                }
                reply => reply?,
            };
            match reply {
                BlobReply::Chunk { total, slice, .. } if total == blob.size => return Ok(slice),
                BlobReply::Chunk { total, .. } => {
                    return Err(Error::BlobSize {
                        digest,
                        actual: total,
                        expected: blob.size,
                    });
                }
                BlobReply::NotFound { .. } => return Err(Error::BlobNotFound { peer, digest }),
                BlobReply::Refused { refusal, .. }
                    if refusal.code == RefusalCode::Busy && tries < BUSY_RETRIES =>
                {
                    tries += 1;
                    sleep(BUSY_PAUSE * tries).await;
                }
                BlobReply::Refused { refusal, .. } => {
                    return Err(Error::BlobRefused {
                        peer,
                        digest,
                        refusal,
                    });
                }
            }
        }
    }
}

fn chunk_length(blob: BlobRef, offset: u64) -> u32 {
    let left = blob.size.saturating_sub(offset);
    u32::try_from(left).map_or(CHUNK_MAX, |left| left.min(CHUNK_MAX))
}

/// Whether another peer could not help: the store or this node failed.
const fn is_ours(error: &Error) -> bool {
    matches!(
        error,
        Error::Closed
            | Error::Io { .. }
            | Error::DiskFull { .. }
            | Error::QuotaFull { .. }
            | Error::Task { .. }
    )
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(Error::Task {
            reason: error.to_string(),
        })
    })
}
