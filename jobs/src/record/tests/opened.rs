//! Records of jobs in which replicas opened values within a model.

use super::*;
use crate::package::Replication;
use crate::receipt::tests::opened;

/// Leaves one of the two out whose outputs agree: the one with the higher root, so that nothing else changes.
fn leave_out(job: &mut Job) {
    for shard in &mut job.record.shards {
        let higher = shard.replicas.iter_mut().take(2);
        let higher = higher.max_by_key(|replica| outcome(replica).root).unwrap();
        (higher.agreed, higher.paid) = (false, Amount::ZERO);
    }
}

/// One replica is quorum enough.
fn single(package: Package) -> Package {
    Package {
        replication: Replication {
            replicas: 1,
            max_replicas: 5,
        },
        ..package
    }
}

#[test]
fn who_has_the_same_outputs_may_be_left_out_where_something_is_opened_and_nowhere_else() {
    finished_as(opened()).verify().unwrap();
    for (package, words) in [
        (single(package()), "agree, the record says"),
        // The verdict holds; that somebody is paid less is what is wrong next.
        (single(opened()), "what it says providers got is not"),
        (opened(), "1 of its replicas agreed, 2 must"),
    ] {
        let mut job = finished_as(package);
        leave_out(&mut job);
        job.resettle(|_| {});
        job.refused(words);
    }
}

#[test]
fn nobody_is_held_to_be_right_whose_outputs_differ() {
    let mut job = finished_as(opened());
    job.record.shards[0].replicas[2].agreed = true;
    job.resettle(|_| {});
    job.refused("replicas 0 and 2 agreed and differ");
}
