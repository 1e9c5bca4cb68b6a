//! Samples, doubts and the ways out: what happens between an answer and its end.

use super::*;

#[test]
fn single_items_are_cut_out_assigned_and_compared() {
    let mut script = market(4, 0, false);
    script.core.config.audit.peer = Ppb::millionths(200_000);
    trust_everybody(&mut script);
    script.start(JobSpec {
        items: 40,
        items_per_shard: 20,
        audit: Some(Unit::Item),
        ..audited()
    });
    script.share();
    script.answer_all(|_| "right");
    let samples: Vec<Action> = script
        .core
        .recover()
        .into_iter()
        .filter(|action| matches!(action, Action::Sample { .. }))
        .collect();
    assert!(!samples.is_empty(), "about four items of each shard");
    for action in samples {
        let Action::Sample {
            job,
            shard,
            check,
            items,
            ..
        } = action
        else {
            continue;
        };
        assert!(items.len() < 20 && items.is_sorted(), "{items:?}");
        let input = BlobRef::of(b"sample");
        script.step(Event::Sampled {
            job,
            shard,
            check,
            input,
        });
        let sent = script.sent(shard);
        assert_eq!(sent.len(), 1);
        assert_eq!((sent[0].input, &sent[0].sample), (input, &items));
        assert_eq!(sent[0].items as usize, items.len());
        script.execute(&[(&sent[0], "a part")]);
        let asked = script.last.iter().find_map(|action| match action {
            Action::Compare {
                left,
                right,
                sample,
                ..
            } => Some((*left, *right, sample.clone())),
            _ => None,
        });
        let (left, right, sample) = asked.expect("a comparison");
        assert_eq!((right, sample), (sent[0].id, items));
        script.step(Event::Compared {
            job,
            shard,
            left,
            right,
            finding: Finding::Agree,
        });
    }
    script.merge(1);
    script.wait(60_000);
    script.merge(2);
    assert_eq!(script.status(), JobStatus::Done);
}

#[test]
fn an_unclear_difference_costs_nobody_a_stake() {
    let mut script = market(5, 2, true);
    script.start(JobSpec {
        comparison: Comparison::Numeric,
        ..audited()
    });
    script.share();
    for _ in 0..40 {
        script.answer_all(|a| {
            if a.provider == provider(4) {
                "near"
            } else {
                "right"
            }
        });
        let compare = script
            .core
            .recover()
            .into_iter()
            .find_map(|action| match action {
                Action::Compare {
                    job,
                    shard,
                    left,
                    right,
                    ..
                } => Some((job, shard, left, right)),
                _ => None,
            });
        let Some((job, shard, left, right)) = compare else {
            break;
        };
        script.step(Event::Compared {
            job,
            shard,
            left,
            right,
            finding: Finding::Unclear,
        });
    }
    assert!((0..5).all(|index| script.stake_of(index) == 300 && !script.is_banned(index)));
}

#[test]
fn stake_leaves_only_after_a_last_look_at_what_is_not_final() {
    let mut script = market(3, 0, false);
    trust_everybody(&mut script);
    script.start(audited());
    script.share();
    script.answer_all(|_| "right");
    script.merge(1);
    let holder = script.core.jobs[&job()].shards[0].replicas[0].provider;
    let unstake = |script: &mut Script| script.pay(Movement::Unstake(holder), 300);
    assert!(matches!(
        unstake(&mut script),
        Err(Refusal::StakeInUse { .. })
    ));
    script.answer_all(|_| "right");
    assert_eq!(unstake(&mut script), Ok(Reply::Moved));
}

#[test]
fn a_job_that_ends_early_pays_what_nobody_doubts() {
    let mut script = market(3, 0, false);
    trust_everybody(&mut script);
    script.start(audited());
    script.share();
    let sent = script.sent(0);
    script.execute(&[(&sent[0], "right")]);
    script.step(Event::Cancel {
        request: REQUEST,
        job: job(),
        client: client(),
    });
    assert_eq!(script.failure(), &FailReason::Cancelled);
    let paid = script.core.paid(job());
    assert_eq!(paid.len(), 1, "{paid:?}");
}

