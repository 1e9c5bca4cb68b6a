//! Every way to cheat does what it says, so that whoever catches cheats has something to catch.

use jobs::commitment::{Commitment, Reveal};
use jobs::package::{Dtype, OutputFormat};
use network::protocol::{CancelRequest, FailureCode};
use provider::Misbehaviour;

use crate::fixture::{Job, guest, job};
use crate::harness::Case;
use crate::market::{Aggregator, Market, Process, block_on, soon, until};

pub(crate) const CASES: &[Case] = &[
    (
        "wrong_commits_to_other_outputs",
        wrong_commits_to_other_outputs,
    ),
    ("lazy_commits_to_zeros", lazy_commits_to_zeros),
    (
        "copy_cannot_open_what_it_committed_to",
        copy_cannot_open_what_it_committed_to,
    ),
    ("stall_never_commits", stall_never_commits),
    (
        "crash_takes_the_process_along",
        crash_takes_the_process_along,
    ),
    (
        "equivocate_signs_two_commitments",
        equivocate_signs_two_commitments,
    ),
    (
        "a_targeted_cheat_changes_the_items_it_draws",
        a_targeted_cheat_changes_the_items_it_draws,
    ),
    (
        "replay_answers_one_shard_for_another",
        replay_answers_one_shard_for_another,
    ),
    (
        "overclaim_multiplies_its_fuel",
        overclaim_multiplies_its_fuel,
    ),
    (
        "colluders_answer_alike_and_wrong",
        colluders_answer_alike_and_wrong,
    ),
    (
        "conspirators_cheat_only_together",
        conspirators_cheat_only_together,
    ),
    (
        "providers_of_one_owner_execute_once",
        providers_of_one_owner_execute_once,
    ),
    (
        "a_processor_says_that_it_is_a_gpu",
        a_processor_says_that_it_is_a_gpu,
    ),
];

/// A job whose outputs are rows of two numbers: the items, which have eight bytes each.
fn numbers() -> Job {
    let mut job = job(guest(""));
    for (item, n) in job.items.iter_mut().zip(1_u8..) {
        *item = [f32::from(n), -0.5].map(f32::to_le_bytes).concat();
    }
    let (input, _) = jobs::package::InputRef::of(&job.items).unwrap();
    job.package.input = input;
    job.package.output = OutputFormat::Npy {
        dtype: Dtype::F32,
        shape: vec![2],
    };
    job
}

/// What a provider that cheats this way says about the first shard.
async fn cheat(kind: Misbehaviour) -> (Commitment, Reveal, Vec<Vec<u8>>, Market) {
    answer(open(kind).await).await
}

/// A market whose provider cheats this way.
async fn open(kind: Misbehaviour) -> Market {
    let name = kind.name();
    let market = Market::open(numbers(), |config| config.misbehave = Some(kind)).await;
    assert_eq!(market.provider.status().misbehaves, Some(name));
    market
}

/// What a provider says about the first shard.
async fn answer(mut market: Market) -> (Commitment, Reveal, Vec<Vec<u8>>, Market) {
    let (from, assignment) = (market.provider.id, market.give(0).await);
    let commitment = market.aggregator.commitment(from).await;
    let reveal = market.aggregator.revealed(assignment.id, from).await;
    let outcome = &reveal.opening.outcome;
    let outputs = market.aggregator.outputs(outcome.outputs, from).await;
    assert_eq!(jobs::merkle::root(&outputs), outcome.root);
    assert_eq!(outputs.len(), 2);
    (commitment, reveal, outputs, market)
}

fn wrong_commits_to_other_outputs() {
    block_on(async {
        let (commitment, reveal, outputs, market) = cheat(Misbehaviour::Wrong).await;
        assert!(commitment.opens_with(&reveal.opening));
        reveal.receipt.verify(market.provider.id).unwrap();
        for (output, item) in outputs.iter().zip(&market.job.items) {
            let number = |bytes: &[u8]| f32::from_le_bytes(bytes[..4].try_into().unwrap());
            assert_eq!(number(output), -number(item));
        }
        assert!(reveal.opening.outcome.meters.fuel > 0, "it did execute");
        market.close().await;
    });
}

fn lazy_commits_to_zeros() {
    block_on(async {
        let (commitment, reveal, outputs, market) = cheat(Misbehaviour::Lazy).await;
        assert!(commitment.opens_with(&reveal.opening));
        reveal.receipt.verify(market.provider.id).unwrap();
        assert_eq!(outputs, vec![vec![0; 8]; 2]);
        market.close().await;
    });
}

fn copy_cannot_open_what_it_committed_to() {
    block_on(async {
        let (commitment, reveal, _, market) = cheat(Misbehaviour::Copy).await;
        assert!(!commitment.opens_with(&reveal.opening));
        let receipt = reveal.receipt.verify(market.provider.id).unwrap().statement;
        assert_ne!(receipt.commitment, commitment);
        market.close().await;
    });
}

fn stall_never_commits() {
    block_on(async {
        let change = |config: &mut provider::ProviderConfig| {
            config.misbehave = Some(Misbehaviour::Stall);
        };
        let mut market = Market::open(numbers(), change).await;
        let (first, to) = (market.give(0).await, market.provider.id);
        // An honest provider would be long done when the lease was renewed three times.
        for _ in 0..4 {
            soon(market.aggregator.offers.recv()).await.unwrap();
        }
        assert!(market.aggregator.commits.is_empty());
        let request = CancelRequest {
            assignment: first.id,
        };
        soon(market.aggregator.client.cancel(to, request))
            .await
            .unwrap();
        assert_eq!(market.aggregator.failure().await.1, FailureCode::Cancelled);
        until("the place is free", || market.provider.status().held == 0).await;
        market.close().await;
    });
}

