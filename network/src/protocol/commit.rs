//! `/assay/commit/1`: a provider binds itself to an outcome, or says that it has none.

use jobs::commitment::Commitment;
use jobs::ids::{AssignmentId, JobId};
use jobs::statement::Signed;
use serde::{Deserialize, Serialize};

use super::{Refusal, Wire, cut};

/// Largest encoded request in bytes: one statement and its envelope.
pub const REQUEST_MAX: usize = jobs::statement::STATEMENT_MAX + 1024;

/// Largest encoded reply in bytes.
pub const REPLY_MAX: usize = 1024;

/// Why an execution has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureCode {
    /// A blob could not be fetched.
    Blob,
    /// The component or a model could not be loaded.
    Load,
    /// The guest trapped.
    Trap,
    /// The guest returned an error of its own.
    Guest,
    /// A limit was exceeded.
    Limit,
    /// The wall clock ran out.
    Timeout,
    /// The assignment was cancelled.
    Cancelled,
    /// The provider failed. Not the job's fault.
    Internal,
    /// The worker process that executed it died. Perhaps the job's fault, perhaps the machine's.
    WorkerLost,
}

/// How an assignment ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommitRequest {
    /// With an outcome.
    Committed {
        /// Echoed in the reply. The receiver checks that the signed commitment says the same.
        assignment: AssignmentId,
        /// The binding statement. Not verified by this crate.
        commitment: Signed<Commitment>,
    },
    /// Without one.
    Failed {
        /// Which assignment.
        assignment: AssignmentId,
        /// Of which job.
        job: JobId,
        /// For programs.
        code: FailureCode,
        /// For people. Written by the provider: do not trust it.
        reason: String,
    },
}

impl CommitRequest {
    /// A failure, its reason cut at [`super::REASON_MAX`] bytes.
    pub fn failed(
        assignment: AssignmentId,
        job: JobId,
        code: FailureCode,
        reason: impl Into<String>,
    ) -> Self {
        Self::Failed {
            assignment,
            job,
            code,
            reason: cut(reason.into()),
        }
    }

    /// Which assignment it is about, as claimed.
    pub const fn assignment(&self) -> AssignmentId {
        match self {
            Self::Committed { assignment, .. } | Self::Failed { assignment, .. } => *assignment,
        }
    }
}

/// The aggregator's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommitReply {
    /// It is recorded.
    Ack {
        /// Which assignment.
        assignment: AssignmentId,
    },
    /// It is not recorded.
    Refused {
        /// Which assignment.
        assignment: AssignmentId,
        /// Why.
        refusal: Refusal,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct CommitWire;

impl Wire for CommitWire {
    const NAME: &'static str = "/assay/commit/1";
    const REQUEST_MAX: usize = REQUEST_MAX;
    const REPLY_MAX: usize = REPLY_MAX;
    type Request = CommitRequest;
    type Reply = CommitReply;
    type Echo = AssignmentId;

    fn echo(request: &CommitRequest) -> AssignmentId {
        request.assignment()
    }

    fn echoed(reply: &CommitReply) -> AssignmentId {
        match reply {
            CommitReply::Ack { assignment } | CommitReply::Refused { assignment, .. } => {
                *assignment
            }
        }
    }

    fn refuse(assignment: AssignmentId, refusal: Refusal) -> CommitReply {
        CommitReply::Refused {
            assignment,
            refusal,
        }
    }
}
