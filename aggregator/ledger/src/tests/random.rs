//! Random histories: the invariants hold after every step, and the journal tells the same story.

use jobs::money::Amount;
use proptest::prelude::*;

use super::{account, id};
use crate::audit::Derived;
use crate::{Account, Applied, Ledger, Transfer, TransferId};

const ACCOUNTS: [&str; 9] = [
    "outside",
    "client:a",
    "client:b",
    "escrow:i",
    "escrow:j",
    "provider:p",
    "stake:p",
    "fee",
    "slashed",
];

/// Few ids, so that histories are full of retries and collisions.
fn transfer_id() -> impl Strategy<Value = TransferId> {
    (0..80_u8).prop_map(|n| id(&n.to_string()))
}

/// Even fewer for reservations, so that most are resolved, and resolved again.
fn pending_id() -> impl Strategy<Value = TransferId> {
    (0..10_u8).prop_map(|n| id(&n.to_string()))
}

fn any_transfer() -> impl Strategy<Value = Transfer> {
    let place = || prop::sample::select(ACCOUNTS.map(account).to_vec());
    // Deposits are made likely, or most histories would be refusals for want of money.
    let from = || prop_oneof![2 => Just(account("outside")), 3 => place()];
    let amount = || {
        prop_oneof![
            20 => (0..100_u128).prop_map(Amount),
            1 => Just(jobs::money::AMOUNT_MAX),
            1 => Just(Amount(u128::MAX)),
        ]
    };
    prop_oneof![
        3 => (transfer_id(), from(), place(), amount()).prop_map(|(id, from, to, amount)| {
            Transfer::Post { id, from, to, amount }
        }),
        3 => (pending_id(), from(), place(), amount()).prop_map(|(id, from, to, amount)| {
            Transfer::Pend { id, from, to, amount }
        }),
        3 => (transfer_id(), pending_id(), amount()).prop_map(|(id, pending, amount)| {
            Transfer::PostPending { id, pending, amount }
        }),
        1 => (transfer_id(), pending_id())
            .prop_map(|(id, pending)| Transfer::VoidPending { id, pending }),
        1 => (transfer_id(), pending_id())
            .prop_map(|(id, pending)| Transfer::Expire { id, pending }),
        1 => (transfer_id(), place()).prop_map(|(id, account)| Transfer::Close { id, account }),
    ]
}

proptest! {
    #[test]
    fn invariants_hold_after_every_step_and_the_journal_replays(
        transfers in prop::collection::vec(any_transfer(), 0..120)
    ) {
        let mut ledger = Ledger::new();
        let mut replayed = Ledger::new();
        let mut derived = Derived::default();
        for transfer in transfers {
            let before = ledger.clone();
            match ledger.apply(transfer) {
                Ok(Applied::Entry(entry)) => {
                    prop_assert!(entry.is_intact());
                    prop_assert_eq!(entry.prev, before.head().hash);
                    prop_assert_eq!(entry.seq, before.head().seq + 1);
                    replayed.replay(entry.seq, &entry).unwrap();
                    derived.apply(&transfer).unwrap();
                }
                Ok(Applied::AlreadyExists { .. }) | Err(_) => prop_assert_eq!(&ledger, &before),
            }
            ledger.check().unwrap();
        }
        prop_assert_eq!(&ledger, &replayed);
        // The audit's own way of counting comes to the same sums.
        for (account, balance) in ledger.balances() {
            prop_assert_eq!(derived.balance(account), Some(*balance));
        }
        prop_assert_eq!(derived.balances().count(), ledger.balances().count());
        for (id, pending) in derived.pendings() {
            prop_assert_eq!(ledger.pending(id), Some(*pending));
        }
        // A snapshot is the ledger.
        let bytes = postcard::to_stdvec(&ledger).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Ledger>(&bytes).unwrap(), ledger);
    }

    #[test]
    fn a_group_equals_its_members_one_by_one_or_nothing(
        setup in prop::collection::vec(any_transfer(), 0..30),
        group in prop::collection::vec(any_transfer(), 0..4),
    ) {
        let mut ledger = Ledger::new();
        for transfer in setup {
            let _ = ledger.apply(transfer);
        }
        let before = ledger.clone();
        let mut single = ledger.clone();
        let refused = group.iter().position(|transfer| single.apply(*transfer).is_err());
        match ledger.apply_all(&group) {
            Ok(entries) => {
                prop_assert_eq!(refused, None);
                prop_assert_eq!(&ledger, &single);
                let count = ledger.head().seq - before.head().seq;
                prop_assert_eq!(entries.len() as u64, count);
            }
            Err(crate::LedgerError::Rejected { index, .. }) => {
                prop_assert_eq!(refused, Some(index));
                prop_assert_eq!(&ledger, &before);
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}

/// Breaks something of the client's or the escrow's account, or elsewhere.
type Damage = fn(&mut Ledger, Account, Account);

#[test]
fn a_damaged_snapshot_is_noticed() {
    let mut sound = Ledger::new();
    sound.apply_all(&super::history()).unwrap();
    sound.check().unwrap();
    let client = account("client:a");
    let escrow = account("escrow:j");
    let damages: [(&str, Damage); 6] = [
        ("posted debits sum to", |ledger, client, _| {
            ledger.balances.get_mut(&client).unwrap().credits_posted = Amount(5_000);
        }),
        ("is below zero", |ledger, client, _| {
            ledger.balances.get_mut(&client).unwrap().debits_pending = Amount(5_000);
        }),
        ("reserved to leave and to come", |ledger, client, _| {
            ledger.balances.get_mut(&client).unwrap().credits_pending = Amount(1);
        }),
        ("is closed and not settled", |ledger, _, escrow| {
            ledger.balances.get_mut(&escrow).unwrap().credits_pending = Amount(1);
        }),
        ("cannot be in", |ledger, _, _| {
            let (id, pending) = ledger.open.iter().next().unwrap();
            ledger.resolved.insert(*id, *pending);
        }),
        ("transfers were accepted", |ledger, _, _| {
            ledger.head.seq += 1
        }),
    ];
    for (message, damage) in damages {
        let mut ledger = sound.clone();
        damage(&mut ledger, client, escrow);
        let violation = ledger.check().unwrap_err().to_string();
        assert!(violation.contains(message), "{message}: {violation}");
    }
}
