//! The life of a replica and the way to a verdict.

use super::*;

#[test]
fn nothing_is_revealed_before_everyone_has_committed() {
    let mut script = Script::new(2);
    script.start(spec());
    let sent = script.sent(0);
    assert_eq!(reveals(script.commit(&sent[0], "right")), []);
    script.reveal(&sent[0], "right");
    assert!(script.last.is_empty(), "an early reveal is not looked at");
    let asked = reveals(script.commit(&sent[1], "right"));
    assert_eq!(asked, [sent[0].id, sent[1].id]);
}

#[test]
fn replicas_go_to_distinct_providers_within_their_capacity() {
    let mut script = Script::new(0);
    for index in 0..3 {
        script.offer(Offer {
            capacity: 1,
            ..offer(index, "class")
        });
    }
    script.start(JobSpec {
        items: 20,
        ..spec()
    });
    assert_eq!(script.sent.len(), 3, "one for each place");
    while let Some(next) = script.sent.pop() {
        script.commit(&next, "right");
    }
    let view = script.core.view_job(job()).unwrap();
    for shard in view.shards {
        let [first, second] = &shard.replicas[..] else {
            panic!("{shard:?}");
        };
        assert_ne!(first.provider, second.provider);
    }
}

#[test]
fn a_quorum_shares_a_fingerprint_where_it_can() {
    let mut script = Script::new(0);
    for (index, class) in ["a", "b", "a", "b", "c"].iter().enumerate() {
        script.offer(offer(u8::try_from(index).unwrap(), class));
    }
    script.start(JobSpec {
        items: 12,
        ..spec()
    });
    for shard in 0..6 {
        let sent = script.sent(shard);
        let class = |a: &Assignment| script.core.view_provider(a.provider).unwrap().offer;
        assert_eq!(class(&sent[0]).fingerprint, class(&sent[1]).fingerprint);
        assert_ne!(class(&sent[0]).fingerprint.engine, "c");
    }
}

/// One replica goes wrong in the given way; it is replaced and its provider loses points.
fn check_replaced(cause: &str, wrong: impl FnOnce(&mut Script, &Assignment)) {
    let mut script = Script::new(4);
    script.start(spec());
    let sent = script.sent(0);
    let before = script.score(&sent[0]);
    script.commit(&sent[1], "right");
    wrong(&mut script, &sent[0]);
    let replacement = script.sent(0);
    assert_eq!(replacement.len(), 1, "{cause}");
    assert!(replacement[0].attempt >= 2, "{cause}");
    assert!(script.score(&sent[0]) < before, "{cause}");
    assert_eq!(script.core.view_balances().slashed, Amount::ZERO, "{cause}");
    script.execute(&[(&replacement[0], "right")]);
    script.reveal(&sent[1], "right");
    assert_eq!(script.core.view_job(job()).unwrap().accepted, 1, "{cause}");
    assert_eq!(script.earned(&sent[0]), Amount::ZERO, "{cause}");
}

#[test]
fn whatever_goes_wrong_is_replaced() {
    check_replaced("refused", |script, assignment| {
        script.step(Event::AssignRefused {
            assignment: assignment.id,
            code: Code::new("busy"),
        });
    });
    check_replaced("failed", |script, assignment| {
        script.step(Event::ExecutionFailed {
            assignment: assignment.id,
            failure: Failure::Provider(Code::new("disk_full")),
        });
    });
    check_replaced("lost", |script, assignment| {
        let provider = assignment.provider;
        script.step(Event::ProviderLost { provider });
    });
    check_replaced("invalid outputs", |script, assignment| {
        script.commit(assignment, "right");
        let opening = Box::new(script.opening(assignment, "right"));
        script.step(Event::Revealed {
            assignment: assignment.id,
            opening,
            outputs_valid: false,
        });
    });
    check_replaced("no reveal", |script, assignment| {
        script.commit(assignment, "right");
        script.step(Event::RevealFailed {
            assignment: assignment.id,
        });
    });
}

