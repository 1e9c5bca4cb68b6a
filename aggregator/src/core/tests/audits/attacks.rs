//! What who wants something for nothing tries with audits, and what comes of it.

mod rulings;

use jobs::offer::CAPACITY_MAX;

use super::*;
use crate::core::event::{Code, Failure};
use crate::core::state::Cause;

/// Samples of the accepted answers are cut: shard, name of the check, items.
fn wanted_samples(script: &Script) -> Vec<(u32, u32, Vec<u32>)> {
    let actions = script.core.recover().into_iter();
    let samples = actions.filter_map(|action| match action {
        Action::Sample {
            shard,
            check,
            items,
            ..
        } => Some((shard, check, items)),
        _ => None,
    });
    samples.collect()
}

fn cut(script: &mut Script, shard: u32, check: u32, input: &[u8]) {
    script.step(Event::Sampled {
        job: job(),
        shard,
        check,
        input: BlobRef::of(input),
    });
}

/// Comparisons that the driver is asked for: shard, the two assignments, the sample.
fn wanted_comparisons(core: &Core) -> Vec<(u32, AssignmentId, AssignmentId, Vec<u32>)> {
    let actions = core.recover().into_iter();
    let asked = actions.filter_map(|action| match action {
        Action::Compare {
            shard,
            left,
            right,
            sample,
            ..
        } => Some((shard, left, right, sample)),
        _ => None,
    });
    asked.collect()
}

fn compared(
    script: &mut Script,
    shard: u32,
    left: AssignmentId,
    right: AssignmentId,
    found: Finding,
) {
    script.step(Event::Compared {
        job: job(),
        shard,
        left,
        right,
        finding: found,
    });
}

/// Two shards of twenty items, of which a few are looked at.
fn by_item() -> JobSpec {
    JobSpec {
        items: 40,
        items_per_shard: 20,
        audit: Some(Unit::Item),
        ..audited()
    }
}

/// A market that looks at a fifth of all items.
fn sampling(providers: u8, referees: u8) -> Script {
    let mut script = market(providers, referees, false);
    script.core.config.audit.peer = Ppb::millionths(200_000);
    trust_everybody(&mut script);
    script
}

fn cancel(script: &mut Script) -> Result<Reply, Refusal> {
    script.step(Event::Cancel {
        request: REQUEST,
        job: job(),
        client: client(),
    });
    script.reply()
}

fn lose(script: &mut Script, index: u8) {
    script.step(Event::ProviderLost {
        provider: provider(index),
    });
}

/// Submits, and lets only this provider answer.
fn answered_by(script: &mut Script, index: u8, others: &[u8], spec: JobSpec, output: &'static str) {
    script.submit(spec).unwrap();
    others.iter().for_each(|other| lose(script, *other));
    let shards = script.core.jobs[&job()].shards.len() as u32;
    let inputs = (0..shards).map(|shard| BlobRef::of(&shard.to_le_bytes()));
    script.step(Event::BlobsReady {
        job: job(),
        shard_inputs: inputs.collect(),
    });
    script.answer_all(|_| output);
    let known = &script.core.providers[&provider(index)];
    assert_eq!(known.provisional.len() as u32, shards);
    script.share();
}

#[test]
fn a_sample_that_found_nothing_in_a_wrong_answer_costs_reputation_and_no_stake() {
    let mut script = sampling(5, 3);
    answered_by(&mut script, 3, &[0, 1, 2, 4], by_item(), "wrong");
    script.offer(offer(4, "class"));
    for (shard, check, _) in wanted_samples(&script) {
        cut(&mut script, shard, check, b"sample");
    }
    script.answer_all(|_| "a part");
    // It sees nothing in the first shard, and something in the second.
    for (shard, left, right, sample) in wanted_comparisons(&script.core) {
        assert!(!sample.is_empty());
        let finding = [Finding::Agree, Finding::Differ][shard as usize];
        compared(&mut script, shard, left, right, finding);
    }
    for referee in [0, 1, 2] {
        script.offer(offer(referee, "class"));
    }
    script.answer_all(|_| "right");
    assert!(script.is_banned(3), "both of its answers are wrong");
    script.step(Event::Restarted);
    let asked = wanted_comparisons(&script.core);
    let [(0, left, right, sample)] = asked.as_slice() else {
        panic!("what the sample found is compared with what is right: {asked:?}");
    };
    assert!(!sample.is_empty(), "as a sample still, after a restart");
    compared(&mut script, 0, *left, *right, Finding::Differ);
    let tally = script.core.providers[&provider(4)].tally;
    assert_eq!((tally.dissented, script.stake_of(4)), (1, 300));
    assert!(!script.is_banned(4), "a guest may do otherwise with a part");
    assert_eq!(wanted_comparisons(&script.core), []);
}

