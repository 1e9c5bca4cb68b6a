//! The ledger in a store: journal, balances, reservations, head.

use std::collections::BTreeSet;

use store::{Batch, Cell, Column, KeyRange, StoreError, Table, View};

use crate::{
    Account, Applied, Balance, Head, JournalEntry, Ledger, LedgerError, Pending, Transfer,
    TransferId,
};

/// Every accepted transfer, by number.
pub(crate) const JOURNAL: Table<u64, JournalEntry> = Table::new(Column::Journal, 1);
/// Every account ever touched.
pub(crate) const BALANCES: Table<Account, Balance> = Table::new(Column::Balances, 1);
/// Every reservation and what became of it.
pub(crate) const PENDINGS: Table<TransferId, Pending> = Table::new(Column::Pendings, 1);
/// The end of the journal.
pub(crate) const HEAD: Cell<Head> = Cell::new("ledger.head", 1);

/// Entries of a stored journal after number `after`, at most `limit`.
///
/// # Errors
/// If a row cannot be read.
pub fn journal(kv: &dyn View, after: u64, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
    let from = KeyRange::all().starting_at(store::Key::to_bytes(&after.saturating_add(1)));
    let page = JOURNAL.page(kv, &from, limit)?;
    Ok(page.rows.into_iter().map(|(_, entry)| entry).collect())
}

impl Ledger {
    /// Adds the rows that `entries` changed to `batch`: the entries, the balances and reservations they
    /// touched as they are now, and the head.
    ///
    /// `entries` must be everything this ledger accepted since the last staging; the caller adds its own
    /// rows and commits once.
    ///
    /// # Errors
    /// `Store` when a row cannot be encoded; the batch is then incomplete and must be dropped.
    pub fn stage(&self, entries: &[JournalEntry], batch: &mut Batch) -> Result<(), LedgerError> {
        let mut accounts = BTreeSet::new();
        let mut pendings = BTreeSet::new();
        for entry in entries {
            JOURNAL.put(batch, &entry.seq, entry)?;
            match entry.transfer {
                Transfer::Post { from, to, .. } => {
                    accounts.extend([from, to]);
                }
                Transfer::Pend { id: pending, .. }
                | Transfer::PostPending { pending, .. }
                | Transfer::VoidPending { pending, .. }
                | Transfer::Expire { pending, .. } => {
                    pendings.insert(pending);
                }
                Transfer::Close { account, .. } => {
                    accounts.insert(account);
                }
            }
        }
        for id in pendings {
            if let Some(pending) = self.pending(&id) {
                accounts.extend([pending.from, pending.to]);
                PENDINGS.put(batch, &id, &pending)?;
            }
        }
        for account in accounts {
            BALANCES.put(batch, &account, &self.balance(&account))?;
        }
        if !entries.is_empty() {
            HEAD.put(batch, &self.head())?;
        }
        Ok(())
    }

    /// Rebuilds the ledger from its journal and compares it with the stored head, balances and
    /// reservations.
    ///
    /// # Errors
    /// `Inconsistent` at the first difference, `Store` when rows cannot be read. Nothing is repaired.
    pub fn load(kv: &dyn View) -> Result<Self, LedgerError> {
        let mut ledger = Self::new();
        JOURNAL.for_each(kv, KeyRange::all(), |seq, entry| ledger.replay(seq, &entry))?;
        ledger.compare_with(kv)?;
        Ok(ledger)
    }

    /// Applies a stored entry, which must be the very entry this ledger would write next.
    ///
    /// # Errors
    /// `Inconsistent` when number, hash or chain do not fit or the transfer is refused.
    pub fn replay(&mut self, seq: u64, entry: &JournalEntry) -> Result<(), LedgerError> {
        let expected = JournalEntry::after(&self.head, entry.transfer);
        if expected.as_ref() != Some(entry) || seq != entry.seq {
            return Err(inconsistent(format!(
                "journal row {seq} does not follow entry {}",
                self.head.seq
            )));
        }
        match self.apply(entry.transfer) {
            Ok(Applied::Entry(_)) => Ok(()),
            Ok(Applied::AlreadyExists { seq: before }) => Err(inconsistent(format!(
                "journal row {seq} repeats entry {before}"
            ))),
            Err(error) => Err(inconsistent(format!("journal row {seq}: {error}"))),
        }
    }

    fn compare_with(&self, kv: &dyn View) -> Result<(), LedgerError> {
        let head = HEAD.get(kv)?.unwrap_or_default();
        if head != self.head {
            return Err(inconsistent(format!(
                "the journal ends at {}, the stored head is {}",
                self.head.seq, head.seq
            )));
        }
        let mut accounts: usize = 0;
        BALANCES.for_each(kv, KeyRange::all(), |account, balance| {
            accounts = accounts.saturating_add(1);
            same(&account, self.balances.get(&account) == Some(&balance))
        })?;
        let mut pendings: usize = 0;
        PENDINGS.for_each(kv, KeyRange::all(), |id, pending| {
            pendings = pendings.saturating_add(1);
            same(&id, self.pending(&id) == Some(pending))
        })?;
        let derived = self.open.len().saturating_add(self.resolved.len());
        same(&"the number of accounts", accounts == self.balances.len())?;
        same(&"the number of pending transfers", pendings == derived)
    }
}

/// The end of the journal in `kv`, without looking at anything else.
///
/// # Errors
/// `Store` when it cannot be read.
pub fn stored_head(kv: &dyn View) -> Result<Head, LedgerError> {
    Ok(HEAD.get(kv)?.unwrap_or_default())
}

fn same(what: &dyn std::fmt::Display, equal: bool) -> Result<(), LedgerError> {
    if equal {
        return Ok(());
    }
    let detail = format!("{what} is stored differently from what the journal gives");
    Err(inconsistent(detail))
}

fn inconsistent(detail: String) -> LedgerError {
    LedgerError::Inconsistent { detail }
}

/// The rows of one table as raw bytes, page by page, so that an unreadable row does not end the walk.
pub(crate) fn for_each_raw(
    kv: &dyn View,
    column: Column,
    mut each: impl FnMut(&[u8], &[u8]),
) -> Result<(), StoreError> {
    let mut rest = Some(KeyRange::all());
    while let Some(range) = rest {
        let page = kv.scan(column, &range, store::PAGE_ROWS_MAX)?;
        for (key, value) in &page.rows {
            each(key, value);
        }
        rest = page.next.map(|key| range.starting_at(key));
    }
    Ok(())
}
