//! Uploads: streamed from disk, and taken up where they broke off.

use std::io::SeekFrom;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{Method, header};
use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{Client, Error, Progress, file_error};
use crate::problem::Code;
use crate::types::UploadView;

/// How often an upload that broke off is taken up without a byte more having come.
const RESUMES_MAX: u32 = 7;

/// Pause before an upload is taken up; doubled each time. With these an aggregator may be away for half a minute.
const RESUME_PAUSE: Duration = Duration::from_millis(250);

/// Bytes read from a file at once.
const READ_BYTES: usize = 64 * 1024;

/// Told how many bytes of an upload were sent.
pub type Sent = Arc<dyn Fn(u64) + Send + Sync>;

impl Client {
    /// Uploads a blob that a job declared, streamed from a file. If the connection breaks, or the aggregator restarts, it
    /// goes on where the aggregator has it.
    ///
    /// # Errors
    /// If refused or unreachable, or the file cannot be read.
    pub async fn put_blob(&self, job: JobId, blob: BlobRef, path: &Path) -> Result<(), Error> {
        self.put_blob_telling(job, blob, path, &(Arc::new(|_| {}) as Sent))
            .await
    }

    /// The same, telling how many bytes of the blob were sent so far.
    ///
    /// # Errors
    /// As [`Client::put_blob`].
    pub async fn put_blob_telling(
        &self,
        job: JobId,
        blob: BlobRef,
        path: &Path,
        sent: &Sent,
    ) -> Result<(), Error> {
        let (mut failures, mut furthest, mut anew) = (0, 0, false);
        let mut state = self.upload(job, blob.digest).await?;
        loop {
            if state.complete {
                return Ok(());
            }
            let error = match self.put_from(job, blob, path, state.received, sent).await {
                Err(error) => error,
                done => return done,
            };
            match &error {
                Error::Unreachable { .. } => {}
                Error::Refused(problem) if problem.code == Code::UploadOffset.explained().code => {}
                // What came earlier was spoilt; the aggregator has thrown it away.
                Error::Refused(problem) if problem.status == 400 && state.received > 0 && !anew => {
                    anew = true;
                }
                _ => return Err(error),
            }
            state = loop {
                failures += 1;
                if failures > RESUMES_MAX {
                    return Err(error);
                }
                let pause = RESUME_PAUSE.saturating_mul(1 << failures.min(RESUMES_MAX));
                tokio::time::sleep(pause / 2).await;
                match self.upload(job, blob.digest).await {
                    Ok(state) => break state,
                    Err(Error::Unreachable { .. }) => {}
                    Err(error) => return Err(error),
                }
            };
            tracing::debug!(%error, at = state.received, "an upload broke off and is taken up");
            if state.received > furthest {
                (furthest, failures) = (state.received, 0);
            }
        }
    }

    /// How far the upload of a job's blob is.
    ///
    /// # Errors
    /// If refused or unreachable.
    pub async fn upload(&self, job: JobId, digest: Digest) -> Result<UploadView, Error> {
        self.get(&format!("/jobs/{job}/blobs/{digest}/upload"))
            .await
    }

    /// Sends a blob from `offset` on.
    pub(super) async fn put_from(
        &self,
        job: JobId,
        blob: BlobRef,
        path: &Path,
        offset: u64,
        sent: &Sent,
    ) -> Result<(), Error> {
        let opened = async {
            let mut file = tokio::fs::File::open(path).await?;
            file.seek(SeekFrom::Start(offset)).await?;
            Ok(file)
        };
        let file = opened.await.map_err(|source| file_error(path, source))?;
        let length = blob.size.saturating_sub(offset);
        let (progress, sent) = (Progress::default(), Arc::clone(sent));
        let (moved, mut at) = (progress.clone(), offset);
        let frames = ReaderStream::with_capacity(file.take(length), READ_BYTES);
        let frames = frames.inspect_ok(move |bytes| {
            moved.note();
            at = at.saturating_add(bytes.len() as u64);
            sent(at);
        });
        let body = BodyExt::boxed(StreamBody::new(frames.map_ok(Frame::data)));
        let mut route = format!("/jobs/{job}/blobs/{}", blob.digest);
        if offset > 0 {
            route += &format!("?offset={offset}");
        }
        let request = self
            .request(Method::PUT, &route)
            .header(header::CONTENT_LENGTH, length);
        let request = self.finish(self.signed(request)?, body)?;
        self.send_noting(request, &progress).await.map(drop)
    }
}
