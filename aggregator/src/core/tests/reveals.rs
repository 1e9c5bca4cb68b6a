//! Whose fault it is that a reveal, or an assignment, comes to nothing.

use super::*;
use crate::core::config::{REVEAL_BYTES_PER_SECOND, reveal_window_ms};
use crate::core::state::ReplicaState;

/// A started job of one shard and its assignments, both committed.
fn revealing(script: &mut Script, spec: JobSpec) -> Vec<Assignment> {
    script.start(JobSpec { items: 2, ..spec });
    let sent = script.sent(0);
    for assignment in &sent {
        script.commit(assignment, "right");
    }
    sent
}

#[test]
fn trouble_of_the_drivers_own_costs_a_provider_nothing() {
    let mut script = Script::new(4);
    let sent = revealing(&mut script, spec());
    let before = script.score(&sent[0]);
    for _ in 0..10 {
        script.wait(20_000);
        for assignment in &sent {
            let assignment = assignment.id;
            script.step(Event::RevealDelayed { assignment });
            assert!(script.last.is_empty(), "{:?}", script.last);
        }
    }
    assert!(script.core.is_revealing(sent[0].id));
    assert_eq!(script.score(&sent[0]), before);
    for assignment in &sent {
        script.reveal(assignment, "right");
    }
    assert_eq!(script.core.view_job(job()).unwrap().accepted, 1);
    let assignment = sent[0].id;
    script.step(Event::RevealDelayed { assignment });
    assert!(!script.core.is_revealing(assignment), "it is over");
}

#[test]
fn a_delay_does_not_outlive_the_jobs_deadline() {
    let mut script = Script::new(2);
    let sent = revealing(&mut script, spec());
    for _ in 0..60 {
        script.wait(10_000);
        for assignment in &sent {
            let assignment = assignment.id;
            script.step(Event::RevealDelayed { assignment });
        }
    }
    assert!(matches!(script.failure(), FailReason::Deadline { .. }));
}

#[test]
fn the_time_for_a_reveal_grows_with_the_outputs() {
    let base = Config::new(provider(0xaa), FeeBps::new(100).unwrap()).reveal_timeout_ms;
    assert_eq!(reveal_window_ms(base, 0), base);
    let mut large = spec();
    large.limits.output_bytes_per_item = 128 << 20;
    let window = reveal_window_ms(base, 256 << 20);
    assert_eq!(window, base + (256 << 20) / REVEAL_BYTES_PER_SECOND * 1000);
    let mut script = Script::new(4);
    let sent = revealing(&mut script, large);
    let before = script.score(&sent[0]);
    script.wait(window - 1);
    assert_eq!(script.score(&sent[0]), before);
    script.wait(1);
    assert!(script.score(&sent[0]) < before, "it had its time");
}

#[test]
fn outputs_that_nobody_can_judge_are_the_jobs_own_fault() {
    let mut script = Script::new(4);
    let sent = revealing(&mut script, spec());
    let before = script.score(&sent[0]);
    for assignment in &sent {
        incomparable(&mut script, assignment, "right");
    }
    assert!(matches!(script.failure(), FailReason::GuestFailed { .. }));
    assert_eq!(script.score(&sent[0]), before);
    assert_eq!(script.core.view_balances().slashed, Amount::ZERO);
}

#[test]
fn outputs_that_nobody_can_judge_cost_points_where_others_answer_and_the_stake_where_they_lie() {
    let mut script = Script::new(4);
    let sent = revealing(&mut script, spec());
    let before = script.score(&sent[0]);
    incomparable(&mut script, &sent[0], "right");
    script.reveal(&sent[1], "right");
    let replacement = script.sent(0);
    script.execute(&[(&replacement[0], "right")]);
    assert_eq!(script.core.view_job(job()).unwrap().accepted, 1);
    assert!(script.score(&sent[0]) < before);
    assert_eq!(script.core.view_balances().slashed, Amount::ZERO);

    let mut script = Script::new(4);
    let sent = revealing(&mut script, spec());
    incomparable(&mut script, &sent[0], "something else");
    assert_eq!(script.core.view_balances().slashed, Amount(300));
}

fn incomparable(script: &mut Script, assignment: &Assignment, output: &str) {
    let opening = Box::new(script.opening(assignment, output));
    script.step(Event::OutputsIncomparable {
        assignment: assignment.id,
        opening,
        code: Code::new("Guest"),
    });
}

#[test]
fn an_assignment_that_was_never_sent_is_given_again_without_blame() {
    let mut script = Script::new(2);
    script.start(spec());
    let sent = script.sent(0);
    let before = script.score(&sent[0]);
    for _ in 0..2 {
        let assignment = sent[0].id;
        script.step(Event::AssignUnsent { assignment });
    }
    assert_eq!(script.score(&sent[0]), before);
    assert!(script.sent(0).is_empty(), "left alone for a moment");
    script.wait(10_000);
    let again = script.sent(0);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].provider, sent[0].provider);
    let view = script.core.view_job(job()).unwrap();
    let state = &view.shards[0].replicas[1].state;
    assert!(matches!(state, ReplicaState::Offered { .. }), "{state:?}");
    // Too late: it is accepted.
    let assignment = again[0].id;
    script.step(Event::AssignAccepted { assignment });
    script.step(Event::AssignUnsent { assignment });
    assert_eq!(script.score(&again[0]), before);
    assert!(script.sent(0).is_empty());
}

#[test]
fn a_summary_says_what_the_view_says() {
    let mut script = Script::new(4);
    script.start(spec());
    let check = |script: &Script| {
        let view = script.core.view_job(job()).unwrap();
        let summary = script.core.job_summary(job()).unwrap();
        assert_eq!(summary.status, view.status);
        assert_eq!(Some(summary.status), script.core.job_status(job()));
        assert_eq!(u64::from(summary.assignments), view.assignments);
        assert_eq!(u64::from(summary.dissented), view.dissenting);
        assert_eq!(summary.accepted, view.accepted);
        assert_eq!((summary.fee, summary.escrow), (view.fee, view.escrow));
        assert_eq!(
            (summary.returned, summary.ended),
            (view.returned, view.ended)
        );
        assert_eq!(summary.items, 4);
        summary
    };
    check(&script);
    let sent = script.sent(0);
    script.execute(&[(&sent[0], "right"), (&sent[1], "wrong")]);
    assert_eq!(check(&script).revealed, 2);
    let third = script.sent(0);
    script.execute(&[(&third[0], "right")]);
    let summary = check(&script);
    assert_eq!(
        (summary.revealed, summary.agreed, summary.dissented),
        (3, 2, 1)
    );
    let sent = script.sent(1);
    script.execute(&[(&sent[0], "right"), (&sent[1], "right")]);
    script.step(Event::Merged {
        job: job(),
        result: BlobRef::of(b"result"),
        shards: digest("shards"),
        round: 1,
    });
    assert_eq!(check(&script).result, Some(BlobRef::of(b"result")));
}