#[test]
fn impossible_outcomes_do_not_count() {
    type Change = fn(&mut Opening);
    let changes: [Change; 3] = [
        |opening| opening.outcome.items += 1,
        |opening| opening.outcome.meters.fuel = 5_000_000_000,
        |opening| opening.outcome.fingerprint.device = "elsewhere".into(),
    ];
    for change in changes {
        let mut script = Script::new(3);
        script.start(spec());
        let sent = script.sent(0);
        let mut opening = script.opening(&sent[0], "right");
        change(&mut opening);
        let (id, by) = (sent[0].id, sent[0].provider);
        let commitment = Commitment::bind(id, job(), 0, by, &opening);
        script.step(Event::Committed { commitment });
        script.commit(&sent[1], "right");
        script.step(Event::Revealed {
            assignment: id,
            opening: Box::new(opening),
            outputs_valid: true,
        });
        assert_eq!(script.sent(0).len(), 1, "replaced");
        assert!(script.core.view_provider(by).unwrap().demoted);
    }
}

#[test]
fn silence_is_replaced_when_its_time_is_over() {
    let mut script = Script::new(6);
    script.start(spec());
    let sent = script.sent(0);
    script.step(Event::AssignAccepted {
        assignment: sent[0].id,
    });
    script.wait(39_999);
    assert_eq!(script.sent(0), []);
    script.wait(1);
    assert_eq!(script.sent(0).len(), 1, "a commitment was due");
    script.wait(20_000);
    assert!(!script.sent(0).is_empty(), "an acceptance was due");
    let late = script.commitment(&sent[0], "right");
    script.step(Event::Committed { commitment: late });
    assert!(script.last.is_empty(), "too late to count");
    let other = script.commitment(&sent[0], "other");
    script.step(Event::Committed { commitment: other });
    let banned = script.core.view_provider(sent[0].provider).unwrap().banned;
    assert!(banned.is_some(), "never too late to be held to");
}

fn fail(script: &mut Script, assignment: &Assignment, failure: &Failure) {
    script.step(Event::ExecutionFailed {
        assignment: assignment.id,
        failure: failure.clone(),
    });
}

#[test]
fn what_fails_alike_everywhere_fails_the_job_and_nobody_is_to_blame() {
    let trap = Failure::Guest(Code::new("Trap"));
    for (failure, code, text) in [
        (trap, "guest_failed", "failed on every replica: Trap"),
        (
            Failure::Timeout,
            "timed_out",
            "timed out on every provider: raise limits.wall_ms",
        ),
        (
            Failure::WorkerLost,
            "worker_lost",
            "ended its worker process on every provider",
        ),
    ] {
        let mut script = Script::new(3);
        script.start(spec());
        let sent = script.sent(0);
        let before = script.score(&sent[0]);
        for assignment in &sent {
            fail(&mut script, assignment, &failure);
        }
        assert_eq!(script.failure().code(), code);
        let reason = script.failure().to_string();
        assert!(reason.contains(text), "{reason}");
        assert!(sent.iter().all(|a| script.score(a) == before), "{code}");
        assert_eq!(script.core.view_client(client()), Amount(10_000_000));
    }
}

#[test]
fn a_failure_that_others_do_not_share_costs_reputation_once_they_succeed() {
    let trap = Failure::Guest(Code::new("trap"));
    for (failure, points) in [
        (trap, 100_000),
        (Failure::Timeout, 30_000),
        (Failure::WorkerLost, 30_000),
    ] {
        let mut script = Script::new(3);
        script.start(spec());
        let sent = script.sent(0);
        let before = script.score(&sent[0]);
        fail(&mut script, &sent[0], &failure);
        assert_eq!(script.score(&sent[0]), before, "not yet known");
        let replacement = script.sent(0);
        script.execute(&[(&sent[1], "right"), (&replacement[0], "right")]);
        assert_eq!(script.score(&sent[0]), before - points, "{failure:?}");
    }
}

