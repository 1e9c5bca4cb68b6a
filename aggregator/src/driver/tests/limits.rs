//! Bounds on what strangers can make the aggregator keep or do.

use std::sync::Arc;

use jobs::commitment::Commitment;
use jobs::digest::{BlobRef, Digest};
use jobs::ids::{AssignmentId, JobId, ProviderId};
use jobs::receipt::Envelope;
use jobs::statement::Signed;
use store::{Batch, Kv, MemoryStore};

use super::rig::{Rig, TestJob, config};
use crate::driver::rows::{COMMITMENT, CONTRADICTION, Fresh, RECEIPT, Row, evidence};
use crate::start;

fn stage(kv: &dyn Kv, batches: &[&[Row]]) {
    for rows in batches {
        let (mut fresh, mut batch) = (Fresh::default(), Batch::new());
        for row in *rows {
            row.stage(kv, false, &mut fresh, &mut batch).unwrap();
        }
        kv.commit(batch).unwrap();
    }
}

#[test]
fn the_first_statement_stays_and_the_first_contradiction_is_kept() {
    let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let assignment = AssignmentId(Digest::of(b"assignment"));
    let commitment = |text: &str| {
        let commitment = Commitment {
            assignment,
            job: JobId::default(),
            shard: 0,
            provider: ProviderId(key.verifying_key().to_bytes()),
            hash: Digest::of(text.as_bytes()),
        };
        Signed::sign(&commitment, &key).unwrap()
    };
    let said = |text| Row::Commitment(assignment, commitment(text));
    let receipt = |text: &str| Row::Receipt(assignment, Envelope(text.into()));
    let rows = [
        said("one"),
        said("one"),
        said("two"),
        said("three"),
        said("one"),
        receipt("first"),
        receipt("second"),
    ];
    let singly: Vec<&[Row]> = rows.chunks(1).collect();
    for batches in [vec![rows.as_slice()], singly, rows.chunks(2).collect()] {
        let kv = Arc::new(MemoryStore::new());
        stage(&kv, &batches);
        let kept = |kind| evidence::<Signed<Commitment>>(&kv, assignment, kind).unwrap();
        assert_eq!(kept(COMMITMENT), Some(commitment("one")));
        assert_eq!(kept(CONTRADICTION), Some(commitment("two")));
        let receipt: Option<Envelope> = evidence(&kv, assignment, RECEIPT).unwrap();
        assert_eq!(receipt, Some(Envelope("first".into())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_beyond_the_quota_is_507() {
    use super::provider::{Manner, Scripted};
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.blob_quota = 4096;
    let rig = Rig::of(dir, start(config).await.unwrap());
    rig.fund().await;
    let _first = Scripted::join(1, Manner::Silent, &rig.running).await;
    let _second = Scripted::join(2, Manner::Silent, &rig.running).await;
    let mut job = TestJob::new();
    let large = vec![0; 8192];
    job.package.component = BlobRef::of(&large);
    let reply = rig.http.submit(&job.signed(&rig.key)).await.unwrap();
    let refused = rig.upload(reply.job, BlobRef::of(&large), &large).await;
    let refused = refused.unwrap_err();
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (507, "storage-full")
    );
    rig.upload(reply.job, job.blobs[1].0, &job.blobs[1].1)
        .await
        .unwrap();
}
