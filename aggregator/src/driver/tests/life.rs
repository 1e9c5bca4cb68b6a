//! A job from its submission to the record that a client checks by itself.

use jobs::digest::BlobRef;
use jobs::money::Amount;

use super::provider::{EARNED, Manner, Scripted};
use super::rig::{DEPOSIT, MAX_PRICE, Rig, TestJob};
use crate::audit_at_rest;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_dispatched_committed_revealed_settled_and_recorded() {
    let rig = Rig::new().await;
    rig.fund().await;
    let first = Scripted::join(1, Manner::Honest, &rig.running).await;
    let second = Scripted::join(2, Manner::Honest, &rig.running).await;
    let job = TestJob::new();
    let reply = rig.run(&job).await;
    assert_eq!((reply.escrowed, reply.shards), (MAX_PRICE, 2));
    assert_eq!(reply.missing.len(), 2);

    let view = rig.ended(reply.job).await;
    assert_eq!(view.reason, None);
    assert_eq!((view.name.as_str(), view.items), ("shout", 4));
    assert_eq!((view.agreements, view.disagreements), (4, 0));
    assert_eq!(view.escrow_left, Amount::ZERO);
    let result = view.result.unwrap();
    assert_eq!(result, BlobRef::of(b"\"A\"\n\"B\"\n\"C\"\n\"D\"\n"));
    let file = tempfile::NamedTempFile::new().unwrap();
    rig.http
        .result(reply.job, result, file.path())
        .await
        .unwrap();

    let each = Amount(EARNED.0 * 2);
    let fee = Amount(EARNED.0 * 4 / 100);
    for provider in [&first, &second] {
        assert!(view.paid.contains(&(provider.id, each)), "{:?}", view.paid);
        let account = format!("provider:{}", provider.id);
        assert_eq!(rig.balance(&account).await, each);
    }
    assert_eq!((view.fee, rig.balance("fee").await), (fee, fee));
    let spent = Amount(each.0 * 2 + fee.0);
    assert_eq!(view.returned, MAX_PRICE.checked_sub(spent).unwrap());
    let left = DEPOSIT.checked_sub(spent).unwrap();
    assert_eq!(rig.balance(&rig.account()).await, left);
    rig.check_money().await;
    check_record(&rig, &job, reply.job, 4).await;

    let Rig { dir, running, .. } = rig;
    running.stop().await;
    assert!(audit_at_rest(dir.path()).unwrap().clean);
}

/// What a client does: fetch the record, check it against the blobs, fetch one of those.
async fn check_record(rig: &Rig, job: &TestJob, id: jobs::ids::JobId, replicas: u32) {
    let record = rig.until(async |http| http.record(id).await.ok()).await;
    let blob = |blob: &BlobRef| std::fs::read(rig.blob_path(blob)).ok();
    let report = record.verify(&blob).unwrap();
    assert_eq!(report.aggregator, rig.running.id);
    assert_eq!(report.client, rig.key.client_id());
    assert_eq!((report.shards, report.replicas), (2, replicas));
    assert!(report.input_checked);
    let file = tempfile::NamedTempFile::new().unwrap();
    let shard = &record.shards[1];
    for blob in [shard.input, shard.canonical, job.package.component] {
        rig.http.record_blob(id, blob, file.path()).await.unwrap();
    }
    let foreign = BlobRef::of(b"not of this job");
    let refused = rig.http.record_blob(id, foreign, file.path()).await;
    assert!(refused.unwrap_err().to_string().contains("not-found"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_name_the_newest_jobs_and_every_provider() {
    let rig = Rig::new().await;
    rig.fund().await;
    let provider = Scripted::join(1, Manner::Silent, &rig.running).await;
    let _other = Scripted::join(2, Manner::Silent, &rig.running).await;
    let mut ids = Vec::new();
    for nonce in ['1', '2', '3'] {
        let job = TestJob::new().again(nonce);
        let reply = rig.http.submit(&job.signed(&rig.key)).await.unwrap();
        ids.insert(0, reply.job);
    }
    let listed = rig.http.jobs().await.unwrap();
    assert_eq!(listed.iter().map(|job| job.id).collect::<Vec<_>>(), ids);
    let providers = rig.http.providers().await.unwrap();
    assert!(providers.iter().any(|p| p.id == provider.id && p.online));
    let health = rig.http.health().await.unwrap();
    assert_eq!((health.status.as_str(), health.open_jobs), ("ok", 3));
    assert_eq!(health.p2p, rig.running.p2p);
    assert!(health.events > 5, "{health:?}");
}
