//! Where the money goes.

use super::*;

#[test]
fn the_agreeing_are_paid_and_the_rest_returns() {
    let mut script = Script::new(2);
    let quote = script.start(spec());
    assert_eq!(quote.share, Amount(165_016));
    script.finish();
    assert!(matches!(script.outcome(), Some(JobOutcome::Done { .. })));
    // Two gigafuel at 1000 and, of one and two seconds on the device, the lesser: one at 500.
    let balances = script.core.view_balances();
    for index in 0..2 {
        assert_eq!(balances.providers[&provider(index)], Amount(2 * 2_500));
    }
    // One per cent of each shard's 5000.
    assert_eq!(balances.fee, Amount(100));
    let view = script.core.view_job(job()).unwrap();
    assert_eq!((view.paid, view.fee), (Amount(10_000), Amount(100)));
    assert_eq!(
        (view.returned, view.escrow),
        (Amount(989_900), Amount::ZERO)
    );
    assert_eq!(balances.clients[&client()], Amount(9_989_900));
    let parts = script.core.record_parts(job()).unwrap();
    assert_eq!(parts.shards.len(), 2);
    let end = parts.end.unwrap();
    assert_eq!(end.journal_head, script.core.ledger().head());
}

#[test]
fn nobody_is_paid_for_more_device_time_than_the_wall_clock_allows() {
    let mut script = Script::new(2);
    script.start(spec());
    let sent = script.sent(0);
    script.execute_with(
        &[(&sent[0], 2_000_000_000), (&sent[1], 2_000_000_000)],
        |meters| {
            meters.device_us = u64::MAX;
        },
    );
    // Ten seconds at 500 and two gigafuel at 1000.
    assert_eq!(script.earned(&sent[0]), Amount(7_000));
}

#[test]
fn understated_fuel_loses_the_vote_and_takes_nobody_elses_pay() {
    let mut script = Script::new(3);
    script.start(spec());
    let sent = script.sent(0);
    script.execute_with(&[(&sent[0], 2_000_000_000), (&sent[1], 1)], |_| {});
    let third = script.sent(0);
    assert_eq!(third.len(), 1, "equal outputs, another fuel: undecided");
    script.execute_with(&[(&third[0], 2_000_000_000)], |_| {});
    assert_eq!(script.core.view_job(job()).unwrap().accepted, 1);
    for honest in [&sent[0], &third[0]] {
        assert_eq!(script.earned(honest), Amount(2_500));
    }
    assert_eq!(script.earned(&sent[1]), Amount::ZERO);
    assert!(script.core.view_provider(sent[1].provider).unwrap().demoted);
}

#[test]
fn fuel_of_different_fingerprints_differs_within_bounds_and_the_lower_median_is_paid() {
    for (fuels, accepted, paid) in [
        ([1_000_000_000, 2_000_000_000, 1_500_000_000], 1, 2_000),
        ([999_999_999, 2_000_000_000, 2_000_000_000], 0, 0),
    ] {
        let mut script = Script::new(0);
        for (index, class) in ["a", "b", "c"].iter().enumerate() {
            script.offer(offer(u8::try_from(index).unwrap(), class));
        }
        script.start(JobSpec {
            models: 0,
            replicas: 3,
            ..spec()
        });
        let sent = script.sent(0);
        let answers: Vec<_> = sent.iter().zip(fuels).collect();
        script.execute_with(&answers, |meters| meters.device_us = 1_000_000);
        let view = script.core.view_job(job()).unwrap();
        assert_eq!(view.accepted, accepted, "{fuels:?}");
        if accepted > 0 {
            // One and a half gigafuel at 1000, a second at 500.
            assert!(sent.iter().all(|a| script.earned(a) == Amount(paid)));
        }
    }
}

#[test]
fn a_liar_is_outvoted_unpaid_and_demoted_but_keeps_its_stake() {
    let mut script = Script::new(3);
    script.start(spec());
    let sent = script.sent(0);
    script.execute(&[(&sent[0], "right"), (&sent[1], "wrong")]);
    let third = script.sent(0);
    assert_eq!(third.len(), 1, "undecided: one more");
    let third = &third[0];
    assert!(sent.iter().all(|a| a.provider != third.provider));
    script.execute(&[(third, "right")]);
    assert_eq!(script.core.view_job(job()).unwrap().accepted, 1);
    assert_eq!(script.earned(&sent[0]), Amount(2_500));
    assert_eq!(script.earned(&sent[1]), Amount::ZERO);
    let liar = script.core.view_provider(sent[1].provider).unwrap();
    assert!(liar.demoted && liar.banned.is_none(), "{liar:?}");
    assert_eq!(liar.stake, Amount(300));
    assert!(
        script
            .last
            .iter()
            .any(|a| matches!(a, Action::Demoted { .. }))
    );
}

