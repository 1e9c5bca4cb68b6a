//! Opened values: proof that somebody ran the model, and did not take its answer from another.
//!
//! A commitment binds an answer to its provider, so nobody can copy one that is on its way. Whoever knows the answer
//! otherwise (a client's known items, a friend, the job of last week) could still commit to it without any work. A job
//! may therefore name a tensor of one of its graphs. While a shard runs, the host notes every value of it, rounded to
//! bfloat16, in [`Chunk`]s; the outcome states the Merkle root over them ([`Noted`]), and the commitment binds it.
//!
//! When all due commitments are in, each provider opens chunks at [`places`] that follow from its own signature over its
//! commitment and from a challenge that was nobody's to know before: who could foretell its places would make up the few
//! chunks that are looked at, or sign until they fall where it knows the values. Two replicas then agree only if what
//! they opened does, at the places of both ([`agree`]).
//!
//! Chunks are numbered in the order of inferences, not by item: a guest gets all items of its shard at once and nobody
//! sees which inference is for which.

mod agree;
mod trace;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Domain};
use crate::merkle::{self, Proof};

pub use agree::agree;
pub use trace::{Chunk, Noter, chunks_of, round};

/// Values of one chunk at most; all but the last of an inference have as many.
pub const CHUNK_VALUES: usize = 64;

/// Bytes of an encoded chunk: the inference, the place in its tensor, how many values, and the values.
pub const CHUNK_BYTES: usize = 4 + 4 + 2 + 2 * CHUNK_VALUES;

/// Most bytes of encoded chunks that one execution of a shard notes.
pub const TRACE_BYTES_MAX: u64 = 256 << 20;

/// Most places that follow from one seed.
pub const COUNT_MAX: u16 = 256;

/// Most seeds of one request: a provider's own, and that of whom it is compared with.
pub const SEEDS_MAX: usize = 2;

/// Longest name of a tensor in bytes.
pub const TENSOR_NAME_MAX: usize = 256;

/// What a job has opened, and when opened values agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpeningsRule {
    /// A graph of the job.
    pub graph: String,
    /// An output of it, of 32-bit floats.
    pub tensor: String,
    /// Chunks that follow from each seed.
    pub count: u16,
    /// How far apart two values may be, whatever they are.
    pub atol: f64,
    /// How much more, as a part of the larger one.
    pub rtol: f64,
}

/// What somebody noted while it executed a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noted {
    /// Root of the Merkle tree over the encoded chunks.
    pub root: Digest,
    /// Number of chunks.
    pub chunks: u32,
    /// Number of inferences, those that gave no value included.
    pub inferences: u32,
}

impl Noted {
    /// Fixed-size canonical bytes, as bound by a commitment.
    pub fn to_bytes(&self) -> Vec<u8> {
        let counts = [self.chunks.to_le_bytes(), self.inferences.to_le_bytes()];
        [self.root.as_bytes().as_slice(), counts.as_flattened()].concat()
    }

    /// Bytes of the encoded chunks.
    pub fn trace_bytes(&self) -> u64 {
        u64::from(self.chunks).saturating_mul(CHUNK_BYTES as u64)
    }

    /// Whether as much may be noted in one execution.
    pub fn is_bounded(&self) -> bool {
        self.trace_bytes() <= TRACE_BYTES_MAX
    }
}

/// A chunk as a provider opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The encoded chunk.
    pub chunk: Vec<u8>,
    /// That it is among those that were committed to.
    pub proof: Proof,
}

/// Why opened chunks are not what they were asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// Too few or too many.
    #[error("{opened} chunks are opened, {asked} were asked for")]
    Number {
        /// Chunks that were opened.
        opened: usize,
        /// Chunks that were asked for.
        asked: usize,
    },
    /// A chunk of another place.
    #[error("chunk {opened} is opened, {asked} was asked for")]
    Place {
        /// The place that the proof is about.
        opened: u32,
        /// The place that was asked for.
        asked: u32,
    },
    /// A chunk that was not committed to.
    #[error("chunk {place} is not among the {chunks} that were committed to")]
    Unproven {
        /// Where it should be.
        place: u32,
        /// How many there are.
        chunks: u32,
    },
    /// Bytes that are no chunk, which nobody who noted values commits to.
    #[error("chunk {place}: {reason}")]
    Malformed {
        /// Where.
        place: u32,
        /// What is wrong.
        reason: String,
    },
}

/// What nobody knows of a job before its providers have committed: `secret` is the aggregator's own, one for each job.
pub fn challenge(secret: &[u8; 32], job: &crate::ids::JobId) -> Digest {
    Digest::bind(Domain::OpeningChallenge, &[secret, job.0.as_bytes()])
}

/// What a provider's places follow from: its signature over its commitment, and the job's challenge. Who is told a seed
/// learns nothing of another's.
pub fn seed(signature: &[u8], challenge: &Digest) -> Digest {
    Digest::bind(Domain::OpeningSeed, &[signature, challenge.as_bytes()])
}

/// The places that follow from a seed, of so many chunks; a place may come twice. None if there are no chunks.
pub fn places(seed: &Digest, count: u16, chunks: u32) -> Vec<u32> {
    let place = |number: u16| {
        let parts = [seed.as_bytes().as_slice(), &number.to_le_bytes()];
        let drawn = Digest::bind(Domain::OpeningPlace, &parts);
        let drawn = drawn.as_bytes().first_chunk().copied();
        // Sixty-four bits for at most thirty-two: no place is noticeably likelier than another.
        let place = drawn
            .map_or(0, u64::from_le_bytes)
            .checked_rem(chunks.into());
        place.and_then(|place| u32::try_from(place).ok())
    };
    (0..count.min(COUNT_MAX)).filter_map(place).collect()
}

/// Checks what a provider opened against what it committed to, and reads it.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(noted: &Noted, places: &[u32], opened: &[Opened]) -> Result<Vec<Chunk>, OpeningError> {
    if places.len() != opened.len() {
        return Err(OpeningError::Number {
            opened: opened.len(),
            asked: places.len(),
        });
    }
    let chunks = places.iter().zip(opened).map(|(&place, opened)| {
        let proof = &opened.proof;
        if proof.index != place {
            return Err(OpeningError::Place {
                opened: proof.index,
                asked: place,
            });
        }
        let chunks = noted.chunks;
        if proof.count != chunks || !merkle::verify(&noted.root, &opened.chunk, proof) {
            return Err(OpeningError::Unproven { place, chunks });
        }
        Chunk::from_bytes(&opened.chunk).map_err(|reason| OpeningError::Malformed { place, reason })
    });
    chunks.collect()
}

#[cfg(test)]
mod tests;
