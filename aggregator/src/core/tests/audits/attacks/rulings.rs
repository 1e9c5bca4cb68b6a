//! Who is right about an accused answer.

use super::*;

#[test]
fn where_too_few_referees_are_left_a_wrong_answer_falls_and_no_stake_with_it() {
    // How many of two referees are there while the wrong answers are looked at.
    for present in [0u8, 1] {
        let mut script = market(5, 2, true);
        answered_by(&mut script, 2, &[0, 1, 3, 4], audited(), "wrong");
        for index in (0..present).chain([3, 4]) {
            script.offer(offer(index, "class"));
        }
        script.answer_all(lies_of(2));
        assert_eq!(script.outcome(), None, "{present}: the job goes on");
        assert_eq!((script.stake_of(2), script.is_banned(2)), (300, false));
        let shards = &script.core.jobs[&job()].shards;
        let wrong = shards.iter().flat_map(|shard| shard.replicas.first());
        let mut states = wrong.map(|replica| &replica.state);
        let fallen = ReplicaState::Closed(Cause::Refuted);
        assert!(states.all(|state| *state == fallen), "{present}");
        let roots = shards.iter().filter_map(|shard| shard.accepted.as_ref());
        let roots: Vec<_> = roots.map(|accepted| accepted.root).collect();
        assert_eq!(roots, [digest("right"); 2], "{present}");
    }
}

#[test]
fn a_check_that_no_referee_is_there_for_is_done_by_a_peer() {
    let mut script = market(4, 2, true);
    script.core.config.audit.trusted = Ppb::ONE;
    script.start(audited());
    script.answer_all(|_| "right");
    script.share();
    lose(&mut script, 0);
    lose(&mut script, 1);
    script.answer_all(|_| "right");
    script.outlive_finality(1);
}

#[test]
fn what_another_execution_class_finds_takes_no_stake_where_models_run() {
    for (class, models, convicted) in [("class", 1, true), ("other", 1, false), ("other", 0, true)]
    {
        let mut script = market(5, 3, true);
        let spec = JobSpec {
            comparison: Comparison::Numeric,
            models,
            ..audited()
        };
        answered_by(&mut script, 3, &[0, 1, 2, 4], spec, "wrong");
        for referee in [0, 1, 2] {
            script.offer(offer(referee, class));
        }
        for _ in 0..40 {
            script.answer_all(|_| "right");
            let asked = wanted_comparisons(&script.core);
            let Some((shard, left, right, _)) = asked.first() else {
                break;
            };
            compared(&mut script, *shard, *left, *right, Finding::Differ);
        }
        let stake = script.stake_of(3);
        assert_eq!(stake < 300, convicted, "{class} {models}: {stake}");
        let known = &script.core.providers[&provider(3)];
        assert!(known.provisional.is_empty(), "its answers do not stand");
    }
}

#[test]
fn only_whose_finding_is_borne_out_gets_the_bounty() {
    for (found, paid) in [("right", true), ("nonsense", false)] {
        let mut script = wrong_answers(3);
        script.offer(offer(4, "class"));
        script.answer_all(|_| found);
        for referee in [0, 1, 2] {
            script.offer(offer(referee, "class"));
        }
        script.answer_all(|_| "right");
        assert!(script.is_banned(3), "{found}");
        let earned = script.core.view_provider(provider(4)).unwrap().earned;
        assert_eq!(!earned.is_zero(), paid, "{found}: {earned:?}");
    }
}

#[test]
fn what_most_found_takes_the_place_of_a_wrong_answer_and_not_what_was_found_first() {
    let mut script = market(4, 0, true);
    answered_by(&mut script, 0, &[1, 2, 3], audited(), "wrong");
    script.offer(offer(1, "class"));
    script.answer_all(|_| "nonsense");
    script.offer(offer(2, "class"));
    script.offer(offer(3, "class"));
    script.answer_all(|_| "right");
    for shard in &script.core.jobs[&job()].shards {
        let accepted = shard.accepted.as_ref().map(|accepted| accepted.root);
        assert_eq!(accepted, Some(digest("right")));
        for replica in shard.replicas.iter().filter(|replica| replica.check) {
            let lied = replica.provider == provider(1);
            let paid =
                matches!(replica.state, ReplicaState::Settled { paid, .. } if !paid.is_zero());
            assert_eq!(paid, !lied, "{:?}", replica.state);
        }
    }
}
