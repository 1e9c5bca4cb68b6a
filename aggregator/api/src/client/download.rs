//! Downloads: streamed to disk, taken up where they broke off, and checked at the end.

use std::io;
use std::path::{Path, PathBuf};

use hyper::{Method, Response, StatusCode, body::Incoming, header};
use jobs::digest::{BlobHasher, BlobRef};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::{Client, Error, empty, file_error};

/// How often a download that broke off is taken up without a single byte more having come.
const RESUMES_MAX: u32 = 5;

/// Pause before a download is taken up, times the number of failures in a row.
const RESUME_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// Bytes of a part that is read back at once.
const READ_BACK_BYTES: usize = 1 << 20;

/// Where a download lies until it is whole: beside its target, under a name of its own.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    path.with_file_name(name)
}

/// A file that grows, and what is in it so far.
struct Part {
    path: PathBuf,
    file: File,
    hasher: BlobHasher,
    size: u64,
}

impl Part {
    /// Takes up what an earlier download of the same blob left, or begins.
    async fn open(target: &Path, blob: BlobRef) -> Result<Self, Error> {
        let path = part_of(target);
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        // Two that wrote into one file would spoil it for both.
        let locked = opened.and_then(|file| file.try_lock().map(|()| file).map_err(Into::into));
        let file = locked.map_err(|source| file_error(&path, source))?;
        let mut part = Self {
            path,
            file: File::from_std(file),
            hasher: BlobHasher::default(),
            size: 0,
        };
        let read = part.read_back(blob.size).await;
        read.map_err(|source| file_error(&part.path, source))?;
        Ok(part)
    }

    async fn read_back(&mut self, most: u64) -> io::Result<()> {
        if self.file.metadata().await?.len() > most {
            return self.clear().await;
        }
        let mut buffer = vec![0; READ_BACK_BYTES];
        loop {
            let read = self.file.read(&mut buffer).await?;
            let Some(bytes @ [_, ..]) = buffer.get(..read) else {
                return Ok(());
            };
            self.hasher.update(bytes);
            self.size = self.size.saturating_add(bytes.len() as u64);
        }
    }

    async fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0).await?;
        self.file.rewind().await?;
        self.hasher = BlobHasher::default();
        self.size = 0;
        Ok(())
    }

    async fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await?;
        self.hasher.update(bytes);
        self.size = self.size.saturating_add(bytes.len() as u64);
        Ok(())
    }

    async fn finish(mut self, target: &Path) -> io::Result<()> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        tokio::fs::rename(&self.path, target).await
    }
}

impl Client {
    /// Streams `route` into a file beside `path` and, once it is `blob`, moves it there.
    pub(super) async fn download(
        &self,
        route: &str,
        blob: BlobRef,
        path: &Path,
    ) -> Result<(), Error> {
        let mut part = Part::open(path, blob).await?;
        let inherited = part.size > 0;
        let mut fetched = self.fetch_whole(route, blob, &mut part).await?;
        if fetched != blob && inherited {
            // What lay there was something else.
            let cleared = part.clear().await;
            cleared.map_err(|source| file_error(&part.path, source))?;
            fetched = self.fetch_whole(route, blob, &mut part).await?;
        }
        if fetched != blob {
            // Of no use to anybody.
            let _ = tokio::fs::remove_file(&part.path).await;
            return Err(Error::Content(jobs::Error::DigestMismatch {
                what: "download".into(),
                actual: fetched.digest.to_string(),
                expected: blob.digest.to_string(),
            }));
        }
        let finished = part.finish(path).await;
        finished.map_err(|source| file_error(path, source))
    }

    /// Fetches until the part is as large as the blob, over as many connections as it takes; answers what it is.
    async fn fetch_whole(
        &self,
        route: &str,
        blob: BlobRef,
        part: &mut Part,
    ) -> Result<BlobRef, Error> {
        let mut failures = 0;
        while part.size < blob.size {
            let before = part.size;
            let error = match self.fetch_rest(route, blob, part).await {
                // The peer says that it has sent all, and it is not enough.
                Ok(()) => break,
                Err(error @ Error::Unreachable { .. }) => error,
                Err(error) => return Err(error),
            };
            failures = if part.size > before { 0 } else { failures + 1 };
            if failures > RESUMES_MAX {
                return Err(error);
            }
            tracing::debug!(%error, at = part.size, "a download broke off and is taken up");
            tokio::time::sleep(RESUME_PAUSE.saturating_mul(failures)).await;
        }
        Ok(part.hasher.finish())
    }

    async fn fetch_rest(&self, route: &str, blob: BlobRef, part: &mut Part) -> Result<(), Error> {
        let mut request = self.request(Method::GET, route);
        if part.size > 0 {
            request = request
                .header(header::RANGE, format!("bytes={}-", part.size))
                .header(header::IF_RANGE, format!("\"{}\"", blob.digest));
        }
        let response = self.send(self.finish(request, empty())?).await?;
        if response.status() != StatusCode::PARTIAL_CONTENT || !continues(&response, part.size) {
            let cleared = part.clear().await;
            cleared.map_err(|source| file_error(&part.path, source))?;
        }
        let mut body = response.into_body();
        while let Some(data) = self.next_part(&mut body).await? {
            let appended = part.append(&data).await;
            appended.map_err(|source| file_error(&part.path, source))?;
            if part.size > blob.size {
                break;
            }
        }
        let flushed = part.file.flush().await;
        flushed.map_err(|source| file_error(&part.path, source))
    }
}

/// Whether an answer goes on where the part ends.
fn continues(response: &Response<Incoming>, size: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE);
    let range = range.and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {size}-")))
}
