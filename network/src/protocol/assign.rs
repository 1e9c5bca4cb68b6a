//! `/assay/assign/1`: an aggregator gives a shard to a provider. The signed package travels along,
//! so that the provider can check the client's signature itself.

use jobs::assignment::Assignment;
use jobs::envelope::SignedPackage;
use jobs::ids::AssignmentId;
use jobs::statement::Signed;
use serde::{Deserialize, Serialize};

use super::{Refusal, Wire};
use crate::trace::TraceContext;

/// Largest encoded request in bytes: a package, its bundle and key, and one statement.
pub const REQUEST_MAX: usize = 256 * 1024;

/// Largest encoded reply in bytes.
pub const REPLY_MAX: usize = 1024;

/// An order to execute one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignRequest {
    /// Echoed in the reply. The receiver checks that the signed assignment says the same.
    pub id: AssignmentId,
    /// The order. Not verified by this crate.
    pub assignment: Signed<Assignment>,
    /// The job it is about. Not verified by this crate.
    pub package: SignedPackage,
    /// The span that it belongs to, if somebody follows it. Decides nothing.
    pub trace: Option<TraceContext>,
}

/// The provider's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AssignReply {
    /// The provider will commit, or say that it failed, before the assignment is due.
    Accepted {
        /// Which assignment.
        assignment: AssignmentId,
    },
    /// The provider will not execute it.
    Refused {
        /// Which assignment.
        assignment: AssignmentId,
        /// Why.
        refusal: Refusal,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct AssignWire;

impl Wire for AssignWire {
    const NAME: &'static str = "/assay/assign/1";
    const REQUEST_MAX: usize = REQUEST_MAX;
    const REPLY_MAX: usize = REPLY_MAX;
    type Request = AssignRequest;
    type Reply = AssignReply;
    type Echo = AssignmentId;

    fn echo(request: &AssignRequest) -> AssignmentId {
        request.id
    }

    fn echoed(reply: &AssignReply) -> AssignmentId {
        match reply {
            AssignReply::Accepted { assignment } | AssignReply::Refused { assignment, .. } => {
                *assignment
            }
        }
    }

    fn refuse(assignment: AssignmentId, refusal: Refusal) -> AssignReply {
        AssignReply::Refused {
            assignment,
            refusal,
        }
    }
}
