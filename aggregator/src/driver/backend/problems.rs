//! Refusals and failures in the words of the HTTP interface.

use api::backend::Answer;
use api::problem::{Code, Problem};

use crate::core::Refusal;
use crate::core::event::Chance;
use crate::driver::error::Error;

/// Seconds after which some nonces are forgotten.
const NONCES_RETRY_S: u32 = 60;

/// Seconds after which some kept answers may be forgotten.
const KEYS_RETRY_S: u32 = 3600;

pub(in crate::driver) fn problem(refusal: &Refusal) -> Problem {
    let code = match refusal {
        Refusal::InsufficientFunds { .. } => Code::InsufficientFunds,
        Refusal::PriceTooLow { .. } => Code::PriceTooLow,
        Refusal::NobodyServes { .. } => Code::NobodyServes,
        Refusal::OutOfBounds { .. } => Code::InvalidRequest,
        Refusal::WrongShare => Code::WrongShare,
        Refusal::NotProvisional { .. } => Code::NotProvisional,
        Refusal::NothingLeft { .. } => Code::NothingLeft,
        Refusal::Full { .. } => Code::Unavailable,
        Refusal::NotYours => Code::NotYours,
        Refusal::UnknownJob => Code::NotFound,
        Refusal::Archived => Code::Archived,
        Refusal::Banned
        | Refusal::StakeInUse { .. }
        | Refusal::ResultDelivered
        | Refusal::NotCancellable { .. } => Code::Conflict,
        Refusal::UnknownValidator { .. } => Code::UnknownValidator,
        Refusal::EpochNotOpen { .. } => Code::EpochNotOpen,
        Refusal::StakeAccused { .. } => Code::Conflict,
        Refusal::UnknownCase => Code::NotFound,
        Refusal::NotYourCase => Code::NotYours,
        Refusal::CaseOpen { .. } => Code::CaseOpen,
        Refusal::CaseDecided { .. } | Refusal::StakeTaken { .. } => Code::CaseDecided,
        Refusal::CaseOver { .. } => Code::CaseOver,
        Refusal::NotJudged { .. } => Code::NotJudged,
        Refusal::TooOld { .. } => Code::TooOld,
        Refusal::NothingAtStake { .. } => Code::NothingAtStake,
        Refusal::NotTheSame { .. } => Code::NotTheSame,
        Refusal::TooLate { .. } => Code::TooLate,
        Refusal::Ledger { .. } => Code::LedgerRefused,
    };
    Problem::of(code, refusal.to_string())
}

pub(in crate::driver) fn internal(error: &Error) -> Problem {
    match error {
        Error::Busy { .. } | Error::Stopping => Problem::unavailable(error.to_string()),
        Error::KeyReused => Problem::of(Code::IdempotencyMismatch, error.to_string()),
        Error::InFlight => Problem::of(Code::IdempotencyInFlight, error.to_string()),
        Error::KeysFull { .. } => {
            Problem::of(Code::IdempotencyFull, error.to_string()).after(KEYS_RETRY_S)
        }
        Error::Replayed { .. } => Problem::of(Code::Replayed, error.to_string()),
        Error::SignatureTime { .. } => Problem::of(Code::SignatureExpired, error.to_string()),
        Error::NoncesFull { .. } => {
            Problem::of(Code::NoncesFull, error.to_string()).after(NONCES_RETRY_S)
        }
        Error::NotStored(_) => {
            tracing::error!(%error, "a request was not stored");
            let detail = "the aggregator cannot store anything now; nothing was changed";
            Problem::of(Code::StorageFull, detail)
        }
        _ => {
            tracing::error!(%error, "a request could not be decided");
            Problem::internal()
        }
    }
}

/// The aggregator's share of what decides about a job's audits.
pub(super) fn chance() -> Answer<Chance> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| Problem::internal())?;
    Ok(Chance(bytes))
}
