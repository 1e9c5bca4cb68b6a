//! Jobs in which replicas open what they noted.

use api::types::JobPhase;

use super::provider::{Manner, Scripted};
use super::rig::{Rig, TestJob, component};

/// A job of six shards, of which something is opened or not.
fn job(opened: bool) -> TestJob {
    let numbers: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    let items: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let job = TestJob::with(&component(""), &items);
    if opened { job.opened() } else { job }
}

/// Whoever makes up what it notes, or does not open it, is not paid where something is opened, and the record says so to
/// whoever checks it. Elsewhere nobody asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_opens_what_the_others_noted_too_is_paid() {
    for (manner, opened, listed) in [
        (Manner::MadeUp, false, false),
        (Manner::MadeUp, true, true),
        (Manner::Misopening, true, false),
        (Manner::Closed, true, false),
    ] {
        let rig = Rig::new().await;
        rig.fund().await;
        let liar = Scripted::join(3, manner, &rig.running).await;
        let _first = Scripted::join(1, Manner::Honest, &rig.running).await;
        let _second = Scripted::join(2, Manner::Honest, &rig.running).await;
        let id = rig.run(&job(opened)).await.job;
        let view = rig.ended(id).await;
        assert_eq!(view.phase, JobPhase::Done, "{manner:?}: {:?}", view.reason);
        let paid = view.paid.iter().any(|(provider, _)| *provider == liar.id);
        assert_eq!(paid, !opened, "{manner:?}: {view:?}");
        assert_eq!(view.disagreements > 0, listed, "{manner:?}: {view:?}");
        let record = rig.until(async |http| http.record(id).await.ok()).await;
        let blob = |blob: &jobs::digest::BlobRef| std::fs::read(rig.blob_path(blob)).ok();
        let report = record.verify(&blob).unwrap();
        assert_eq!(report.disagreements > 0, listed, "{manner:?}");
        rig.check_money().await;
    }
}
