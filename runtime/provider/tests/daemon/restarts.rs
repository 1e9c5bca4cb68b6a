//! Providers that are killed: what they signed they sign again byte for byte, and nothing else.

use std::path::Path;
use std::sync::atomic::Ordering;

use jobs::ids::{AssignmentId, ProviderId};
use network::protocol::{AssignReply, CommitRequest, FailureCode};
use provider::journal::{Bounds, Journal, Known, Report};

use crate::fixture::{guest, job};
use crate::harness::Case;
use crate::honest::endless;
use crate::market::{Aggregator, Process, block_on, until};

pub(crate) const CASES: &[Case] = &[
    (
        "a_killed_provider_commits_to_the_same",
        a_killed_provider_commits_to_the_same,
    ),
    (
        "killed_between_disk_and_network_it_sends_what_is_on_disk",
        killed_between_disk_and_network,
    ),
    (
        "what_ran_when_it_was_killed_is_handed_back",
        what_ran_when_it_was_killed_is_handed_back,
    ),
];

fn a_killed_provider_commits_to_the_same() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let mut aggregator = Aggregator::start(dir.path()).await;
        let job = job(guest(""));
        aggregator.hold(&job);
        let process = Process::start(dir.path(), &mut aggregator, "-").await;
        aggregator.deaf.store(true, Ordering::SeqCst);
        let assignment = aggregator.give(&job, 0, process.id).await;
        let first = aggregator.commit().await;
        process.kill();
        while aggregator.offers.try_recv().is_ok() {}
        aggregator.deaf.store(false, Ordering::SeqCst);
        let process = Process::start(dir.path(), &mut aggregator, "-").await;
        let again = loop {
            // Repetitions from before the kill may still be in the queue.
            let commit = aggregator.commit().await;
            if aggregator.commits.is_empty() {
                break commit;
            }
        };
        assert_eq!(first, again);
        // Delivered once more, it is accepted once more, and committed to as before.
        let request = job.request(&assignment, &aggregator.key);
        let reply = aggregator.assign(&request, process.id).await;
        assert_eq!(
            reply,
            AssignReply::Accepted {
                assignment: assignment.id
            }
        );
        let commitment = aggregator.commitment(process.id).await;
        let reveal = aggregator.revealed(assignment.id, process.id).await;
        assert!(commitment.opens_with(&reveal.opening));
        let outputs = reveal.opening.outcome.outputs;
        assert_eq!(
            aggregator.outputs(outputs, process.id).await,
            job.items[..2]
        );
        let CommitRequest::Committed {
            commitment: signed, ..
        } = first
        else {
            panic!("it failed")
        };
        assert_eq!(signed.verify().unwrap().statement, commitment);
    });
}

/// What a copy of the journal knows: the file itself belongs to the running provider.
fn peek(dir: &Path, provider: ProviderId, id: AssignmentId) -> Option<Report> {
    let copy = dir.join("journal.copy");
    std::fs::copy(dir.join("provider/journal"), &copy).unwrap();
    let journal = Journal::open(&copy, provider, Bounds::default()).ok()?;
    (journal.known(id) == Some(Known::Signed)).then(|| journal.report(id).unwrap().unwrap())
}

fn killed_between_disk_and_network() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let mut aggregator = Aggregator::start(dir.path()).await;
        let job = job(guest(""));
        aggregator.hold(&job);
        let process = Process::start(dir.path(), &mut aggregator, "-").await;
        aggregator.deaf.store(true, Ordering::SeqCst);
        let assignment = aggregator.give(&job, 0, process.id).await;
        let listen = aggregator.listen();
        aggregator.client.shutdown().await;
        let mut signed = None;
        until("it is signed", || {
            signed = peek(dir.path(), process.id, assignment.id);
            signed.is_some()
        })
        .await;
        let id = process.id;
        process.kill();
        let mut aggregator = Aggregator::start_at(dir.path(), &listen, None).await;
        let process = Process::start(dir.path(), &mut aggregator, "-").await;
        assert_eq!(process.id, id);
        let Some(Report::Work(work)) = signed else {
            panic!("it failed")
        };
        let expected = CommitRequest::Committed {
            assignment: assignment.id,
            commitment: work.commitment.clone(),
        };
        assert_eq!(aggregator.commit().await, expected);
        let reveal = aggregator.revealed(assignment.id, id).await;
        assert_eq!(
            (reveal.opening, reveal.receipt),
            (work.opening, work.receipt)
        );
    });
}

fn what_ran_when_it_was_killed_is_handed_back() {
    block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let mut aggregator = Aggregator::start(dir.path()).await;
        let job = job(endless());
        aggregator.hold(&job);
        let process = Process::start(dir.path(), &mut aggregator, "-").await;
        let assignment = aggregator.give(&job, 0, process.id).await;
        process.kill();
        while aggregator.offers.try_recv().is_ok() {}
        let _process = Process::start(dir.path(), &mut aggregator, "-").await;
        let (id, code, reason) = aggregator.failure().await;
        assert_eq!((id, code), (assignment.id, FailureCode::Internal));
        assert_eq!(reason, "the provider was restarted");
    });
}
