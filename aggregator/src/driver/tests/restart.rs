//! What a restart finds again.

use jobs::money::Amount;

use super::provider::{EARNED, Manner, Scripted};
use super::rig::{Rig, TestJob, config};
use crate::{Error, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_commitment_and_reveal_costs_nobody_anything() {
    let mut rig = Rig::new().await;
    rig.fund().await;
    let mut providers = [
        Scripted::held(1, Manner::Honest),
        Scripted::held(2, Manner::Honest),
    ];
    for provider in &providers {
        provider.offer(&rig.running).await;
    }
    let reply = rig.run(&TestJob::new()).await;
    for provider in &mut providers {
        provider.committed(2).await;
    }
    rig = rig.restarted(true).await;
    let view = rig.http.job(reply.job).await.unwrap();
    assert!(!view.phase.is_terminal(), "{view:?}");
    for provider in &providers {
        provider.offer(&rig.running).await;
        provider.open();
    }
    let view = rig.ended(reply.job).await;
    assert_eq!((view.reason, view.agreements), (None, 4));
    let each = Amount(EARNED.0 * 2);
    let mut paid: Vec<_> = providers.iter().map(|p| (p.id, each)).collect();
    paid.sort();
    assert_eq!(view.paid, paid);
    rig.check_money().await;

    // Once more: what was paid stays paid, once.
    let balances = rig.http.balances().await.unwrap();
    let rig = rig.restarted(false).await;
    assert_eq!(rig.http.balances().await.unwrap(), balances);
    let record = rig.until(async |http| http.record(reply.job).await.ok());
    let record = record.await;
    let blob = |blob: &jobs::digest::BlobRef| std::fs::read(rig.blob_path(blob)).ok();
    record.verify(&blob).unwrap();
    rig.check_money().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_aggregator_lets_go_of_its_directory() {
    let mut rig = Rig::new().await;
    rig.fund().await;
    for _ in 0..3 {
        // An idle connection and a provider that never answers hold nothing back.
        let _silent = Scripted::join(1, Manner::Silent, &rig.running).await;
        let _idle = tokio::net::TcpStream::connect(rig.running.http).await;
        rig = rig.restarted(false).await;
    }
    assert_eq!(rig.balance(&rig.account()).await, super::rig::DEPOSIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_directory_is_one_running_aggregator() {
    let rig = Rig::new().await;
    let second = start(config(rig.dir.path())).await.unwrap_err();
    assert!(
        matches!(second, Error::Store(store::StoreError::Locked { .. })),
        "{second}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_may_change_between_runs_but_not_the_identity() {
    let rig = Rig::new().await;
    rig.fund().await;
    let Rig {
        dir, running, key, ..
    } = rig;
    running.stop().await;
    let mut other = config(dir.path());
    other.fee_bps = 200;
    // Twice: the second start replays what the first one wrote.
    for _ in 0..2 {
        let running = start(other.clone()).await.unwrap();
        running.stop().await;
    }
    let account = format!("client:{}", key.client_id());
    let rig = Rig::of(dir, start(other.clone()).await.unwrap());
    assert_eq!(rig.balance(&account).await, super::rig::DEPOSIT);
    let Rig { dir, running, .. } = rig;
    running.stop().await;
    other.seed = [201; 32];
    let refused = start(other).await.unwrap_err();
    assert!(matches!(refused, Error::Config(_)), "{refused}");
    drop(dir);
}

#[test]
fn an_aggregator_whose_executor_is_dropped_lets_go_of_its_directory() {
    // Otherwise a program that ends without stopping it leaves a thread in the store, and the
    // store's library aborts the process when its own globals go.
    for _ in 0..3 {
        let executor = tokio::runtime::Runtime::new().unwrap();
        let dir = executor.block_on(async {
            let Rig { dir, .. } = Rig::new().await;
            dir
        });
        drop(executor);
        drop(super::super::open_store(dir.path()).unwrap());
    }
}
