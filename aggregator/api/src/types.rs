//! What travels over HTTP, as JSON. Field names are part of the contract of `/api/v1`.

mod cases;
mod collection;
mod orders;
mod shards;
mod upload;

use std::fmt;

use jobs::digest::{BlobRef, Digest};
use jobs::game::report::ScoreReport;
use jobs::game::score::Standing;
use jobs::ids::{AggregatorId, AssignmentId, ClientId, JobId, OperatorId, ProviderId};
use jobs::money::Amount;
use jobs::offer::{DeviceSpec, Price};
use jobs::policy::Share;
use jobs::statement::Signed;
use jobs::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::openapi::schema;
pub use crate::problem::Problem;
pub use cases::{CasePhase, CaseReply, CaseView, TestimonyView, TieReply, VotesView};
pub use collection::{CollectionRequest, CollectionView};
pub use orders::{CancelReply, QuoteView, SUITORS_MAX, SuitorView};
pub use shards::{ReplicaView, SHARD_CELLS_MAX, ShardCell, ShardMap, ShardPhase, ShardView};
pub use upload::UploadView;

/// An answer to a submitted job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubmitReply {
    /// The job's id.
    #[schemars(with = "schema::JobId")]
    pub job: JobId,
    /// Blobs the aggregator does not hold yet, to be uploaded before the job can run.
    #[schemars(with = "Vec<schema::BlobRef>")]
    pub missing: Vec<BlobRef>,
    /// What was put in escrow.
    #[schemars(with = "schema::Amount")]
    pub escrowed: Amount,
    /// Shards of the plan.
    pub shards: u32,
    /// The promise of the aggregator's share of what decides who executes the job and, where answers are audited,
    /// which. The client now gives its own ([`ShareRequest`]); without it the aggregator draws alone who executes, and
    /// all of an audited job is audited, at the client's expense. The job's record opens both.
    #[schemars(with = "schema::Digest")]
    pub promise: Digest,
}

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobPhase {
    /// Admitted and funded; blobs are missing.
    Waiting,
    /// Shards are being executed.
    Running,
    /// Every shard is accepted; the result is being merged.
    Merging,
    /// The result is there and may be used. What was paid for it is held back until nobody has refuted it for long
    /// enough; should somebody do so, what was wrong is executed again and there is another result.
    Provisional,
    /// Finished: result and receipts are there.
    Done,
    /// Failed: what was not paid was returned.
    Failed,
}

impl JobPhase {
    /// Whether nothing can change any more.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

impl fmt::Display for JobPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Merging => "merging",
            Self::Provisional => "provisional",
            Self::Done => "done",
            Self::Failed => "failed",
        })
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    /// The job's id.
    #[schemars(with = "schema::JobId")]
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Who pays.
    #[schemars(with = "schema::ClientId")]
    pub client: ClientId,
    /// Where it is.
    pub phase: JobPhase,
    /// Why it failed.
    pub reason: Option<String>,
    /// Items of input.
    pub items: u32,
    /// Shards of the plan.
    pub shards: u32,
    /// Shards with an accepted verdict.
    pub shards_accepted: u32,
    /// Assignments made.
    pub assignments: u32,
    /// Replicas revealed.
    pub replicas: u32,
    /// Replicas that agreed with a verdict.
    pub agreements: u32,
    /// Replicas that a verdict left out.
    pub disagreements: u32,
    /// What was put in escrow.
    #[schemars(with = "schema::Amount")]
    pub escrowed: Amount,
    /// What is in escrow now.
    #[schemars(with = "schema::Amount")]
    pub escrow_left: Amount,
    /// What providers got, ascending by provider.
    #[schemars(with = "Vec<(schema::ProviderId, schema::Amount)>")]
    pub paid: Vec<(ProviderId, Amount)>,
    /// What the aggregator kept.
    #[schemars(with = "schema::Amount")]
    pub fee: Amount,
    /// What went back to the client.
    #[schemars(with = "schema::Amount")]
    pub returned: Amount,
    /// When it was admitted.
    #[schemars(with = "schema::Timestamp")]
    pub submitted: Timestamp,
    /// When it became terminal.
    #[schemars(with = "Option<schema::Timestamp>")]
    pub finished: Option<Timestamp>,
    /// The merged result.
    #[schemars(with = "Option<schema::BlobRef>")]
    pub result: Option<BlobRef>,
}

