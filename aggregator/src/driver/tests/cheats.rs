//! Providers that do not do as they should.

use api::types::JobPhase;
use ed25519_dalek::SigningKey;
use jobs::commitment::Commitment;
use jobs::digest::Digest;
use jobs::money::Amount;
use jobs::statement::Signed;
use network::protocol::{CommitReply, OfferReply, RefusalCode};
use store::RocksStore;

use super::provider::{Manner, Scripted};
use super::rig::{Rig, TestJob, component};
use crate::driver::rows::{ASSIGNMENTS, COMMITMENT, CONTRADICTION, evidence};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equivocation_costs_the_stake_and_leaves_evidence() {
    let rig = Rig::new().await;
    rig.fund().await;
    let liar = Scripted::join(3, Manner::Equivocating, &rig.running).await;
    let _first = Scripted::join(1, Manner::Honest, &rig.running).await;
    let stake = format!("stake:{}", liar.id);
    assert!(rig.deposit(&stake, Amount(500), "stake").await);
    let mut job = TestJob::new();
    job.package.replication.replicas = 2;
    let id = rig.run(&job).await.job;
    let banned = rig.until(async |http| {
        let providers = http.providers().await.unwrap();
        let found = providers.into_iter().find(|p| p.id == liar.id)?;
        found.banned
    });
    let banned = banned.await;
    assert!(banned.contains("Equivocation"), "{banned}");
    assert_eq!(rig.balance(&stake).await, Amount::ZERO);
    assert_eq!(rig.balance("slashed").await, Amount(500));
    let reply = liar.try_offer(&liar.made_offer(), rig.running.id).await;
    assert!(matches!(reply, OfferReply::Refused(_)), "{reply:?}");

    // The honest rest goes on.
    let _second = Scripted::join(2, Manner::Honest, &rig.running).await;
    let view = rig.ended(id).await;
    assert_eq!(view.phase, JobPhase::Done, "{:?}", view.reason);
    assert!(view.paid.iter().all(|(provider, _)| *provider != liar.id));
    rig.check_money().await;

    let Rig { dir, running, .. } = rig;
    running.stop().await;
    let store = RocksStore::open(dir.path().join("store")).unwrap();
    let mut contradictions = 0;
    let every = store::KeyRange::all();
    let each = |assignment, _: jobs::assignment::Assignment| {
        let kept =
            |kind| -> Option<Signed<Commitment>> { evidence(&store, assignment, kind).unwrap() };
        if let (Some(first), Some(second)) = (kept(COMMITMENT), kept(CONTRADICTION)) {
            let (first, second) = (first.verify().unwrap(), second.verify().unwrap());
            assert_eq!((first.signer, second.signer), (liar.id, liar.id));
            assert_eq!(first.statement.assignment, second.statement.assignment);
            assert_ne!(first.statement.hash, second.statement.hash);
            contradictions += 1;
        }
        Ok::<(), store::StoreError>(())
    };
    ASSIGNMENTS.for_each(&store, every, each).unwrap();
    assert!(contradictions > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_minority_is_not_paid_and_the_record_still_verifies() {
    for (manner, listed) in [(Manner::Wrong, true), (Manner::Misshapen, false)] {
        let rig = Rig::new().await;
        rig.fund().await;
        let liar = Scripted::join(3, manner, &rig.running).await;
        let _first = Scripted::join(1, Manner::Honest, &rig.running).await;
        let _second = Scripted::join(2, Manner::Honest, &rig.running).await;
        let numbers: Vec<String> = (0..12).map(|number| number.to_string()).collect();
        let items: Vec<&str> = numbers.iter().map(String::as_str).collect();
        let id = rig.run(&TestJob::with(&component(""), &items)).await.job;
        let view = rig.ended(id).await;
        assert_eq!(view.phase, JobPhase::Done, "{:?}", view.reason);
        assert!(view.paid.iter().all(|(provider, _)| *provider != liar.id));
        assert_eq!(view.agreements, 12);
        assert_eq!(view.disagreements > 0, listed, "{manner:?}: {view:?}");
        assert!(view.assignments > 12, "the liar got no shard: {view:?}");
        let record = rig.until(async |http| http.record(id).await.ok()).await;
        let blob = |blob: &jobs::digest::BlobRef| std::fs::read(rig.blob_path(blob)).ok();
        let report = record.verify(&blob).unwrap();
        assert_eq!(report.disagreements > 0, listed);
        rig.check_money().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_of_others_and_absurd_ones_are_refused() {
    let rig = Rig::new().await;
    let provider = Scripted::join(1, Manner::Honest, &rig.running).await;
    let mut foreign = provider.made_offer();
    foreign.provider.0[0] ^= 1;
    let mut absurd = provider.made_offer();
    absurd.price.per_gfuel = Amount(u128::MAX);
    let mut empty = provider.made_offer();
    empty.capacity = 0;
    let mut long = provider.made_offer();
    long.fingerprint.engine = "x".repeat(1000);
    for offer in [foreign, absurd, empty, long] {
        let reply = provider.try_offer(&offer, rig.running.id).await;
        let OfferReply::Refused(refusal) = reply else {
            panic!("{offer:?} was taken");
        };
        assert_eq!(refusal.code, RefusalCode::Invalid, "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commitments_of_others_and_about_other_things_are_refused() {
    let mut rig = Rig::new().await;
    rig.fund().await;
    let mut first = Scripted::held(1, Manner::Honest);
    first.offer(&rig.running).await;
    let second = Scripted::join(2, Manner::Silent, &rig.running).await;
    let job = rig.run(&TestJob::new()).await.job;
    first.committed(2).await;
    rig = rig.restarted(false).await;
    first.offer(&rig.running).await;
    second.offer(&rig.running).await;
    let unknown = Commitment {
        assignment: jobs::ids::AssignmentId(Digest::of(b"none")),
        job,
        shard: 0,
        provider: second.id,
        hash: Digest::of(b"hash"),
    };
    let given = |attempt, provider| {
        jobs::ids::AssignmentId::derive(rig.running.id, job, 0, attempt, provider)
    };
    let own = (0..2).map(|attempt| Commitment {
        assignment: given(attempt, second.id),
        shard: 1,
        ..unknown
    });
    let of_first = (0..2).map(|attempt| Commitment {
        assignment: given(attempt, first.id),
        ..unknown
    });
    let key = SigningKey::from_bytes(&[2; 32]);
    for commitment in [unknown].into_iter().chain(own).chain(of_first) {
        let reply = second.commit(rig.running.id, commitment, &key).await;
        assert!(matches!(reply, CommitReply::Refused { .. }), "{reply:?}");
    }
    let foreign = SigningKey::from_bytes(&[1; 32]);
    let reply = second.commit(rig.running.id, unknown, &foreign).await;
    let CommitReply::Refused { refusal, .. } = reply else {
        panic!("a commitment signed by another was taken");
    };
    assert_eq!(refusal.code, RefusalCode::Invalid, "{refusal}");
}
