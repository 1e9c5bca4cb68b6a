//! What the core remembers: jobs, shards, replicas, providers. Plain data; the rules are in the
//! sibling files.

use std::collections::{BTreeMap, BTreeSet};

use jobs::commitment::{Commitment, Opening};
use jobs::digest::{BlobRef, Digest};
use jobs::ids::{AssignmentId, ClientId, JobId, ProviderId};
use jobs::money::Amount;
use jobs::offer::{Offer, Price};
use jobs::time::Timestamp;
use ledger::{Head, TransferId};
use serde::{Deserialize, Serialize};

use super::action::{Evidence, JobOutcome, Quote};
use super::diversity::Kin;
use super::event::{Code, Failure, JobSpec};
use super::reputation::Score;

mod audit;
mod case;

pub use audit::{Audit, By, Check, Draw};
pub use case::{Accused, Case, CaseEnd, Decided, Found, Liquidations, Says, Testimony, Voter};
pub use policy::finality::Provider as Answers;

/// A job from admission on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Who pays.
    pub client: ClientId,
    /// What was asked.
    pub spec: JobSpec,
    /// On what terms.
    pub quote: Quote,
    /// Position in the order of admission; earlier jobs are served first.
    pub order: u64,
    /// When it was admitted.
    pub admitted: Timestamp,
    /// When it must have ended.
    pub deadline: Timestamp,
    /// How far it is.
    pub phase: Phase,
    /// Its shards, in plan order.
    pub shards: Vec<Shard>,
    /// How often a provider refused an assignment of it since it last connected.
    pub refusals: BTreeMap<ProviderId, u8>,
    /// What each provider got.
    pub paid: BTreeMap<ProviderId, Amount>,
    /// What the aggregator kept.
    pub fee: Amount,
    /// Whether the driver stored its record.
    pub recorded: bool,
    /// What decides who executes it and, where answers are audited, which.
    pub draw: Draw,
    /// Orders to merge so far.
    pub merges: u32,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The driver gathers its blobs.
    Preparing,
    /// Shards are executed.
    Running,
    /// Every shard is accepted; the driver merges.
    Merging,
    /// The result is there and may be used; what was paid for it is not final yet.
    Provisional {
        /// The merged result.
        result: BlobRef,
        /// Since when.
        since: Timestamp,
    },
    /// It ends like this as soon as nothing of it is live: nothing more is given out, accepted or paid.
    Ending(JobOutcome),
    /// Over.
    Ended(End),
}

/// The end of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// How.
    pub outcome: JobOutcome,
    /// What went back to the client.
    pub returned: Amount,
    /// The ledger's head after the job's last transfer.
    pub journal_head: Head,
}

impl Job {
    /// Whether it has ended.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Whether it has ended or is ending.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Ending(_) | Phase::Ended(_))
    }

    /// Number of accepted shards.
    #[must_use]
    pub fn accepted(&self) -> u32 {
        let accepted = self.shards.iter().filter(|s| s.accepted.is_some()).count();
        u32::try_from(accepted).unwrap_or(u32::MAX)
    }
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// First item.
    pub first_item: u32,
    /// Number of items.
    pub items: u32,
    /// Encoded items, once the driver cut the input.
    pub input: Option<BlobRef>,
    /// How many live replicas it should have.
    pub wanted: u8,
    /// Every assignment it ever had; the position is the attempt.
    pub replicas: Vec<Replica>,
    /// Answers of the driver about pairs of replicas with different roots; `None` while it compares.
    /// The smaller position comes first.
    pub comparisons: BTreeMap<(u32, u32), Option<bool>>,
    /// The verdict.
    pub accepted: Option<Accepted>,
    /// How the accepted answer is checked, in a job whose answers are audited.
    pub audit: Option<Box<Audit>>,
}

/// An accepted shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Positions of the agreeing replicas, ascending.
    pub agreeing: Vec<u32>,
    /// Position of the agreeing replica with the lowest root.
    pub canonical: u32,
    /// Its outputs.
    pub outputs: BlobRef,
    /// Its root.
    pub root: Digest,
    /// What the aggregator kept.
    pub fee: Amount,
}

