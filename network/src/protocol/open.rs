//! `/assay/open/1`: an aggregator asks a provider to open values that it noted while it executed an assignment
//! ([`jobs::openings`]). It is told seeds, from which the places follow, and never the challenge behind them: places of
//! others must not follow from what it is asked.

use jobs::digest::Digest;
use jobs::ids::AssignmentId;
use jobs::openings::{CHUNK_BYTES, COUNT_MAX, Opened, SEEDS_MAX};
use serde::{Deserialize, Serialize};

use super::{Refusal, Wire};

/// Largest encoded request in bytes.
pub const REQUEST_MAX: usize = 1024;

/// Bytes of a chunk's proof at most: a tree over all that one execution may note is 21 digests high.
const PROOF_BYTES: usize = 22 * 32;

/// Largest encoded reply in bytes: as many chunks as may be asked for, each with its proof.
pub const REPLY_MAX: usize = 1024 + SEEDS_MAX * COUNT_MAX as usize * (CHUNK_BYTES + PROOF_BYTES);

/// "Open what you noted."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRequest {
    /// Of which assignment.
    pub assignment: AssignmentId,
    /// What the places follow from; at most [`SEEDS_MAX`].
    pub seeds: Vec<Digest>,
    /// Places of each seed; at most [`COUNT_MAX`].
    pub count: u16,
}

/// The provider's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpenReply {
    /// The chunks, seed by seed in the order of places. Not checked by this crate.
    Opened {
        /// Of which assignment.
        assignment: AssignmentId,
        /// The chunks.
        opened: Vec<Opened>,
    },
    /// Nothing is opened.
    Refused {
        /// Of which assignment.
        assignment: AssignmentId,
        /// Why.
        refusal: Refusal,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct OpenWire;

impl Wire for OpenWire {
    const NAME: &'static str = "/assay/open/1";
    const REQUEST_MAX: usize = REQUEST_MAX;
    const REPLY_MAX: usize = REPLY_MAX;
    type Request = OpenRequest;
    type Reply = OpenReply;
    type Echo = AssignmentId;

    fn echo(request: &OpenRequest) -> AssignmentId {
        request.assignment
    }

    fn echoed(reply: &OpenReply) -> AssignmentId {
        match reply {
            OpenReply::Opened { assignment, .. } | OpenReply::Refused { assignment, .. } => {
                *assignment
            }
        }
    }

    fn refuse(assignment: AssignmentId, refusal: Refusal) -> OpenReply {
        OpenReply::Refused {
            assignment,
            refusal,
        }
    }
}

#[cfg(test)]
mod tests {
    use jobs::merkle::Proof;
    use jobs::openings::TRACE_BYTES_MAX;

    use super::*;
    use crate::protocol::codec::encoded_size;

    #[test]
    fn as_much_as_may_be_asked_for_fits_into_one_reply() {
        let chunks = u32::try_from(TRACE_BYTES_MAX / CHUNK_BYTES as u64).unwrap();
        let height = chunks.next_power_of_two().trailing_zeros() as usize;
        let opened = Opened {
            chunk: vec![0xff; CHUNK_BYTES],
            proof: Proof {
                index: chunks,
                count: chunks,
                siblings: vec![Digest::of(b"sibling"); height],
            },
        };
        let reply = OpenReply::Opened {
            assignment: AssignmentId::default(),
            opened: vec![opened; SEEDS_MAX * usize::from(COUNT_MAX)],
        };
        assert!(encoded_size(&reply).unwrap() <= REPLY_MAX);
        let request = OpenRequest {
            assignment: AssignmentId::default(),
            seeds: vec![Digest::default(); SEEDS_MAX],
            count: COUNT_MAX,
        };
        assert!(encoded_size(&request).unwrap() <= REQUEST_MAX);
    }
}
