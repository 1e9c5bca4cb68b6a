//! Trouble of the aggregator's own: nobody else is blamed for it, and it ends when its cause does.

use std::time::Duration;

use api::types::JobPhase;
use jobs::compare::Comparator;
use jobs::package::{Dtype, OutputFormat};

use super::provider::{Manner, Scripted};
use super::rig::{DEPOSIT, Rig, TestJob, component};

/// Two honest providers whose reveals wait.
async fn held(rig: &Rig) -> [Scripted; 2] {
    let providers = [1, 2].map(|seed| Scripted::held(seed, Manner::Honest));
    for provider in &providers {
        provider.offer(&rig.running).await;
    }
    providers
}

/// Four items of 2 KiB each.
fn large() -> TestJob {
    let items = ["a", "b", "c", "d"].map(|letter| format!("\"{}\"", letter.repeat(2048)));
    let mut job = TestJob::with(&component(""), &items.each_ref().map(String::as_str));
    job.package.limits.output_bytes_per_item = 4096;
    job
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reveal_that_cannot_be_looked_at_is_not_held_against_its_provider() {
    let rig = Rig::with(|settings| settings.reveal_timeout_ms = 1500).await;
    rig.fund().await;
    let mut providers = held(&rig).await;
    let id = rig.run(&large()).await.job;
    for provider in &mut providers {
        provider.committed(2).await;
    }
    let shared = rig.shared();
    // Busy with other jobs for longer than a reveal may take, and then without room for outputs.
    let busy = shared.heavy.acquire_many(16).await.unwrap();
    let filler = rig.fill_blobs(1024);
    for provider in &providers {
        provider.open();
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    for provider in &providers {
        assert_eq!(rig.failures(provider.id).await, 0);
    }
    shared.blobs.remove(&filler.digest).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    for provider in &providers {
        assert_eq!(rig.failures(provider.id).await, 0);
    }
    drop(busy);
    drop(shared);
    let view = rig.ended(id).await;
    assert_eq!((view.reason, view.agreements), (None, 4));
    assert_eq!(view.assignments, 4, "nobody was replaced");
    rig.check_money().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_does_not_reveal_is_given_up_in_time() {
    let rig = Rig::with(|settings| settings.reveal_timeout_ms = 1500).await;
    rig.fund().await;
    let mut providers = held(&rig).await;
    rig.run(&TestJob::new()).await;
    for provider in &mut providers {
        provider.committed(2).await;
    }
    let first = providers[0].id;
    rig.until(async |_| (rig.failures(first).await > 0).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_cannot_be_stored_is_stored_when_there_is_room() {
    let rig = Rig::new().await;
    rig.fund().await;
    let mut providers = held(&rig).await;
    let id = rig.run(&large()).await.job;
    for provider in &mut providers {
        provider.committed(2).await;
    }
    // Room for the outputs of two shards of 4 KiB each and their trees, and not for the result.
    let filler = rig.fill_blobs(12 << 10);
    for provider in &providers {
        provider.open();
    }
    let merging = async |http: &api::client::Client| {
        let view = http.job(id).await.unwrap();
        (view.phase == JobPhase::Merging).then_some(())
    };
    rig.until(merging).await;
    // Longer than a handful of tries takes.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.http.job(id).await.unwrap().phase, JobPhase::Merging);
    rig.shared().blobs.remove(&filler.digest).unwrap();
    let view = rig.ended(id).await;
    assert_eq!((view.phase, view.reason), (JobPhase::Done, None));
    rig.check_money().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_that_cannot_be_stored_are_stored_when_there_is_room() {
    let rig = Rig::new().await;
    rig.fund().await;
    let _providers = [
        Scripted::join(1, Manner::Honest, &rig.running).await,
        Scripted::join(2, Manner::Honest, &rig.running).await,
    ];
    let job = large();
    // Room for component and input, and not for the shards' inputs.
    let filler = rig.fill_blobs(12 << 10);
    let id = rig.run(&job).await.job;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.http.job(id).await.unwrap().phase, JobPhase::Waiting);
    rig.shared().blobs.remove(&filler.digest).unwrap();
    let view = rig.ended(id).await;
    assert_eq!((view.phase, view.reason), (JobPhase::Done, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_connection_is_not_the_providers_refusal() {
    // Until this has passed nobody can be blamed for not answering; what found no room was handed
    // back by then.
    let accept_timeout_ms = 6000;
    let rig = Rig::with(|settings| settings.accept_timeout_ms = accept_timeout_ms).await;
    rig.fund().await;
    let mute = Scripted::join(1, Manner::Mute, &rig.running).await;
    let numbers: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let items: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let mut job = TestJob::with(&component(""), &items);
    job.package.items_per_shard = 1;
    job.package.replication.replicas = 1;
    rig.run(&job).await;
    let blamed = rig.until(async |_| {
        let failures = rig.failures(mute.id).await;
        (failures > 0).then_some(failures)
    });
    assert_eq!(blamed.await, 32, "as many as could be sent");
}

/// A job whose outputs are compared as numbers.
fn numeric() -> TestJob {
    let mut job = TestJob::with(&component(""), &["aaaa", "bbbb", "cccc", "dddd"]);
    job.package.output = OutputFormat::Items;
    job.package.comparator = Comparator::Numeric {
        dtype: Dtype::F32,
        atol: 1e-4,
        rtol: 1e-3,
        min_cosine: 0.9,
        top1: None,
        rms: None,
    };
    job
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outputs_that_are_no_numbers_end_the_job_by_its_own_fault() {
    let rig = Rig::new().await;
    rig.fund().await;
    let providers = [
        Scripted::join(1, Manner::NotANumber, &rig.running).await,
        Scripted::join(2, Manner::NotANumber, &rig.running).await,
    ];
    let id = rig.run(&numeric()).await.job;
    let view = rig.ended(id).await;
    let reason = view.reason.unwrap_or_default();
    assert!(
        reason.contains("component failed on every replica"),
        "{reason}"
    );
    assert_eq!(rig.balance(&rig.account()).await, DEPOSIT);
    for provider in &providers {
        assert_eq!(rig.failures(provider.id).await, 0);
    }
    rig.check_money().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_still_judged_and_their_record_verifies() {
    let rig = Rig::new().await;
    rig.fund().await;
    let liar = Scripted::join(3, Manner::NotANumber, &rig.running).await;
    let _first = Scripted::join(1, Manner::Honest, &rig.running).await;
    let _second = Scripted::join(2, Manner::Honest, &rig.running).await;
    let id = rig.run(&numeric()).await.job;
    let view = rig.ended(id).await;
    assert_eq!(view.phase, JobPhase::Done, "{:?}", view.reason);
    assert!(view.paid.iter().all(|(provider, _)| *provider != liar.id));
    let record = rig.until(async |http| http.record(id).await.ok()).await;
    let blob = |blob: &jobs::digest::BlobRef| std::fs::read(rig.blob_path(blob)).ok();
    record.verify(&blob).unwrap();
}