/// One assignment of a shard and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Its id.
    pub assignment: AssignmentId,
    /// To whom.
    pub provider: ProviderId,
    /// Digest of the fingerprint it was chosen for.
    pub class: Digest,
    /// Whom its provider was near when it was chosen.
    pub kin: Kin,
    /// What the provider asked when it was chosen.
    pub price: Price,
    /// The ledger's reservation for it.
    pub reservation: TransferId,
    /// The first commitment that arrived, kept whatever happens: a different one is equivocation.
    pub commitment: Option<Commitment>,
    /// The opening, if it opens the commitment.
    pub opening: Option<Box<Opening>>,
    /// Whether it checks another's answer.
    pub check: bool,
    /// How far it is.
    pub state: ReplicaState,
    /// When the aggregator saw it move.
    pub times: Times,
}

/// When an assignment was given out and its answers arrived, by the aggregator's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Times {
    /// Given out.
    pub dispatched: Timestamp,
    /// Its acceptance arrived.
    pub accepted: Option<Timestamp>,
    /// Its first commitment arrived.
    pub committed: Option<Timestamp>,
}

/// How far a replica is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicaState {
    /// Sent; to be accepted in time.
    Offered {
        /// Until when.
        until: Timestamp,
    },
    /// Accepted; a commitment is due.
    Running {
        /// When.
        due: Timestamp,
    },
    /// Committed; waits for the others.
    Committed,
    /// The reveal is asked for.
    Revealing {
        /// Until when.
        until: Timestamp,
    },
    /// Revealed; waits for the verdict.
    Revealed,
    /// Its answer counts, and is not final: its pay is held back.
    Provisional,
    /// Came to nothing; its reservation was given back.
    Closed(Cause),
    /// Judged and settled.
    Settled {
        /// Whether it is among the agreeing.
        agreed: bool,
        /// What it was paid.
        paid: Amount,
    },
}

/// Why a replica came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The provider refused.
    Refused(Code),
    /// No answer in time.
    NotAccepted,
    /// No commitment in time.
    Overdue,
    /// The connection was lost.
    Lost,
    /// It could not be executed.
    Failed(Failure),
    /// No reveal.
    RevealFailed,
    /// The revealed outputs are not what they claim.
    OutputsInvalid,
    /// The provider was banned.
    Banned,
    /// The job ended.
    JobEnded,
    /// Its answer was found to be wrong, or no better than another's.
    Refuted,
    /// It was to check an answer that is gone.
    Moot,
    /// It did not open what it had noted.
    OpeningFailed,
}

impl Replica {
    /// Whether it holds a reservation and may still count.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        !matches!(
            self.state,
            ReplicaState::Closed(_) | ReplicaState::Settled { .. }
        )
    }

    /// Whether it takes up one of its provider's places.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        matches!(
            self.state,
            ReplicaState::Offered { .. } | ReplicaState::Running { .. }
        )
    }
}

/// A provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// Its newest offer.
    pub offer: Offer,
    /// Digest of the offer's fingerprint.
    pub class: Digest,
    /// The network that its newest offer came from, as the driver groups addresses.
    pub prefix: u64,
    /// Whether it is connected.
    pub online: bool,
    /// When it last announced itself.
    pub seen: Timestamp,
    /// No assignment before this time.
    pub cooldown: Timestamp,
    /// Assignments in a row that it refused or did not answer.
    pub refusals: u32,
    /// How far it is trusted.
    pub score: Score,
    /// Why it is banned, if it is.
    pub banned: Option<Evidence>,
    /// Its live assignments.
    pub live: BTreeSet<AssignmentId>,
    /// How many of them it has yet to execute.
    pub busy: u32,
    /// The most it may be busy with: its capacity, or what it had when it lowered that.
    pub granted: u32,
    /// What it did so far.
    pub tally: Tally,
    /// What it answered in jobs whose answers are audited, by number.
    pub answers: Answers,
    /// Where its answers are that are not final, by the number of their first unit.
    pub provisional: BTreeMap<u64, (JobId, u32)>,
    /// What the game says of it, once it was scored.
    pub game: Option<super::epoch::Standing>,
}

/// Counts of what a provider did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Assignments given.
    pub assigned: u64,
    /// Replicas that agreed.
    pub agreed: u64,
    /// Replicas that lost a vote.
    pub dissented: u64,
    /// Assignments that came to nothing by its doing.
    pub failed: u64,
}

/// Where a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The job.
    pub job: JobId,
    /// The shard.
    pub shard: u32,
    /// The attempt.
    pub replica: u32,
}