/// A provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderView {
    /// Its key.
    #[schemars(with = "schema::ProviderId")]
    pub id: ProviderId,
    /// Who runs it: its operator's key, or its own.
    #[schemars(with = "schema::OperatorId")]
    pub operator: OperatorId,
    /// The network prefix that it is reached from, as a hash of 16 hexadecimal digits. Two providers with
    /// the same one get no replicas of one shard, unless the aggregator does not mind.
    pub prefix: String,
    /// Whether it is connected.
    pub online: bool,
    /// Whether it may be given assignments.
    pub eligible: bool,
    /// Why it is banned, if it is.
    pub banned: Option<String>,
    /// Reputation in millionths.
    pub reputation_ppm: u32,
    /// Its device.
    #[schemars(with = "schema::DeviceSpec")]
    pub device: DeviceSpec,
    /// What it asks.
    #[schemars(with = "schema::Price")]
    pub price: Price,
    /// Digest of its fingerprint.
    #[schemars(with = "schema::Digest")]
    pub fingerprint: Digest,
    /// Assignments under way.
    pub in_flight: u32,
    /// Replicas that agreed with a verdict.
    pub agreements: u64,
    /// Replicas that a verdict left out.
    pub disagreements: u64,
    /// Assignments it refused, failed or let expire.
    pub failures: u64,
    /// Points that the latest epoch of the game gave it, 0 to 10000; none if it was never scored.
    #[serde(default)]
    pub game_points: Option<u16>,
    /// Which epoch that was.
    #[serde(default)]
    pub game_epoch: Option<u64>,
    /// What it was paid for its points in all.
    #[serde(default)]
    #[schemars(with = "schema::Amount")]
    pub rewarded: Amount,
    /// Its answers in audited jobs that are not final, and so not paid.
    #[serde(default)]
    pub held_answers: u64,
    /// What these earn at most.
    #[serde(default)]
    #[schemars(with = "schema::Amount")]
    pub held_at_most: Amount,
    /// Checks that it passed since it began or last failed one.
    #[serde(default)]
    pub checks_passed: u64,
    /// Which part of its answers others check now, in parts per billion.
    #[serde(default)]
    pub audit_rate_ppb: u32,
}

/// An assignment of a job that has ended, with the times at which the aggregator saw it move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssignmentView {
    /// Its id.
    #[schemars(with = "schema::AssignmentId")]
    pub assignment: AssignmentId,
    /// Position of its shard in the plan.
    pub shard: u32,
    /// The shard's first item.
    pub first_item: u32,
    /// Items of the shard.
    pub items: u32,
    /// To whom it was given.
    #[schemars(with = "schema::ProviderId")]
    pub provider: ProviderId,
    /// What became of it.
    #[schemars(with = "schema::Standing")]
    pub standing: Standing,
    /// When it was given out.
    #[schemars(with = "schema::Timestamp")]
    pub dispatched: Timestamp,
    /// When its acceptance arrived.
    #[schemars(with = "Option<schema::Timestamp>")]
    pub accepted: Option<Timestamp>,
    /// When its commitment arrived.
    #[schemars(with = "Option<schema::Timestamp>")]
    pub committed: Option<Timestamp>,
    /// Why it came to nothing, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// Where the game is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EpochView {
    /// The epoch under way.
    pub epoch: u64,
    /// Length of an epoch in milliseconds.
    pub epoch_ms: u64,
    /// The aggregator's clock.
    #[schemars(with = "schema::Timestamp")]
    pub now: Timestamp,
    /// When the epoch ends.
    #[schemars(with = "schema::Timestamp")]
    pub ends: Timestamp,
    /// Whose reports count.
    #[schemars(with = "Vec<schema::ProviderId>")]
    pub validators: Vec<ProviderId>,
    /// The most that an epoch is rewarded with.
    #[schemars(with = "schema::Amount")]
    pub reward: Amount,
    /// What the pot still holds.
    #[schemars(with = "schema::Amount")]
    pub rewards_left: Amount,
    /// What came of the latest closed epochs, oldest first.
    pub closed: Vec<ClosedEpoch>,
}

/// What came of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClosedEpoch {
    /// Which.
    pub epoch: u64,
    /// Validators whose reports counted.
    pub reporters: u32,
    /// What there was to give.
    #[schemars(with = "schema::Amount")]
    pub pot: Amount,
    /// The median of their points, ascending by provider.
    #[schemars(with = "Vec<(schema::ProviderId, u16)>")]
    pub points: Vec<(ProviderId, u16)>,
    /// Who got what, ascending by provider.
    #[schemars(with = "Vec<(schema::ProviderId, schema::Amount)>")]
    pub awards: Vec<(ProviderId, Amount)>,
}

/// A validator's signed report of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoresRequest {
    /// The signed statement in its binary encoding, as hexadecimal digits.
    pub report: String,
}

