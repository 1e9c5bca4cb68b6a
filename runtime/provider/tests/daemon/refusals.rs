//! What cannot be seen from the assignment's bytes alone, and is refused all the same.

use std::collections::BTreeSet;

use jobs::digest::{BlobRef, Digest};
use jobs::envelope::SignerPolicy;
use jobs::money::Amount;
use network::protocol::{AssignReply, Refusal, RefusalCode, RevealReply};
use provider::ProviderConfig;

use crate::fixture::{Job, guest, job};
use crate::harness::Case;
use crate::honest::endless;
use crate::market::{Aggregator, Market, block_on, config, soon};

pub(crate) const CASES: &[Case] = &[
    (
        "what_breaks_the_policy_is_refused",
        what_breaks_the_policy_is_refused,
    ),
    (
        "blobs_that_are_not_there_are_refused",
        blobs_that_are_not_there_are_refused,
    ),
    ("tampered_blobs_are_refused", tampered_blobs_are_refused),
    ("what_is_no_job_is_refused", what_is_no_job_is_refused),
    ("a_full_provider_refuses", a_full_provider_refuses),
    ("strangers_learn_nothing", strangers_learn_nothing),
];

fn is(refusal: &Refusal, code: RefusalCode, reason: &str) {
    assert_eq!(refusal.code, code, "{refusal}");
    assert!(refusal.reason.starts_with(reason), "{refusal}");
}

/// What the first shard of `job` is refused with.
async fn refused(market: &Market, job: &Job) -> Refusal {
    let (key, to) = (&market.aggregator.key, market.provider.id);
    let request = job.request(&job.assignment(0, key, to), key);
    market.aggregator.refusal(&request, to).await
}

fn what_breaks_the_policy_is_refused() {
    type Change = fn(&mut ProviderConfig);
    let cases: [(Change, RefusalCode, &str); 3] = [
        (
            |config| config.signers = SignerPolicy::Trusted(BTreeSet::new()),
            RefusalCode::Policy,
            "signer: ",
        ),
        (
            |config| config.reward_min = Amount(1001),
            RefusalCode::Policy,
            "reward: ",
        ),
        (
            |config| config.fuel_max = 1,
            RefusalCode::Limits,
            "limit: limits.fuel",
        ),
    ];
    for (change, code, reason) in cases {
        block_on(async {
            let market = Market::open(job(guest("")), change).await;
            is(&refused(&market, &market.job).await, code, reason);
            market.close().await;
        });
    }
}

fn blobs_that_are_not_there_are_refused() {
    block_on(async {
        let market = Market::open(job(guest("")), |_| {}).await;
        let other = job(guest("nop"));
        let refusal = refused(&market, &other).await;
        is(&refusal, RefusalCode::Unavailable, "blob: component");
        // Once it is there, the same assignment is accepted.
        market.aggregator.hold(&other);
        market.aggregator.give(&other, 0, market.provider.id).await;
        market.close().await;
    });
}

fn tampered_blobs_are_refused() {
    let victims: [fn(&Job) -> Digest; 2] = [
        |job| job.package.component.digest,
        |job| Digest::of(&job.input(0)),
    ];
    for (victim, what) in victims.iter().zip(["component", "input"]) {
        block_on(async {
            let (dir, job) = (tempfile::tempdir().unwrap(), job(guest("")));
            let listen = "/ip4/127.0.0.1/tcp/0";
            let aggregator = Aggregator::start_at(dir.path(), listen, Some(victim(&job))).await;
            aggregator.hold(&job);
            let running = provider::start(config(dir.path(), &aggregator.address))
                .await
                .unwrap();
            soon(running.offered()).await;
            let request = job.request(
                &job.assignment(0, &aggregator.key, running.id),
                &aggregator.key,
            );
            let refusal = aggregator.refusal(&request, running.id).await;
            is(
                &refusal,
                RefusalCode::Unavailable,
                &format!("blob: {what}: "),
            );
            assert_eq!(running.status().held, 0);
            soon(running.stop()).await;
        });
    }
}

fn what_is_no_job_is_refused() {
    block_on(async {
        let market = Market::open(job(guest("")), |_| {}).await;
        let no_component = job(b"\0asm\x01\0\0\0".to_vec());
        market.aggregator.hold(&no_component);
        is(
            &refused(&market, &no_component).await,
            RefusalCode::Invalid,
            "component: ",
        );

        let (key, to) = (&market.aggregator.key, market.provider.id);
        for input in [b"no list".to_vec(), jobs::items::encode(&["one"]).unwrap()] {
            let mut assignment = market.job.assignment(0, key, to);
            market.aggregator.store.put_bytes(&input).unwrap();
            assignment.input = BlobRef::of(&input);
            let refusal = market
                .aggregator
                .refusal(&market.job.request(&assignment, key), to)
                .await;
            is(&refusal, RefusalCode::Invalid, "input: ");
        }
        market.close().await;
    });
}

fn a_full_provider_refuses() {
    block_on(async {
        let market = Market::open(job(endless()), |_| {}).await;
        let (key, to) = (&market.aggregator.key, market.provider.id);
        market.give(0).await;
        market.give(1).await;
        let request = market.job.request(&market.job.assignment(2, key, to), key);
        let refusal = market.aggregator.refusal(&request, to).await;
        is(
            &refusal,
            RefusalCode::Capacity,
            "capacity: 2 assignments are held, at most 2",
        );
        // What it holds already is answered as before.
        let held = market.job.assignment(0, key, to);
        let reply = market
            .aggregator
            .assign(&market.job.request(&held, key), to)
            .await;
        assert_eq!(
            reply,
            AssignReply::Accepted {
                assignment: held.id
            }
        );
        market.close().await;
    });
}

fn strangers_learn_nothing() {
    block_on(async {
        let market = Market::open(job(guest("")), |_| {}).await;
        let (to, id) = (
            market.provider.id,
            market
                .job
                .assignment(2, &market.aggregator.key, market.provider.id)
                .id,
        );
        match market.aggregator.reveal(id, to).await {
            RevealReply::Refused { refusal, .. } => is(&refusal, RefusalCode::Unknown, "unknown"),
            revealed => panic!("{revealed:?}"),
        }
        // The component is in its cache by now, and is not served.
        market.give(0).await;
        let dir = market.dir.path().join("elsewhere");
        let store = network::blobs::BlobStore::open(dir, 1 << 20).unwrap();
        let component = market.job.package.component;
        let fetched = soon(
            market
                .aggregator
                .client
                .fetch_blob(&[to], component, &store),
        )
        .await;
        assert!(
            matches!(fetched, Err(network::Error::NoSource { .. })),
            "{fetched:?}"
        );
        market.close().await;
    });
}
