//! What can happen to the core. The driver has verified everything in an event: signatures, sizes,
//! digests, who sent it. Events are persisted, so they are small and bounded; outputs, inputs and
//! packages stay in the blob store and in the driver's tables, and enter here as digests.

use std::collections::BTreeSet;

use jobs::commitment::{Commitment, Opening};
use jobs::compare::Comparator;
use jobs::digest::{BlobRef, Digest};
use jobs::ids::{AssignmentId, ClientId, JobId, ProviderId};
use jobs::money::Amount;
use jobs::offer::{DeviceKind, Offer};
use jobs::package::{Limits, Package};
use jobs::policy::{Policy, Unit};
use serde::{Deserialize, Serialize};

/// 32 random bytes that somebody contributes to a draw.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chance(pub [u8; 32]);

impl std::fmt::Debug for Chance {
    /// Not what it is: whoever knows it beforehand knows what will be audited.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chance(..)")
    }
}

/// Names a request of the driver's; echoed in [`super::Action::Reply`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct RequestId(pub u64);

/// Longest [`Code`] in bytes.
pub const CODE_BYTES_MAX: usize = 64;

/// A short, stable, machine-readable reason from outside, cut to [`CODE_BYTES_MAX`] bytes of
/// printable ASCII: what a stranger wrote may be stored and shown, but never grows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Code(String);

impl Code {
    /// Cuts and cleans `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let clean = |c: char| if c.is_ascii_graphic() { c } else { '_' };
        Self(text.chars().take(CODE_BYTES_MAX).map(clean).collect())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Code {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an execution has no outcome. Equal failures on different providers are the same failure.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Failure {
    /// The job's doing, says the provider: a trap, no fuel left, a limit exceeded.
    Guest(Code),
    /// The wall clock ran out. Perhaps the job is endless, perhaps the provider slow.
    Timeout,
    /// The worker process died. Perhaps a model did it, perhaps the machine.
    WorkerLost,
    /// The provider's own.
    Provider(Code),
}

impl Failure {
    /// Whether the job may be to blame, which is known only when others have tried.
    #[must_use]
    pub const fn may_be_the_jobs(&self) -> bool {
        !matches!(self, Self::Provider(_))
    }
}

/// How two outputs of one job are compared, as far as the core must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// Equal roots agree, different roots do not.
    Exact,
    /// Different roots may still agree, whatever the comparator is about: the driver compares the bytes
    /// ([`super::Action::Compare`]).
    Numeric,
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finding {
    /// The outputs agree.
    Agree,
    /// They differ, but no more than hardware and chance might explain. Nobody is convicted for that.
    Unclear,
    /// They differ.
    Differ,
}

/// What the core must know of a package. Free of floats and text, so that it is `Eq` and small.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Items in the input.
    pub items: u32,
    /// Items in each shard but the last.
    pub items_per_shard: u32,
    /// Replicas dispatched at once, all of which must agree: the quorum.
    pub replicas: u8,
    /// Replicas at which an undecided shard fails.
    pub max_replicas: u8,
    /// Who alone may execute shards, if not anybody.
    pub trusted: Option<BTreeSet<ProviderId>>,
    /// What an audit executes again, if answers are audited instead of repeated.
    pub audit: Option<Unit>,
    /// When two outputs agree.
    pub comparison: Comparison,
    /// Whether replicas open values within a model to one another.
    pub openings: bool,
    /// Caps on one execution of one shard.
    pub limits: Limits,
    /// Number of models.
    pub models: u32,
    /// Bytes of the largest model.
    pub model_bytes_max: u64,
    /// Device every replica must run on.
    pub device: Option<DeviceKind>,
    /// The most the client pays in all, fee included.
    pub max_price: Amount,
    /// Milliseconds from admission within which the job must finish.
    pub deadline_ms: u64,
}

impl JobSpec {
    /// Reduces a package.
    #[must_use]
    pub fn of(package: &Package) -> Self {
        let model_sizes = package.models.iter().map(|model| model.blob.size);
        Self {
            items: package.input.items,
            items_per_shard: package.items_per_shard,
            replicas: package.replication.replicas,
            max_replicas: package.replication.max_replicas,
            trusted: match &package.policy {
                Policy::Replicate | Policy::Audit { .. } => None,
                Policy::Trusted { providers } => Some(providers.clone()),
            },
            audit: match &package.policy {
                Policy::Audit { unit } => Some(*unit),
                Policy::Replicate | Policy::Trusted { .. } => None,
            },
            comparison: match &package.comparator {
                Comparator::Exact => Comparison::Exact,
                Comparator::Numeric { .. }
                | Comparator::Tokens(_)
                | Comparator::Json(_)
                | Comparator::Fingerprint(_) => Comparison::Numeric,
            },
            openings: package.openings.is_some(),
            limits: package.limits,
            models: u32::try_from(package.models.len()).unwrap_or(u32::MAX),
            model_bytes_max: model_sizes.max().unwrap_or(0),
            device: package.device,
            max_price: package.max_price,
            deadline_ms: package.deadline_ms,
        }
    }

