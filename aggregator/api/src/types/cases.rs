//! Cases: answers that somebody holds to be wrong, and what came of that.

use std::fmt;

use jobs::ids::{AssignmentId, CaseId, ClientId, JobId, OperatorId, ProviderId};
use jobs::money::Amount;
use jobs::time::Timestamp;
use serde::{Deserialize, Serialize};

/// An answer to an accusation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseReply {
    /// The case.
    pub case: CaseId,
    /// Whether the very same accusation was on file already.
    pub repeated: bool,
}

/// An answer to a package that is to bear on a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TieReply {
    /// Its job.
    pub job: JobId,
    /// Whether it was tied already.
    pub repeated: bool,
}

/// Where a case is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CasePhase {
    /// Jobs may be tied to it, or are under way.
    Open,
    /// The accused lost its stake.
    Slashed,
    /// Nobody lost anything.
    Refunded,
    /// The accused was banned for something else meanwhile.
    Moot,
}

impl CasePhase {
    /// Whether nothing can change any more.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Open)
    }
}

impl fmt::Display for CasePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Slashed => "slashed",
            Self::Refunded => "refunded",
            Self::Moot => "moot",
        })
    }
}

/// A case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseView {
    /// Its id.
    pub case: CaseId,
    /// Where it is.
    pub phase: CasePhase,
    /// Why nothing was taken: `too_many_defend`, `too_few_sampled`, `too_few_operators`, `unconfirmed` or `acquitted`.
    pub reason: Option<String>,
    /// Who accused, and paid.
    pub client: ClientId,
    /// Which job's answer is accused.
    pub job: JobId,
    /// Of which of its shards.
    pub shard: u32,
    /// To which assignment.
    pub assignment: AssignmentId,
    /// Whose.
    pub provider: ProviderId,
    /// When it was opened.
    pub opened: Timestamp,
    /// Until when jobs may be tied to it, while it is open.
    pub due: Option<Timestamp>,
    /// When it was decided.
    pub decided: Option<Timestamp>,
    /// The jobs tied to it.
    pub jobs: Vec<JobId>,
    /// By what it was decided.
    pub votes: Option<VotesView>,
    /// Who said what, ascending by provider, once it is decided.
    pub testimony: Vec<TestimonyView>,
    /// What was taken.
    pub slashed: Amount,
    /// What of it the accuser got.
    pub bounty: Amount,
}

/// What a case was decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VotesView {
    /// Stake of those who found another answer.
    pub against: Amount,
    /// Operators among them that have nothing to do with one another.
    pub operators: u32,
    /// Stake of those who found this answer, the accused included.
    pub defending: Amount,
    /// Stake of all who were drawn, and of the accused.
    pub sampled: Amount,
    /// Whether referees refute the answer; none if too few executed it.
    pub refuted: Option<bool>,
}

/// What somebody said who was drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestimonyView {
    /// Who.
    pub provider: ProviderId,
    /// Who ran it then.
    pub operator: OperatorId,
    /// Its stake.
    pub stake: Amount,
    /// Whether it was one of the operator's referees, whose stake does not count.
    pub referee: bool,
    /// `nothing`, `unclear`, `against`, `defends`, `confirms` or `acquits`.
    pub says: String,
}
