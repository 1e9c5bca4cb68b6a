//! Blobs that nobody needs any more go; no other does, whatever happens at the same time.

use std::sync::Arc;

use api::client::Error;
use api::types::{BackupRequest, Problem};
use jobs::digest::BlobRef;
use jobs::ids::JobId;
use jobs::time::Timestamp;
use network::blobs::BlobStore;
use store::{Batch, KeyRange};

use super::provider::{Manner, Scripted};
use super::rig::{Rig, TOKEN, TestJob, config};
use crate::driver::collect::round;
use crate::driver::rows::{COLLECTED, Collected, KEPT, KEPT_WHOLE};
use crate::driver::{Shared, clock, open_store, restore};
use crate::start;

async fn market(keep_days: u32) -> (Rig, [Scripted; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.keep_days = keep_days;
    let rig = Rig::of(dir, start(config).await.unwrap());
    rig.fund().await;
    let providers = [
        Scripted::join(1, Manner::Honest, &rig.running).await,
        Scripted::join(2, Manner::Honest, &rig.running).await,
    ];
    (rig, providers)
}

/// Runs a job to its recorded end.
async fn done(rig: &Rig, job: &TestJob) -> JobId {
    let id = rig.run(job).await.job;
    assert_eq!(rig.ended(id).await.reason, None);
    rig.until(async |http| http.record(id).await.ok()).await;
    id
}

fn commit(shared: &Shared, change: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::default();
    change(&mut batch);
    shared.store.commit(batch).unwrap();
}

/// As if the job had ended when time began.
fn age(shared: &Shared, job: JobId) {
    let mut kept = KEPT.get(&*shared.store, &job).unwrap().unwrap();
    kept.ended = Timestamp(0);
    commit(shared, |batch| KEPT.put(batch, &job, &kept).unwrap());
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> Problem {
    match answer.unwrap_err() {
        Error::Refused(problem) => problem,
        other => panic!("{other}"),
    }
}

/// Everything of the job is said to be gone, and why.
async fn check_gone(rig: &Rig, job: JobId, why: &str) {
    let (file, blob) = (tempfile::NamedTempFile::new().unwrap(), BlobRef::of(b"any"));
    for answer in [
        rig.http.result(job, blob, file.path()).await,
        rig.http.record(job).await.map(drop),
        rig.http.record_blob(job, blob, file.path()).await,
    ] {
        let problem = refused(answer);
        assert_eq!((problem.status, problem.code.as_str()), (410, "gone"));
        assert!(problem.detail.contains(why), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_kept_for_their_time_and_then_said_to_be_gone() {
    let (rig, _providers) = market(30).await;
    let [first, second] = [
        done(&rig, &TestJob::new().again('1')).await,
        done(&rig, &TestJob::new().again('2')).await,
    ];
    let stranger = refused(rig.http.collect("guess", true).await);
    assert_eq!(stranger.code, "unauthorized");
    let held = rig.shared().blobs.usage();
    let nothing = rig.http.collect(TOKEN, false).await.unwrap();
    assert_eq!((nothing.jobs.len(), nothing.blobs), (0, 0), "{nothing:?}");
    age(&rig.shared(), first);
    let told = rig.http.collect(TOKEN, true).await.unwrap();
    assert_eq!((told.dry_run, &told.jobs), (true, &vec![first]));
    assert_eq!(rig.shared().blobs.usage(), held, "asking removes nothing");
    assert!(rig.http.record(first).await.is_ok());
    // What was just read is needed since; a moment later it is not.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let round = rig.http.collect(TOKEN, false).await.unwrap();
    assert_eq!(
        (&round.jobs, round.blobs > 0),
        (&vec![first], true),
        "{round:?}"
    );
    assert_eq!(round.bytes_left, held.used - round.bytes);
    check_gone(&rig, first, "results are kept for 30 days").await;
    // The other one shares its component and input with what is gone.
    let record = rig.http.record(second).await.unwrap();
    record
        .verify(&|blob| std::fs::read(rig.blob_path(blob)).ok())
        .unwrap();
    let text = rig.http.metrics().await.unwrap();
    let counted = format!("assay_blobs_collected_total {}\n", round.blobs);
    assert!(text.contains(&counted), "{text}");

    let rig = rig.restarted(true).await;
    check_gone(&rig, first, "results are kept for 30 days").await;
    age(&rig.shared(), second);
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let last = rig.http.collect(TOKEN, false).await.unwrap();
    assert_eq!((last.jobs, last.blobs_left), (vec![second], 0));
    rig.check_money().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_saying_and_removing_leaves_no_half_of_a_result() {
    let (rig, _providers) = market(30).await;
    let job = done(&rig, &TestJob::new()).await;
    let collected = Collected {
        ended: Timestamp(0),
        at: clock(),
        keep_days: 30,
    };
    commit(&rig.shared(), |batch| {
        COLLECTED.put(batch, &job, &collected).unwrap();
        KEPT.delete(batch, &job);
    });
    let rig = rig.restarted(true).await;
    check_gone(&rig, job, "were removed 0 days ago").await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let round = rig.http.collect(TOKEN, false).await.unwrap();
    assert_eq!((round.jobs.len(), round.blobs_left), (0, 0), "{round:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_just_now_is_not_taken_for_naming_nothing() {
    let (rig, _providers) = market(30).await;
    let job = done(&rig, &TestJob::new()).await;
    let kept = KEPT.get(&*rig.shared().store, &job).unwrap().unwrap();
    let held = rig.shared().blobs.usage();
    let (list, aside) = (rig.blob_path(&kept.named), rig.blob_path(&kept.record));
    let aside = aside.with_extension("aside");
    std::fs::rename(&list, &aside).unwrap();
    // Neither there nor lost: nothing can be said of what it points to.
    std::os::unix::fs::symlink(&list, &list).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    assert!(round(&rig.shared(), 0, false).await.is_err());
    assert_eq!(rig.shared().blobs.usage(), held);
    std::fs::rename(&aside, &list).unwrap();
    let round = round(&rig.shared(), 0, false).await.unwrap();
    assert_eq!((round.jobs.len(), round.blobs), (0, 0), "{round:?}");
    assert!(rig.http.record(job).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_found_no_room_within_gets_it_from_results_that_are_not_promised() {
    let (rig, _providers) = market(0).await;
    let job = done(&rig, &TestJob::new()).await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let unneeded = round(&rig.shared(), 0, false).await.unwrap();
    assert_eq!(unneeded.jobs, [], "nothing is scarce");
    rig.shared().collector.wake(1);
    rig.until(async |http| match http.record(job).await {
        Err(Error::Refused(problem)) => (problem.code == "gone").then_some(()),
        _ => None,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_and_backups_get_through_while_everything_else_is_removed() {
    let (rig, _providers) = market(0).await;
    let shared = Arc::downgrade(&rig.shared());
    let rounds = tokio::spawn(async move {
        let mut removed = 0;
        while let Some(shared) = shared.upgrade() {
            match round(&shared, 1, false).await {
                Ok(round) => removed += round.blobs,
                Err(_) => break,
            }
            drop(shared);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        removed
    });
    let place = tempfile::tempdir().unwrap();
    let mut jobs = Vec::new();
    for nonce in ['1', '2', '3', '4', '5'] {
        // All of them have component and input in common.
        let id = rig.run(&TestJob::new().again(nonce)).await.job;
        if nonce == '4' {
            backed_up(&rig, &place.path().join("backup")).await;
        }
        jobs.push(id);
    }
    for job in jobs {
        assert_eq!(rig.ended(job).await.reason, None);
        let gone = rig.until(async |http| match http.record(job).await {
            Err(Error::Refused(problem)) if problem.code == "gone" => Some(problem),
            _ => None,
        });
        assert!(gone.await.detail.contains("their room was needed"));
    }
    rig.check_money().await;
    rig.running.stop().await;
    assert!(rounds.await.unwrap() > 0, "nothing was ever removed");
}

/// Writes a backup that is whole: whatever it says is kept is in it.
async fn backed_up(rig: &Rig, to: &std::path::Path) {
    let request = BackupRequest { to: to.to_owned() };
    rig.http.backup(TOKEN, &request).await.unwrap();
    let data = to.with_extension("restored");
    restore(to, &data).unwrap();
    let blobs = BlobStore::open(data.join("blobs"), u64::MAX).unwrap();
    let store = open_store(&data).unwrap();
    let each = |job, kept: crate::driver::rows::Kept| {
        assert!(blobs.contains(&kept.record.digest), "the record of {job}");
        let record: jobs::record::JobRecord =
            serde_json::from_slice(&blobs.read(&kept.record).unwrap()).unwrap();
        record.verify(&|blob| blobs.read(blob).ok()).unwrap();
        Ok::<(), store::StoreError>(())
    };
    KEPT.for_each(&store, KeyRange::all(), each).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_finds_no_room_has_room_made() {
    let (rig, _providers) = market(0).await;
    let old = done(&rig, &TestJob::new().again('1')).await;
    let shared = rig.shared();
    let used = shared.blobs.usage();
    // As if the old job had been a large one: nothing is left of the quota but for a little.
    let left = used.quota - used.used;
    let filler = vec![7; usize::try_from((left - 2000) * 16 / 17).unwrap()];
    let filler = shared.blobs.put_bytes(&filler).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let mut job = TestJob::new().again('2');
    let model = vec![9; 1 << 20];
    job.package.models = vec![jobs::package::ModelRef {
        name: "m".into(),
        blob: BlobRef::of(&model),
    }];
    job.blobs.push((BlobRef::of(&model), model));
    let reply = rig.run(&job).await;
    assert_eq!(rig.ended(reply.job).await.reason, None);
    assert!(!shared.blobs.contains(&filler.digest));
    assert!(rig.http.record(old).await.is_ok(), "it was not in the way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_from_before_there_were_rows_get_theirs_before_anything_goes() {
    let (rig, _providers) = market(30).await;
    let job = done(&rig, &TestJob::new()).await;
    let shared = rig.shared();
    let kept = KEPT.get(&*shared.store, &job).unwrap().unwrap();
    shared.blobs.remove(&kept.named.digest).unwrap();
    commit(&shared, |batch| {
        KEPT.delete(batch, &job);
        KEPT_WHOLE.put(batch, &false).unwrap();
    });
    drop(shared);
    let rig = rig.restarted(false).await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let round = rig.http.collect(TOKEN, false).await.unwrap();
    assert_eq!((round.jobs.len(), round.blobs), (0, 0), "{round:?}");
    let record = rig.http.record(job).await.unwrap();
    record
        .verify(&|blob| std::fs::read(rig.blob_path(blob)).ok())
        .unwrap();
    let again = KEPT.get(&*rig.shared().store, &job).unwrap().unwrap();
    assert_eq!((again.record, again.named), (kept.record, kept.named));
    assert!(again.ended >= kept.ended);
}
