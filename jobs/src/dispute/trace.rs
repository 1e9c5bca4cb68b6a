//! What a provider commits to when it is asked to execute a model node by node.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::digest::{BlobRef, Digest, Domain};
use crate::merkle::{self, Proof};

/// What a party says of one tensor at one position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorClaim {
    /// Its name in the model.
    pub name: String,
    /// Its element type, by ONNX's number.
    pub element: u32,
    /// Its dimensions.
    pub dims: Vec<u32>,
    /// Its contents.
    pub content: BlobRef,
}

impl TensorClaim {
    /// Bytes of the claim as it is hashed, nearly: what it adds to a message.
    pub(super) fn bytes(&self) -> u64 {
        let name = self.name.len() as u64;
        let dims = (self.dims.len() as u64).saturating_mul(4);
        // Two lengths, the element type, a digest and a size.
        name.saturating_add(dims).saturating_add(4 + 4 + 4 + 32 + 8)
    }
}

/// The digest of a frontier: of every tensor's name, element type, dimensions and contents, in order.
///
/// # Errors
/// If the claims cannot be encoded, which is ours.
pub fn frontier_digest(claims: &[TensorClaim]) -> Result<Digest, Error> {
    let encoded = postcard::to_stdvec(claims).map_err(|error| Error::Encode {
        what: "frontier",
        reason: error.to_string(),
    })?;
    Ok(Digest::bind(Domain::Frontier, &[&encoded]))
}

/// One position of a trace, and the way from it to the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Which position.
    pub position: u32,
    /// The digest of its frontier.
    pub frontier: Digest,
    /// Siblings in the tree, lowest first.
    pub siblings: Vec<Digest>,
}

impl Opening {
    /// Whether this position stands in the trace of so many positions under `root`.
    pub fn verify(&self, root: &Digest, positions: u32) -> bool {
        let proof = Proof {
            index: self.position,
            count: positions,
            siblings: self.siblings.clone(),
        };
        merkle::verify(root, self.frontier.as_bytes(), &proof)
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.siblings.len() as u64)
            .saturating_mul(32)
            .saturating_add(4 + 32)
    }
}

/// A trace, as its owner keeps it: the digest of the frontier at every position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTrace {
    frontiers: Vec<Digest>,
    root: Digest,
}

impl CommittedTrace {
    /// Over the digests of all positions, the inputs' first.
    pub fn new(frontiers: Vec<Digest>) -> Self {
        let items: Vec<&[u8; 32]> = frontiers.iter().map(Digest::as_bytes).collect();
        let root = merkle::root(&items.iter().map(|item| &item[..]).collect::<Vec<_>>());
        Self { frontiers, root }
    }

    /// What is committed to.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// How many positions it has.
    pub fn positions(&self) -> u32 {
        u32::try_from(self.frontiers.len()).unwrap_or(u32::MAX)
    }

    /// The digest at a position.
    pub fn frontier(&self, position: u32) -> Option<Digest> {
        self.frontiers.get(position as usize).copied()
    }

    /// Opens a position; `None` if there is none of that number.
    pub fn open(&self, position: u32) -> Option<Opening> {
        let items: Vec<&[u8]> = self
            .frontiers
            .iter()
            .map(|digest| &digest.as_bytes()[..])
            .collect();
        let proof = merkle::prove(&items, position)?;
        Some(Opening {
            position,
            frontier: self.frontier(position)?,
            siblings: proof.siblings,
        })
    }
}