#[test]
fn what_becomes_final_while_the_driver_merges_is_merged_once_more() {
    let mut script = market(3, 0, true);
    script.core.config.audit.window = 0;
    script.start(audited());
    script.share();
    let first = std::mem::take(&mut script.sent);
    for assignment in &first {
        script.execute(&[(assignment, "right")]);
    }
    assert_eq!(script.status(), JobStatus::Merging);
    script.answer_all(|_| "right");
    assert!(!script.core.has_provisional(job()));
    // The driver's record was made before anything was paid.
    script.merge(1);
    assert_eq!(script.status(), JobStatus::Merging);
    script.merge(2);
    assert_eq!(script.status(), JobStatus::Done);
}

#[test]
fn whoever_is_pardoned_begins_again_as_a_newcomer() {
    let mut script = wrong_answers(3);
    for index in [0, 1, 2] {
        script.offer(offer(index, "class"));
    }
    script.answer_all(|_| "right");
    assert!(script.is_banned(3));
    script.step(Event::SetBanned {
        provider: provider(3),
        banned: false,
    });
    script.wait(1_000_000_000);
    for index in 0..4 {
        script.offer(offer(index, "class"));
    }
    let next = JobId(digest("next"));
    script.submit_as(client(), next, audited()).unwrap();
    script.step(Event::BlobsReady {
        job: next,
        shard_inputs: vec![BlobRef::of(b"input"); 2],
    });
    script.answer_all(|_| "right");
    let known = &script.core.providers[&provider(3)];
    assert_eq!(known.provisional.len(), 2, "its answers count again");
    assert_eq!((known.answers.produced(), known.answers.passed()), (2, 0));
}

#[test]
fn a_client_that_has_the_result_cannot_cancel_its_way_out_of_paying() {
    let mut script = market(3, 0, true);
    script.start(audited());
    script.share();
    let first = std::mem::take(&mut script.sent);
    for assignment in &first {
        script.execute(&[(assignment, "right")]);
    }
    assert_eq!(cancel(&mut script), Err(Refusal::ResultDelivered));
    script.merge(1);
    assert_eq!(cancel(&mut script), Err(Refusal::ResultDelivered));
    script.answer_all(|_| "right");
    script.outlive_finality(1);
    assert!(
        first
            .iter()
            .all(|assignment| script.earned(assignment) > Amount::ZERO)
    );
    let phase = Code::new("done");
    assert_eq!(cancel(&mut script), Err(Refusal::NotCancellable { phase }));
}

#[test]
fn a_guest_that_fails_on_a_part_of_a_shard_is_checked_on_the_whole() {
    for failure in [
        Failure::Guest(Code::new("trap")),
        Failure::Timeout,
        Failure::WorkerLost,
    ] {
        let mut script = sampling(4, 0);
        script.start(by_item());
        script.share();
        script.answer_all(|_| "right");
        let (shard, check, _) = wanted_samples(&script).remove(0);
        cut(&mut script, shard, check, b"sample");
        let sample = script.sent(shard).remove(0);
        assert!(!sample.sample.is_empty());
        script.step(Event::ExecutionFailed {
            assignment: sample.id,
            failure,
        });
        let whole = script.sent(shard).remove(0);
        let input = BlobRef::of(&shard.to_le_bytes());
        assert_eq!(
            (whole.sample.len(), whole.items, whole.input),
            (0, 20, input)
        );
        script.execute(&[(&whole, "right")]);
        let paid = script.earned(&whole);
        assert!(paid > Amount::ZERO, "{paid:?}");
    }
}

#[test]
fn a_ban_that_takes_back_many_answers_under_check_fits_into_its_steps() {
    let mut script = market(0, 0, true);
    script.core.config.provider_live_max = 64;
    for index in 0..4 {
        let capacity = CAPACITY_MAX.min(64);
        script.offer(Offer {
            capacity,
            ..offer(index, "class")
        });
    }
    let spec = JobSpec {
        items: 64,
        items_per_shard: 1,
        max_price: Amount(9_000_000),
        ..audited()
    };
    answered_by(&mut script, 3, &[0, 1, 2], spec, "wrong");
    for index in 0..3 {
        script.offer(Offer {
            capacity: CAPACITY_MAX.min(64),
            ..offer(index, "class")
        });
    }
    assert_eq!(script.executions(), 128, "every answer is being checked");
    script.core.config.step_replicas_max = 1;
    script.step(Event::SetBanned {
        provider: provider(3),
        banned: true,
    });
    let mut steps = 0;
    while script.last.contains(&Action::TickAgain) {
        script.step(Event::Tick);
        steps += 1;
    }
    assert!(steps > 32, "{steps}");
    script.answer_all(|_| "right");
    let replicas = script.core.jobs[&job()]
        .shards
        .iter()
        .flat_map(|s| &s.replicas);
    let moot = replicas.filter(|replica| replica.state == ReplicaState::Closed(Cause::Moot));
    assert_eq!(moot.count(), 64);
}

