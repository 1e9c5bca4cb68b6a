//! The ledger in a store: it loads as it was, crashes leave it whole, and tampering is named.

use store::{Batch, Fault, FaultyStore, Key, Kv, MemoryStore, RocksStore, View};

use super::{account, history, id, transfer};
use crate::tables::{BALANCES, HEAD, JOURNAL, PENDINGS};
use crate::{AuditReport, Head, Ledger, LedgerError, Transfer, TransferId, audit, audit_against};

/// Applies and commits each transfer on its own.
fn commit_each(ledger: &mut Ledger, kv: &dyn Kv, transfers: &[Transfer]) {
    for transfer in transfers {
        let entries = ledger.apply_all(&[*transfer]).unwrap();
        let mut batch = Batch::new();
        ledger.stage(&entries, &mut batch).unwrap();
        kv.commit(batch).unwrap();
    }
}

fn stored_history() -> (Ledger, MemoryStore) {
    let (mut ledger, kv) = (Ledger::new(), MemoryStore::new());
    commit_each(&mut ledger, &kv, &history());
    (ledger, kv)
}

#[test]
fn a_stored_ledger_loads_as_it_was_and_audits_clean() {
    let dir = tempfile::tempdir().unwrap();
    let twins: [Box<dyn Fn() -> Box<dyn Kv>>; 2] = [
        {
            let memory = MemoryStore::new();
            Box::new(move || Box::new(memory.clone()))
        },
        Box::new(|| Box::new(RocksStore::open(dir.path()).unwrap())),
    ];
    for open in twins {
        assert_eq!(Ledger::load(open().as_ref()).unwrap(), Ledger::new());
        assert!(audit(open().as_ref()).unwrap().is_clean());
        let mut ledger = Ledger::new();
        // Some one by one, the rest as one batch: both ways must store the same rows.
        let transfers = history();
        let (first, rest) = transfers.split_at(5);
        commit_each(&mut ledger, open().as_ref(), first);
        let entries = ledger.apply_all(rest).unwrap();
        let mut batch = Batch::new();
        ledger.stage(&entries, &mut batch).unwrap();
        open().commit(batch).unwrap();

        let loaded = Ledger::load(open().as_ref()).unwrap();
        assert_eq!(loaded, ledger);
        loaded.check().unwrap();
        let report = audit_against(open().as_ref(), Some(ledger.head())).unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
        check_report(&report, &ledger);
    }
}

fn check_report(report: &AuditReport, ledger: &Ledger) {
    assert_eq!(report.entries, 13);
    assert_eq!(report.stored_head, ledger.head());
    assert_eq!(report.accounts, ledger.balances().count() as u64);
    assert_eq!(report.deposited.0, 1_500);
    assert_eq!(report.withdrawn.0, 0);
    assert_eq!(report.debits_posted, report.credits_posted);
    assert_eq!((report.open_pendings, report.reserved.0), (1, 60));
    let escrows: Vec<_> = report
        .open_escrows
        .iter()
        .map(|line| line.account)
        .collect();
    assert_eq!(escrows, [account("escrow:k")]);
    let json = serde_json::to_string(report).unwrap();
    assert!(json.contains("\"account\":\"escrow:blake3:"), "{json}");
    assert!(json.contains("\"reserved\":\"0.000060\""), "{json}");
    assert_eq!(serde_json::from_str::<AuditReport>(&json).unwrap(), *report);
}

#[test]
fn every_crash_leaves_a_ledger_that_loads_and_can_go_on() {
    let transfers = history();
    for crash_at in 0..transfers.len() as u64 {
        for (fault, landed) in [
            (Fault::Full, false),
            (Fault::IoLanded, true),
            (Fault::CrashBefore, false),
            (Fault::CrashAfter, true),
        ] {
            let disk = MemoryStore::new();
            let kv = FaultyStore::new(disk.clone(), [(crash_at, fault)]);
            let mut ledger = Ledger::new();
            let acknowledged = transfers
                .iter()
                .take_while(|transfer| {
                    let entries = ledger.apply_all(&[**transfer]).unwrap();
                    let mut batch = Batch::new();
                    ledger.stage(&entries, &mut batch).unwrap();
                    kv.commit(batch).is_ok()
                })
                .count() as u64;
            assert_eq!(acknowledged, crash_at);

            let mut restarted = Ledger::load(&disk).unwrap();
            assert_eq!(restarted.head().seq, crash_at + u64::from(landed));
            restarted.check().unwrap();
            assert!(audit(&disk).unwrap().is_clean());
            // Not knowing what landed, the caller sends everything again: nothing happens twice.
            commit_each(&mut restarted, &disk, &transfers);
            let (expected, _) = stored_history();
            assert_eq!(restarted, expected, "{fault:?} at {crash_at}");
            assert_eq!(Ledger::load(&disk).unwrap(), expected);
        }
    }
}

