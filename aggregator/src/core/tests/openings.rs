//! Jobs in which replicas open values within a model to one another.

use jobs::openings::Noted;

use super::*;
use crate::core::openings::Openings;
use crate::core::state::{Cause, ReplicaState};

fn opened() -> JobSpec {
    JobSpec {
        items: 2,
        openings: true,
        ..spec()
    }
}

fn noted() -> Noted {
    Noted {
        root: digest("noted"),
        chunks: 10,
        inferences: 2,
    }
}

/// What the driver is to look at now: who, and what they must open.
fn asked(script: &Script) -> Vec<(AssignmentId, AssignmentId, Option<Openings>)> {
    let pending = script.core.recover().into_iter();
    let compares = pending.filter_map(|action| match action {
        Action::Compare {
            left,
            right,
            openings,
            ..
        } => Some((left, right, openings.map(|openings| *openings))),
        _ => None,
    });
    compares.collect()
}

impl Script {
    /// Commits to this output and to these values, and reveals both.
    fn execute_noting(&mut self, replicas: &[(&Assignment, &str, Option<Noted>)]) {
        let openings = replicas.iter().map(|(assignment, output, noted)| {
            let mut opening = self.opening(assignment, output);
            opening.outcome.noted = *noted;
            (*assignment, opening)
        });
        self.bind_and_reveal(openings.collect());
    }

    fn found(&mut self, left: AssignmentId, right: AssignmentId, finding: Finding) {
        self.step(Event::Compared {
            job: job(),
            shard: 0,
            left,
            right,
            finding,
        });
    }

    fn unopened(&mut self, failed: &Assignment, other: &Assignment) {
        self.step(Event::OpeningFailed {
            job: job(),
            shard: 0,
            failed: failed.id,
            other: other.id,
        });
    }

    fn state_of(&self, attempt: usize) -> ReplicaState {
        let view = self.core.view_job(job()).unwrap();
        view.shards[0].replicas[attempt].state.clone()
    }
}

#[test]
fn equal_outputs_are_no_verdict_before_both_have_opened_what_they_noted() {
    for comparison in [Comparison::Exact, Comparison::Numeric] {
        let mut script = Script::new(4);
        script.start(JobSpec {
            comparison,
            ..opened()
        });
        let sent = script.sent(0);
        let both = [&sent[0], &sent[1]].map(|a| (a, "right", Some(noted())));
        script.execute_noting(&both);
        assert_eq!(script.core.view_job(job()).unwrap().accepted, 0);
        let [(left, right, Some(openings))] = asked(&script)[..] else {
            panic!("one pair to look at: {:?}", asked(&script));
        };
        assert_eq!(openings.left, (sent[0].provider, noted()));
        assert_eq!(openings.right, (sent[1].provider, noted()));
        script.found(left, right, Finding::Agree);
        assert_eq!(script.core.view_job(job()).unwrap().accepted, 1);
    }
}

#[test]
fn who_has_the_answer_and_not_the_values_behind_it_is_outvoted_and_unpaid() {
    let mut script = Script::new(4);
    script.start(opened());
    let mut sent = script.sent(0);
    let made_up = Noted {
        root: digest("made up"),
        ..noted()
    };
    script.execute_noting(&[
        (&sent[0], "right", Some(noted())),
        (&sent[1], "right", Some(made_up)),
    ]);
    script.found(sent[0].id, sent[1].id, Finding::Differ);
    sent.extend(script.sent(0));
    assert_eq!(sent.len(), 3, "undecided: one more");
    script.execute_noting(&[(&sent[2], "right", Some(noted()))]);
    assert_eq!(asked(&script).len(), 2, "with each of the others");
    script.found(sent[0].id, sent[2].id, Finding::Agree);
    script.found(sent[1].id, sent[2].id, Finding::Differ);
    assert_eq!(script.core.view_job(job()).unwrap().accepted, 1);
    assert_eq!(script.earned(&sent[1]), Amount::ZERO);
    assert!(!script.earned(&sent[0]).is_zero() && !script.earned(&sent[2]).is_zero());
    let unpaid = ReplicaState::Settled {
        agreed: false,
        paid: Amount::ZERO,
    };
    assert_eq!(script.state_of(1), unpaid);
    assert_eq!(script.core.view_balances().slashed, Amount::ZERO);
}

#[test]
fn other_outputs_of_an_exact_job_are_not_worth_a_look_at_what_was_noted() {
    let mut script = Script::new(4);
    script.start(opened());
    let sent = script.sent(0);
    script.execute_noting(&[
        (&sent[0], "right", Some(noted())),
        (&sent[1], "wrong", Some(noted())),
    ]);
    assert_eq!(asked(&script), []);
    assert_eq!(script.sent(0).len(), 1, "undecided at once");
}

