//! The game: reports, medians, rewards, and who is refused.

use jobs::game::score::POINTS_MAX;
use ledger::Account;

use super::*;
use crate::core::epoch::Standing;

const EPOCH_MS: u64 = 60_000;

/// The epoch that every script begins in.
const EPOCH: u64 = 1_000_000 / EPOCH_MS;

fn validator(index: u8) -> ProviderId {
    ProviderId([0x70 + index; 32])
}

/// Four providers, so many validators, 1000 micro-units an epoch and so much in the pot.
fn game(validators: u8, pot: u128) -> Script {
    let mut script = Script::new(4);
    script.core.config.validators = (0..validators).map(validator).collect();
    script.core.config.epoch_ms = EPOCH_MS;
    script.core.config.epoch_reward = Amount(1_000);
    if pot > 0 {
        script.pay(Movement::Reward, pot).unwrap();
    }
    script
}

impl Script {
    fn report(&mut self, by: u8, epoch: u64, scores: &[(u8, u16)]) -> Result<Reply, Refusal> {
        let digest = digest(&format!("{epoch} {scores:?}"));
        let scores = scores.iter().map(|(id, points)| (provider(*id), *points));
        let actions = self.step(Event::Scores {
            request: REQUEST,
            validator: validator(by),
            epoch,
            digest,
            scores: scores.collect(),
        });
        let reply = actions.iter().find_map(|action| match action {
            Action::Reply { reply, .. } => Some(reply.clone()),
            _ => None,
        });
        reply.unwrap()
    }

    fn points(&self, index: u8) -> Option<u16> {
        let view = self.core.view_provider(provider(index)).unwrap();
        view.game.map(|game| game.points)
    }

    fn received(&self, index: u8) -> u128 {
        self.core.view_provider(provider(index)).unwrap().earned.0
    }
}

const fn filed(repeated: bool, contradicts: bool) -> Result<Reply, Refusal> {
    Ok(Reply::Scored {
        epoch: EPOCH,
        repeated,
        contradicts,
    })
}

#[test]
fn the_median_of_the_validators_decides_and_the_reward_follows_it() {
    let mut script = game(3, 5_000);
    script
        .report(0, EPOCH, &[(0, 9_000), (1, 3_000), (2, 0)])
        .unwrap();
    script
        .report(1, EPOCH, &[(0, 6_000), (1, 3_000), (2, 0), (3, 500)])
        .unwrap();
    assert_eq!(script.points(0), None, "not before all have spoken");
    // The third favours one and damns another: neither gets what it says.
    script
        .report(2, EPOCH, &[(0, 0), (1, 10_000), (2, 10_000)])
        .unwrap();
    let points = [0, 1, 2, 3].map(|index| script.points(index));
    assert_eq!(
        points,
        [Some(6_000), Some(3_000), Some(0), None],
        "one word alone is none"
    );
    let earned = [0, 1, 2, 3].map(|index| script.received(index));
    assert_eq!(earned, [666, 333, 0, 0]);
    assert_eq!(
        script.core.rewards_left(),
        Amount(5_000 - 999),
        "what rounding leaves stays"
    );
}

#[test]
fn reports_are_refused_by_name() {
    let mut script = game(2, 1_000);
    let unknown = script.report(9, EPOCH, &[]).unwrap_err();
    assert_eq!(unknown.code(), "unknown_validator");
    assert!(
        unknown
            .to_string()
            .contains("the 2 that the operator lists"),
        "{unknown}"
    );
    for epoch in [0, EPOCH - 2, EPOCH + 1, u64::MAX] {
        let refusal = script.report(0, epoch, &[]).unwrap_err();
        let expected = Refusal::EpochNotOpen {
            epoch,
            earliest: EPOCH - 1,
            latest: EPOCH,
        };
        assert_eq!(refusal, expected);
    }
    for scores in [
        &[(0, POINTS_MAX + 1)][..],
        &[(1, 5), (0, 5)],
        &[(1, 5), (1, 5)],
    ] {
        let refusal = script.report(0, EPOCH, scores).unwrap_err();
        assert_eq!(refusal.code(), "out_of_bounds", "{scores:?}");
    }
    assert_eq!(script.report(0, EPOCH, &[(0, 5)]), filed(false, false));
    assert_eq!(script.report(0, EPOCH, &[(0, 5)]), filed(true, false));
    assert_eq!(script.report(0, EPOCH, &[(0, 6)]), filed(true, true));
    assert_eq!(script.report(1, EPOCH, &[(0, 6)]), filed(false, false));
    // All have spoken, so the epoch is closed; what was said twice is still known.
    assert_eq!(script.report(1, EPOCH, &[(0, 7)]), filed(true, true));
    script.core.config.validators.insert(validator(2));
    let late = script.report(2, EPOCH, &[(0, 7)]).unwrap_err();
    assert_eq!(late.code(), "epoch_not_open");
}

