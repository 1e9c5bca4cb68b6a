//! What the core remembers of cases: answers that somebody holds to be wrong, and what others found.

use std::collections::BTreeMap;

use jobs::digest::{BlobRef, Digest};
use jobs::ids::{AssignmentId, CaseId, ClientId, JobId, ProviderId};
use jobs::money::Amount;
use jobs::outcome::Outcome;
use jobs::time::Timestamp;
use policy::liquidation::{Reason, Votes};
use serde::{Deserialize, Serialize};

use crate::core::diversity::Kin;
use crate::core::event::{Finding, JobSpec};

/// Every case, open or decided.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Liquidations {
    /// Open cases.
    pub open: BTreeMap<CaseId, Case>,
    /// Which case a job bears on, while that case is open.
    pub tied: BTreeMap<JobId, CaseId>,
    /// The latest decided cases.
    pub decided: BTreeMap<CaseId, Decided>,
    /// The most that the pool may still pay to those who found what a case came to.
    pub owed: BTreeMap<(CaseId, ProviderId), Amount>,
}

/// An open case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Who accuses, and pays.
    pub client: ClientId,
    /// What is accused.
    pub accused: Accused,
    /// When it was opened.
    pub opened: Timestamp,
    /// Until when jobs may be tied to it.
    pub due: Timestamp,
    /// The jobs tied to it, and whether what they came to is counted.
    pub jobs: BTreeMap<JobId, bool>,
    /// Who was drawn to execute them, each once, but for the accused.
    pub voters: BTreeMap<ProviderId, Voter>,
    /// Two answers that the driver compares.
    pub asked: Option<(AssignmentId, AssignmentId)>,
}

/// An accused answer, kept here because its job may be forgotten before the case is decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accused {
    /// Of which job.
    pub job: JobId,
    /// Of which of its shards.
    pub shard: u32,
    /// Items of that shard.
    pub items: u32,
    /// These items, encoded.
    pub input: BlobRef,
    /// To which assignment.
    pub assignment: AssignmentId,
    /// Whose.
    pub provider: ProviderId,
    /// Whom it was near when it answered.
    pub kin: Kin,
    /// Digest of the fingerprint that it was chosen for.
    pub class: Digest,
    /// What it answered.
    pub outcome: Outcome,
    /// What its job asked for.
    pub spec: Box<JobSpec>,
    /// The most that its job paid for one execution.
    pub share: Amount,
}

/// Somebody who was drawn to execute the shard again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    /// Its stake when the job ended for which it was drawn first.
    pub stake: Amount,
    /// Whom it was near when it was drawn.
    pub kin: Kin,
    /// Digest of the fingerprint that it was chosen for.
    pub class: Digest,
    /// Whether it is one of the operator's referees: its word confirms, and its stake does not count.
    pub referee: bool,
    /// The most that the pool may pay it.
    pub bonus_max: Amount,
    /// What it found; nothing from who was silent.
    pub found: Option<Box<Found>>,
}

/// What a voter found, and how it compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// In which assignment.
    pub assignment: AssignmentId,
    /// What.
    pub outcome: Outcome,
    /// What the driver says of it and the accused answer.
    pub accused: Option<Finding>,
    /// What the driver says of it and a referee's answer, and of which.
    pub judge: Option<(AssignmentId, Finding)>,
}

/// A decided case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Who accused, and paid.
    pub client: ClientId,
    /// Which job's answer was accused.
    pub job: JobId,
    /// Of which of its shards.
    pub shard: u32,
    /// To which assignment.
    pub assignment: AssignmentId,
    /// Whose.
    pub provider: ProviderId,
    /// Whom it was near when it answered.
    pub kin: Kin,
    /// When the case was opened.
    pub opened: Timestamp,
    /// When it was decided.
    pub at: Timestamp,
    /// The jobs that were tied to it.
    pub jobs: Vec<JobId>,
    /// The accused's stake when it was decided.
    pub stake: Amount,
    /// What was known then.
    pub votes: Votes,
    /// Who said what.
    pub testimony: Vec<Testimony>,
    /// What came of it.
    pub end: CaseEnd,
}

/// What one voter said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testimony {
    /// Who.
    pub provider: ProviderId,
    /// Whom it was near when it was drawn.
    pub kin: Kin,
    /// Its stake.
    pub stake: Amount,
    /// Whether it was one of the operator's referees, whose stake does not count.
    pub referee: bool,
    /// What.
    pub says: Says,
}

/// What a voter's answer says of the accused one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Says {
    /// It was drawn and did not answer.
    Nothing,
    /// Nothing that counts: it differs by no more than hardware and chance might explain, comes from another
    /// fingerprint where models are asked, from the accused's own kin, or is not what a referee found either.
    Unclear,
    /// The answer is wrong.
    Against,
    /// The answer is right.
    Defends,
    /// A referee's: the answer is wrong.
    Confirms,
    /// A referee's: the answer is right.
    Acquits,
}

/// What came of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaseEnd {
    /// The stake was taken.
    Slashed {
        /// How much.
        slashed: Amount,
        /// What of it the accuser got.
        bounty: Amount,
    },
    /// Nothing was taken, for this reason.
    Refunded(Reason),
    /// The accused was banned for something else meanwhile.
    Moot,
}

impl CaseEnd {
    /// Whether the accused answer was found to be right or wrong, so that it cannot be accused again.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Slashed { .. } | Self::Refunded(Reason::Acquitted)
        )
    }
}
