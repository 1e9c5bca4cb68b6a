use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jobs::digest::{BlobRef, Digest};
use jobs::ids::ProviderId;

use crate::protocol::{Fault, Refusal};

/// Why something could not travel.
///
/// [`Error::is_callers_fault`] tells invalid input from trouble on the way; [`Error::is_retryable`]
/// tells whether the same call may succeed later or with another peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Text that is not a usable multiaddress.
    #[error("{value:?} is not a usable multiaddress: {reason}")]
    Address {
        /// The text, cut at 200 characters.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A configuration value out of bounds.
    #[error("network configuration: {key} = {value}: {bound}")]
    Config {
        /// Which field.
        key: &'static str,
        /// Its value.
        value: String,
        /// The bound it breaks.
        bound: String,
    },
    /// Bytes that are not an Ed25519 public key.
    #[error("{id} is not an ed25519 public key")]
    Identity {
        /// The bytes, as text.
        id: String,
    },
    /// The transports could not be set up.
    #[error("could not set up the transports: {reason}")]
    Transport {
        /// libp2p's words.
        reason: String,
    },
    /// An address could not be listened on.
    #[error("could not listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: String,
        /// The system's words.
        reason: String,
    },
    /// The event loop has stopped.
    #[error("the network is shut down")]
    Closed,
    /// This node already waits on too many requests.
    #[error("{what}: {max} are already in flight")]
    Busy {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// An address or peer could not be reached.
    #[error("could not reach {target}: {reason}")]
    Unreachable {
        /// Peer or address.
        target: String,
        /// libp2p's words.
        reason: String,
    },
    /// The peer does not speak the protocol: it is of another role or release.
    #[error("{peer} does not speak {protocol}")]
    Unsupported {
        /// Who.
        peer: ProviderId,
        /// What.
        protocol: &'static str,
    },
    /// No answer in time. Whether the peer acted on the request is unknown.
    #[error("{peer} did not answer {protocol} in time")]
    Timeout {
        /// Who.
        peer: ProviderId,
        /// What.
        protocol: &'static str,
    },
    /// The connection closed before the answer. Whether the peer acted on the request is unknown.
    #[error("connection to {peer} closed before it answered {protocol}: {reason}")]
    Disconnected {
        /// Who.
        peer: ProviderId,
        /// What.
        protocol: &'static str,
        /// libp2p's words.
        reason: String,
    },
    /// A request of ours larger than its protocol allows. Nothing was sent.
    #[error("{protocol}: request has {size} bytes, more than the {max} allowed")]
    TooLarge {
        /// Which protocol.
        protocol: &'static str,
        /// Encoded size in bytes.
        size: u64,
        /// Bound in bytes.
        max: u64,
    },
    /// A message could not be encoded. Ours.
    #[error("{protocol}: could not encode the request: {reason}")]
    Encode {
        /// Which protocol.
        protocol: &'static str,
        /// The encoder's words.
        reason: String,
    },
    /// The peer could not read our message, and says why.
    #[error("{peer} could not read our {protocol} message: {fault}")]
    Fault {
        /// Who.
        peer: ProviderId,
        /// Which protocol.
        protocol: &'static str,
        /// What it said.
        fault: Fault,
    },
    /// The peer's answer breaks the protocol.
    #[error("{peer} gave a bad answer to {protocol}: {reason}")]
    BadAnswer {
        /// Who.
        peer: ProviderId,
        /// Which protocol.
        protocol: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A peer does not have the blob.
    #[error("{peer} has no blob {digest}")]
    BlobNotFound {
        /// Who.
        peer: ProviderId,
        /// Which blob.
        digest: Digest,
    },
    /// A peer refused to serve the blob.
    #[error("{peer} refused to serve blob {digest}: {refusal}")]
    BlobRefused {
        /// Who.
        peer: ProviderId,
        /// Which blob.
        digest: Digest,
        /// Why.
        refusal: Refusal,
    },
    /// The blob has another size than promised. No byte was stored.
    #[error("blob {digest} has {actual} bytes, expected {expected}")]
    BlobSize {
        /// Which blob.
        digest: Digest,
        /// Its size in bytes, as claimed or found.
        actual: u64,
        /// The size the reference names.
        expected: u64,
    },
    /// A chunk that does not belong to the blob.
    #[error("{peer} sent a false chunk of blob {digest} at offset {offset}: {reason}")]
    BlobChunk {
        /// Who.
        peer: ProviderId,
        /// Which blob.
        digest: Digest,
        /// Offset in bytes.
        offset: u64,
        /// The verifier's words.
        reason: String,
    },
    /// Content that does not hash to its address.
    #[error("blob {expected} has digest {actual}")]
    BlobDigest {
        /// The address.
        expected: Digest,
        /// What the content hashes to.
        actual: Digest,
    },
    /// The blob is not in the store.
    #[error("blob {digest} is not stored")]
    BlobMissing {
        /// Which blob.
        digest: Digest,
    },
    /// The store's quota leaves no room for the blob.
    #[error(
        "blob {} needs {needed} bytes, but {used} of the quota of {quota} are used",
        blob.digest
    )]
    QuotaFull {
        /// Which blob.
        blob: BlobRef,
        /// What it needs, hash tree included, in bytes.
        needed: u64,
        /// What is used or reserved, in bytes.
        used: u64,
        /// The quota in bytes.
        quota: u64,
    },
    /// The disk is full, although the quota is not.
    #[error("the disk of {} is full", path.display())]
    DiskFull {
        /// Where.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// No peer could deliver the blob.
    #[error("none of {peers} peers could deliver blob {digest}; the last said: {last}")]
    NoSource {
        /// Which blob.
        digest: Digest,
        /// How many were asked.
        peers: usize,
        /// The last peer's failure.
        last: Box<Error>,
    },
    /// The peers were too slow. What arrived stays for a later fetch to continue.
    #[error("blob {digest} did not arrive in {within:?}")]
    FetchTimeout {
        /// Which blob.
        digest: Digest,
        /// The bound.
        within: Duration,
    },
    /// A task of ours died.
    #[error("a blob task failed: {reason}")]
    Task {
        /// How.
        reason: String,
    },
}

impl Error {
    /// Whether the caller's input was wrong, so that no retry can help.
    pub const fn is_callers_fault(&self) -> bool {
        matches!(
            self,
            Self::Address { .. }
                | Self::Config { .. }
                | Self::Identity { .. }
                | Self::TooLarge { .. }
                | Self::BlobDigest { .. }
        )
    }

    /// Whether there is no room for a blob.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::QuotaFull { .. } | Self::DiskFull { .. })
    }

    /// How many bytes less would have to be stored for a blob to find room: 1 where nobody can say how many, 0 where
    /// it is not room that is missing.
    pub const fn lacked(&self) -> u64 {
        match self {
            Self::QuotaFull {
                needed,
                used,
                quota,
                ..
            } => used.saturating_add(*needed).saturating_sub(*quota),
            Self::DiskFull { .. } => 1,
            _ => 0,
        }
    }

    /// Whether the same call may succeed later.
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. }
                | Self::Unreachable { .. }
                | Self::Timeout { .. }
                | Self::Disconnected { .. }
                | Self::NoSource { .. }
                | Self::FetchTimeout { .. }
                | Self::QuotaFull { .. }
                | Self::DiskFull { .. }
        )
    }

    /// An I/O error with its place; a full disk is a variant of its own.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    /// An address that cannot be used, with untrusted text cut.
    pub(crate) fn address(value: &str, reason: impl ToString) -> Self {
        Self::Address {
            value: value.chars().take(200).collect(),
            reason: reason.to_string(),
        }
    }
}
