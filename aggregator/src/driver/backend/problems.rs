//! Refusals and failures in the words of the HTTP interface.

use api::backend::Answer;
use api::types::Problem;

use crate::core::Refusal;
use crate::core::event::Chance;
use crate::driver::error::Error;

pub(in crate::driver) fn problem(refusal: &Refusal) -> Problem {
    let (status, code, title) = match refusal {
        Refusal::InsufficientFunds { .. } => (402, "insufficient-funds", "Not enough money"),
        Refusal::PriceTooLow { .. } => (422, "price-too-low", "Price ceiling too low"),
        Refusal::NobodyServes { .. } => (409, "nobody-serves", "Nobody can serve this job"),
        Refusal::OutOfBounds { .. } => (400, "invalid-request", "The request is invalid"),
        Refusal::WrongShare => (403, "wrong-share", "Not what the job's client knows"),
        Refusal::NotProvisional { .. } => (409, "not-provisional", "Not answered yet, or final"),
        Refusal::NothingLeft { .. } => (409, "nothing-left", "Nothing left to pay it with"),
        Refusal::Full { .. } => (503, "unavailable", "Temporarily unavailable"),
        Refusal::NotYours => (403, "not-yours", "Another client's job"),
        Refusal::UnknownJob => (404, "not-found", "Not found"),
        Refusal::Archived => (410, "archived", "Ended long ago"),
        Refusal::Banned
        | Refusal::StakeInUse { .. }
        | Refusal::ResultDelivered
        | Refusal::NotCancellable { .. } => (409, "conflict", "Not possible now"),
        Refusal::UnknownValidator { .. } => (403, "unknown-validator", "Not a validator here"),
        Refusal::EpochNotOpen { .. } => (409, "epoch-not-open", "The epoch takes no reports"),
        Refusal::StakeAccused { .. } => (409, "conflict", "Not possible now"),
        Refusal::UnknownCase => (404, "not-found", "Not found"),
        Refusal::NotYourCase => (403, "not-yours", "Another client's case"),
        Refusal::CaseOpen { .. } => (409, "case-open", "Accused already"),
        Refusal::CaseDecided { .. } | Refusal::StakeTaken { .. } => {
            (409, "case-decided", "Decided already")
        }
        Refusal::CaseOver { .. } => (409, "case-over", "The case takes no more jobs"),
        Refusal::NotJudged { .. } => (409, "not-judged", "Not an answer that was judged here"),
        Refusal::TooOld { .. } => (409, "too-old", "Answered too long ago"),
        Refusal::NothingAtStake { .. } => (409, "nothing-at-stake", "Nothing to take"),
        Refusal::NotTheSame { .. } => (422, "not-the-same", "Another work than was accused"),
        Refusal::TooLate { .. } => (409, "too-late", "Too late to be tied to a case"),
        Refusal::Ledger { .. } => (409, "ledger-refused", "The ledger refused"),
    };
    Problem::new(status, code, title, refusal.to_string())
}

pub(in crate::driver) fn internal(error: &Error) -> Problem {
    match error {
        Error::Busy { .. } | Error::Stopping => Problem::unavailable(error.to_string()),
        Error::KeyReused => Problem::new(
            422,
            "idempotency-mismatch",
            "Idempotency key reused",
            error.to_string(),
        ),
        Error::KeysFull { .. } => Problem::conflict(error.to_string()),
        Error::NotStored(_) => {
            tracing::error!(%error, "a request was not stored");
            let detail = "the aggregator cannot store anything now; nothing was changed";
            Problem::new(507, "storage-full", "Storage failed", detail)
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
