//! Why an assignment is not taken. Every reason has a stable code, which stands first in the text
//! that the aggregator gets.

use jobs::money::Amount;
use jobs::offer::DeviceKind;
use network::protocol::{Refusal, RefusalCode};

/// A refused assignment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The assignment's signature does not verify.
    #[error("{0}")]
    AssignmentSignature(jobs::Error),
    /// The assignment is signed by somebody else than the peer that sent it.
    #[error("signed by {signer} for {named}, sent by {from}")]
    NotTheSender {
        /// Who signed.
        signer: String,
        /// Whom it names as the aggregator.
        named: String,
        /// Who sent it.
        from: String,
    },
    /// The assignment is known here, from another aggregator.
    #[error("it is another aggregator's")]
    Anothers,
    /// The aggregator was sent no offer, or refused it, or its lease is over.
    #[error("no offer of ours stands with {from}")]
    NoOffer {
        /// Who assigned.
        from: String,
    },
    /// The assignment is for another provider.
    #[error("the assignment is for {provider}")]
    OtherProvider {
        /// For whom.
        provider: String,
    },
    /// The id is not derived from the assignment's fields, or not the request's.
    #[error("the assignment's id is {actual}, its fields give {expected}")]
    AssignmentId {
        /// What it says.
        actual: String,
        /// What follows from its fields.
        expected: String,
    },
    /// The package's signature or form is wrong.
    #[error("{0}")]
    PackageSignature(jobs::Error),
    /// The package is another job's.
    #[error("the package is job {package}, the assignment is of {job}")]
    OtherJob {
        /// The package's id.
        package: String,
        /// The assignment's.
        job: String,
    },
    /// The signer is not trusted.
    #[error("{0}")]
    Signer(jobs::Error),
    /// The items are not the shard's.
    #[error(
        "shard {shard} is neither items {first_item} to {first_item} + {items} of the job, nor a sample of it"
    )]
    Span {
        /// Which shard.
        shard: u32,
        /// Claimed first item.
        first_item: u32,
        /// Claimed number of items.
        items: u32,
    },
    /// The job wants more than is granted.
    #[error("{what} = {wanted}: at most {most} here")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The job's.
        wanted: u64,
        /// The bound.
        most: u64,
    },
    /// The job requires another device than the one offered.
    #[error("the job requires {wanted:?}, {offered:?} is offered")]
    Device {
        /// The job's.
        wanted: DeviceKind,
        /// Ours.
        offered: DeviceKind,
    },
    /// The job has models, and none can be run here.
    #[error("models cannot be run here: {reason}")]
    NoModels {
        /// Why.
        reason: String,
    },
    /// The reward is too small.
    #[error("a reward of at most {reward}, at least {least} is asked")]
    Reward {
        /// What it can earn.
        reward: Amount,
        /// The bound.
        least: Amount,
    },
    /// Every place is taken.
    #[error("{held} assignments are held, at most {most}")]
    Capacity {
        /// How many are held.
        held: usize,
        /// The bound.
        most: usize,
    },
    /// Every place that this aggregator may take is taken.
    #[error("{held} assignments of its share are held, at most {most} while others have an offer")]
    Share {
        /// How many are held.
        held: usize,
        /// The bound.
        most: usize,
    },
    /// The journal has no room for more assignments.
    #[error("the journal is full: {what}")]
    JournalFull {
        /// Of what.
        what: &'static str,
    },
    /// The daemon is stopping.
    #[error("the provider is stopping")]
    Stopping,
    /// No work is taken now.
    #[error("no work is taken now: {why}")]
    Resting {
        /// Why.
        why: String,
    },
    /// The operator does not work for this client.
    #[error("client {client} is denied here")]
    Denied {
        /// Whose job it is.
        client: String,
    },
    /// The operator aborted it before it was accepted.
    #[error("aborted by the operator before it was accepted")]
    Aborted,
    /// The aggregator cancelled it before it was accepted.
    #[error("cancelled before it was accepted")]
    Cancelled,
    /// A blob could not be had.
    #[error("{what}: {reason}")]
    Blob {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
    /// The blob cache is full of what open assignments need.
    #[error("{what}: {reason}")]
    CacheFull {
        /// Which blob.
        what: String,
        /// The store's words.
        reason: String,
    },
    /// The component is not a job.
    #[error("{0}")]
    Component(jobs::Error),
    /// The input is not the shard's items.
    #[error("the shard's input: {reason}")]
    Input {
        /// Why.
        reason: String,
    },
    /// The daemon failed.
    #[error("the provider failed, try another")]
    Internal,
}

impl Refused {
    /// The stable code. Programs and tests rely on it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AssignmentSignature(_) => "assignment-signature",
            Self::NotTheSender { .. } | Self::Anothers => "not-the-sender",
            Self::NoOffer { .. } => "no-offer",
            Self::OtherProvider { .. } => "other-provider",
            Self::AssignmentId { .. } => "assignment-id",
            Self::PackageSignature(_) => "package-signature",
            Self::OtherJob { .. } => "other-job",
            Self::Signer(_) => "signer",
            Self::Span { .. } => "span",
            Self::Limit { .. } => "limit",
            Self::Device { .. } => "device",
            Self::NoModels { .. } => "no-models",
            Self::Reward { .. } => "reward",
            Self::Capacity { .. } => "capacity",
            Self::Share { .. } => "share",
            Self::JournalFull { .. } => "journal-full",
            Self::Stopping => "stopping",
            Self::Resting { .. } => "resting",
            Self::Denied { .. } => "signer",
            Self::Aborted => "aborted",
            Self::Cancelled => "cancelled",
            Self::Blob { .. } => "blob",
            Self::CacheFull { .. } => "cache-full",
            Self::Component(_) => "component",
            Self::Input { .. } => "input",
            Self::Internal => "internal",
        }
    }

    const fn category(&self) -> RefusalCode {
        match self {
            Self::AssignmentSignature(_)
            | Self::NotTheSender { .. }
            | Self::OtherProvider { .. }
            | Self::AssignmentId { .. }
            | Self::PackageSignature(_)
            | Self::OtherJob { .. }
            | Self::Span { .. }
            | Self::Component(_)
            | Self::Input { .. } => RefusalCode::Invalid,
            Self::Signer(_)
            | Self::Denied { .. }
            | Self::Reward { .. }
            | Self::Anothers
            | Self::NoOffer { .. } => RefusalCode::Policy,
            Self::Limit { .. } | Self::Device { .. } | Self::NoModels { .. } => RefusalCode::Limits,
            Self::Capacity { .. }
            | Self::Share { .. }
            | Self::JournalFull { .. }
            | Self::CacheFull { .. } => RefusalCode::Capacity,
            Self::Stopping | Self::Cancelled | Self::Resting { .. } | Self::Aborted => {
                RefusalCode::State
            }
            Self::Blob { .. } => RefusalCode::Unavailable,
            Self::Internal => RefusalCode::Internal,
        }
    }

    /// What the aggregator is told: `code: reason`.
    pub fn to_refusal(&self) -> Refusal {
        Refusal::new(self.category(), format!("{}: {self}", self.code()))
    }
}
