//! What the core wants done. The driver persists the event and the journal entries in one synced
//! batch and only then performs the rest. Every action may be repeated: after a restart the
//! outstanding ones are emitted again, and assignment ids make each idempotent.

use jobs::assignment::Assignment;
use jobs::digest::{BlobRef, Digest};
use jobs::ids::{AssignmentId, CaseId, JobId, ProviderId};
use jobs::money::Amount;
use ledger::JournalEntry;
use serde::{Deserialize, Serialize};

use super::event::{Code, RequestId};
use super::openings::Openings;
use super::refusal::Refusal;

/// What admission promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// Put in escrow: the package's price ceiling.
    pub escrow: Amount,
    /// Number of shards.
    pub shards: u32,
    /// Reserved for each assignment: the most one can earn.
    pub share: Amount,
    /// Fee on what providers get, in basis points.
    pub fee_bps: u16,
}

/// A granted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The job is admitted and funded; `repeated` if it already was.
    Admitted {
        /// Which.
        job: JobId,
        /// On what terms.
        quote: Quote,
        /// Whether this only repeats an earlier answer.
        repeated: bool,
        /// The promise of the aggregator's share of what decides which answers are audited, for a job whose answers
        /// are; the client may now give its own ([`super::Event::Share`]).
        promise: Digest,
    },
    /// The client's share of a draw is taken, now or before.
    Shared {
        /// Of which job.
        job: JobId,
    },
    /// The job ends or has ended because its client gave it up, now or before.
    Cancelled {
        /// Which.
        job: JobId,
    },
    /// The shard of a doubted item is executed again, or was.
    Challenged {
        /// Of which job.
        job: JobId,
        /// Which shard.
        shard: u32,
    },
    /// The money moved, now or before.
    Moved,
    /// A validator's report is on file.
    Scored {
        /// Of which epoch.
        epoch: u64,
        /// Whether the validator had reported on it before.
        repeated: bool,
        /// Whether it had reported something else: neither counts, and both are evidence.
        contradicts: bool,
    },
    /// A case is open, or was.
    Accused {
        /// Which.
        case: CaseId,
        /// Whether this only repeats an earlier answer.
        repeated: bool,
    },
    /// A job bears on a case.
    Tied {
        /// Which case.
        case: CaseId,
        /// Which job.
        job: JobId,
        /// Whether it did before.
        repeated: bool,
    },
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobOutcome {
    /// Every shard was accepted and the result is stored.
    Done {
        /// The merged result.
        result: BlobRef,
        /// Digest of the encoded shard records.
        shards: Digest,
    },
    /// It cannot be finished. Accepted shards stay paid, the rest went back to the client.
    Failed(FailReason),
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum FailReason {
    /// Component, models or input are not what the package says.
    #[error("blobs are invalid: {code}")]
    BlobsInvalid {
        /// What is wrong.
        code: Code,
    },
    /// A quorum of providers reports the same failure of the guest.
    #[error("shard {shard}: the component failed on every replica: {code}")]
    GuestFailed {
        /// Where.
        shard: u32,
        /// What they report.
        code: Code,
    },
    /// A quorum of providers ran out of wall clock.
    #[error(
        "shard {shard}: timed out on every provider: raise limits.wall_ms, or cut smaller shards"
    )]
    TimedOut {
        /// Where.
        shard: u32,
    },
    /// A quorum of providers lost the worker process that executed it.
    #[error(
        "shard {shard}: ended its worker process on every provider: the component or a model crashes or needs too much memory"
    )]
    WorkerLost {
        /// Where.
        shard: u32,
    },
    /// As many replicas as allowed, and no quorum agrees.
    #[error("shard {shard}: {replicas} replicas and no quorum agrees")]
    NoQuorum {
        /// Where.
        shard: u32,
        /// How many were judged.
        replicas: u32,
    },
    /// Too many assignments of a shard came to nothing.
    #[error("shard {shard}: {attempts} assignments came to nothing")]
    AttemptsExhausted {
        /// Where.
        shard: u32,
        /// How many there were.
        attempts: u32,
    },
    /// The accepted outputs cannot be merged.
    #[error("outputs cannot be merged: {code}")]
    MergeFailed {
        /// Why.
        code: Code,
    },
    /// The deadline passed.
    #[error("deadline passed with {accepted} of {shards} shards accepted{}", because(missing.as_deref()))]
    Deadline {
        /// Shards accepted by then.
        accepted: u32,
        /// Shards in all.
        shards: u32,
        /// Why nobody could go on with the rest, if that is so.
        missing: Option<Box<Refusal>>,
    },
    /// The client gave it up.
    #[error("cancelled by the client")]
    Cancelled,
    /// The ledger refused what must be possible. Ours.
    #[error("internal: the ledger refused a settlement")]
    Ledger,
}

impl FailReason {
    /// A stable name for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BlobsInvalid { .. } => "blobs_invalid",
            Self::GuestFailed { .. } => "guest_failed",
            Self::TimedOut { .. } => "timed_out",
            Self::WorkerLost { .. } => "worker_lost",
            Self::NoQuorum { .. } => "no_quorum",
            Self::AttemptsExhausted { .. } => "attempts_exhausted",
            Self::MergeFailed { .. } => "merge_failed",
            Self::Deadline { .. } => "deadline_exceeded",
            Self::Cancelled => "cancelled",
            Self::Ledger => "internal",
        }
    }
}

