//! The journal: one entry per accepted transfer, each bound to the one before it.

use jobs::digest::{Digest, Domain};
use serde::{Deserialize, Serialize};

use crate::Transfer;

/// Most entries a journal may hold. A ledger keeps about 300 bytes in memory per entry, so this is the
/// order of 20 GB: an operator is to move to another cell long before.
pub const JOURNAL_ENTRIES_MAX: u64 = 1 << 26;

/// The end of the journal. An empty journal's head is number 0 with the zero digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Head {
    /// Number of the last entry.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
}

/// One accepted transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Its number: 1, 2, 3, … without gaps.
    pub seq: u64,
    /// The hash of the entry before it; the zero digest for the first.
    pub prev: Digest,
    /// What was done.
    pub transfer: Transfer,
    /// The hash of number, `prev` and transfer.
    pub hash: Digest,
}

impl JournalEntry {
    /// The entry that follows `head`; `None` above [`JOURNAL_ENTRIES_MAX`].
    #[must_use]
    pub fn after(head: &Head, transfer: Transfer) -> Option<Self> {
        let next = head.seq.checked_add(1);
        let seq = next.filter(|seq| *seq <= JOURNAL_ENTRIES_MAX)?;
        Some(Self {
            seq,
            prev: head.hash,
            transfer,
            hash: link(seq, &head.hash, &transfer),
        })
    }

    /// Whether the entry's hash is the hash of its content.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.hash == link(self.seq, &self.prev, &self.transfer)
    }

    /// The head of a journal that ends with this entry.
    #[must_use]
    pub const fn head(&self) -> Head {
        Head {
            seq: self.seq,
            hash: self.hash,
        }
    }
}

fn link(seq: u64, prev: &Digest, transfer: &Transfer) -> Digest {
    Digest::bind(
        Domain::Journal,
        &[
            &seq.to_be_bytes(),
            prev.as_bytes(),
            &transfer.canonical_bytes(),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ledger, LedgerError, Rejection, TransferId};

    #[test]
    fn a_full_journal_refuses_by_name() {
        let mut ledger = Ledger::new();
        ledger.head.seq = JOURNAL_ENTRIES_MAX;
        let before = ledger.clone();
        let transfer = Transfer::Close {
            id: TransferId::default(),
            account: crate::Account::Escrow(jobs::ids::JobId::default()),
        };
        let error = ledger.apply(transfer).unwrap_err();
        let reason = Rejection::JournalFull {
            entries: JOURNAL_ENTRIES_MAX,
        };
        assert_eq!(error.rejection(), Some(reason));
        assert!(matches!(error, LedgerError::Rejected { index: 0, .. }));
        assert_eq!(ledger, before);
    }
}
