//! Named refusals: every bound that is full and every request that is turned down says so by name.

use jobs::ids::{AssignmentId, CaseId, JobId, ProviderId};
use jobs::money::Amount;
use jobs::offer::DeviceKind;
use jobs::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::Code;

/// What a job needs that too few providers have, in the order in which it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Need {
    /// Connected, trusted providers with enough stake.
    Providers,
    /// Being among those that the job names.
    Named,
    /// A device of this kind.
    Device(DeviceKind),
    /// This much linear memory, in bytes.
    Memory(u64),
    /// This much fuel.
    Fuel(u64),
    /// Room for a model of this many bytes.
    ModelBytes(u64),
    /// A price at which no execution within the limits costs more than this.
    Price(Amount),
    /// One fingerprint shared by all replicas of a shard.
    OneFingerprint,
    /// Operators and networks that have nothing to do with one another.
    Operators,
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Providers => f.write_str("connected providers in good standing"),
            Self::Named => f.write_str("providers that the job trusts"),
            Self::Device(DeviceKind::Cpu) => f.write_str("providers with a cpu"),
            Self::Device(DeviceKind::Gpu) => f.write_str("providers with a gpu"),
            Self::Memory(bytes) => write!(f, "providers granting {bytes} bytes of memory"),
            Self::Fuel(fuel) => write!(f, "providers accepting a fuel limit of {fuel}"),
            Self::ModelBytes(bytes) => write!(f, "providers accepting a model of {bytes} bytes"),
            Self::Price(share) => {
                write!(
                    f,
                    "providers that ask at most {share} for a shard at its limits"
                )
            }
            Self::OneFingerprint => f.write_str("providers of one fingerprint"),
            Self::Operators => f.write_str("providers of different operators and networks"),
        }
    }
}

/// Why a request was turned down. [`Refusal::code`] is stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// A field of the job is out of bounds.
    #[error("{field} = {value} is outside {min} to {max}")]
    OutOfBounds {
        /// Which field.
        field: Code,
        /// Its value.
        value: u64,
        /// Least allowed.
        min: u64,
        /// Most allowed.
        max: u64,
    },
    /// The free balance does not cover the price ceiling.
    #[error("balance {have} does not cover the price ceiling {need}")]
    InsufficientFunds {
        /// Free balance.
        have: Amount,
        /// Price ceiling.
        need: Amount,
    },
    /// The ceiling leaves nothing for a single assignment.
    #[error("price ceiling {max_price} is too low for {assignments} assignments")]
    PriceTooLow {
        /// The ceiling.
        max_price: Amount,
        /// Most assignments it may have to pay.
        assignments: u64,
    },
    /// Too few providers can serve it.
    #[error("nobody can serve this job: {have} {missing}, {need} needed")]
    NobodyServes {
        /// What is missing.
        missing: Need,
        /// How many have it.
        have: u32,
        /// How many are needed.
        need: u32,
    },
    /// The same package was submitted by somebody else.
    #[error("this job belongs to another client")]
    NotYours,
    /// The job ended long ago and only its record is left.
    #[error("this job has ended and is archived")]
    Archived,
    /// No such job.
    #[error("no such job")]
    UnknownJob,
    /// Whoever asks does not know what only the job's client knows.
    #[error("this is not the share that the job's client gave")]
    WrongShare,
    /// The answer is not there yet, or final.
    #[error("item {item} has no answer that is not final")]
    NotProvisional {
        /// Which item.
        item: u32,
    },
    /// The client allows no further execution of this answer, or its escrow holds no more.
    #[error("item {item}: the job pays for no further execution of its shard")]
    NothingLeft {
        /// Which item.
        item: u32,
    },
    /// A table is full.
    #[error("{what} is full: {max} at most, try later")]
    Full {
        /// Which table.
        what: Code,
        /// Its bound.
        max: u64,
    },
    /// The provider is banned.
    #[error("this provider is banned")]
    Banned,
    /// The result of the job is there already: the job ends when what it cost is final.
    #[error("the result of this job is there: it ends when its answers are final")]
    ResultDelivered,
    /// Stake cannot leave while it answers for something.
    #[error("{assignments} assignments are still open")]
    StakeInUse {
        /// How many.
        assignments: u64,
    },
    /// Not among the validators that the operator lists.
    #[error("validator {validator} is not among the {listed} that the operator lists")]
    UnknownValidator {
        /// Who.
        validator: ProviderId,
        /// How many are listed.
        listed: u32,
    },
    /// The epoch is over, has not begun, or is closed.
    #[error("epoch {epoch} takes no reports: only {earliest} to {latest} may, unless closed")]
    EpochNotOpen {
        /// Which.
        epoch: u64,
        /// The first that may be reported on now.
        earliest: u64,
        /// The last one.
        latest: u64,
    },
    /// Stake cannot leave while somebody holds an answer of its provider to be wrong.
    #[error("{cases} cases against this provider are open")]
    StakeAccused {
        /// How many.
        cases: u64,
    },
    /// No such case, or none that is remembered.
    #[error("no such case")]
    UnknownCase,
    /// Jobs are tied to a case by who opened it.
    #[error("this case was opened by another client")]
    NotYourCase,
    /// This client has accused this answer before, and the case is open.
    #[error("case {case} about this answer is open")]
    CaseOpen {
        /// Which.
        case: CaseId,
    },
    /// A case has decided about this answer, or this client's case about it is over.
    #[error("case {case} has decided about this answer")]
    CaseDecided {
        /// Which.
        case: CaseId,
    },
    /// The time in which jobs may be tied to the case is over.
    #[error("the case took jobs until {}", due.0)]
    CaseOver {
        /// When it ended.
        due: Timestamp,
    },
    /// Not an answer that counted or lost here.
    #[error("assignment {assignment} is no answer that was judged here, or is forgotten")]
    NotJudged {
        /// Which assignment.
        assignment: AssignmentId,
    },
    /// The answer was given too long ago.
    #[error("the answer is {age_ms} ms old: at most {max_ms} can be accused")]
    TooOld {
        /// How long ago.
        age_ms: u64,
        /// The bound.
        max_ms: u64,
    },
    /// The provider of the answer has nothing that could be taken.
    #[error("provider {provider} is banned, gone or without stake: there is nothing to take")]
    NothingAtStake {
        /// Who.
        provider: ProviderId,
    },
    /// A stake was taken for this very answer.
    #[error("a stake was taken for assignment {assignment} before")]
    StakeTaken {
        /// Which assignment.
        assignment: AssignmentId,
    },
    /// The job executes something else than the accused answer is of.
    #[error("the job's {field} is not as the accused answer's")]
    NotTheSame {
        /// What differs.
        field: Code,
    },
    /// A job must be tied to its case before anybody can know what it comes to.
    #[error("job {job} is tied to a case, answered or over: tie a job before it is submitted")]
    TooLate {
        /// Which.
        job: JobId,
    },
    /// The ledger's refusal, by its code.
    #[error("the ledger refused: {code}")]
    Ledger {
        /// Its stable name.
        code: Code,
    },
    /// Every shard of the job is paid, or it has ended.
    #[error("the job is {phase}: only one that is waiting or running can be cancelled")]
    NotCancellable {
        /// Where it is.
        phase: Code,
    },
}

