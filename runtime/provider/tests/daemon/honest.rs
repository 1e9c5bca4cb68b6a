//! What a provider does when everyone plays by the rules, and when workers or aggregators do not last.

use std::sync::atomic::Ordering;

use jobs::merkle;
use network::protocol::{CancelReply, CancelRequest, CommitRequest, FailureCode, RevealReply};

use crate::fixture::{guest, job};
use crate::harness::Case;
use crate::market::{Aggregator, Market, block_on, config, soon, until};

pub(crate) const CASES: &[Case] = &[
    (
        "a_shard_is_executed_committed_and_revealed",
        a_shard_is_executed_committed_and_revealed,
    ),
    (
        "the_same_assignment_is_executed_once",
        the_same_assignment_is_executed_once,
    ),
    (
        "a_lost_worker_has_a_name_of_its_own",
        a_lost_worker_has_a_name_of_its_own,
    ),
    (
        "a_cancelled_execution_is_killed",
        a_cancelled_execution_is_killed,
    ),
    ("a_stop_hands_back_what_runs", a_stop_hands_back_what_runs),
    (
        "offers_are_renewed_and_made_again_to_who_comes_back",
        offers_are_renewed,
    ),
    (
        "a_commitment_is_told_until_it_is_heard",
        a_commitment_is_told_until_it_is_heard,
    ),
    ("a_second_daemon_is_refused", a_second_daemon_is_refused),
    (
        "a_relative_data_directory_is_as_good",
        a_relative_data_directory_is_as_good,
    ),
];

/// A guest that never returns.
pub(crate) fn endless() -> Vec<u8> {
    guest("(loop $again (br $again))")
}

fn a_shard_is_executed_committed_and_revealed() {
    block_on(async {
        let mut market = Market::open(job(guest("")), |_| {}).await;
        let from = market.provider.id;
        let assignment = market.give(1).await;
        let commitment = market.aggregator.commitment(from).await;
        assert_eq!(
            (commitment.assignment, commitment.shard),
            (assignment.id, 1)
        );
        let reveal = market.aggregator.revealed(assignment.id, from).await;
        assert!(commitment.opens_with(&reveal.opening));
        let receipt = reveal.receipt.verify(from).unwrap().statement;
        assert_eq!(receipt.assignment, assignment);
        assert_eq!(receipt.package, market.job.package);
        assert_eq!(receipt.commitment, commitment);
        assert_eq!(receipt.opening, reveal.opening);
        let outcome = &reveal.opening.outcome;
        let outputs = market.aggregator.outputs(outcome.outputs, from).await;
        assert_eq!(outputs, market.job.items[2..4]);
        assert_eq!(merkle::root(&outputs), outcome.root);
        let offered = market.aggregator.offers.recv().await.unwrap();
        assert_eq!(outcome.fingerprint, offered.fingerprint);
        until("the place is free", || market.provider.status().held == 0).await;
        market.close().await;
    });
}

fn the_same_assignment_is_executed_once() {
    block_on(async {
        // Every execution of this guest costs a worker, so workers count executions.
        let mut market = Market::open(job(guest("unreachable")), |_| {}).await;
        let to = market.provider.id;
        let assignment = market.job.assignment(0, &market.aggregator.key, to);
        let request = market.job.request(&assignment, &market.aggregator.key);
        let aggregator = &market.aggregator;
        let (one, two) = tokio::join!(
            aggregator.assign(&request, to),
            aggregator.assign(&request, to)
        );
        assert_eq!(one, two);
        let (id, code, reason) = market.aggregator.failure().await;
        assert_eq!((id, code), (assignment.id, FailureCode::Trap), "{reason}");
        until("it is settled", || market.provider.status().unreported == 0).await;
        assert_eq!(market.aggregator.assign(&request, to).await, one);
        let again = market.aggregator.failure().await;
        assert_eq!(again, (id, code, reason), "told again, not done again");
        assert_eq!(market.provider.status().workers_started, 1);
        market.close().await;
    });
}

fn a_lost_worker_has_a_name_of_its_own() {
    block_on(async {
        let mut market = Market::open(job(endless()), |_| {}).await;
        let assignment = market.give(0).await;
        // The worker may still be reading its task, which makes no difference.
        kill_children();
        let (id, code, reason) = market.aggregator.failure().await;
        assert_eq!(
            (id, code),
            (assignment.id, FailureCode::WorkerLost),
            "{reason}"
        );
        market.close().await;
    });
}

