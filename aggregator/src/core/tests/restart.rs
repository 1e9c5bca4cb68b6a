//! Deadlines, restarts and replays.

use super::*;

#[test]
fn the_deadline_ends_a_job_and_returns_the_money() {
    let mut script = Script::new(2);
    script.start(spec());
    for _ in 0..599 {
        script.wait(1_000);
        assert_eq!(script.outcome(), None);
    }
    script.wait(1_000);
    let text = "deadline passed with 0 of 2 shards accepted";
    assert_eq!(script.failure().to_string(), text);
    assert_eq!(script.core.view_client(client()), Amount(10_000_000));
    assert_eq!(script.core.open_jobs(), 0);
}

#[test]
fn silent_providers_count_as_lost() {
    let mut script = Script::new(2);
    script.wait(script.core.config().offer_ttl_ms + 1);
    let online = script.core.view_providers().iter().any(|p| p.online);
    assert!(!online);
    assert_eq!(script.submit(spec()).unwrap_err().code(), "nobody_serves");
}

#[test]
fn a_restart_asks_again_for_everything_outstanding_and_nothing_else() {
    let mut script = Script::new(2);
    script.submit(spec()).unwrap();
    let prepare = Action::Prepare { job: job() };
    assert_eq!(script.core.recover(), [prepare]);
    script.step(Event::BlobsReady {
        job: job(),
        shard_inputs: vec![BlobRef::of(b"0"), BlobRef::of(b"1")],
    });
    let sent = [script.sent(0), script.sent(1)];
    let again = script.core.recover();
    let dispatched = sent.concat().into_iter();
    let dispatched: Vec<_> = dispatched.map(|a| Action::Dispatch(Box::new(a))).collect();
    assert_eq!(again, dispatched);
    for assignment in &sent[0] {
        script.commit(assignment, "right");
    }
    let again = script.core.recover();
    assert_eq!(
        reveals(&again),
        sent[0].iter().map(|a| a.id).collect::<Vec<_>>()
    );
    script.reveal(&sent[0][0], "right");
    script.reveal(&sent[0][1], "right");
    script.execute(&[(&sent[1][0], "right"), (&sent[1][1], "right")]);
    assert!(matches!(script.core.recover()[..], [Action::Merge { .. }]));
    script.finish();
    assert!(matches!(
        script.core.recover()[..],
        [Action::Finished { .. }]
    ));
    script.step(Event::Recorded { job: job() });
    assert_eq!(script.core.recover(), []);
}

#[test]
fn leases_start_anew_after_a_restart() {
    let mut script = Script::new(2);
    script.start(spec());
    script.sent.clear();
    script.now += 300_000;
    script.step(Event::Restarted);
    script.wait(1_000);
    let view = script.core.view_job(job()).unwrap();
    assert_eq!(view.assignments, 4, "none was given up");
    script.now += 300_000;
    script.step(Event::Restarted);
    assert_eq!(script.failure().code(), "deadline_exceeded");
}

#[test]
fn unknown_and_late_events_change_nothing() {
    let mut script = Script::new(2);
    script.start(spec());
    let sent = script.sent(0);
    let foreign = AssignmentId(digest("unknown"));
    let mut commitment = script.commitment(&sent[0], "right");
    commitment.provider = sent[1].provider;
    let before = script.core.clone();
    let events = [
        Event::AssignAccepted {
            assignment: foreign,
        },
        Event::RevealFailed {
            assignment: foreign,
        },
        Event::RevealFailed {
            assignment: sent[0].id,
        },
        Event::Committed { commitment },
        Event::Compared {
            job: job(),
            shard: 0,
            left: sent[0].id,
            right: sent[1].id,
            finding: Finding::Agree,
        },
        Event::Merged {
            job: job(),
            result: BlobRef::of(b""),
            shards: digest(""),
            round: 1,
        },
        Event::Recorded { job: job() },
        Event::BlobsInvalid {
            job: job(),
            code: Code::new("late"),
        },
        Event::ProviderLost {
            provider: provider(99),
        },
    ];
    for event in events {
        assert_eq!(script.step(event), []);
        assert_eq!(script.core, before);
    }
}

#[test]
fn time_never_runs_backwards() {
    let mut script = Script::new(1);
    script.now = 5;
    script.step(Event::Tick);
    assert_eq!(script.core.now(), Timestamp(1_000_000));
}