#[test]
fn who_does_not_open_is_replaced_as_who_does_not_reveal() {
    let mut script = Script::new(4);
    script.start(opened());
    let sent = script.sent(0);
    let both = [&sent[0], &sent[1]].map(|a| (a, "right", Some(noted())));
    script.execute_noting(&both);
    let before = script.score(&sent[1]);
    script.unopened(&sent[1], &sent[0]);
    assert_eq!(
        script.state_of(1),
        ReplicaState::Closed(Cause::OpeningFailed)
    );
    assert!(script.score(&sent[1]) < before);
    assert_eq!(script.core.view_balances().slashed, Amount::ZERO);
    assert_eq!(asked(&script), []);
    let third = script.sent(0);
    assert_eq!(third.len(), 1, "replaced");
    assert_ne!(third[0].provider, sent[1].provider);
    // Too late, and twice: nothing more happens.
    script.unopened(&sent[1], &sent[0]);
    script.found(sent[0].id, sent[1].id, Finding::Agree);
    assert_eq!(script.core.view_job(job()).unwrap().accepted, 0);
    script.execute_noting(&[(&third[0], "right", Some(noted()))]);
    script.found(sent[0].id, third[0].id, Finding::Agree);
    assert_eq!(script.core.view_job(job()).unwrap().accepted, 1);
    assert_eq!(script.earned(&sent[1]), Amount::ZERO);
}

#[test]
fn outcomes_that_note_nothing_too_much_or_unasked_are_no_outcomes() {
    let huge = Noted {
        chunks: u32::MAX,
        ..noted()
    };
    for (openings, noted) in [(true, None), (true, Some(huge)), (false, Some(noted()))] {
        let mut script = Script::new(4);
        script.start(JobSpec {
            openings,
            ..opened()
        });
        let sent = script.sent(0);
        script.execute_noting(&[(&sent[0], "right", noted), (&sent[1], "right", noted)]);
        assert_eq!(
            script.state_of(0),
            ReplicaState::Closed(Cause::OutputsInvalid),
            "{openings} {noted:?}"
        );
    }
}

#[test]
fn the_challenge_follows_from_what_only_the_aggregator_knows() {
    let challenge = |chance: u8| {
        let mut script = Script::new(2);
        script.step(Event::Submit {
            request: REQUEST,
            client: client(),
            job: job(),
            spec: opened(),
            chance: Chance([chance; 32]),
        });
        let shard_inputs = vec![BlobRef::of(b"input")];
        let job = job();
        script.step(Event::BlobsReady { job, shard_inputs });
        let sent = script.sent(0);
        let both = [&sent[0], &sent[1]].map(|a| (a, "right", Some(noted())));
        script.execute_noting(&both);
        asked(&script)[0].2.unwrap().challenge
    };
    assert_eq!(challenge(1), challenge(1));
    assert_ne!(challenge(1), challenge(2));
}

/// A subject that opens nothing when it is checked has its answer taken back; a checker is replaced.
#[test]
fn in_audits_too_whoever_opens_nothing_is_out() {
    for subject_fails in [true, false] {
        let mut script = Script::new(4);
        script.core.config.audit.ramp_checks = 1;
        script.core.config.audit.peer = policy::Ppb::millionths(200_000);
        let params = script.core.config.audit;
        for known in script.core.providers.values_mut() {
            known.answers.passed_many(&params, 10);
        }
        script.start(JobSpec {
            items: 20,
            items_per_shard: 20,
            replicas: 1,
            max_replicas: 6,
            // Parts of a shard cannot be compared, so whole ones are checked.
            audit: Some(jobs::policy::Unit::Item),
            ..opened()
        });
        script.step(Event::Share {
            request: REQUEST,
            job: job(),
            client: client(),
            chance: Chance([5; 32]),
        });
        let subject = script.sent(0);
        script.execute_noting(&[(&subject[0], "right", Some(noted()))]);
        let check = script.sent(0);
        assert_eq!(check.len(), 1, "{:?}", script.last);
        assert!(check[0].sample.is_empty(), "the whole shard");
        script.execute_noting(&[(&check[0], "right", Some(noted()))]);
        assert_eq!(asked(&script).len(), 1, "equal roots are not enough");
        let (failed, other) = match subject_fails {
            true => (&subject[0], &check[0]),
            false => (&check[0], &subject[0]),
        };
        script.unopened(failed, other);
        let out = usize::from(!subject_fails);
        assert_eq!(
            script.state_of(out),
            ReplicaState::Closed(Cause::OpeningFailed)
        );
        let accepted = script.core.view_job(job()).unwrap().accepted;
        assert_eq!(accepted, u32::from(!subject_fails));
        assert!(!script.sent(0).is_empty(), "somebody else");
        assert_eq!(script.core.view_balances().slashed, Amount::ZERO);
    }
}
