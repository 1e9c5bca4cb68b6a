//! Why a transfer was refused, and why a ledger could not be read.

use jobs::money::Amount;
use store::StoreError;

use crate::{Account, FEE_BPS_MAX, FEE_BPS_MIN, TransferId};

/// Why a transfer changed nothing. Every refusal has a name, and [`Rejection::code`] is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The id was used before, for something else.
    #[error("this id was already used for a transfer with a different {field}")]
    Exists {
        /// The first field that differs.
        field: &'static str,
    },
    /// Nothing to move.
    #[error("the amount is zero")]
    ZeroAmount,
    /// More than any transfer may carry.
    #[error("the amount {amount} is above the bound of {max}")]
    AmountTooLarge {
        /// The amount.
        amount: Amount,
        /// The bound.
        max: Amount,
    },
    /// From and to are one account.
    #[error("{account} cannot pay itself")]
    SameAccount {
        /// The account.
        account: Account,
    },
    /// The account was closed.
    #[error("{account} is closed")]
    AccountClosed {
        /// The account.
        account: Account,
    },
    /// Not enough unreserved money.
    #[error("{account} has {have} available and needs {need}")]
    InsufficientFunds {
        /// The account to be debited.
        account: Account,
        /// What it may spend.
        have: Amount,
        /// What the transfer takes.
        need: Amount,
    },
    /// No transfer has this id.
    #[error("pending transfer {pending} does not exist")]
    PendingNotFound {
        /// The id looked for.
        pending: TransferId,
    },
    /// The transfer with this id is not a reservation.
    #[error("transfer {pending} is not a pending one")]
    NotPending {
        /// The id looked for.
        pending: TransferId,
    },
    /// The reservation was already posted.
    #[error("pending transfer {pending} was already posted with {amount}")]
    PendingAlreadyPosted {
        /// The reservation.
        pending: TransferId,
        /// What was posted.
        amount: Amount,
    },
    /// The reservation was already voided.
    #[error("pending transfer {pending} was already voided")]
    PendingAlreadyVoided {
        /// The reservation.
        pending: TransferId,
    },
    /// The reservation already expired.
    #[error("pending transfer {pending} already expired")]
    PendingAlreadyExpired {
        /// The reservation.
        pending: TransferId,
    },
    /// More than the reservation holds.
    #[error("{amount} is more than the {reserved} that {pending} reserved")]
    ExceedsReserved {
        /// The reservation.
        pending: TransferId,
        /// What was to be posted.
        amount: Amount,
        /// What it holds.
        reserved: Amount,
    },
    /// Only escrow accounts are ever closed.
    #[error("{account} cannot be closed: only a job's escrow can")]
    NotClosable {
        /// The account.
        account: Account,
    },
    /// Money stands on the account or is reserved from or for it.
    #[error("{account} cannot be closed: {posted} on it, {reserved} reserved")]
    NotSettled {
        /// The account.
        account: Account,
        /// Credits less debits.
        posted: Amount,
        /// Reserved, in both directions together.
        reserved: Amount,
    },
    /// A sum would not fit.
    #[error("the sums of {account} would overflow")]
    Overflow {
        /// The account.
        account: Account,
    },
    /// The journal is at its bound.
    #[error("the journal is full with {entries} entries")]
    JournalFull {
        /// The bound.
        entries: u64,
    },
}

impl Rejection {
    /// A stable name for programs and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "exists_with_different_field",
            Self::ZeroAmount => "zero_amount",
            Self::AmountTooLarge { .. } => "amount_too_large",
            Self::SameAccount { .. } => "same_account",
            Self::AccountClosed { .. } => "account_closed",
            Self::InsufficientFunds { .. } => "insufficient_funds",
            Self::PendingNotFound { .. } => "pending_not_found",
            Self::NotPending { .. } => "not_pending",
            Self::PendingAlreadyPosted { .. } => "pending_already_posted",
            Self::PendingAlreadyVoided { .. } => "pending_already_voided",
            Self::PendingAlreadyExpired { .. } => "pending_already_expired",
            Self::ExceedsReserved { .. } => "exceeds_reserved",
            Self::NotClosable { .. } => "not_closable",
            Self::NotSettled { .. } => "not_settled",
            Self::Overflow { .. } => "overflow",
            Self::JournalFull { .. } => "journal_full",
        }
    }
}

/// What a ledger can answer instead of doing as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A transfer was refused, and with it all that were to be applied together. Your fault.
    #[error("transfer {id} (number {index} of its group) refused: {reason}")]
    Rejected {
        /// Its place in the group, from zero.
        index: usize,
        /// Its id.
        id: TransferId,
        /// Why.
        reason: Rejection,
    },
    /// A fee rate outside the bounds. Your fault.
    #[error("fee of {bps} basis points is outside {FEE_BPS_MIN} to {FEE_BPS_MAX}")]
    FeeOutOfBounds {
        /// The rate in basis points.
        bps: u16,
    },
    /// Text that names no account. Your fault.
    #[error(
        "{value:?} is not an account: expected outside, fee, slashed, or client:, escrow:, provider: \
         or stake: and an id"
    )]
    Account {
        /// The text, cut at 120 characters.
        value: String,
    },
    /// The stored ledger contradicts itself; nothing was repaired. Ours.
    #[error(
        "the stored ledger does not add up: {detail}; `assay ledger audit` lists every difference"
    )]
    Inconsistent {
        /// The first contradiction.
        detail: String,
    },
    /// The store failed. Ours.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LedgerError {
    /// Why a transfer was refused, if one was.
    #[must_use]
    pub const fn rejection(&self) -> Option<Rejection> {
        match self {
            Self::Rejected { reason, .. } => Some(*reason),
            _ => None,
        }
    }
}