#[test]
fn a_client_that_doubts_an_item_has_its_shard_executed_again() {
    let mut script = market(5, 2, false);
    trust_everybody(&mut script);
    script.start(audited());
    script.share();
    script.answer_all(|assignment| {
        if assignment.shard == 0 {
            "wrong"
        } else {
            "right"
        }
    });
    script.merge(1);
    let challenge = |script: &mut Script, chance: u8, item: u32| {
        script.step(Event::Challenge {
            request: REQUEST,
            job: job(),
            chance: Chance([chance; 32]),
            item,
        });
        script.reply()
    };
    let shard = |index| {
        Ok(Reply::Challenged {
            job: job(),
            shard: index,
        })
    };
    assert_eq!(challenge(&mut script, 6, 1), Err(Refusal::WrongShare));
    let beyond = challenge(&mut script, 5, 4).unwrap_err().to_string();
    assert_eq!(beyond, "item = 4 is outside 0 to 3");
    assert_eq!(challenge(&mut script, 5, 1), shard(0));
    assert_eq!(
        challenge(&mut script, 5, 0),
        shard(0),
        "asking twice asks once"
    );
    assert_eq!(challenge(&mut script, 5, 3), shard(1));
    assert_eq!(script.executions(), 4);
    script.answer_all(|_| "right");
    assert_eq!(
        script.status(),
        JobStatus::Merging,
        "there is another result"
    );
    let parts = script.core.record_parts(job()).unwrap();
    assert!(
        parts
            .shards
            .iter()
            .all(|s| s.canonical_root == digest("right"))
    );
    assert_eq!(
        script.stake_of(2) + script.stake_of(3) + script.stake_of(4),
        800,
        "one was fined"
    );
    assert_eq!(
        challenge(&mut script, 5, 0),
        Err(Refusal::NotProvisional { item: 0 })
    );
}

#[test]
fn a_check_is_recorded_whatever_its_price() {
    let nothing = Price {
        per_gfuel: Amount::ZERO,
        per_device_second: Amount::ZERO,
    };
    for price in [nothing, offer(0, "class").price] {
        let mut script = market(0, 0, true);
        for index in 0..4 {
            let offer = Offer {
                price,
                ..offer(index, "class")
            };
            script.offer(offer);
        }
        script.start(audited());
        script.share();
        script.answer_all(|_| "right");
        script.outlive_finality(1);
        for shard in script.core.record_parts(job()).unwrap().shards {
            assert!(!shard.checks.is_empty(), "{price:?}");
        }
    }
}

#[test]
fn who_checked_an_answer_that_is_gone_may_answer_and_check_the_next() {
    // Two workers and two referees: the liar's answers are undone one after the other, and somebody is left.
    let mut script = wrong_answers(2);
    script.offer(offer(3, "class"));
    for referee in [0, 1] {
        script.offer(offer(referee, "class"));
    }
    script.answer_all(lies_of(2));
    assert!(script.is_banned(2));
    script.outlive_finality(script.core.jobs[&job()].merges);
}

#[test]
fn an_auditor_that_stalls_is_replaced_by_a_referee_where_nobody_else_is_left() {
    let mut script = market(4, 2, true);
    script.start(audited());
    script.share();
    let first = script.sent(0);
    script.execute(&[(&first[0], "right")]);
    let check = script.sent(0);
    assert_eq!(check.len(), 1);
    script.step(Event::AssignAccepted {
        assignment: check[0].id,
    });
    script.wait(script.core.config.due_grace_ms + 10_000);
    let next = script.sent(0);
    assert_eq!(next.len(), 1, "asked at once");
    assert!(next[0].provider == provider(0) || next[0].provider == provider(1));
}

#[test]
fn a_shard_goes_where_somebody_of_its_class_can_check_it() {
    let mut script = Script::new(0);
    for (index, class) in [(0, "alone"), (1, "class"), (2, "class")] {
        script.offer(offer(index, class));
        script.pay(Movement::Stake(provider(index)), 300).unwrap();
    }
    script.pay(Movement::Deposit(client()), 10_000_000).unwrap();
    script.start(JobSpec {
        items: 16,
        ..audited()
    });
    assert_eq!(script.sent.len(), 8);
    assert!(script.sent.iter().all(|sent| sent.provider != provider(0)));
}

#[test]
fn two_providers_are_enough_though_nobody_is_left_for_a_last_look() {
    let mut script = market(2, 0, true);
    script.core.config.audit.leave = Ppb::ONE;
    script.start(audited());
    script.share();
    script.answer_all(|_| "right");
    assert_eq!(script.executions(), 4, "each checked the other");
    script.merge(1);
    script.wait(60_000);
    script.merge(2);
    assert_eq!(script.status(), JobStatus::Done);
}

#[test]
fn who_was_about_to_check_an_answer_that_is_gone_may_answer() {
    let mut script = market(2, 0, true);
    script.start(audited());
    script.share();
    let first = script.sent(0);
    script.execute(&[(&first[0], "right")]);
    let check = script.sent(0);
    assert_eq!(check.len(), 1, "the other one is to check it");
    script.step(Event::SetBanned {
        provider: first[0].provider,
        banned: true,
    });
    let next = script.sent(0);
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].provider, check[0].provider);
}
