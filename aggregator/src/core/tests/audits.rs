//! Answers that count at once: when they are checked, what follows, and when they are final.

mod attacks;

use jobs::policy::Unit;
use policy::Ppb;
use policy::params::RAMP_CHECKS_MAX;

use super::*;
use crate::core::state::ReplicaState;
use crate::core::view::JobStatus;

/// What these tests are about: a job of two shards whose answers are audited.
fn audited() -> JobSpec {
    JobSpec {
        replicas: 1,
        max_replicas: 6,
        audit: Some(Unit::Shard),
        ..spec()
    }
}

/// An aggregator that audits everything, or next to nothing, with the first `referees` providers as referees.
fn market(providers: u8, referees: u8, everything: bool) -> Script {
    let mut script = Script::new(providers);
    let config = &mut script.core.config;
    config.audit.ramp_checks = if everything { RAMP_CHECKS_MAX } else { 1 };
    config.audit.fine = 100;
    if !everything {
        config.audit.peer = policy::params::PEER_MIN;
        config.audit.trusted = Ppb::billionths(1);
        config.audit.leave = Ppb::billionths(1);
    }
    config.referees = (0..referees).map(provider).collect();
    config.finality_ms = 60_000;
    script
}

/// Whoever has been checked once is hardly ever checked again, where next to nothing is audited.
fn trust_everybody(script: &mut Script) {
    let params = script.core.config.audit;
    for known in script.core.providers.values_mut() {
        known.answers.passed_many(&params, 10);
    }
}

impl Script {
    fn share(&mut self) {
        self.step(Event::Share {
            request: REQUEST,
            job: job(),
            client: client(),
            chance: Chance([5; 32]),
        });
        assert_eq!(self.reply(), Ok(Reply::Shared { job: job() }));
    }

    /// Executes whatever was sent, until nothing more is: `output` says what each answers.
    fn answer_all(&mut self, output: impl Fn(&Assignment) -> &'static str) {
        loop {
            let sent = std::mem::take(&mut self.sent);
            if sent.is_empty() {
                return;
            }
            for assignment in &sent {
                let output = output(assignment);
                self.commit(assignment, output);
                self.reveal(assignment, output);
            }
        }
    }

    fn merge(&mut self, round: u32) {
        self.step(Event::Merged {
            job: job(),
            result: BlobRef::of(b"result"),
            shards: digest("shards"),
            round,
        });
    }

    /// Lets the operator's time pass, and whatever is then looked at once more be right.
    fn outlive_finality(&mut self, round: u32) {
        self.merge(round);
        self.wait(60_000);
        self.answer_all(|_| "right");
        self.merge(round + 1);
        assert_eq!(self.status(), JobStatus::Done);
    }

    fn status(&self) -> JobStatus {
        self.core.job_status(job()).unwrap()
    }

    fn stake_of(&self, index: u8) -> u128 {
        self.core.view_provider(provider(index)).unwrap().stake.0
    }

    fn is_banned(&self, index: u8) -> bool {
        let view = self.core.view_provider(provider(index)).unwrap();
        view.banned.is_some()
    }

    fn executions(&self) -> usize {
        let job = &self.core.jobs[&job()];
        job.shards.iter().map(|shard| shard.replicas.len()).sum()
    }
}

#[test]
fn an_answer_counts_at_once_and_is_paid_when_it_is_final() {
    let mut script = market(3, 0, false);
    trust_everybody(&mut script);
    script.start(audited());
    script.share();
    script.answer_all(|_| "right");
    assert_eq!(script.executions(), 2, "one execution a shard");
    script.merge(1);
    assert_eq!(script.status(), JobStatus::Provisional);
    assert_eq!(script.core.paid(job()), [], "held back");
    script.wait(59_999);
    assert_eq!(script.status(), JobStatus::Provisional);
    script.wait(1);
    assert_eq!(
        script.status(),
        JobStatus::Merging,
        "once more, with what was paid"
    );
    script.merge(1);
    assert_eq!(
        script.status(),
        JobStatus::Merging,
        "an answer to the first order"
    );
    script.merge(2);
    assert_eq!(script.status(), JobStatus::Done);
    assert_eq!(script.executions(), 2);
    assert!(!script.core.paid(job()).is_empty());
}

#[test]
fn enough_further_answers_make_one_final_before_the_operators_time_is_up() {
    let mut script = market(2, 0, false);
    script.core.config.audit.window = 3;
    trust_everybody(&mut script);
    script.start(JobSpec {
        items_per_shard: 1,
        ..audited()
    });
    script.share();
    script.answer_all(|_| "right");
    let paid: u128 = script.core.paid(job()).iter().map(|(_, paid)| paid.0).sum();
    let produced = script.core.providers.values().map(|p| p.answers.produced());
    assert_eq!(produced.clone().sum::<u64>(), 4);
    assert_eq!(paid > 0, produced.max() > Some(3), "{paid}");
}

#[test]
fn a_newcomer_is_checked_every_time_and_agreeing_answers_are_paid_in_the_end() {
    let mut script = market(3, 0, true);
    script.start(audited());
    assert_eq!(script.executions(), 2);
    script.answer_all(|_| "right");
    assert_eq!(script.executions(), 2, "the client's share is not there");
    script.share();
    script.answer_all(|_| "right");
    assert_eq!(script.executions(), 4);
    script.outlive_finality(1);
    for shard in &script.core.jobs[&job()].shards {
        let providers: BTreeSet<_> = shard.replicas.iter().map(|r| r.provider).collect();
        assert_eq!(providers.len(), 2, "nobody checks itself");
    }
}

