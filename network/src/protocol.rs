//! The wire protocols: one file each, with its messages and its size caps.
//!
//! Every message is one frame: its length, the version of the protocol, and a body in postcard. The
//! version stands outside the body, because a body of another version cannot be decoded at all.
//! Replies echo the id of the assignment they are about.
//!
//! | protocol | from | to | asks |
//! |---|---|---|---|
//! | [`offer`] | provider | aggregator | "this is what I have and what it costs" |
//! | [`assign`] | aggregator | provider | "execute this shard" |
//! | [`commit`] | provider | aggregator | "I am bound to this outcome", or "I failed" |
//! | [`reveal`] | aggregator | provider | "open your commitment" |
//! | [`open`] | aggregator | provider | "open values that you noted" |
//! | [`cancel`] | aggregator | provider | "this assignment is no longer needed" |
//! | [`blob`] | either | either | "this part of this blob" |

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::CONTROL_STREAMS_MAX;

pub mod assign;
pub mod blob;
pub mod cancel;
pub mod commit;
pub mod offer;
pub mod open;
pub mod reveal;

pub(crate) mod codec;

pub use assign::{AssignReply, AssignRequest};
pub use blob::{BlobReply, BlobRequest};
pub use cancel::{CancelReply, CancelRequest};
pub use commit::{CommitReply, CommitRequest, FailureCode};
pub use offer::{OfferReply, OfferRequest};
pub use open::{OpenReply, OpenRequest};
pub use reveal::{RevealReply, RevealRequest};

/// The only version of every protocol there is.
pub const VERSION: u16 = 1;

/// Longest reason in a refusal, a failure or a fault, in bytes.
pub const REASON_MAX: usize = 512;

/// Why a peer does not do what it was asked. A category for programs; the reason is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RefusalCode {
    /// Too much is waiting already. Ask again later.
    Busy,
    /// The node dropped the request, for example because it is stopping.
    Unanswered,
    /// The request is invalid: a signature, a bound or an id is wrong.
    Invalid,
    /// The node's policy forbids it: the signer, the price, or the requester.
    Policy,
    /// The node has no room: no free slot, memory or disk.
    Capacity,
    /// The job asks for more than the node offers: limits, model size, device.
    Limits,
    /// The assignment, job or commitment is not known to the node.
    Unknown,
    /// It is too late or too early for this.
    State,
    /// A blob the request needs could not be fetched.
    Unavailable,
    /// The node failed. Not the requester's fault.
    Internal,
}

/// A refusal: a category and a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people, at most [`REASON_MAX`] bytes. Written by the peer: do not trust it.
    pub reason: String,
}

impl Refusal {
    /// A refusal, its reason cut at [`REASON_MAX`] bytes.
    pub fn new(code: RefusalCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: cut(reason.into()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The reason is a stranger's text: escaped, so that it cannot forge a log line.
        write!(f, "{:?}: {}", self.code, self.reason.escape_debug())
    }
}

/// Why a peer could not even read a message. Its encoding is the same in every version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Fault {
    /// The message is of another version.
    #[error("version {got} is not supported, only {supported}")]
    Version {
        /// The message's version.
        got: u16,
        /// The version the peer speaks.
        supported: u16,
    },
    /// The message is larger than the protocol allows. Nothing was allocated for it.
    #[error("{size} bytes are more than the {max} allowed")]
    TooLarge {
        /// Announced size in bytes.
        size: u64,
        /// Bound in bytes.
        max: u64,
    },
    /// The bytes are not a message.
    #[error("malformed: {}", reason.escape_debug())]
    Malformed {
        /// The decoder's words.
        reason: String,
    },
}

impl Fault {
    pub(crate) fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed {
            reason: cut(reason.into()),
        }
    }
}

/// Names of all protocols, as a node announces them.
pub const NAMES: [&str; 7] = [
    offer::OfferWire::NAME,
    assign::AssignWire::NAME,
    commit::CommitWire::NAME,
    reveal::RevealWire::NAME,
    cancel::CancelWire::NAME,
    blob::BlobWire::NAME,
    open::OpenWire::NAME,
];

/// Reads bytes off no stream, with the code that reads what a peer sends: whether they are one frame
/// that is a request of this protocol, and one that is a reply. None if there is no such protocol.
pub fn understood(name: &str, bytes: &[u8]) -> Option<(bool, bool)> {
    let read: fn(&[u8]) -> (bool, bool) = match name {
        offer::OfferWire::NAME => codec::understood::<offer::OfferWire>,
        assign::AssignWire::NAME => codec::understood::<assign::AssignWire>,
        commit::CommitWire::NAME => codec::understood::<commit::CommitWire>,
        reveal::RevealWire::NAME => codec::understood::<reveal::RevealWire>,
        open::OpenWire::NAME => codec::understood::<open::OpenWire>,
        cancel::CancelWire::NAME => codec::understood::<cancel::CancelWire>,
        blob::BlobWire::NAME => codec::understood::<blob::BlobWire>,
        _ => return None,
    };
    Some(read(bytes))
}

/// A protocol: its name, its caps, its messages, and how its replies echo its requests.
pub(crate) trait Wire: Clone + Send + 'static {
    /// Name on the wire.
    const NAME: &'static str;
    /// Largest encoded request in bytes.
    const REQUEST_MAX: usize;
    /// Largest encoded reply in bytes.
    const REPLY_MAX: usize;
    /// Streams open on one connection at the same time.
    const STREAMS_MAX: usize = CONTROL_STREAMS_MAX;
    /// What is asked.
    type Request: Serialize + DeserializeOwned + fmt::Debug + Send + Sync + 'static;
    /// What is answered.
    type Reply: Serialize + DeserializeOwned + fmt::Debug + Send + Sync + 'static;
    /// What every reply echoes.
    type Echo: Copy + PartialEq + fmt::Debug + Send + 'static;

    /// What a reply to `request` must echo.
    fn echo(request: &Self::Request) -> Self::Echo;
    /// What `reply` echoes.
    fn echoed(reply: &Self::Reply) -> Self::Echo;
    /// The reply that refuses.
    fn refuse(echo: Self::Echo, refusal: Refusal) -> Self::Reply;
}

/// Cuts text at [`REASON_MAX`] bytes, on a character boundary.
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > REASON_MAX {
        let mut end = REASON_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_cut_on_a_character_boundary() {
        for (text, length) in [
            ("x".repeat(REASON_MAX), REASON_MAX),
            ("x".repeat(REASON_MAX + 1), REASON_MAX),
            (format!("{}é", "x".repeat(REASON_MAX - 1)), REASON_MAX - 1),
        ] {
            let refusal = Refusal::new(RefusalCode::Busy, text);
            assert_eq!(refusal.reason.len(), length);
        }
    }

    #[test]
    fn a_strangers_reason_cannot_forge_a_log_line() {
        let refusal = Refusal::new(RefusalCode::Policy, "no\nINFO all is well");
        assert_eq!(refusal.to_string(), "Policy: no\\nINFO all is well");
    }
}
