//! More than one aggregator: what one does, another neither hears of nor suffers from.

use std::path::Path;
use std::sync::atomic::Ordering;

use network::protocol::RefusalCode;
use provider::Running;

use crate::fixture::{Job, guest, job};
use crate::harness::Case;
use crate::honest::endless;
use crate::market::{Aggregator, block_on, config, soon, until};

pub(crate) const CASES: &[Case] = &[
    (
        "a_rival_cannot_use_up_an_assignment",
        a_rival_cannot_use_up_an_assignment,
    ),
    (
        "who_holds_no_offer_assigns_nothing",
        who_holds_no_offer_assigns_nothing,
    ),
    (
        "one_aggregator_leaves_places_to_the_others",
        one_aggregator_leaves_places_to_the_others,
    ),
];

/// A provider that two aggregators hold an offer of, and a job's blobs at both.
async fn between_two(dir: &Path, job: &Job) -> (Aggregator, Aggregator, Running) {
    let own = Aggregator::start(dir).await;
    let rival = Aggregator::rival(dir).await;
    let mut config = config(dir, &own.address);
    config.aggregators.push(rival.address.clone());
    let provider = provider::start(config).await.unwrap();
    until("both hold an offer", || {
        provider.status().aggregators.len() == 2
    })
    .await;
    own.hold(job);
    rival.hold(job);
    (own, rival, provider)
}

fn a_rival_cannot_use_up_an_assignment() {
    block_on(async {
        let (dir, job) = (tempfile::tempdir().unwrap(), job(guest("")));
        let (mut own, mut rival, provider) = between_two(dir.path(), &job).await;
        let to = provider.id;
        // The rival gives the very same shard, attempt and all, first.
        let theirs = rival.give(&job, 0, to).await;
        let first = rival.commitment(to).await;
        let ours = own.give(&job, 0, to).await;
        let second = own.commitment(to).await;
        assert_eq!(
            (first.assignment, second.assignment),
            (theirs.id, ours.id),
            "each hears of its own"
        );
        assert_ne!(theirs.id, ours.id);
        let reveal = own.revealed(ours.id, to).await;
        assert!(second.opens_with(&reveal.opening));
        soon(provider.stop()).await;
    });
}

fn who_holds_no_offer_assigns_nothing() {
    block_on(async {
        let (dir, job) = (tempfile::tempdir().unwrap(), job(guest("")));
        let own = Aggregator::start(dir.path()).await;
        let rival = Aggregator::rival(dir.path()).await;
        rival.unwilling.store(true, Ordering::SeqCst);
        let provider = provider::start(config(dir.path(), &own.address))
            .await
            .unwrap();
        soon(provider.offered()).await;
        soon(rival.client.dial(&provider.addrs[0])).await.unwrap();
        own.hold(&job);
        rival.hold(&job);
        let assignment = job.assignment(0, &rival.key, provider.id);
        let request = job.request(&assignment, &rival.key);
        let refusal = rival.refusal(&request, provider.id).await;
        assert_eq!(refusal.code, RefusalCode::Policy, "{refusal}");
        assert!(refusal.reason.starts_with("no-offer: "), "{refusal}");
        own.give(&job, 0, provider.id).await;
        soon(provider.stop()).await;
    });
}

fn one_aggregator_leaves_places_to_the_others() {
    block_on(async {
        let (dir, job) = (tempfile::tempdir().unwrap(), job(endless()));
        let (own, rival, provider) = between_two(dir.path(), &job).await;
        rival.give(&job, 0, provider.id).await;
        let more = job.request(&job.assignment(1, &rival.key, provider.id), &rival.key);
        let refusal = rival.refusal(&more, provider.id).await;
        assert_eq!(refusal.code, RefusalCode::Capacity, "{refusal}");
        assert!(refusal.reason.starts_with("share: 1 "), "{refusal}");
        own.give(&job, 0, provider.id).await;
        soon(provider.stop()).await;
    });
}