#[test]
fn a_sample_that_was_cut_for_an_answer_that_is_gone_is_not_the_nexts() {
    let mut script = sampling(4, 0);
    answered_by(&mut script, 0, &[1, 2, 3], by_item(), "right");
    let old = wanted_samples(&script).remove(0);
    script.step(Event::SetBanned {
        provider: provider(0),
        banned: true,
    });
    script.offer(offer(1, "class"));
    script.answer_all(|_| "right");
    script.offer(offer(2, "class"));
    let mut wanted = wanted_samples(&script).into_iter();
    let new = wanted.rfind(|(shard, _, _)| *shard == old.0).unwrap();
    assert_ne!(old.2, new.2, "other items");
    cut(&mut script, old.0, old.1, b"old");
    assert!(script.sent(old.0).is_empty());
    cut(&mut script, new.0, new.1, b"new");
    let sent = script.sent(new.0);
    assert_eq!(
        (sent[0].input, &sent[0].sample),
        (BlobRef::of(b"new"), &new.2)
    );
}

#[test]
fn a_sample_is_paid_no_more_fuel_than_the_whole_took() {
    let mut script = sampling(4, 0);
    script.start(by_item());
    script.share();
    script.answer_all(|_| "right");
    let (shard, check, _) = wanted_samples(&script).remove(0);
    cut(&mut script, shard, check, b"sample");
    let sample = script.sent(shard).remove(0);
    script.execute_with(&[(&sample, 4_000_000_000)], |meters| meters.device_us = 0);
    let (_, left, right, _) = wanted_comparisons(&script.core).remove(0);
    compared(&mut script, shard, left, right, Finding::Agree);
    assert_eq!(
        script.earned(&sample),
        Amount(2_000),
        "as much as the answer burnt"
    );
}

#[test]
fn an_audited_job_asks_for_one_answer() {
    let mut script = market(4, 0, true);
    for (replicas, fine) in [(2, false), (1, true)] {
        let spec = JobSpec {
            replicas,
            ..audited()
        };
        assert_eq!(script.submit(spec).is_ok(), fine, "{replicas}");
    }
}

#[test]
fn who_refuses_every_check_keeps_nobody_from_checking() {
    let mut script = market(4, 2, true);
    answered_by(&mut script, 2, &[0, 1, 3], audited(), "right");
    for index in [0, 1, 3] {
        script.offer(offer(index, "class"));
    }
    for _ in 0..20 {
        let sent = std::mem::take(&mut script.sent);
        for check in sent {
            if check.provider == provider(3) {
                script.step(Event::AssignRefused {
                    assignment: check.id,
                    code: Code::new("no"),
                });
            } else {
                script.execute(&[(&check, "right")]);
            }
        }
        script.wait(200_000);
        for index in 0..4 {
            script.offer(offer(index, "class"));
        }
    }
    let found = script.core.jobs[&job()].shards.iter().map(|shard| {
        let audit = shard.audit.as_ref().unwrap();
        audit.checks.first().and_then(|check| check.finding)
    });
    let found: Vec<_> = found.collect();
    assert_eq!(found, [Some(Finding::Agree); 2], "a referee does it");
}

#[test]
fn a_bonus_for_a_check_never_exceeds_the_fee_on_it() {
    // Who asks nothing gets nothing beside, however much is in the pool.
    for (asks, pool) in [
        (0u128, 1_000_000_000u128),
        (1_000, 1_000_000_000),
        (1_000, 10),
    ] {
        let mut script = market(0, 0, true);
        for index in 0..4 {
            let mut offer = offer(index, "class");
            offer.price.per_gfuel = Amount(asks);
            offer.price.per_device_second = Amount::ZERO;
            script.offer(offer);
        }
        for index in 0..4 {
            script.pay(Movement::Stake(provider(index)), pool).unwrap();
        }
        script.core.config.audit.pool_share = Ppb::ONE;
        script.start(audited());
        script.share();
        let cheat = script.sent(1).remove(0);
        script.commit(&cheat, "one");
        script.commit(&cheat, "another");
        assert!(
            script.is_banned(cheat.provider.0[0]),
            "its stake is the pool"
        );
        let first = script.sent(0).pop().unwrap();
        script.execute(&[(&first, "right")]);
        let check = script.sent(0).remove(0);
        let before = script.earned(&check);
        script.execute(&[(&check, "right")]);
        let earned = script.earned(&check).checked_sub(before).unwrap();
        let own = Amount(2 * asks);
        let bonus = earned.checked_sub(own).unwrap();
        assert!(bonus.0 <= own.0.div_ceil(100), "{asks}: {bonus:?}");
        assert_eq!(bonus.is_zero(), asks == 0, "{asks}: {bonus:?}");
    }
}