impl Refusal {
    /// A stable name for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OutOfBounds { .. } => "out_of_bounds",
            Self::InsufficientFunds { .. } => "insufficient_funds",
            Self::PriceTooLow { .. } => "price_too_low",
            Self::NobodyServes { .. } => "nobody_serves",
            Self::NotYours => "not_yours",
            Self::Archived => "archived",
            Self::UnknownJob => "unknown_job",
            Self::WrongShare => "wrong_share",
            Self::NotProvisional { .. } => "not_provisional",
            Self::NothingLeft { .. } => "nothing_left",
            Self::Full { .. } => "full",
            Self::Banned => "banned",
            Self::ResultDelivered => "result_delivered",
            Self::StakeInUse { .. } => "stake_in_use",
            Self::UnknownValidator { .. } => "unknown_validator",
            Self::EpochNotOpen { .. } => "epoch_not_open",
            Self::StakeAccused { .. } => "stake_accused",
            Self::UnknownCase => "unknown_case",
            Self::NotYourCase => "not_your_case",
            Self::CaseOpen { .. } => "case_open",
            Self::CaseDecided { .. } => "case_decided",
            Self::CaseOver { .. } => "case_over",
            Self::NotJudged { .. } => "not_judged",
            Self::TooOld { .. } => "too_old",
            Self::NothingAtStake { .. } => "nothing_at_stake",
            Self::StakeTaken { .. } => "stake_taken",
            Self::NotTheSame { .. } => "not_the_same",
            Self::TooLate { .. } => "too_late",
            Self::Ledger { .. } => "ledger_refused",
            Self::NotCancellable { .. } => "not_cancellable",
        }
    }

    /// Whether the same request may succeed later, unchanged.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Full { .. }
                | Self::NobodyServes { .. }
                | Self::StakeInUse { .. }
                | Self::StakeAccused { .. }
        )
    }
}