#[test]
fn a_validator_that_contradicts_itself_counts_for_nothing() {
    let mut script = game(3, 1_000);
    for (by, points) in [(0, 2_000), (1, 4_000), (1, 4_001), (2, 6_000)] {
        script.report(by, EPOCH, &[(0, points)]).unwrap();
    }
    // Of the two that are left the lesser: with the contradiction it would be 4000.
    assert_eq!(script.points(0), Some(2_000));
    assert_eq!(script.core.closed_epochs()[&EPOCH].reporters, 2);
}

#[test]
fn an_epoch_that_too_few_reported_on_comes_to_nothing() {
    for (reporters, points, earned) in [(1, None, 0), (2, Some(5_000), 1_000)] {
        let mut script = game(3, 1_000);
        for by in 0..reporters {
            script.report(by, EPOCH, &[(0, 5_000)]).unwrap();
        }
        script.now = (EPOCH + 2) * EPOCH_MS - 1;
        script.step(Event::Tick);
        assert_eq!(script.points(0), None, "there is still time to report");
        script.now += 1;
        script.step(Event::Tick);
        assert_eq!(
            (script.points(0), script.received(0)),
            (points, earned),
            "{reporters}"
        );
        let late = script.report(2, EPOCH, &[(0, 5_000)]).unwrap_err();
        assert_eq!(late.code(), "epoch_not_open");
    }
}

#[test]
fn no_epoch_is_rewarded_with_more_than_the_pot_holds() {
    let mut script = game(1, 1_500);
    for (epoch, earned) in [(EPOCH - 1, 1_000), (EPOCH, 1_500), (EPOCH + 1, 1_500)] {
        script.now = script.now.max(epoch * EPOCH_MS);
        script.report(0, epoch, &[(0, 1)]).unwrap();
        assert_eq!(script.received(0), earned, "{epoch}");
    }
    assert_eq!(script.core.rewards_left(), Amount::ZERO);
    let view = script.core.view_provider(provider(0)).unwrap();
    assert_eq!(view.game.unwrap().rewarded, Amount(1_500));
}

#[test]
fn rewards_are_paid_in_steps_that_fit() {
    let mut script = game(1, 1_000);
    script.core.config.step_replicas_max = 1;
    let all: Vec<(u8, u16)> = (0..4).map(|index| (index, 1_000)).collect();
    script.report(0, EPOCH, &all).unwrap();
    let mut steps = 1;
    while script.last.contains(&Action::TickAgain) {
        script.step(Event::Tick);
        steps += 1;
    }
    assert_eq!(steps, 4);
    assert_eq!([0, 1, 2, 3].map(|index| script.received(index)), [250; 4]);
}

#[test]
fn whoever_is_banned_or_unknown_gets_nothing() {
    let mut script = game(1, 1_000);
    let event = Event::SetBanned {
        provider: provider(1),
        banned: true,
    };
    script.step(event);
    script
        .report(0, EPOCH, &[(0, 5_000), (1, 5_000), (0x60, 5_000)])
        .unwrap();
    assert_eq!([script.received(0), script.received(1)], [1_000, 0]);
    assert_eq!(script.points(1), None);
    let stranger = Account::Provider(provider(0x60));
    assert_eq!(
        script.core.ledger.balance(&stranger).posted(),
        Some(Amount::ZERO)
    );
}

