//! `/assay/cancel/1`: an aggregator no longer needs an assignment, because the job ended or the
//! replica was superseded. A provider that already committed may still be asked to reveal.

use jobs::ids::AssignmentId;
use serde::{Deserialize, Serialize};

use super::{Refusal, Wire};

/// Largest encoded request in bytes.
pub const REQUEST_MAX: usize = 1024;

/// Largest encoded reply in bytes.
pub const REPLY_MAX: usize = 1024;

/// "Stop working on this."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// On which assignment.
    pub assignment: AssignmentId,
}

/// The provider's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelReply {
    /// It stopped, or had ended already.
    Cancelled {
        /// Which assignment.
        assignment: AssignmentId,
    },
    /// It did not stop.
    Refused {
        /// Which assignment.
        assignment: AssignmentId,
        /// Why.
        refusal: Refusal,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct CancelWire;

impl Wire for CancelWire {
    const NAME: &'static str = "/assay/cancel/1";
    const REQUEST_MAX: usize = REQUEST_MAX;
    const REPLY_MAX: usize = REPLY_MAX;
    type Request = CancelRequest;
    type Reply = CancelReply;
    type Echo = AssignmentId;

    fn echo(request: &CancelRequest) -> AssignmentId {
        request.assignment
    }

    fn echoed(reply: &CancelReply) -> AssignmentId {
        match reply {
            CancelReply::Cancelled { assignment } | CancelReply::Refused { assignment, .. } => {
                *assignment
            }
        }
    }

    fn refuse(assignment: AssignmentId, refusal: Refusal) -> CancelReply {
        CancelReply::Refused {
            assignment,
            refusal,
        }
    }
}