fn because(missing: Option<&Refusal>) -> String {
    missing.map_or_else(String::new, |refusal| format!(": {refusal}"))
}

/// Objective evidence against a provider: two of its own statements that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// It committed twice, to different things.
    Equivocation {
        /// About which assignment.
        assignment: AssignmentId,
        /// First commitment's hash.
        first: Digest,
        /// Second commitment's hash.
        second: Digest,
    },
    /// It revealed what it had not committed to.
    RevealMismatch {
        /// About which assignment.
        assignment: AssignmentId,
        /// The commitment's hash.
        committed: Digest,
        /// Root of the revealed outputs.
        revealed_root: Digest,
    },
    /// None: the operator decided. Nothing is slashed.
    Operator,
    /// Referees executed again what it answered, and its answer is wrong.
    AuditFailed {
        /// What it answered.
        assignment: AssignmentId,
        /// With which root.
        root: Digest,
        /// A referee's assignment.
        referee: AssignmentId,
        /// The root of that.
        found: Digest,
    },
    /// It checked an answer that is proven wrong, and said it was right.
    Vouched {
        /// What it answered.
        assignment: AssignmentId,
        /// A referee's assignment.
        referee: AssignmentId,
    },
    /// Ten times the stake that defends its answer found another one, and so did referees.
    Liquidated {
        /// What it answered.
        assignment: AssignmentId,
        /// With which root.
        root: Digest,
    },
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Persist these rows in the same batch as the event. At most one a step, and the first.
    Journal(Vec<JournalEntry>),
    /// More waits than one step may do: send a [`super::Event::Tick`] at once.
    TickAgain,
    /// Answer a request.
    Reply {
        /// Which.
        request: RequestId,
        /// With what.
        reply: Result<Reply, Refusal>,
    },
    /// Tell a provider why its offer is not listed.
    OfferRefused {
        /// Whom.
        provider: ProviderId,
        /// Why.
        refusal: Refusal,
    },
    /// Fetch and check component, models and input, cut the input; then [`super::Event::BlobsReady`].
    Prepare {
        /// Of which job.
        job: JobId,
    },
    /// Sign and send to `assignment.provider`. Send again for as long as it is unanswered.
    Dispatch(Box<Assignment>),
    /// Tell a provider, once and best effort, that an assignment is no longer wanted.
    CancelAssignment {
        /// Which.
        assignment: AssignmentId,
        /// Whom.
        provider: ProviderId,
    },
    /// Ask for the reveal, fetch the outputs; then `Revealed` or `RevealFailed`.
    RequestReveal {
        /// Which.
        assignment: AssignmentId,
        /// Whom.
        provider: ProviderId,
    },
    /// Compare two revealed outputs under the job's comparator; then [`super::Event::Compared`].
    Compare {
        /// Of which job.
        job: JobId,
        /// Which shard.
        shard: u32,
        /// One.
        left: AssignmentId,
        /// The other.
        right: AssignmentId,
        /// The first one's outputs.
        left_outputs: BlobRef,
        /// The second one's outputs.
        right_outputs: BlobRef,
        /// Which of the first one's items the second has, as positions; nothing for all of them.
        sample: Vec<u32>,
        /// What both must open before they agree, in a job that has something opened: if one does not, then
        /// [`super::Event::OpeningFailed`].
        openings: Option<Box<Openings>>,
    },
    /// Compare two answers to one shard, of whichever jobs, under this job's comparator; then
    /// [`super::liquidation::CaseEvent::Compared`].
    CompareCase {
        /// For which case.
        case: CaseId,
        /// Whose comparator.
        job: JobId,
        /// One assignment.
        left: AssignmentId,
        /// The other.
        right: AssignmentId,
        /// The first one's outputs.
        left_outputs: BlobRef,
        /// The second one's outputs.
        right_outputs: BlobRef,
    },
    /// Cut these items out of a shard's input and store them; then [`super::Event::Sampled`].
    Sample {
        /// Of which job.
        job: JobId,
        /// Which shard.
        shard: u32,
        /// For which of its checks: a name that comes back.
        check: u32,
        /// The shard's items.
        input: BlobRef,
        /// Positions among them, ascending.
        items: Vec<u32>,
    },
    /// A provider paid for an answer that is proven wrong, and is given another chance.
    Fined {
        /// Whom.
        provider: ProviderId,
        /// Why.
        evidence: Evidence,
        /// How much.
        fine: Amount,
    },
    /// Merge the canonical outputs in this order; then `Merged` or `MergeFailed`.
    Merge {
        /// Of which job.
        job: JobId,
        /// Canonical outputs of each shard, in plan order.
        canonical: Vec<BlobRef>,
        /// Echoed in the answer: answers that were accepted may be taken back, and others merged instead.
        round: u32,
    },
    /// The job ended: store its record ([`super::Core::record_parts`]); then [`super::Event::Recorded`].
    Finished {
        /// Which.
        job: JobId,
        /// How.
        outcome: JobOutcome,
    },
    /// Never deal with this provider again; keep the evidence.
    Banned {
        /// Whom.
        provider: ProviderId,
        /// Why.
        evidence: Evidence,
        /// Stake taken.
        slashed: Amount,
    },
    /// A provider fell below the score at which it is given work.
    Demoted {
        /// Whom.
        provider: ProviderId,
        /// Its score now, in points.
        score: u32,
    },
    /// The ledger refused what the core thought possible: a bug. Raise an alarm.
    Fault {
        /// The ledger's name for it.
        code: Code,
    },
}