    /// Distinct providers without whom it cannot be done: the quorum, or one and another who checks it.
    #[must_use]
    pub fn providers_min(&self) -> u32 {
        let audited = u32::from(self.audit.is_some());
        u32::from(self.replicas).saturating_add(audited)
    }

    /// Whether a provider may execute shards of the job.
    #[must_use]
    pub fn allows(&self, provider: ProviderId) -> bool {
        let trusted = self.trusted.as_ref();
        trusted.is_none_or(|trusted| trusted.contains(&provider))
    }

    /// Whether all replicas of a shard must share one fingerprint: tensors are bit-exact only within
    /// one, so an exact comparison across two would call honest providers liars.
    #[must_use]
    pub fn needs_one_class(&self) -> bool {
        self.comparison == Comparison::Exact && self.models > 0
    }
}

/// An operator's movement of money across the ledger's border.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Movement {
    /// A client paid in.
    Deposit(ClientId),
    /// A client takes free money out.
    Withdraw(ClientId),
    /// A provider paid in a stake.
    Stake(ProviderId),
    /// A provider takes its stake out; refused while it holds assignments.
    Unstake(ProviderId),
    /// A provider takes its earnings out.
    PayOut(ProviderId),
    /// The operator fills the pot that games are rewarded from.
    Reward,
}

