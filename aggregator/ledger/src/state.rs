//! The ledger itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::draft::{Draft, Step};
use crate::{
    Account, Balance, Head, JournalEntry, LedgerError, Pending, PendingState, Transfer, TransferId,
};

/// All accounts, reservations and accepted transfers, in memory.
///
/// Equal ledgers have equal histories: the head's hash is part of the state. Memory grows by about 300
/// bytes per accepted transfer, since a retry of any of them must be recognised.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    pub(crate) head: Head,
    pub(crate) balances: BTreeMap<Account, Balance>,
    pub(crate) open: BTreeMap<TransferId, Pending>,
    pub(crate) resolved: BTreeMap<TransferId, Pending>,
    pub(crate) applied: BTreeMap<TransferId, (u64, Transfer)>,
}

/// What applying a transfer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It changed the ledger and is this entry of the journal.
    Entry(JournalEntry),
    /// The very same transfer was applied before, as entry `seq`; nothing changed.
    AlreadyExists {
        /// Its number in the journal.
        seq: u64,
    },
}

impl Ledger {
    /// A ledger on which nothing ever happened.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one transfer, or changes nothing.
    ///
    /// # Errors
    /// `Rejected` with the reason.
    pub fn apply(&mut self, transfer: Transfer) -> Result<Applied, LedgerError> {
        let mut draft = Draft::new(self);
        let step = draft
            .apply(transfer)
            .map_err(|reason| LedgerError::Rejected {
                index: 0,
                id: transfer.id(),
                reason,
            })?;
        let changes = draft.finish();
        self.merge(changes);
        Ok(match step {
            Step::New(entry) => Applied::Entry(entry),
            Step::Repeated(seq) => Applied::AlreadyExists { seq },
        })
    }

    /// Applies all transfers in order, or changes nothing. Later ones see what earlier ones did.
    ///
    /// Returns the new journal entries; transfers that were applied before add none. Hand them to
    /// [`Ledger::stage`].
    ///
    /// # Errors
    /// `Rejected` with the first refused transfer's place, id and reason.
    pub fn apply_all(&mut self, transfers: &[Transfer]) -> Result<Vec<JournalEntry>, LedgerError> {
        let mut draft = Draft::new(self);
        for (index, transfer) in transfers.iter().enumerate() {
            draft
                .apply(*transfer)
                .map_err(|reason| LedgerError::Rejected {
                    index,
                    id: transfer.id(),
                    reason,
                })?;
        }
        let changes = draft.finish();
        Ok(self.merge(changes))
    }

    /// The end of the journal.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// What stands on an account; all zero for one never touched.
    #[must_use]
    pub fn balance(&self, account: &Account) -> Balance {
        self.balances.get(account).copied().unwrap_or_default()
    }

    /// Every account ever touched, in order.
    pub fn balances(&self) -> impl Iterator<Item = (&Account, &Balance)> {
        self.balances.iter()
    }

    /// A reservation, open or resolved.
    #[must_use]
    pub fn pending(&self, id: &TransferId) -> Option<Pending> {
        let open = self.open.get(id);
        open.or_else(|| self.resolved.get(id)).copied()
    }

    /// Every open reservation, in order of id.
    pub fn open_pendings(&self) -> impl Iterator<Item = (&TransferId, &Pending)> {
        self.open.iter()
    }

    /// Number and content of an accepted transfer.
    #[must_use]
    pub fn applied_transfer(&self, id: &TransferId) -> Option<(u64, Transfer)> {
        self.applied.get(id).copied()
    }

    fn merge(&mut self, changes: crate::draft::Changes) -> Vec<JournalEntry> {
        self.balances.extend(changes.balances);
        for (id, pending) in changes.pendings {
            if pending.state == PendingState::Open {
                self.open.insert(id, pending);
            } else {
                self.open.remove(&id);
                self.resolved.insert(id, pending);
            }
        }
        self.applied.extend(changes.applied);
        if let Some(last) = changes.entries.last() {
            self.head = last.head();
        }
        changes.entries
    }
}
