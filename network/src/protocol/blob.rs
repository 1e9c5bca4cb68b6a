//! `/assay/blob/1`: a part of a blob, with the hashes that prove it belongs there. Who asks for a
//! digest learns whether we have the blob, so the source decides per requester.

use std::fmt;

use jobs::digest::Digest;
use serde::{Deserialize, Serialize};

use super::{Refusal, Wire};
use crate::config::BLOB_STREAMS_MAX;

/// Largest part of a blob in one reply, in bytes. A multiple of BLAKE3's 1024-byte chunk.
pub const CHUNK_MAX: u32 = 1024 * 1024;

/// Largest encoded request in bytes.
pub const REQUEST_MAX: usize = 1024;

/// Largest encoded slice in bytes: the content, one 64-byte node a 1024-byte chunk, and a path to
/// the root at each end.
pub const SLICE_MAX: usize = CHUNK_MAX as usize + (CHUNK_MAX as usize / 1024) * 64 + 16 * 1024;

/// Largest encoded reply in bytes.
pub const REPLY_MAX: usize = SLICE_MAX + 1024;

/// "This part of this blob."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRequest {
    /// Which blob.
    pub digest: Digest,
    /// First byte.
    pub offset: u64,
    /// Number of bytes, 1 to [`CHUNK_MAX`]. Less comes back at the blob's end.
    pub len: u32,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobReply {
    /// The part, with its proof.
    Chunk {
        /// Which blob.
        digest: Digest,
        /// Size of the whole blob in bytes, as the peer claims.
        total: u64,
        /// A bao slice.
        #[serde(with = "bytes")]
        slice: Vec<u8>,
    },
    /// The peer does not have the blob, or not for us.
    NotFound {
        /// Which blob.
        digest: Digest,
    },
    /// The peer has it and does not serve it.
    Refused {
        /// Which blob.
        digest: Digest,
        /// Why.
        refusal: Refusal,
    },
}

impl fmt::Debug for BlobReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunk {
                digest,
                total,
                slice,
            } => write!(
                f,
                "Chunk({} bytes of {digest:?}, {total} bytes)",
                slice.len()
            ),
            Self::NotFound { digest } => write!(f, "NotFound({digest:?})"),
            Self::Refused { digest, refusal } => write!(f, "Refused({digest:?}: {refusal})"),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct BlobWire;

impl Wire for BlobWire {
    const NAME: &'static str = "/assay/blob/1";
    const REQUEST_MAX: usize = REQUEST_MAX;
    const REPLY_MAX: usize = REPLY_MAX;
    const STREAMS_MAX: usize = BLOB_STREAMS_MAX;
    type Request = BlobRequest;
    type Reply = BlobReply;
    type Echo = Digest;

    fn echo(request: &BlobRequest) -> Digest {
        request.digest
    }

    fn echoed(reply: &BlobReply) -> Digest {
        match reply {
            BlobReply::Chunk { digest, .. }
            | BlobReply::NotFound { digest }
            | BlobReply::Refused { digest, .. } => *digest,
        }
    }

    fn refuse(digest: Digest, refusal: Refusal) -> BlobReply {
        BlobReply::Refused { digest, refusal }
    }
}

/// A byte vector as one run of bytes. Serde's default takes a megabyte one element at a time.
mod bytes {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        from.deserialize_byte_buf(Visitor)
    }

    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }
}