/// Kills every child of this process, as the system does when it runs out of memory.
fn kill_children() {
    let ours = std::process::id().to_string();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        if fields.get(1) == Some(&ours.as_str()) {
            let pid = entry.file_name().into_string().unwrap();
            std::process::Command::new("kill")
                .args(["-9", &pid])
                .status()
                .unwrap();
        }
    }
}

fn a_cancelled_execution_is_killed() {
    block_on(async {
        let mut market = Market::open(job(endless()), |_| {}).await;
        let (first, to) = (market.give(0).await, market.provider.id);
        let request = CancelRequest {
            assignment: first.id,
        };
        let reply = soon(market.aggregator.client.cancel(to, request))
            .await
            .unwrap();
        assert_eq!(
            reply,
            CancelReply::Cancelled {
                assignment: first.id
            }
        );
        until("the place is free", || market.provider.status().held == 0).await;
        let (id, code, _) = market.aggregator.failure().await;
        assert_eq!((id, code), (first.id, FailureCode::Cancelled));
        let reply = market.aggregator.reveal(first.id, to).await;
        assert!(matches!(reply, RevealReply::Refused { .. }), "{reply:?}");
        // Cancelling what has ended, or never began, is no mistake.
        let reply = soon(market.aggregator.client.cancel(to, request))
            .await
            .unwrap();
        assert_eq!(
            reply,
            CancelReply::Cancelled {
                assignment: first.id
            }
        );
        market.close().await;
    });
}

fn a_stop_hands_back_what_runs() {
    block_on(async {
        let mut market = Market::open(job(endless()), |_| {}).await;
        let assignment = market.give(0).await;
        soon(market.provider.stop()).await;
        let (id, code, reason) = market.aggregator.failure().await;
        assert_eq!(
            (id, code),
            (assignment.id, FailureCode::Internal),
            "{reason}"
        );
    });
}

fn offers_are_renewed() {
    block_on(async {
        let mut market = Market::open(job(guest("")), |_| {}).await;
        let mut issued = Vec::new();
        for _ in 0..3 {
            let offer = soon(market.aggregator.offers.recv()).await.unwrap();
            assert_eq!((offer.provider, offer.capacity), (market.provider.id, 1));
            issued.push(offer.issued);
        }
        let listen = market.aggregator.listen();
        market.aggregator.client.shutdown().await;
        until("the loss is noticed", || {
            market.provider.status().aggregators.is_empty()
        })
        .await;
        let mut back = Aggregator::start_at(market.dir.path(), &listen, None).await;
        issued.push(soon(back.offers.recv()).await.unwrap().issued);
        assert!(issued.is_sorted_by(|one, two| one < two), "{issued:?}");
        soon(market.provider.stop()).await;
    });
}

fn a_commitment_is_told_until_it_is_heard() {
    block_on(async {
        let mut market = Market::open(job(guest("")), |_| {}).await;
        market.aggregator.deaf.store(true, Ordering::SeqCst);
        market.give(0).await;
        let first = market.aggregator.commit().await;
        let second = market.aggregator.commit().await;
        assert_eq!(first, second);
        assert_eq!(market.provider.status().unreported, 1);
        market.aggregator.deaf.store(false, Ordering::SeqCst);
        until("it is heard", || market.provider.status().unreported == 0).await;
        assert!(matches!(first, CommitRequest::Committed { .. }));
        market.close().await;
    });
}

fn a_second_daemon_is_refused() {
    block_on(async {
        let market = Market::open(job(guest("")), |_| {}).await;
        let config = config(market.dir.path(), &market.aggregator.address);
        let error = provider::start(config.clone())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("in use by another provider"), "{error}");
        let (dir, id) = (market.dir.path().to_owned(), market.provider.id);
        let key = dir.join("provider/identity.key");
        assert!(key.exists());
        soon(market.provider.stop()).await;
        // The directory is free again, and the identity stays.
        let again = soon(provider::start(config)).await.unwrap();
        assert_eq!(again.id, id);
        again.stop().await;
    });
}

fn a_relative_data_directory_is_as_good() {
    block_on(async {
        let up = |config: &mut provider::ProviderConfig| {
            let here = std::env::current_dir().unwrap();
            let root: std::path::PathBuf = here.components().skip(1).map(|_| "..").collect();
            config.data = root.join(config.data.strip_prefix("/").unwrap());
            assert!(config.data.is_relative());
        };
        let mut market = Market::open(job(guest("")), up).await;
        market.give(0).await;
        market.aggregator.commitment(market.provider.id).await;
        market.close().await;
    });
}
