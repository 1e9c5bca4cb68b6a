//! A disk that fails: nothing is acknowledged that was not kept, and reads go on.

use std::sync::Arc;

use jobs::digest::{Digest, Domain};
use jobs::ids::{ClientId, ProviderId};
use jobs::money::Amount;
use ledger::{Account, FeeBps};
use store::{Fault, FaultyStore, Kv, MemoryStore, RocksStore};
use tokio::sync::oneshot;

use super::rig::{Rig, TOKEN, config};
use crate::core::{Config, Event, Movement};
use crate::driver::error::Error;
use crate::driver::handle::{Decided, Message};
use crate::driver::machine::Machine;
use crate::driver::start_on;

const CLIENT: ClientId = ClientId(Digest::from_bytes([5; 32]));

fn settings() -> Config {
    Config::new(ProviderId([9; 32]), FeeBps::new(100).unwrap())
}

type Answer = oneshot::Receiver<Result<Decided, Error>>;

/// A deposit of one micro-unit.
fn deposit(number: u8) -> (Message, Answer) {
    let (answer, answered) = oneshot::channel();
    let message = Message::Event {
        event: Box::new(move |request| Event::Move {
            request,
            id: Digest::bind(Domain::Transfer, &[&[number]]),
            movement: Movement::Deposit(CLIENT),
            amount: Amount(1),
        }),
        rows: Vec::new(),
        once: None,
        answer,
    };
    (message, answered)
}

/// Deposits `numbers` in one turn; which of them were acknowledged.
fn turn(machine: &mut Machine, numbers: std::ops::Range<u8>) -> Vec<bool> {
    let (mut messages, answers): (Vec<_>, Vec<_>) = numbers.map(deposit).unzip();
    machine.turn(&mut messages, &mut |_| {});
    let taken = |mut answer: Answer| match answer.try_recv().unwrap() {
        Ok(_) => true,
        Err(Error::NotStored(_)) => false,
        Err(error) => panic!("{error}"),
    };
    answers.into_iter().map(taken).collect()
}

/// What a question finds on the client's account; `None` if it is not answered.
fn balance(machine: &mut Machine) -> Option<Amount> {
    let (answer, mut answered) = oneshot::channel();
    let ask = Message::Ask(Box::new(move |core| {
        let balance = core.ledger().balance(&Account::Client(CLIENT));
        answer.send(balance.available().unwrap()).unwrap();
    }));
    machine.turn(&mut vec![ask], &mut |_| {});
    answered.try_recv().ok()
}

#[test]
fn a_failed_commit_is_refused_whole_and_a_restart_finds_what_the_disk_kept() {
    for (fault, landed, reads) in [
        (Fault::Full, false, true),
        (Fault::Io, false, true),
        (Fault::IoLanded, true, true),
        (Fault::CrashBefore, false, false),
        (Fault::CrashAfter, true, false),
    ] {
        let disk = Arc::new(MemoryStore::new());
        // Commit 0 is the first snapshot, 1 the first turn.
        let faulty = Arc::new(FaultyStore::new(Arc::clone(&disk), [(2, fault)]));
        let mut machine = Machine::load(faulty, settings()).unwrap();
        assert_eq!(turn(&mut machine, 0..3), [true; 3]);
        assert_eq!(turn(&mut machine, 3..5), [false; 2], "{fault:?}");
        assert_eq!(turn(&mut machine, 5..6), [false], "{fault:?}");
        let kept = Amount(if landed { 5 } else { 3 });
        assert_eq!(balance(&mut machine), reads.then_some(kept), "{fault:?}");

        let mut machine = Machine::load(disk, settings()).unwrap();
        assert_eq!(balance(&mut machine), Some(kept), "{fault:?}");
        // Repeated, every deposit counts once.
        assert_eq!(turn(&mut machine, 0..6), [true; 6]);
        assert_eq!(balance(&mut machine), Some(Amount(6)));
    }
}

#[test]
fn snapshots_replace_the_log_and_lead_to_the_same_core() {
    let disk: Arc<dyn Kv> = Arc::new(MemoryStore::new());
    let mut machine = Machine::load(Arc::clone(&disk), settings()).unwrap();
    for _ in 0..20 {
        assert_eq!(turn(&mut machine, 0..120), [true; 120]);
    }
    let snapshot = crate::driver::log::replay(&*disk).unwrap().snapshot;
    assert_eq!(snapshot, 2040);
    let mut machine = Machine::load(disk, settings()).unwrap();
    assert_eq!(balance(&mut machine), Some(Amount(120)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_507_and_reads_are_still_served() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RocksStore::open(dir.path().join("store")).unwrap();
    // 0: snapshot, 1: started, 2: the first deposit, 3: the second.
    let disk = FaultyStore::new(disk, [(3, Fault::Full)]);
    let running = start_on(disk, config(dir.path())).await.unwrap();
    let rig = Rig::of(dir, running);
    rig.fund().await;
    let before = rig.balance(&rig.account()).await;
    let body = serde_json::json!({
        "account": rig.account(), "amount": "1", "reference": "second",
    });
    let body = serde_json::to_vec(&body).unwrap();
    let token = format!("Bearer {TOKEN}");
    let headers = [
        ("content-type", "application/json"),
        ("authorization", token.as_str()),
    ];
    for _ in 0..2 {
        let answer = rig.raw("POST", "/ledger/deposits", &headers, &body).await;
        assert_eq!((answer.0, &answer.1["code"]), (507, &"storage-full".into()));
    }
    assert_eq!(rig.balance(&rig.account()).await, before);
    assert_eq!(rig.http.audit().await.unwrap()["clean"], true);
    assert_ne!(rig.http.health().await.unwrap().status, "ok");
    let rig = rig.restarted(false).await;
    assert_eq!(rig.balance(&rig.account()).await, before);
    assert!(rig.deposit(&rig.account(), Amount(1), "second").await);
    rig.check_money().await;
}
