//! Cases: answers that somebody holds to be wrong, and what came of that.

use std::fmt;

use jobs::ids::{AssignmentId, CaseId, ClientId, JobId, OperatorId, ProviderId};
use jobs::money::Amount;
use jobs::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::openapi::schema;

/// An answer to an accusation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaseReply {
    /// The case.
    #[schemars(with = "schema::CaseId")]
    pub case: CaseId,
    /// Whether the very same accusation was on file already.
    pub repeated: bool,
}

/// An answer to a package that is to bear on a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TieReply {
    /// Its job.
    #[schemars(with = "schema::JobId")]
    pub job: JobId,
    /// Whether it was tied already.
    pub repeated: bool,
}

/// Where a case is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaseView {
    /// Its id.
    #[schemars(with = "schema::CaseId")]
    pub case: CaseId,
    /// Where it is.
    pub phase: CasePhase,
    /// Why nothing was taken: `too_many_defend`, `too_few_sampled`, `too_few_operators`, `unconfirmed` or `acquitted`.
    pub reason: Option<String>,
    /// Who accused, and paid.
    #[schemars(with = "schema::ClientId")]
    pub client: ClientId,
    /// Which job's answer is accused.
    #[schemars(with = "schema::JobId")]
    pub job: JobId,
    /// Of which of its shards.
    pub shard: u32,
    /// To which assignment.
    #[schemars(with = "schema::AssignmentId")]
    pub assignment: AssignmentId,
    /// Whose.
    #[schemars(with = "schema::ProviderId")]
    pub provider: ProviderId,
    /// When it was opened.
    #[schemars(with = "schema::Timestamp")]
    pub opened: Timestamp,
    /// Until when jobs may be tied to it, while it is open.
    #[schemars(with = "Option<schema::Timestamp>")]
    pub due: Option<Timestamp>,
    /// When it was decided.
    #[schemars(with = "Option<schema::Timestamp>")]
    pub decided: Option<Timestamp>,
    /// The jobs tied to it.
    #[schemars(with = "Vec<schema::JobId>")]
    pub jobs: Vec<JobId>,
    /// By what it was decided.
    pub votes: Option<VotesView>,
    /// Who said what, ascending by provider, once it is decided.
    pub testimony: Vec<TestimonyView>,
    /// What was taken.
    #[schemars(with = "schema::Amount")]
    pub slashed: Amount,
    /// What of it the accuser got.
    #[schemars(with = "schema::Amount")]
    pub bounty: Amount,
}

/// What a case was decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VotesView {
    /// Stake of those who found another answer.
    #[schemars(with = "schema::Amount")]
    pub against: Amount,
    /// Operators among them that have nothing to do with one another.
    pub operators: u32,
    /// Stake of those who found this answer, the accused included.
    #[schemars(with = "schema::Amount")]
    pub defending: Amount,
    /// Stake of all who were drawn, and of the accused.
    #[schemars(with = "schema::Amount")]
    pub sampled: Amount,
    /// Whether referees refute the answer; none if too few executed it.
    pub refuted: Option<bool>,
}

/// What somebody said who was drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestimonyView {
    /// Who.
    #[schemars(with = "schema::ProviderId")]
    pub provider: ProviderId,
    /// Who ran it then.
    #[schemars(with = "schema::OperatorId")]
    pub operator: OperatorId,
    /// Its stake.
    #[schemars(with = "schema::Amount")]
    pub stake: Amount,
    /// Whether it was one of the operator's referees, whose stake does not count.
    pub referee: bool,
    /// `nothing`, `unclear`, `against`, `defends`, `confirms` or `acquits`.
    pub says: String,
}