/// Something that happened. Late, repeated and unknown ones are harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Time passed. The driver sends one at least every second; only here and at a restart
    /// are deadlines looked at.
    Tick,
    /// The driver started and has replayed its log. Leases are renewed (nobody could answer while we
    /// were away) and everything outstanding is emitted again, as by [`super::Core::recover`].
    Restarted,
    /// A provider announced itself, signed by it. It counts as connected from now on; providers
    /// repeat their offer well within [`super::Config::offer_ttl_ms`].
    Offer {
        /// What it announced.
        offer: Box<Offer>,
        /// The network that it came from: a number for all addresses that are one party's, as far as
        /// addresses tell.
        prefix: u64,
    },
    /// A provider's connection is gone.
    ProviderLost {
        /// Whose.
        provider: ProviderId,
    },
    /// A client's job, signature and signer policy checked.
    Submit {
        /// Whom to answer.
        request: RequestId,
        /// Who signed the package.
        client: ClientId,
        /// Digest of the package.
        job: JobId,
        /// The package, reduced ([`JobSpec::of`]).
        spec: JobSpec,
        /// 32 random bytes: the aggregator's share of what decides which answers of this job are audited. Kept
        /// secret until the job has ended.
        chance: Chance,
    },
    /// Component, models and input are at hand and the input is cut ([`super::Action::Prepare`]).
    BlobsReady {
        /// Of which job.
        job: JobId,
        /// Each shard's encoded items, in plan order.
        shard_inputs: Vec<BlobRef>,
    },
    /// A blob is missing for good, too large, or not what the package says.
    BlobsInvalid {
        /// Of which job.
        job: JobId,
        /// What is wrong.
        code: Code,
    },
    /// The provider took the assignment and starts now.
    AssignAccepted {
        /// Which.
        assignment: AssignmentId,
    },
    /// The provider does not take it, or no longer has it.
    AssignRefused {
        /// Which.
        assignment: AssignmentId,
        /// Why.
        code: Code,
    },
    /// The provider committed; its signature is checked and it is the signer. Send every one, also the
    /// second for an assignment: two different ones are evidence.
    Committed {
        /// To what.
        commitment: Commitment,
    },
    /// The provider could not execute the shard.
    ExecutionFailed {
        /// Which.
        assignment: AssignmentId,
        /// What happened.
        failure: Failure,
    },
    /// The provider answered a reveal request; its receipt's signature is checked.
    Revealed {
        /// Which.
        assignment: AssignmentId,
        /// What it says the commitment hid.
        opening: Box<Opening>,
        /// Whether the outputs were fetched, are as many as the shard has items, and hash to the root.
        outputs_valid: bool,
    },
    /// No reveal, or its outputs could not be fetched: the provider's fault.
    RevealFailed {
        /// Which.
        assignment: AssignmentId,
    },
    /// Two outputs were compared ([`super::Action::Compare`]).
    Compared {
        /// Of which job.
        job: JobId,
        /// Which shard.
        shard: u32,
        /// One.
        left: AssignmentId,
        /// The other.
        right: AssignmentId,
        /// With which result.
        finding: Finding,
    },
    /// A sample of a shard's items is stored ([`super::Action::Sample`]).
    Sampled {
        /// Of which job.
        job: JobId,
        /// Which shard.
        shard: u32,
        /// For which of its checks.
        check: u32,
        /// The encoded items.
        input: BlobRef,
    },
    /// The client doubts an item of a result that is not final, and has a referee execute its shard again, at its own
    /// expense.
    Challenge {
        /// Whom to answer.
        request: RequestId,
        /// Of which job.
        job: JobId,
        /// The client's share of the draw, which only it and we know.
        chance: Chance,
        /// Which item of the job's input.
        item: u32,
    },
    /// The client gives its share of what decides which answers of its job are audited, having seen the
    /// aggregator's promise of its own. The first one counts; without any in time, everything is audited.
    Share {
        /// Whom to answer.
        request: RequestId,
        /// Of which job.
        job: JobId,
        /// Who gives it. Must be the job's client.
        client: ClientId,
        /// 32 random bytes.
        chance: Chance,
    },
    /// The result is stored ([`super::Action::Merge`]).
    Merged {
        /// Of which job.
        job: JobId,
        /// The merged result.
        result: BlobRef,
        /// Digest of the encoded shard records.
        shards: Digest,
        /// Which order to merge this answers.
        round: u32,
    },
    /// The outputs cannot be merged: the job's fault, retrying cannot help.
    MergeFailed {
        /// Of which job.
        job: JobId,
        /// Which order to merge this answers.
        round: u32,
        /// Why.
        code: Code,
    },
    /// The record of an ended job is stored. Until then [`super::Action::Finished`] is emitted again
    /// at every start, and the core keeps the job.
    Recorded {
        /// Of which job.
        job: JobId,
    },
    /// The client gives its job up.
    Cancel {
        /// Whom to answer.
        request: RequestId,
        /// Which.
        job: JobId,
        /// Who asks. Must be the job's client.
        client: ClientId,
    },
    /// The operator moved money across the border.
    Move {
        /// Whom to answer.
        request: RequestId,
        /// Idempotency key: the same id moves money once.
        id: Digest,
        /// Where.
        movement: Movement,
        /// How much.
        amount: Amount,
    },
    /// The operator bans or readmits a provider by hand. No stake is taken.
    SetBanned {
        /// Whom.
        provider: ProviderId,
        /// Which way.
        banned: bool,
    },
    /// A reveal that was asked for is not looked at yet, for reasons of the driver's own. Its time
    /// starts anew and nobody is blamed. Ended by the job's deadline.
    RevealDelayed {
        /// Which.
        assignment: AssignmentId,
    },
    /// As `Revealed`, but the outputs do not agree with themselves under the job's comparator (NaN,
    /// or no whole number of elements), so that no verdict is possible. Counts as a failure of the
    /// guest.
    OutputsIncomparable {
        /// Which.
        assignment: AssignmentId,
        /// What it says the commitment hid.
        opening: Box<Opening>,
        /// As providers report such a failure themselves.
        code: Code,
    },
    /// An assignment could not be sent in time, for reasons of the driver's own: its provider never
    /// heard of it and is not blamed.
    AssignUnsent {
        /// Which.
        assignment: AssignmentId,
    },
    /// A validator's report, its signature and its bounds checked, reduced to each provider's points over
    /// all games ([`jobs::game::report::ScoreReport::totals`]).
    Scores {
        /// Whom to answer.
        request: RequestId,
        /// Who signed it.
        validator: ProviderId,
        /// Of which epoch.
        epoch: u64,
        /// What names the report.
        digest: Digest,
        /// Points, ascending by provider.
        scores: Vec<(ProviderId, u16)>,
    },
    /// Something about a case: an answer that somebody holds to be wrong.
    Liquidation(super::liquidation::CaseEvent),
    /// A replica did not open what it had noted, or opened something else ([`super::Action::Compare`]).
    OpeningFailed {
        /// Of which job.
        job: JobId,
        /// Which shard.
        shard: u32,
        /// Which assignment failed.
        failed: AssignmentId,
        /// With which it was to be compared.
        other: AssignmentId,
    },
}
