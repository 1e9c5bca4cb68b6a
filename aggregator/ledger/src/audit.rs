//! The audit: what the journal alone says, against what the store says.
//!
//! It shares no code with [`crate::Ledger`]'s way of applying transfers, so that a mistake there cannot
//! hide itself here.

mod derive;
mod report;

use std::collections::BTreeSet;

use store::View;

use crate::tables::{BALANCES, HEAD, JOURNAL, PENDINGS, for_each_raw};
use crate::{Head, JournalEntry, LedgerError};
pub(crate) use derive::Derived;
pub use report::{AccountLine, AuditReport, FINDINGS_LISTED_MAX, Finding, LINES_LISTED_MAX};

/// Audits the ledger in `kv`, which nobody may write to meanwhile: of a store in use, pass a
/// snapshot. See [`audit_against`].
///
/// # Errors
/// `Store` only when the store itself fails; everything found in readable bytes is in the report.
pub fn audit(kv: &dyn View) -> Result<AuditReport, LedgerError> {
    audit_against(kv, None)
}

/// Re-derives every balance and reservation from the journal, verifies the hash chain without gaps,
/// and reports every difference from the stored rows.
///
/// `anchor` is a head that someone saw earlier (in a receipt, a signed checkpoint). A store that was
/// rolled back whole is consistent in itself; only an anchor can show it.
///
/// # Errors
/// `Store` only when the store itself fails; everything found in readable bytes is in the report.
pub fn audit_against(kv: &dyn View, anchor: Option<Head>) -> Result<AuditReport, LedgerError> {
    let mut report = AuditReport::default();
    let mut walk = Walk {
        anchor,
        ..Walk::default()
    };
    for_each_raw(kv, JOURNAL.column(), |key, value| {
        let row = JOURNAL
            .decode_key(key)
            .and_then(|seq| Ok((seq, JOURNAL.decode_value(key, value)?)));
        match row {
            Ok((seq, entry)) => walk.entry(seq, &entry, &mut report),
            Err(error) => {
                walk.unreadable(JOURNAL.decode_key(key).ok());
                report.find(Finding::Unreadable {
                    detail: error.to_string(),
                });
            }
        }
    })?;
    report.entries = walk.entries;
    report.derived_head = walk.head;
    check_head(kv, &mut report);
    check_anchor(&walk, &mut report);
    compare_balances(kv, &walk.derived, &mut report)?;
    compare_pendings(kv, &walk.derived, &mut report)?;
    walk.derived.totals(&mut report);
    Ok(report)
}

/// The walk along the journal.
#[derive(Debug, Default)]
struct Walk {
    head: Head,
    entries: u64,
    derived: Derived,
    anchor: Option<Head>,
    anchor_seen: bool,
    /// The row before the next entry is unreadable, so nothing can be said about the chain there.
    broken: bool,
}

impl Walk {
    /// Steps over a row that does not decode, so that it is reported once and not again as a gap.
    fn unreadable(&mut self, key: Option<u64>) {
        self.broken = true;
        if let Some(key) = key {
            self.head.seq = key;
        }
    }

    fn entry(&mut self, key: u64, entry: &JournalEntry, report: &mut AuditReport) {
        let seq = entry.seq;
        if key != seq {
            report.find(Finding::WrongNumber { key, seq });
        }
        let expected = self.head.seq.saturating_add(1);
        if key != expected {
            report.find(Finding::Gap {
                expected,
                found: key,
            });
        }
        if !entry.is_intact() {
            report.find(Finding::HashMismatch { seq: key });
        }
        if entry.prev != self.head.hash && key == expected && !self.broken {
            report.find(Finding::ChainBroken { seq: key });
        }
        if self.anchor == Some(entry.head()) {
            self.anchor_seen = true;
        }
        self.broken = false;
        self.entries = self.entries.saturating_add(1);
        // Go on from what is there: one damaged row must not hide what lies after it.
        self.head = Head {
            seq: key,
            hash: entry.hash,
        };
        if let Err(detail) = self.derived.apply(&entry.transfer) {
            report.find(Finding::Rule { seq: key, detail });
        }
    }
}

fn check_head(kv: &dyn View, report: &mut AuditReport) {
    match HEAD.get(kv) {
        Ok(stored) => {
            let stored = stored.unwrap_or_default();
            report.stored_head = stored;
            if stored != report.derived_head {
                let derived = report.derived_head;
                report.find(Finding::Head { stored, derived });
            }
        }
        Err(error) => report.find(Finding::Unreadable {
            detail: error.to_string(),
        }),
    }
}

fn check_anchor(walk: &Walk, report: &mut AuditReport) {
    match walk.anchor {
        Some(anchor) if !walk.anchor_seen && anchor != Head::default() => {
            report.find(Finding::AnchorMissing { anchor });
        }
        _ => {}
    }
}

fn compare_balances(
    kv: &dyn View,
    derived: &Derived,
    report: &mut AuditReport,
) -> Result<(), LedgerError> {
    let mut seen = BTreeSet::new();
    for_each_raw(kv, BALANCES.column(), |key, value| {
        let account = match BALANCES.decode_key(key) {
            Ok(account) => account,
            Err(error) => {
                return report.find(Finding::Unreadable {
                    detail: error.to_string(),
                });
            }
        };
        seen.insert(account);
        let stored = match BALANCES.decode_value(key, value) {
            Ok(stored) => Some(stored),
            Err(error) => {
                return report.find(Finding::Unreadable {
                    detail: error.to_string(),
                });
            }
        };
        let derived = derived.balance(&account);
        if stored != derived {
            report.find(Finding::Balance {
                account,
                stored,
                derived,
            });
        }
    })?;
    for (&account, balance) in derived.balances() {
        if !seen.contains(&account) {
            report.find(Finding::Balance {
                account,
                stored: None,
                derived: Some(*balance),
            });
        }
    }
    Ok(())
}

fn compare_pendings(
    kv: &dyn View,
    derived: &Derived,
    report: &mut AuditReport,
) -> Result<(), LedgerError> {
    let mut seen = BTreeSet::new();
    for_each_raw(kv, PENDINGS.column(), |key, value| {
        let row = PENDINGS.decode_key(key).and_then(|id| {
            seen.insert(id);
            Ok((id, PENDINGS.decode_value(key, value)?))
        });
        match row {
            Ok((id, stored)) => {
                let derived = derived.pending(&id);
                if Some(stored) != derived {
                    report.find(Finding::Pending {
                        id,
                        stored: Some(stored),
                        derived,
                    });
                }
            }
            Err(error) => report.find(Finding::Unreadable {
                detail: error.to_string(),
            }),
        }
    })?;
    for (&id, pending) in derived.pendings() {
        if !seen.contains(&id) {
            report.find(Finding::Pending {
                id,
                stored: None,
                derived: Some(*pending),
            });
        }
    }
    Ok(())
}