impl ScoresRequest {
    /// Wraps a signed report.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn of(report: &Signed<ScoreReport>) -> Result<Self, jobs::Error> {
        let report = report.to_hex()?;
        Ok(Self { report })
    }

    /// The signed report. Not yet believed.
    ///
    /// # Errors
    /// If it is none.
    pub fn signed(&self) -> Result<Signed<ScoreReport>, jobs::Error> {
        Signed::from_hex(&self.report)
    }
}

/// An answer to a validator's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScoresReply {
    /// Which epoch it is about.
    pub epoch: u64,
    /// Whether the very same report was on file already.
    pub repeated: bool,
}

/// A ledger account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BalanceView {
    /// Account, as `client:…`, `escrow:…`, `provider:…`, `stake:…`, `fee`, `slashed`, `rewards` or `outside`.
    pub account: String,
    /// Credits posted.
    #[schemars(with = "schema::Amount")]
    pub credits: Amount,
    /// Debits posted.
    #[schemars(with = "schema::Amount")]
    pub debits: Amount,
    /// Debits reserved by open pending transfers.
    #[schemars(with = "schema::Amount")]
    pub pending: Amount,
}

/// An entry of the ledger's journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JournalView {
    /// Its number: 1, 2, 3, … without gaps.
    pub seq: u64,
    /// `post`, `pend`, `post-pending`, `void-pending`, `expire` or `close`.
    pub kind: String,
    /// What names the transfer.
    #[schemars(with = "schema::Digest")]
    pub id: Digest,
    /// The account that is debited, or closed.
    pub from: Option<String>,
    /// The account that is credited.
    pub to: Option<String>,
    /// The reservation that is resolved.
    #[schemars(with = "Option<schema::Digest>")]
    pub pending: Option<Digest>,
    /// How much.
    #[schemars(with = "Option<schema::Amount>")]
    pub amount: Option<Amount>,
    /// The hash over this entry and, by it, all before it.
    #[schemars(with = "schema::Digest")]
    pub hash: Digest,
}

/// Most entries of the journal in one answer.
pub const JOURNAL_PAGE_MAX: usize = 4096;

/// Where a backup is to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// A folder on the aggregator's machine, which must not exist.
    #[schemars(with = "schema::PathBuf")]
    pub to: std::path::PathBuf,
}

/// A backup that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupView {
    /// Whose it is.
    #[schemars(with = "schema::AggregatorId")]
    pub aggregator: AggregatorId,
    /// Version of the software that wrote it.
    pub version: String,
    /// When it was begun.
    #[schemars(with = "schema::Timestamp")]
    pub created: Timestamp,
    /// Events that it holds: what was decided after these is not in it.
    pub events: u64,
    /// Entries of the ledger's journal that it holds.
    pub journal: u64,
    /// The hash of the last of them.
    #[schemars(with = "schema::Digest")]
    pub journal_hash: Digest,
    /// Blobs that it holds.
    pub blobs: u64,
    /// Bytes of these.
    pub blob_bytes: u64,
}

/// A client's share of the draw that decides which answers of its job are audited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareRequest {
    /// What the job's nonce promises.
    #[schemars(with = "schema::Share")]
    pub share: Share,
}

/// A client doubts an item of a result that is not final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// The client's share of the draw, which nobody else knows.
    #[schemars(with = "schema::Share")]
    pub share: Share,
    /// Which item of the job's input.
    pub item: u32,
}

/// An operator's deposit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DepositRequest {
    /// `client:blake3:…`, `stake:…` or `rewards`.
    #[schemars(with = "schema::DepositAccount")]
    pub account: String,
    /// How much.
    #[schemars(with = "schema::DepositAmount")]
    pub amount: Amount,
    /// Chosen by the operator; the same reference deposits once.
    #[schemars(length(min = 1, max = REFERENCE_MAX))]
    pub reference: String,
}

/// An answer to a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChallengeReply {
    /// Which shard is executed again.
    pub shard: u32,
}

/// An answer to a deposit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DepositReply {
    /// Whether the reference was new.
    pub new: bool,
}

/// Longest deposit reference in characters.
pub const REFERENCE_MAX: usize = 128;

/// Largest record of a job in bytes. A job whose record might be larger is not admitted.
pub const RECORD_BYTES_MAX: u64 = 512 << 20;

/// The aggregator's state of health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok`, or why not.
    pub status: String,
    /// The aggregator's key.
    #[schemars(with = "schema::AggregatorId")]
    pub aggregator: AggregatorId,
    /// Version of the software.
    pub version: String,
    /// Where providers reach it.
    pub p2p: Vec<String>,
    /// Events in its log.
    pub events: u64,
    /// Providers online.
    pub providers: u32,
    /// Jobs that are not terminal.
    pub open_jobs: u32,
}