#[test]
fn without_a_quorum_at_the_cap_the_job_fails_and_everything_returns() {
    let mut script = Script::new(3);
    script.start(spec());
    let sent = script.sent(0);
    script.execute(&[(&sent[0], "one"), (&sent[1], "two")]);
    let third = script.sent(0);
    script.execute(&[(&third[0], "three")]);
    let expected = FailReason::NoQuorum {
        shard: 0,
        replicas: 3,
    };
    assert_eq!(*script.failure(), expected);
    assert_eq!(script.core.view_client(client()), Amount(10_000_000));
    assert_eq!(script.core.ledger().open_pendings().count(), 0);
}

#[test]
fn two_contradicting_commitments_cost_the_stake() {
    let mut script = Script::new(3);
    script.start(spec());
    let sent = script.sent(0);
    script.commit(&sent[0], "right");
    let second = script.commitment(&sent[0], "other");
    let actions = script.step(Event::Committed { commitment: second });
    let banned = actions.iter().any(|action| {
        matches!(
            action,
            Action::Banned {
                evidence: Evidence::Equivocation { .. },
                slashed: Amount(300),
                ..
            }
        )
    });
    assert!(banned, "{actions:?}");
    assert_eq!(script.core.view_balances().slashed, Amount(300));
    assert_eq!(script.sent(0).len(), 1, "replaced");
    script.offer(offer(sent[0].provider.0[0], "class"));
    assert!(matches!(script.last[..], [Action::OfferRefused { .. }]));
}

#[test]
fn a_reveal_of_something_else_costs_the_stake() {
    let mut script = Script::new(3);
    script.start(spec());
    let sent = script.sent(0);
    script.commit(&sent[0], "right");
    script.commit(&sent[1], "right");
    script.reveal(&sent[0], "other");
    assert_eq!(script.core.view_balances().slashed, Amount(300));
    assert_eq!(script.sent(0).len(), 1, "replaced");
}

#[test]
fn a_repeated_commitment_is_not_a_second_one() {
    let mut script = Script::new(2);
    script.start(spec());
    let sent = script.sent(0);
    script.commit(&sent[0], "right");
    script.commit(&sent[0], "right");
    assert!(script.last.is_empty(), "{:?}", script.last);
}

#[test]
fn cancelling_returns_what_is_not_yet_paid() {
    let mut script = Script::new(2);
    script.start(spec());
    let sent = script.sent(0);
    script.execute(&[(&sent[0], "right"), (&sent[1], "right")]);
    let cancel = |client| Event::Cancel {
        request: REQUEST,
        job: job(),
        client,
    };
    script.step(cancel(ClientId(digest("other"))));
    assert_eq!(script.reply(), Err(Refusal::NotYours));
    script.step(cancel(client()));
    assert_eq!(script.reply(), Ok(Reply::Cancelled { job: job() }));
    assert_eq!(*script.failure(), FailReason::Cancelled);
    assert_eq!(
        script.core.view_client(client()),
        Amount(10_000_000 - 5_050)
    );
    script.step(cancel(client()));
    assert_eq!(
        script.reply(),
        Ok(Reply::Cancelled { job: job() }),
        "a repetition"
    );
}

#[test]
fn a_job_whose_every_shard_is_paid_is_not_cancelled() {
    let mut script = Script::new(2);
    let quote = script.start(spec());
    for shard in 0..quote.shards {
        let sent = script.sent(shard);
        let equal: Vec<_> = sent.iter().map(|sent| (sent, "right")).collect();
        script.execute(&equal);
    }
    for phase in ["merging", "done"] {
        script.step(Event::Cancel {
            request: REQUEST,
            job: job(),
            client: client(),
        });
        let phase = Code::new(phase);
        assert_eq!(script.reply(), Err(Refusal::NotCancellable { phase }));
        script.step(Event::Merged {
            job: job(),
            result: BlobRef::of(b"result"),
            shards: digest("shards"),
            round: 1,
        });
    }
    assert!(matches!(script.outcome(), Some(JobOutcome::Done { .. })));
}

#[test]
fn stake_stays_while_work_is_open() {
    let mut script = Script::new(2);
    script.start(spec());
    let unstake = Movement::Unstake(provider(0));
    let refusal = script.pay(unstake, 300).unwrap_err();
    assert_eq!(refusal.code(), "stake_in_use");
    script.finish();
    assert_eq!(script.pay(unstake, 300), Ok(Reply::Moved));
    assert_eq!(
        script.pay(unstake, 300),
        Ok(Reply::Moved),
        "the same id, once"
    );
    let refusal = script.pay(unstake, 1).unwrap_err();
    let text = "the ledger refused: insufficient_funds";
    assert_eq!(refusal.to_string(), text);
}
