//! `/assay/reveal/1`: an aggregator asks a provider to open its commitment. The output bytes are
//! fetched as a blob afterwards.

use jobs::commitment::Reveal;
use jobs::ids::AssignmentId;
use serde::{Deserialize, Serialize};

use super::{Refusal, Wire};
use crate::trace::TraceContext;

/// Largest encoded request in bytes.
pub const REQUEST_MAX: usize = 1024;

/// Largest encoded reply in bytes: an opening and a receipt, which repeats the package in base64.
pub const REPLY_MAX: usize = 256 * 1024;

/// "Open your commitment."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevealRequest {
    /// To which assignment.
    pub assignment: AssignmentId,
    /// The span that it belongs to, if somebody follows it. Decides nothing.
    pub trace: Option<TraceContext>,
}

/// The provider's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevealReply {
    /// The opening. Not checked by this crate, but for the assignment it is about.
    Revealed(Box<Reveal>),
    /// The commitment stays closed.
    Refused {
        /// To which assignment.
        assignment: AssignmentId,
        /// Why.
        refusal: Refusal,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct RevealWire;

impl Wire for RevealWire {
    const NAME: &'static str = "/assay/reveal/1";
    const REQUEST_MAX: usize = REQUEST_MAX;
    const REPLY_MAX: usize = REPLY_MAX;
    type Request = RevealRequest;
    type Reply = RevealReply;
    type Echo = AssignmentId;

    fn echo(request: &RevealRequest) -> AssignmentId {
        request.assignment
    }

    fn echoed(reply: &RevealReply) -> AssignmentId {
        match reply {
            RevealReply::Revealed(reveal) => reveal.assignment,
            RevealReply::Refused { assignment, .. } => *assignment,
        }
    }

    fn refuse(assignment: AssignmentId, refusal: Refusal) -> RevealReply {
        RevealReply::Refused {
            assignment,
            refusal,
        }
    }
}