#[test]
fn a_reward_owed_to_one_that_is_banned_meanwhile_stays_in_the_pot() {
    let mut script = game(1, 1_000);
    script.core.config.step_replicas_max = 1;
    script.report(0, EPOCH, &[(0, 5_000), (1, 5_000)]).unwrap();
    assert_eq!([script.received(0), script.received(1)], [500, 0]);
    let event = Event::SetBanned {
        provider: provider(1),
        banned: true,
    };
    script.step(event);
    script.step(Event::Tick);
    assert_eq!([script.received(0), script.received(1)], [500, 0]);
    assert_eq!(script.core.rewards_left(), Amount(500));
}

#[test]
fn points_weigh_between_half_and_one_and_a_half_and_fade() {
    for (points, age, factor) in [
        (0, 0, 5_000),
        (0, 1, 5_000),
        (0, 2, 7_500),
        (5_000, 1, 10_000),
        (10_000, 1, 15_000),
        (10_000, 2, 12_500),
        (10_000, 3, 11_250),
        (10_000, 60, 10_000),
        (0, u64::MAX, 10_000),
    ] {
        let standing = Standing {
            points,
            ..Standing::default()
        };
        assert_eq!(standing.factor(age), factor, "{points} after {age}");
    }
}

#[test]
fn whoever_does_well_in_games_gets_more_of_the_work() {
    let mut assigned = [0, 0];
    for number in 0..60_u32 {
        let mut script = game(1, 0);
        script.report(0, EPOCH, &[(0, 10_000), (1, 0)]).unwrap();
        for index in 2..4 {
            let gone = Event::ProviderLost {
                provider: provider(index),
            };
            script.step(gone);
        }
        let job = JobId(digest(&format!("job {number}")));
        script.step(Event::Submit {
            request: REQUEST,
            client: client(),
            job,
            spec: JobSpec {
                items: 2,
                replicas: 1,
                max_replicas: 1,
                ..spec()
            },
            chance: Chance([3; 32]),
        });
        let input = BlobRef::of(b"input");
        script.step(Event::BlobsReady {
            job,
            shard_inputs: vec![input],
        });
        let to = script.sent.pop().unwrap().provider;
        assigned[usize::from(to == provider(1))] += 1;
    }
    // Three to one, by the factors.
    assert!(
        assigned[0] > 2 * assigned[1] && assigned[1] > 0,
        "{assigned:?}"
    );
}

#[test]
fn another_length_of_epochs_begins_a_new_count() {
    let mut script = game(1, 10_000);
    script.report(0, EPOCH, &[(0, 5_000)]).unwrap();
    assert_eq!(script.received(0), 1_000);
    let mut config = script.core.config.clone();
    config.epoch_ms = EPOCH_MS * 2;
    script.core.reconfigure(config.clone());
    script.report(0, EPOCH / 2, &[(0, 5_000)]).unwrap();
    assert_eq!(script.received(0), 2_000);
    // And back: the same number is another epoch, paid by a transfer of its own.
    config.epoch_ms = EPOCH_MS;
    script.core.reconfigure(config);
    script.report(0, EPOCH, &[(0, 5_000)]).unwrap();
    assert_eq!(script.received(0), 3_000);
}

#[test]
fn the_check_finds_rewards_that_cannot_be() {
    type Spoil = fn(&mut Core);
    let spoilings: [(&str, Spoil); 4] = [
        ("owes more rewards than the pot holds", |core| {
            core.epochs.owed.insert((EPOCH, provider(3)), Amount(9_999));
        }),
        ("owes what it did not award", |core| {
            core.epochs.owed.insert((EPOCH, provider(3)), Amount(1));
        }),
        ("paid another reward than it awarded", |core| {
            let closing = core.epochs.closed.get_mut(&EPOCH).unwrap();
            closing.awards.insert(provider(0), Amount(1));
        }),
        ("awarded somebody without points", |core| {
            let closing = core.epochs.closed.get_mut(&EPOCH).unwrap();
            closing.points.remove(&provider(0));
        }),
    ];
    for (words, spoil) in spoilings {
        let mut script = game(1, 5_000);
        script.report(0, EPOCH, &[(0, 5_000), (1, 2_000)]).unwrap();
        spoil(&mut script.core);
        let violation = script.core.check().unwrap_err().to_string();
        assert!(violation.contains(words), "{violation}");
    }
}
