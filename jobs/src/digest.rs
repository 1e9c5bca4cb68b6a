//! BLAKE3 digests: plain ones that address blobs, and domain-separated ones that bind statements.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::spelling::text_for_people;

/// A 32-byte BLAKE3 digest, written as `blake3:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest([u8; 32]);

/// Textual prefix of a digest.
pub const DIGEST_PREFIX: &str = "blake3:";

impl Digest {
    /// The content address of a blob: plain BLAKE3, so that `b3sum` prints the same value.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// A domain-separated digest of length-prefixed parts.
    ///
    /// Length prefixes keep `["ab", "c"]` and `["a", "bc"]` apart; the domain keeps a commitment
    /// from ever being mistaken for a Merkle node.
    pub fn bind(domain: Domain, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(domain.context());
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// As [`Digest::bind`] of one part, which has so many bytes and comes in pieces.
    pub fn binder(domain: Domain, length: u64) -> Binder {
        let mut hasher = blake3::Hasher::new_derive_key(domain.context());
        hasher.update(&length.to_le_bytes());
        Binder(hasher)
    }

    /// A digest from its raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits without prefix, as used in file names.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The first eight hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.to_hex().chars().take(8).collect()
    }
}

/// What a bound digest is about. Adding a variant is fine; changing a context string breaks every
/// signature and commitment ever made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Leaf of an item tree.
    ItemLeaf,
    /// Inner node of an item tree.
    ItemNode,
    /// Root of an item tree, which binds the item count.
    ItemRoot,
    /// A provider's commitment to an outcome.
    Commitment,
    /// Identity of an assignment.
    Assignment,
    /// Digest of a fingerprint's fields.
    Fingerprint,
    /// Digest of what ran a job's graphs.
    Placement,
    /// Identity of a ledger transfer.
    Transfer,
    /// Link of the ledger's journal chain.
    Journal,
    /// The seed a guest sees: equal on all replicas of a shard.
    Seed,
    /// Link of the aggregator's event log.
    EventLog,
    /// The seed of the projection of one output.
    Projection,
    /// Identity of a tolerance profile.
    Profile,
    /// The tensors that cross one position of a model.
    Frontier,
    /// What a party of a dispute answered.
    DisputeAnswer,
    /// A client's promise of its share of the draw that decides about audits.
    Share,
    /// Identity of a game.
    Game,
    /// What a validator draws for a round of a game.
    GameDraw,
    /// Identity of a validator's report.
    Scores,
    /// What nobody knows of a job before its providers have committed.
    OpeningChallenge,
    /// What places follow from that a provider opens.
    OpeningSeed,
    /// A place that a provider opens.
    OpeningPlace,
}

impl Domain {
    const fn context(self) -> &'static str {
        match self {
            Self::ItemLeaf => "assay 2026-11-21 item leaf v1",
            Self::ItemNode => "assay 2026-11-21 item node v1",
            Self::ItemRoot => "assay 2026-11-21 item root v1",
            Self::Commitment => "assay 2026-11-22 commitment v3",
            Self::Assignment => "assay 2026-11-21 assignment v1",
            Self::Fingerprint => "assay 2026-11-21 fingerprint v1",
            Self::Placement => "assay 2026-11-22 placement v1",
            Self::Transfer => "assay 2026-11-21 transfer v1",
            Self::Journal => "assay 2026-11-21 journal v1",
            Self::Seed => "assay 2026-11-21 seed v1",
            Self::EventLog => "assay 2026-11-21 event log v1",
            Self::Projection => "assay 2026-11-22 projection v1",
            Self::Profile => "assay 2026-11-22 tolerance profile v1",
            Self::Frontier => "assay 2026-11-22 frontier v1",
            Self::Share => "assay 2026-11-22 audit share v1",
            Self::DisputeAnswer => "assay 2026-11-22 dispute answer v1",
            Self::Game => "assay 2026-11-22 game v1",
            Self::GameDraw => "assay 2026-11-22 game draw v1",
            Self::Scores => "assay 2026-11-22 scores v1",
            Self::OpeningChallenge => "assay 2026-11-22 opening challenge v1",
            Self::OpeningSeed => "assay 2026-11-22 opening seed v1",
            Self::OpeningPlace => "assay 2026-11-22 opening place v1",
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DIGEST_PREFIX}{}", self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DIGEST_PREFIX}{}…", self.short())
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Digest {
            value: text.chars().take(80).collect(),
        };
        let hex = text.strip_prefix(DIGEST_PREFIX).ok_or_else(bad)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(hex, &mut bytes).map_err(|_| bad())?;
        Ok(Self(bytes))
    }
}

text_for_people!(Digest, [u8; 32]);

/// Binds one part that comes in pieces.
#[derive(Clone, Debug)]
pub struct Binder(blake3::Hasher);

impl Binder {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// What [`Digest::bind`] says of the pieces together.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// A blob's address and exact size in bytes. The size is checked before a byte is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobRef {
    /// Plain BLAKE3 of the bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
}

impl BlobRef {
    /// The reference of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        }
    }
}

/// Makes the reference of bytes that come in pieces.
#[derive(Clone, Debug, Default)]
pub struct BlobHasher {
    hasher: blake3::Hasher,
    size: u64,
}

impl BlobHasher {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
        self.size = self.size.saturating_add(piece.len() as u64);
    }

    /// The reference of all pieces so far.
    pub fn finish(&self) -> BlobRef {
        BlobRef {
            digest: Digest(*self.hasher.finalize().as_bytes()),
            size: self.size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_length_prefixed() {
        let one = Digest::bind(Domain::Commitment, &[b"ab", b"c"]);
        let two = Digest::bind(Domain::Commitment, &[b"a", b"bc"]);
        assert_ne!(one, two);
    }

    #[test]
    fn pieces_make_the_reference_of_the_whole() {
        let mut hasher = BlobHasher::default();
        assert_eq!(hasher.finish(), BlobRef::of(b""));
        for piece in [&b"as"[..], b"", b"say"] {
            hasher.update(piece);
        }
        assert_eq!(hasher.finish(), BlobRef::of(b"assay"));
    }

    #[test]
    fn domains_are_separate() {
        assert_ne!(
            Digest::bind(Domain::ItemLeaf, &[b"x"]),
            Digest::bind(Domain::ItemNode, &[b"x"])
        );
    }

    #[test]
    fn text_form_round_trips_and_bad_text_is_named() {
        let digest = Digest::of(b"assay");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        let error = "sha256:00".parse::<Digest>().unwrap_err().to_string();
        assert!(error.contains("sha256:00"), "{error}");
    }
}