/// Tampers with a stored history; the audit must say exactly this (as far as each text goes), and the
/// ledger must refuse to load.
fn check_tampered(what: &str, tamper: impl FnOnce(&MemoryStore, &mut Batch), expected: &[&str]) {
    let (ledger, kv) = stored_history();
    let mut batch = Batch::new();
    tamper(&kv, &mut batch);
    kv.commit(batch).unwrap();
    let report = audit_against(&kv, Some(ledger.head())).unwrap();
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(findings.len(), expected.len(), "{what}: {findings:#?}");
    for (finding, expected) in findings.iter().zip(expected) {
        assert!(finding.contains(expected), "{what}: {findings:#?}");
    }
    assert!(!report.is_clean());
    assert_eq!(report.findings_total, findings.len() as u64);
    let error = Ledger::load(&kv).unwrap_err();
    assert!(
        matches!(
            error,
            LedgerError::Inconsistent { .. } | LedgerError::Store(_)
        ),
        "{what}: {error}"
    );
}

/// Puts `entry` back after `change`, with the hash its new content needs if `rehash`.
fn rewrite(
    kv: &MemoryStore,
    batch: &mut Batch,
    seq: u64,
    rehash: bool,
    change: impl FnOnce(Transfer) -> Transfer,
) {
    let mut entry = JOURNAL.get(kv, &seq).unwrap().unwrap();
    entry.transfer = change(entry.transfer);
    if rehash {
        let before = Head {
            seq: seq - 1,
            hash: entry.prev,
        };
        entry = crate::JournalEntry::after(&before, entry.transfer).unwrap();
    }
    JOURNAL.put(batch, &seq, &entry).unwrap();
}

#[test]
fn missing_journal_entries_are_named() {
    check_tampered(
        "a missing entry",
        |_, batch| JOURNAL.delete(batch, &9),
        &[
            "journal gap: expected entry 9, found 10",
            "journal entry 11 closes escrow:",
            "escrow:",
            "fee: stored",
        ],
    );
    check_tampered(
        "a missing end",
        |_, batch| JOURNAL.delete(batch, &13),
        &[
            "the stored head is entry 13, the journal ends at 12",
            "entry 13 with hash",
            "escrow:",
            "provider:",
            "derived None",
        ],
    );
}

#[test]
fn rewriting_the_journal_is_named() {
    check_tampered(
        "a changed amount",
        |kv, batch| {
            rewrite(kv, batch, 4, false, |_| {
                transfer(&["post", "fund", "client:a", "escrow:j", "401"])
            });
        },
        &[
            "journal entry 4 does not have the hash it states",
            "journal entry 11 closes escrow:",
            "client:",
            "escrow:",
        ],
    );
    check_tampered(
        "a changed amount under a new hash",
        |kv, batch| {
            rewrite(kv, batch, 12, true, |_| {
                transfer(&["post", "next", "client:a", "escrow:k", "99"])
            });
        },
        &[
            "journal entry 13 does not follow the entry before it",
            "client:",
            "escrow:",
        ],
    );
    check_tampered(
        "a copied entry",
        |kv, batch| {
            let entry = JOURNAL.get(kv, &13).unwrap().unwrap();
            JOURNAL.put(batch, &14, &entry).unwrap();
        },
        &[
            "journal row 14 holds entry 13",
            "journal entry 14 does not follow the entry before it",
            "appears twice",
            "the stored head is entry 13, the journal ends at 14",
        ],
    );
    check_tampered(
        "an overwritten entry",
        |_, batch| batch.put_raw(JOURNAL.column(), 9_u64.to_bytes(), vec![1, 2, 3]),
        &[
            "column journal, key 0000000000000009: value is malformed",
            "journal entry 11 closes escrow:",
            "escrow:",
            "fee: stored",
        ],
    );
}

