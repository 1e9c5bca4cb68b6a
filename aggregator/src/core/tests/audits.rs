//! Answers that count at once: when they are checked, what follows, and when they are final.

mod attacks;

mod checks;

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

    /// Answers of all providers that are not final, and what they earn at most.
    fn held(&self) -> (u64, u128) {
        let views = self.core.view_providers();
        let audits = views.iter().map(|view| view.audits);
        audits.fold((0, 0), |(held, most), one| {
            (held + one.held, most + one.held_at_most.0)
        })
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
    assert_eq!(
        script.held(),
        (2, script.core.jobs[&job()].quote.share.0 * 2)
    );
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
    assert_eq!(script.held(), (0, 0));
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
    // A ban may end all that somebody holds, so each has a step of its own.
    let banned = |script: &Script| (3..5).filter(|index| script.is_banned(*index)).count();
    assert_eq!(banned(&script), 1);
    let convicts = (3..5)
        .map(provider)
        .filter(|id| script.core.is_convicted(id));
    assert_eq!(convicts.count(), 1);
    script.step(Event::Tick);
    assert_eq!(banned(&script), 2, "who gave both, and who vouched for one");
    assert_eq!((script.stake_of(3), script.stake_of(4)), (0, 0));
    let vouched = &script.core.providers[&provider(4)].banned;
    assert!(matches!(vouched, Some(Evidence::Vouched { .. })));
}