#[test]
fn different_failures_do_not_end_a_job() {
    let mut script = Script::new(4);
    script.start(spec());
    let sent = script.sent(0);
    fail(&mut script, &sent[0], &Failure::Timeout);
    fail(&mut script, &sent[1], &Failure::WorkerLost);
    assert_eq!(script.outcome(), None);
    assert_eq!(script.sent(0).len(), 2, "replaced");
}

#[test]
fn one_slow_provider_does_not_end_a_job_without_replicas() {
    let mut script = Script::new(2);
    script.start(JobSpec {
        replicas: 1,
        max_replicas: 1,
        ..spec()
    });
    let first = script.sent(0).remove(0);
    fail(&mut script, &first, &Failure::Timeout);
    assert_eq!(script.outcome(), None);
    let second = script.sent(0).remove(0);
    fail(&mut script, &second, &Failure::Timeout);
    assert_eq!(script.failure().code(), "timed_out");
}

#[test]
fn different_roots_of_a_numeric_job_are_compared_and_judged_by_cliques() {
    let mut script = Script::new(3);
    script.start(JobSpec {
        comparison: Comparison::Numeric,
        ..spec()
    });
    let mut sent = script.sent(0);
    let answer = |script: &mut Script, left: &Assignment, right: &Assignment, agree| {
        script.step(Event::Compared {
            job: job(),
            shard: 0,
            left: left.id,
            right: right.id,
            finding: if agree {
                Finding::Agree
            } else {
                Finding::Differ
            },
        });
    };
    script.execute(&[(&sent[0], "low"), (&sent[1], "high")]);
    let asked = script
        .last
        .iter()
        .any(|a| matches!(a, Action::Compare { .. }));
    assert!(asked, "{:?}", script.last);
    answer(&mut script, &sent[0], &sent[1], false);
    sent.extend(script.sent(0));
    assert_eq!(sent.len(), 3, "undecided: one more");
    script.execute(&[(&sent[2], "middle")]);
    // A star around the middle is no quorum of three, and two pairs are no majority.
    answer(&mut script, &sent[0], &sent[2], true);
    answer(&mut script, &sent[2], &sent[1], true);
    let expected = FailReason::NoQuorum {
        shard: 0,
        replicas: 3,
    };
    assert_eq!(*script.failure(), expected);
}

#[test]
fn attempts_are_counted_out() {
    let mut script = Script::new(3);
    script.core.config.attempts_per_shard_max = 4;
    script.core.config.refusal_cooldown_ms = 0;
    script.start(spec());
    for _ in 0..9 {
        while let Some(next) = script.sent.pop() {
            script.step(Event::AssignRefused {
                assignment: next.id,
                code: Code::new("no"),
            });
        }
        script.wait(1_000);
    }
    assert_eq!(script.failure().code(), "attempts_exhausted");
}

#[test]
fn a_provider_that_keeps_refusing_is_left_alone_longer_until_it_connects_anew() {
    let mut script = Script::new(2);
    script.start(JobSpec { items: 2, ..spec() });
    let steady = script.sent.remove(1);
    script.commit(&steady, "right");
    let refuse = |script: &mut Script| {
        let [assignment] = &script.sent(0)[..] else {
            panic!("one assignment");
        };
        script.step(Event::AssignRefused {
            assignment: assignment.id,
            code: Code::new("busy"),
        });
        assignment.provider
    };
    let mut pauses = Vec::new();
    for _ in 0..4 {
        refuse(&mut script);
        let since = script.now;
        while script.sent.is_empty() {
            script.wait(1_000);
        }
        pauses.push((script.now - since) / 1_000);
    }
    assert_eq!(pauses, [5, 10, 20, 40]);
    let provider = refuse(&mut script);
    script.step(Event::ProviderLost { provider });
    script.offer(offer(provider.0[0], "class"));
    assert_eq!(script.sent.len(), 1, "at once");
}