#[test]
fn a_client_that_withholds_its_share_has_everything_audited() {
    let mut script = market(3, 0, false);
    trust_everybody(&mut script);
    script.start(audited());
    script.answer_all(|_| "right");
    script.wait(29_999);
    assert_eq!(script.executions(), 2);
    script.wait(1);
    script.answer_all(|_| "right");
    assert_eq!(script.executions(), 4);
    script.step(Event::Share {
        request: REQUEST,
        job: job(),
        client: ClientId(digest("another")),
        chance: Chance([1; 32]),
    });
    assert_eq!(script.reply(), Err(Refusal::NotYours));
}

/// What the provider whose answers are wrong answers, and all others.
fn lies_of(liar: u8) -> impl Fn(&Assignment) -> &'static str {
    move |assignment| match assignment.provider == provider(liar) {
        true => "wrong",
        false => "right",
    }
}

/// One provider has answered both shards wrongly. It has the number after the referees'; they and the one after it
/// are not connected any more.
fn wrong_answers(referees: u8) -> Script {
    let mut script = market(referees + 2, referees, true);
    script.submit(audited()).unwrap();
    for index in 0..referees + 2 {
        if index != referees {
            script.step(Event::ProviderLost {
                provider: provider(index),
            });
        }
    }
    let inputs = (0..2u32).map(|shard| BlobRef::of(&shard.to_le_bytes()));
    script.step(Event::BlobsReady {
        job: job(),
        shard_inputs: inputs.collect(),
    });
    script.answer_all(|_| "wrong");
    let liar = &script.core.providers[&provider(referees)];
    assert_eq!(liar.provisional.len(), 2);
    script.share();
    script
}

#[test]
fn a_wrong_answer_is_fined_first_and_the_second_takes_the_stake_and_all_that_is_not_final() {
    let mut script = wrong_answers(3);
    for index in [0, 1, 2, 4] {
        script.offer(offer(index, "class"));
    }
    script.answer_all(lies_of(3));
    let fined = |script: &Script| script.stake_of(3);
    assert_eq!(fined(&script), 0, "the fine, then all that was left");
    assert!(script.is_banned(3));
    for honest in [0, 1, 2, 4] {
        assert_eq!(
            (script.is_banned(honest), script.stake_of(honest)),
            (false, 300)
        );
    }
    // The shards were given to others, and their answers stand.
    script.merge(script.core.jobs[&job()].merges);
    assert_eq!(
        script.status(),
        JobStatus::Done,
        "what referees found is final"
    );
    let paid = script.core.paid(job());
    assert!(paid.iter().all(|(id, _)| *id != provider(3)), "{paid:?}");
    let parts = script.core.record_parts(job()).unwrap();
    let answers = parts.shards.iter().flat_map(|shard| &shard.replicas);
    assert!(
        answers
            .clone()
            .all(|r| r.opening.outcome.root == digest("right"))
    );
}

#[test]
fn without_a_referee_votes_take_pay_and_reputation_but_no_stake() {
    let mut script = market(5, 0, true);
    script.start(audited());
    script.share();
    script.answer_all(lies_of(0));
    assert_eq!(script.stake_of(0), 300);
    assert!(!script.is_banned(0));
    let answers = &script.core.jobs[&job()].shards;
    let wrong = answers.iter().flat_map(|shard| &shard.replicas);
    let mut wrong = wrong.filter(|replica| replica.provider == provider(0));
    assert!(wrong.all(|replica| match replica.state {
        ReplicaState::Closed(_) => true,
        ReplicaState::Settled { paid, .. } => paid.is_zero(),
        _ => false,
    }));
}

#[test]
fn whoever_accuses_wrongly_is_not_paid_and_the_answer_stands() {
    let mut script = market(5, 2, true);
    script.start(audited());
    script.share();
    // Only when it checks: its answers as a worker are right.
    script.answer_all(|assignment| {
        let lies = assignment.provider == provider(4) && assignment.attempt > 0;
        if lies { "nonsense" } else { "right" }
    });
    script.outlive_finality(1);
    for shard in &script.core.jobs[&job()].shards {
        for replica in shard.replicas.iter().filter(|replica| replica.check) {
            let lied = replica.provider == provider(4);
            let state = &replica.state;
            let paid = matches!(state, ReplicaState::Settled { paid, .. } if !paid.is_zero());
            assert_eq!(paid, !lied, "{state:?}");
        }
    }
    assert!((0..5).all(|index| script.stake_of(index) == 300));
}

#[test]
fn whoever_vouches_for_a_wrong_answer_falls_with_it() {
    let mut script = wrong_answers(3);
    // The only one who can check says that the first answer is right and the second is not.
    script.offer(offer(4, "class"));
    script.answer_all(|assignment| match assignment.shard {
        0 => "wrong",
        _ => "right",
    });
    assert!(!script.is_banned(3) && !script.is_banned(4));
    for referee in [0, 1, 2] {
        script.offer(offer(referee, "class"));
    }
    script.answer_all(|_| "right");
    assert!(script.is_banned(3), "who gave both");
    assert!(script.is_banned(4), "who vouched for one");
    assert_eq!((script.stake_of(3), script.stake_of(4)), (0, 0));
    let vouched = &script.core.providers[&provider(4)].banned;
    assert!(matches!(vouched, Some(Evidence::Vouched { .. })));
}

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
