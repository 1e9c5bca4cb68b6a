//! Providers of one operator or network count as one.

use ed25519_dalek::SigningKey;
use jobs::operator::Operates;
use jobs::statement::Signed;

use super::super::diversity::{Kin, most_apart};
use super::*;

/// An offer of a provider that `operator` runs.
fn run_by(operator: u8, index: u8) -> Offer {
    let key = SigningKey::from_bytes(&[operator; 32]);
    let provider = provider(index);
    Offer {
        operator: Signed::sign(&Operates { provider }, &key).ok(),
        ..offer(index, "class")
    }
}

/// Providers by operator and network; a client with money.
fn market(providers: &[(u8, u64)]) -> Script {
    let mut script = Script::new(0);
    for (index, (operator, prefix)) in (0..).zip(providers) {
        script.offer_from(run_by(*operator, index), *prefix);
    }
    script
}

fn kin((operator, prefix): &(u8, u64)) -> Kin {
    Kin {
        operator: provider(*operator),
        prefix: (*prefix > 0).then_some(*prefix),
    }
}

#[test]
fn the_most_that_are_apart_are_counted() {
    let cases: [(&[(u8, u64)], usize); 9] = [
        (&[], 0),
        (&[(1, 1), (1, 2), (1, 3)], 1),
        (&[(1, 1), (2, 1), (3, 1)], 1),
        (&[(1, 1), (2, 2), (3, 3)], 3),
        // Who takes both of the first pair's parts leaves nothing to them.
        (&[(1, 1), (1, 2), (2, 1)], 2),
        (&[(1, 1), (1, 2), (2, 1), (2, 3), (3, 3), (3, 1)], 3),
        (&[(1, 1), (2, 1), (2, 2), (3, 2), (3, 1)], 2),
        // Without networks only operators count.
        (&[(1, 0), (2, 0), (2, 0)], 2),
        (&[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)], 4),
    ];
    for (market, most) in cases {
        assert_eq!(most_apart(market.iter().map(kin), 4), most, "{market:?}");
        let reversed = market.iter().rev().map(kin);
        assert_eq!(most_apart(reversed, 4), most, "{market:?} reversed");
    }
}

#[test]
fn replicas_go_to_providers_of_different_operators_and_networks() {
    // Only the last is apart from the first three, and only one of those can answer.
    let mut script = market(&[(1, 1), (1, 2), (2, 1), (3, 3)]);
    script.start(JobSpec {
        items: 12,
        ..spec()
    });
    for shard in 0..6 {
        let sent = script.sent(shard);
        let [left, right] = &sent[..] else {
            panic!("{sent:?}");
        };
        assert!(script.core.apart(left.provider, right.provider));
    }
    assert!(!script.core.apart(provider(0), provider(1)), "one operator");
    assert!(!script.core.apart(provider(0), provider(2)), "one network");
    assert!(script.core.apart(provider(1), provider(2)));
    assert!(!script.core.apart(provider(1), provider(1)), "itself");
    assert!(!script.core.apart(provider(1), provider(9)), "a stranger");
}

#[test]
fn a_job_for_which_too_few_are_apart_says_so() {
    let refused = |providers: &[(u8, u64)]| market(providers).submit(spec()).unwrap_err();
    let text =
        "nobody can serve this job: 1 providers of different operators and networks, 2 needed";
    for providers in [[(1, 1), (1, 2), (1, 3)], [(1, 1), (2, 1), (3, 1)]] {
        assert_eq!(refused(&providers).to_string(), text);
    }
    let mut lax = market(&[(1, 1), (2, 1)]);
    lax.core.config.prefix_diversity = false;
    lax.start(spec());
    assert_eq!(lax.sent.len(), 4, "networks do not count there");
    assert!(lax.core.apart(provider(0), provider(1)));
}

#[test]
fn a_choice_leaves_enough_to_choose_from() {
    // The first stands for an operator and a network that two others need: with it there is one more
    // replica, without it there are two.
    let providers = [(1, 1), (1, 2), (2, 1)];
    for job in 0..40u8 {
        let mut script = market(&providers);
        let id = JobId(digest(&format!("job {job}")));
        script.submit_as(client(), id, spec()).unwrap();
        let inputs = vec![BlobRef::of(b"input"); 2];
        script.step(Event::BlobsReady {
            job: id,
            shard_inputs: inputs,
        });
        let chosen: Vec<_> = script.sent.iter().map(|sent| sent.provider).collect();
        assert_eq!(chosen.len(), 4, "{chosen:?}");
        assert!(!chosen.contains(&provider(0)), "{chosen:?}");
    }
}

#[test]
fn one_party_cannot_blame_the_guest_twice() {
    let mut script = market(&[(1, 1), (1, 2), (2, 3), (3, 4)]);
    script.start(JobSpec { items: 2, ..spec() });
    let blame = |script: &mut Script, id| {
        script.step(Event::ExecutionFailed {
            assignment: id,
            failure: Failure::Guest(Code::new("trap")),
        });
    };
    // Whoever of the first operator comes first, the other never gets the shard.
    let mut seen = Vec::new();
    while let Some(next) = script.sent.pop() {
        seen.push(next.provider);
        if next.provider == provider(0) || next.provider == provider(1) {
            blame(&mut script, next.id);
        } else {
            script.commit(&next, "right");
        }
    }
    assert!(!(seen.contains(&provider(0)) && seen.contains(&provider(1))));
    assert_eq!(script.core.outcome(job()), None, "the job goes on");
}

#[test]
fn who_moves_stays_what_it_was_for_what_it_holds() {
    let mut script = market(&[(1, 1), (2, 2), (3, 3)]);
    script.start(JobSpec { items: 2, ..spec() });
    let sent = script.sent(0);
    // Both are in one network now; the check after each step minds only what was chosen then.
    for one in &sent {
        let offer = script.core.view_provider(one.provider).unwrap().offer;
        script.offer_from(offer, 7);
    }
    assert!(!script.core.apart(sent[0].provider, sent[1].provider));
    script.execute(&[(&sent[0], "right"), (&sent[1], "right")]);
    assert_eq!(script.core.view_job(job()).unwrap().accepted, 1);
}

#[test]
fn the_draw_of_auditors_sees_operator_network_class_and_stake() {
    let mut script = market(&[(1, 5)]);
    script.pay(Movement::Stake(provider(0)), 300).unwrap();
    let seen = script.core.audit_candidate(provider(0)).unwrap();
    let offer = run_by(1, 0);
    assert_eq!((seen.id, seen.operator), ([0; 32], offer.operator().0));
    assert_eq!((seen.prefix, seen.stake), (5, 300));
    assert_eq!(seen.class, *offer.fingerprint.digest().as_bytes());
    script.core.config.prefix_diversity = false;
    let other = script.core.audit_candidate(provider(0)).unwrap();
    assert_ne!(other.prefix, seen.prefix);
    assert_eq!(script.core.audit_candidate(provider(9)), None);
}