#[test]
fn tampering_with_rows_is_named() {
    check_tampered(
        "a raised balance",
        |kv, batch| {
            let fee = account("fee");
            let mut balance = BALANCES.get(kv, &fee).unwrap().unwrap();
            balance.credits_posted.0 += 1;
            BALANCES.put(batch, &fee, &balance).unwrap();
        },
        &["fee: stored debits 0.000000 + 0.000000 pending, credits 0.000003"],
    );
    check_tampered(
        "a missing balance",
        |_, batch| BALANCES.delete(batch, &account("fee")),
        &["fee: stored nothing, derived debits 0.000000"],
    );
    check_tampered(
        "an invented balance",
        |kv, batch| {
            let balance = BALANCES.get(kv, &account("fee")).unwrap().unwrap();
            BALANCES.put(batch, &account("slashed"), &balance).unwrap();
        },
        &["slashed: stored debits"],
    );
    check_tampered(
        "a reopened reservation",
        |kv, batch| {
            let mut pending = PENDINGS.get(kv, &id("replica2")).unwrap().unwrap();
            pending.state = crate::PendingState::Open;
            PENDINGS.put(batch, &id("replica2"), &pending).unwrap();
        },
        &["state: Open }), derived"],
    );
    check_tampered(
        "a missing reservation",
        |_, batch| PENDINGS.delete(batch, &id("held")),
        &["stored None, derived Some("],
    );
    check_tampered(
        "a head set back",
        |kv, batch| {
            let before = JOURNAL.get(kv, &12).unwrap().unwrap();
            HEAD.put(batch, &before.head()).unwrap();
        },
        &["the stored head is entry 12, the journal ends at 13"],
    );
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (ledger, kv) = stored_history();
    let head = ledger.head();
    for column in [JOURNAL.column(), BALANCES.column(), PENDINGS.column()] {
        let page = kv.scan(column, &store::KeyRange::all(), 1000).unwrap();
        for (key, value) in page.rows {
            for bit in 0..value.len() * 8 {
                let fork = kv.fork();
                let mut damaged = value.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let mut batch = Batch::new();
                batch.put_raw(column, key.clone(), damaged);
                fork.commit(batch).unwrap();
                let report = audit_against(&fork, Some(head)).unwrap();
                assert!(!report.is_clean(), "{column}, key {key:?}, bit {bit}");
                assert!(Ledger::load(&fork).is_err(), "{column} {key:?} bit {bit}");
            }
        }
    }
}

#[test]
fn a_store_rolled_back_whole_is_caught_by_an_anchor_only() {
    let (mut ledger, kv) = (Ledger::new(), MemoryStore::new());
    let transfers = history();
    let (first, rest) = transfers.split_at(8);
    commit_each(&mut ledger, &kv, first);
    let old = kv.fork();
    commit_each(&mut ledger, &kv, rest);
    assert!(audit_against(&kv, Some(ledger.head())).unwrap().is_clean());
    assert!(audit(&old).unwrap().is_clean());
    let report = audit_against(&old, Some(ledger.head())).unwrap();
    assert_eq!(report.findings.len(), 1);
    let text = report.findings[0].to_string();
    assert!(text.starts_with("entry 13 with hash blake3:"), "{text}");
    assert!(text.ends_with("was seen earlier and is not in the journal"));
}

/// A forger who recomputes every hash still has to break a rule to gain anything.
#[test]
fn a_rehashed_forgery_breaks_a_rule() {
    let forged = [
        ("post  f  fee  client:z  3", "takes fee below zero"),
        ("post_pending  f  replica1  1", "a second time"),
        ("post_pending  f  held  61", "posts 0.000061 of 0.000060"),
        ("void  f  nothing", "which does not exist"),
        ("post  f  client:a  escrow:j  1", "which is closed"),
        ("close  f  escrow:k", "which cannot be closed"),
        ("post  pay  client:a  fee  1", "appears twice"),
        (
            "post  f  client:a  client:a  1",
            "moves 0.000001 from client:",
        ),
    ];
    for (line, expected) in forged {
        let (ledger, kv) = stored_history();
        let words: Vec<&str> = line.split_whitespace().collect();
        let head: Head = ledger.head();
        let entry = crate::JournalEntry::after(&head, transfer(&words)).unwrap();
        let mut batch = Batch::new();
        JOURNAL.put(&mut batch, &entry.seq, &entry).unwrap();
        HEAD.put(&mut batch, &entry.head()).unwrap();
        kv.commit(batch).unwrap();
        let report = audit(&kv).unwrap();
        let text = report.findings[0].to_string();
        assert!(text.starts_with("journal entry 14 "), "{text}");
        assert!(text.contains(expected), "{line}: {text}");
        assert!(Ledger::load(&kv).is_err());
    }
}

#[test]
fn unreadable_keys_are_reported() {
    let (_, kv) = stored_history();
    let mut batch = Batch::new();
    for column in [JOURNAL.column(), BALANCES.column(), PENDINGS.column()] {
        batch.put_raw(column, vec![200, 1], vec![1]);
    }
    kv.commit(batch).unwrap();
    let report = audit(&kv).unwrap();
    let unreadable = report
        .findings
        .iter()
        .filter(|finding| finding.to_string().contains("key c801: key is malformed"))
        .count();
    assert_eq!(unreadable, 3, "{:?}", report.findings);
    assert_eq!(TransferId::from_bytes(&[200, 1]), None);
}
