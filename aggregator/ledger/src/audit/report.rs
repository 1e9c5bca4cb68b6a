//! What an audit found, for people and programs.

use jobs::money::Amount;
use serde::{Deserialize, Serialize};

use crate::{Account, Balance, Head, Pending, TransferId};

/// Most findings listed one by one; `findings_total` counts them all.
pub const FINDINGS_LISTED_MAX: usize = 1000;
/// Most escrow accounts listed one by one; `open_escrows_total` counts them all.
pub const LINES_LISTED_MAX: usize = 1000;

/// The outcome of an audit. Amounts are in units.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditReport {
    /// Readable journal entries.
    pub entries: u64,
    /// The head as stored.
    pub stored_head: Head,
    /// The head at which the journal really ends.
    pub derived_head: Head,
    /// Accounts that the journal touches.
    pub accounts: u64,
    /// Sum of posted debits over all accounts.
    pub debits_posted: Amount,
    /// Sum of posted credits over all accounts.
    pub credits_posted: Amount,
    /// Money that ever came in from outside.
    pub deposited: Amount,
    /// Money that ever went outside.
    pub withdrawn: Amount,
    /// Reservations not yet resolved.
    pub open_pendings: u64,
    /// What they reserve together.
    pub reserved: Amount,
    /// Escrow accounts with money or reservations on them.
    pub open_escrows: Vec<AccountLine>,
    /// How many there are, the unlisted ones included.
    pub open_escrows_total: u64,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
    /// How much is wrong, the unlisted findings included.
    pub findings_total: u64,
}

/// An account and what stands on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLine {
    /// The account.
    pub account: Account,
    /// What the journal says stands on it.
    pub balance: Balance,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// A row does not decode.
    #[error("unreadable row: {detail}")]
    Unreadable {
        /// Where it lies and what is wrong.
        detail: String,
    },
    /// A journal row's key is not its entry's number.
    #[error("journal row {key} holds entry {seq}")]
    WrongNumber {
        /// The row's key.
        key: u64,
        /// The number inside.
        seq: u64,
    },
    /// Journal entries are missing.
    #[error("journal gap: expected entry {expected}, found {found}")]
    Gap {
        /// The number that had to come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// A journal entry's content is not what was hashed.
    #[error("journal entry {seq} does not have the hash it states")]
    HashMismatch {
        /// Its number.
        seq: u64,
    },
    /// A journal entry is not bound to the one before it.
    #[error("journal entry {seq} does not follow the entry before it")]
    ChainBroken {
        /// Its number.
        seq: u64,
    },
    /// A journal entry breaks a rule of the ledger.
    #[error("journal entry {seq} {detail}")]
    Rule {
        /// Its number.
        seq: u64,
        /// Which rule.
        detail: String,
    },
    /// The journal does not end where the stored head says.
    #[error("the stored head is entry {}, the journal ends at {}", stored.seq, derived.seq)]
    Head {
        /// As stored.
        stored: Head,
        /// As found.
        derived: Head,
    },
    /// A head that was seen earlier is not in the journal: it was rolled back or rewritten.
    #[error("entry {} with hash {} was seen earlier and is not in the journal", anchor.seq, anchor.hash)]
    AnchorMissing {
        /// The head that was seen.
        anchor: Head,
    },
    /// A stored balance is not what the journal gives.
    #[error("{account}: stored {}, derived {}", show(stored), show(derived))]
    Balance {
        /// Whose.
        account: Account,
        /// As stored; nothing when the row is missing.
        stored: Option<Balance>,
        /// From the journal; nothing when it never touches the account.
        derived: Option<Balance>,
    },
    /// A stored reservation is not what the journal gives.
    #[error("pending transfer {id}: stored {stored:?}, derived {derived:?}")]
    Pending {
        /// Which.
        id: TransferId,
        /// As stored; nothing when the row is missing.
        stored: Option<Pending>,
        /// From the journal; nothing when it never made it.
        derived: Option<Pending>,
    },
    /// Money was made or lost.
    #[error("posted debits sum to {debits}, posted credits to {credits}")]
    Unbalanced {
        /// Over all accounts.
        debits: Amount,
        /// Over all accounts.
        credits: Amount,
    },
}

fn show(balance: &Option<Balance>) -> String {
    let Some(balance) = balance else {
        return "nothing".into();
    };
    format!(
        "debits {} + {} pending, credits {} + {} pending{}",
        balance.debits_posted,
        balance.debits_pending,
        balance.credits_posted,
        balance.credits_pending,
        if balance.closed { ", closed" } else { "" }
    )
}

impl AuditReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.findings_total == 0
    }

    pub(crate) fn find(&mut self, finding: Finding) {
        self.findings_total = self.findings_total.saturating_add(1);
        if self.findings.len() < FINDINGS_LISTED_MAX {
            self.findings.push(finding);
        }
    }

    pub(crate) fn list_escrow(&mut self, line: AccountLine) {
        self.open_escrows_total = self.open_escrows_total.saturating_add(1);
        if self.open_escrows.len() < LINES_LISTED_MAX {
            self.open_escrows.push(line);
        }
    }
}