fn crash_takes_the_process_along() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let mut aggregator = Aggregator::start(dir.path()).await;
        let job = numbers();
        aggregator.hold(&job);
        let mut process = Process::start(dir.path(), &mut aggregator, "crash").await;
        aggregator.give(&job, 0, process.id).await;
        let mut ended = None;
        until("it crashes", || {
            ended = process.child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        assert_eq!(ended.and_then(|status| status.code()), Some(86));
        assert!(aggregator.commits.is_empty());
    });
}

fn equivocate_signs_two_commitments() {
    block_on(async {
        let (first, reveal, _, mut market) = cheat(Misbehaviour::Equivocate).await;
        let second = market.aggregator.commitment(market.provider.id).await;
        assert_eq!(first.assignment, second.assignment);
        assert_ne!(first.hash, second.hash);
        assert!(first.opens_with(&reveal.opening) && !second.opens_with(&reveal.opening));
        market.close().await;
    });
}

/// Which of the outputs are not their items.
fn changed(outputs: &[Vec<u8>], market: &Market) -> Vec<bool> {
    let pairs = outputs.iter().zip(&market.job.items);
    pairs.map(|(output, item)| output != item).collect()
}

fn a_targeted_cheat_changes_the_items_it_draws() {
    block_on(async {
        for (ppm, expected) in [(1_000_000, true), (1, false)] {
            let (commitment, reveal, outputs, market) = cheat(Misbehaviour::Sometimes(ppm)).await;
            assert!(commitment.opens_with(&reveal.opening));
            assert_eq!(changed(&outputs, &market), [expected; 2], "{ppm}");
            market.close().await;
        }
    });
}

fn replay_answers_one_shard_for_another() {
    block_on(async {
        let (_, first, outputs, mut market) = cheat(Misbehaviour::Replay).await;
        assert_eq!(changed(&outputs, &market), [false; 2]);
        let (from, second) = (market.provider.id, market.give(1).await);
        market.aggregator.commitment(from).await;
        let second = market.aggregator.revealed(second.id, from).await;
        assert_eq!(second.opening.outcome.root, first.opening.outcome.root);
        market.close().await;
    });
}

fn overclaim_multiplies_its_fuel() {
    block_on(async {
        let mut fuel = Vec::new();
        for kind in [Misbehaviour::Wrong, Misbehaviour::Overclaim(3)] {
            let (_, reveal, _, market) = cheat(kind).await;
            fuel.push(reveal.opening.outcome.meters.fuel);
            market.close().await;
        }
        assert_eq!(fuel[1], fuel[0] * 3);
    });
}

fn colluders_answer_alike_and_wrong() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let mut answers = Vec::new();
        for (secret, name) in [("one", "a"), ("one", "b")] {
            let file = dir.path().join(name);
            std::fs::write(&file, secret).unwrap();
            let (_, _, outputs, market) = cheat(Misbehaviour::Collude(1_000_000, file)).await;
            assert_eq!(changed(&outputs, &market), [true; 2]);
            answers.push(outputs);
            market.close().await;
        }
        assert_eq!(answers[0], answers[1]);
    });
}

fn conspirators_cheat_only_together() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let alone = Misbehaviour::Conspire(dir.path().join("alone"));
        let (_, _, outputs, market) = cheat(alone.clone()).await;
        assert_eq!(changed(&outputs, &market), [false; 2]);
        market.close().await;
        // Who comes after a decision keeps to it.
        let (_, _, outputs, market) = cheat(alone).await;
        assert_eq!(changed(&outputs, &market), [false; 2]);
        market.close().await;

        let together = Misbehaviour::Conspire(dir.path().join("together"));
        // Each waits two seconds for the other, and a busy machine may take longer to open a market.
        let (one, two) = (open(together.clone()).await, open(together).await);
        let (one, two) = tokio::join!(answer(one), answer(two));
        assert_eq!(changed(&one.2, &one.3), [true; 2]);
        assert_eq!(one.2, two.2);
        one.3.close().await;
        two.3.close().await;
    });
}

fn providers_of_one_owner_execute_once() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_owned();
        let mut reveals = Vec::new();
        for _ in 0..2 {
            let (commitment, reveal, outputs, market) =
                cheat(Misbehaviour::Relay(folder.clone())).await;
            assert!(commitment.opens_with(&reveal.opening));
            assert_eq!(changed(&outputs, &market), [false; 2]);
            reveals.push(reveal.opening.outcome);
            market.close().await;
        }
        assert_eq!(reveals[0], reveals[1], "meters included");
        // A claim and an outcome: the second made neither.
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    });
}

fn a_processor_says_that_it_is_a_gpu() {
    block_on(async {
        let (_, reveal, outputs, mut market) = cheat(Misbehaviour::CpuAsGpu).await;
        assert_eq!(changed(&outputs, &market), [false; 2]);
        let said = &reveal.opening.outcome.fingerprint.execution_provider;
        assert_eq!(said, "CUDAExecutionProvider");
        let offer = soon(market.aggregator.offers.recv()).await.unwrap();
        assert_eq!(offer.device.kind, jobs::offer::DeviceKind::Gpu);
        assert_eq!(offer.fingerprint, reveal.opening.outcome.fingerprint);
        market.close().await;
    });
}
