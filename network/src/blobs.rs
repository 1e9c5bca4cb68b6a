//! Blobs: content-addressed files, served in verified slices.
//!
//! A blob's address is the BLAKE3 digest of its bytes, and BLAKE3 is a tree: any part of a blob can
//! be checked against the address with a few hashes from that tree (bao). Beside each stored blob
//! lies its tree (a sixteenth of its size), so that serving a part reads just that part.
//!
//! [`BlobStore`] is the file-backed store of providers and aggregators; [`BlobSource`] is what the
//! network asks when a peer wants a blob, so that a daemon can decide who gets what.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::path::Path;

use jobs::digest::Digest;
use jobs::ids::ProviderId;
use tracing::debug;

use crate::protocol::blob::CHUNK_MAX;
use crate::protocol::{BlobReply, BlobRequest, Refusal, RefusalCode};

mod account;
mod idle;
mod paged;
mod slice;
mod store;
mod tree;
mod writing;

pub use account::{Usage, cost};
pub use idle::{Moment, Work};
pub(crate) use slice::verify_slice;
pub use store::BlobStore;
pub(crate) use writing::Partial;
pub use writing::Upload;

/// Where blobs for others come from. Called on a blocking thread.
pub trait BlobSource: Send + Sync {
    /// Opens a blob for `from`; `None` if there is none, or none for this peer.
    fn open(&self, from: ProviderId, digest: &Digest) -> Option<OpenBlob>;
}

/// Bytes that can be read from anywhere.
pub trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

/// A blob that is ready to be served: its bytes and its hash tree in bao's outboard form.
pub struct OpenBlob {
    size: u64,
    data: Box<dyn ReadSeek>,
    tree: Box<dyn ReadSeek>,
}

impl OpenBlob {
    /// A blob in two files: its bytes and its tree.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub fn files(data: &Path, tree: &Path) -> io::Result<Self> {
        let data = File::open(data)?;
        Ok(Self {
            size: data.metadata()?.len(),
            data: Box::new(data),
            tree: Box::new(File::open(tree)?),
        })
    }

    /// A blob in memory. The tree is computed here.
    pub fn bytes(bytes: Vec<u8>) -> Self {
        let (tree, _) = bao::encode::outboard(&bytes);
        Self {
            size: bytes.len() as u64,
            data: Box::new(Cursor::new(bytes)),
            tree: Box::new(Cursor::new(tree)),
        }
    }

    /// Size in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl fmt::Debug for OpenBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenBlob({} bytes)", self.size)
    }
}

/// Answers one request from `source`. Blocks on the disk.
pub(crate) fn serve(source: &dyn BlobSource, from: ProviderId, request: BlobRequest) -> BlobReply {
    let BlobRequest {
        digest,
        offset,
        len,
    } = request;
    let refused = |code, reason: String| BlobReply::Refused {
        digest,
        refusal: Refusal::new(code, reason),
    };
    if len == 0 || len > CHUNK_MAX {
        let reason = format!("len = {len}: must be 1 to {CHUNK_MAX}");
        return refused(RefusalCode::Invalid, reason);
    }
    let Some(blob) = source.open(from, &digest) else {
        return BlobReply::NotFound { digest };
    };
    let total = blob.size;
    if offset >= total {
        let reason = format!("offset = {offset}: the blob has {total} bytes");
        return refused(RefusalCode::Invalid, reason);
    }
    match slice::extract(blob, offset, len) {
        Ok(slice) => BlobReply::Chunk {
            digest,
            total,
            slice,
        },
        Err(error) => {
            debug!(%digest, %error, "could not read a blob");
            refused(RefusalCode::Internal, "the blob could not be read".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(Vec<u8>);

    impl BlobSource for One {
        fn open(&self, _: ProviderId, digest: &Digest) -> Option<OpenBlob> {
            (*digest == Digest::of(&self.0)).then(|| OpenBlob::bytes(self.0.clone()))
        }
    }

    #[test]
    fn requests_out_of_bounds_are_refused() {
        let source = One(vec![7; 5000]);
        let digest = Digest::of(&source.0);
        for (digest, offset, len, expected) in [
            (digest, 0, 5000, "Chunk"),
            (digest, 4999, CHUNK_MAX, "Chunk"),
            (digest, 5000, 1, "offset = 5000"),
            (digest, u64::MAX, 1, "offset = "),
            (digest, 0, 0, "len = 0"),
            (digest, 0, CHUNK_MAX + 1, "must be 1 to 1048576"),
            (Digest::of(b"other"), 0, 1, "NotFound"),
        ] {
            let request = BlobRequest {
                digest,
                offset,
                len,
            };
            let reply = format!("{:?}", serve(&source, ProviderId([0; 32]), request));
            assert!(reply.contains(expected), "{request:?}: {reply}");
        }
    }
}
