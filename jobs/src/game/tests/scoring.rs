//! From observations to points.

use proptest::prelude::*;

use super::{population, provider, rule, seen};
use crate::digest::Digest;
use crate::game::score::{Canaries, Observation, POINTS_MAX, Standing, score};
use crate::game::{Measure, Scoring};
use crate::time::Timestamp;

#[test]
fn time_is_scored_against_the_median_with_the_network_removed() {
    // Everybody's network takes 10 ms; three take 100 ms for two items, one 210, one 400.
    let times = [(1, 110), (2, 110), (3, 110), (4, 210), (5, 410)];
    let twice = times.iter().flat_map(|(id, ms)| [seen(*id, 10, *ms); 2]);
    let scores = score(
        Measure::Latency,
        &rule(),
        &twice.collect::<Vec<_>>(),
        &population(),
    );
    let expected = [(1, 10_000), (2, 10_000), (3, 10_000), (4, 5_000), (5, 0)];
    let expected = expected.map(|(id, points)| (provider(id), points));
    assert_eq!(scores.unwrap(), expected);
}

#[test]
fn a_delayed_acceptance_hides_no_more_than_the_rule_allows() {
    // The liar starts at once and accepts only when it is done: 200 ms look like none but for the bound.
    let honest = (1..=3).flat_map(|id| [seen(id, 0, 100); 2]);
    let liar = [seen(4, 200, 200); 2];
    let all: Vec<Observation> = honest.chain(liar).collect();
    let scores = score(Measure::Latency, &rule(), &all, &population()).unwrap();
    // 200 ms less the 20 that may be the network's, against 100: a ratio of 1.8.
    assert_eq!(scores.last(), Some(&(provider(4), 6_000)));
}

#[test]
fn one_outlier_moves_nobody() {
    let mut all: Vec<Observation> = (1..=5).flat_map(|id| [seen(id, 0, 100); 5]).collect();
    let calm = score(Measure::Latency, &rule(), &all, &population()).unwrap();
    all.push(seen(1, 0, 60_000));
    all.extend([seen(9, 0, 1); 5]);
    let disturbed = score(Measure::Latency, &rule(), &all, &population()).unwrap();
    assert_eq!(disturbed[..5], calm[..]);
}

#[test]
fn a_shard_that_is_not_whole_says_nothing_of_speed() {
    let part = |number| Observation {
        items: 1,
        ..seen(number, 0, 100)
    };
    let all: Vec<Observation> = [seen(1, 0, 100), part(2)]
        .into_iter()
        .flat_map(|o| [o; 2])
        .collect();
    for measure in [Measure::Latency, Measure::Throughput] {
        let rule = match measure {
            Measure::Latency => rule(),
            _ => Scoring {
                none_permille: 0,
                ..rule()
            },
        };
        let scores = score(measure, &rule, &all, &population()).unwrap();
        assert_eq!(scores, [(provider(1), POINTS_MAX)], "{measure:?}");
    }
}

/// A rule of shares: all at a whole, nothing at a half.
fn share() -> Scoring {
    Scoring {
        full_permille: 1_000,
        none_permille: 500,
        ..rule()
    }
}

fn standing(number: u8, standing: Standing) -> Observation {
    Observation {
        standing,
        ..seen(number, 0, 100)
    }
}

fn twice(each: Vec<Observation>) -> Vec<Observation> {
    [each.clone(), each].concat()
}

/// These observations give these points, ascending by provider.
fn gives(measure: Measure, rule: &Scoring, observations: &[Observation], expected: &[(u8, u16)]) {
    let scores = score(measure, rule, observations, &population()).unwrap();
    let expected: Vec<_> = expected.iter().map(|(n, p)| (provider(*n), *p)).collect();
    assert_eq!(scores, expected, "{measure:?}");
}

#[test]
fn each_measure_counts_what_it_is_about() {
    let canaries = |number, right| Observation {
        canaries: Some(Canaries { asked: 4, right }),
        // What a wrong model answers is outvoted or, among its like, not: the known answer decides.
        standing: if number == 3 {
            Standing::Outvoted
        } else {
            Standing::Agreed
        },
        ..seen(number, 0, 100)
    };
    let answers = twice(vec![canaries(1, 4), canaries(2, 3), canaries(3, 0)]);
    let expected = [(1, 10_000), (2, 5_000), (3, 0)];
    gives(Measure::Identity, &share(), &answers, &expected);

    let standings = [
        standing(1, Standing::Agreed),
        standing(1, Standing::Outvoted),
        standing(1, Standing::Excused),
        standing(2, Standing::Agreed),
        standing(2, Standing::Agreed),
        standing(3, Standing::Agreed),
        standing(3, Standing::Failed),
    ];
    let expected = [(1, 10_000), (2, 10_000), (3, 0)];
    gives(Measure::Availability, &share(), &standings, &expected);

    let tokens = |number, tokens| Observation {
        tokens,
        ..seen(number, 0, 100)
    };
    let rates = twice(vec![
        tokens(1, 100),
        tokens(2, 100),
        tokens(3, 75),
        tokens(4, 0),
    ]);
    let expected = [(1, 10_000), (2, 10_000), (3, 5_000)];
    gives(Measure::Throughput, &share(), &rates, &expected);
}

#[test]
fn wrong_answers_have_no_speed_and_one_right_answer_is_too_few() {
    let observations = [
        standing(1, Standing::Outvoted),
        standing(1, Standing::Outvoted),
        standing(2, Standing::Agreed),
    ];
    gives(Measure::Latency, &rule(), &observations, &[]);
}

#[test]
fn hardware_is_compared_with_those_that_announce_the_same() {
    let classed = |number, class: &[u8], ms| Observation {
        class: Digest::of(class),
        ..seen(number, 0, ms)
    };
    // The fourth announces the class of fast ones and is slow; the fifth is alone in its class.
    let observations = twice(vec![
        classed(1, b"gpu", 10),
        classed(2, b"gpu", 10),
        classed(3, b"gpu", 10),
        classed(4, b"gpu", 100),
        classed(5, b"cpu", 100),
    ]);
    let expected = [(1, 10_000), (2, 10_000), (3, 10_000), (4, 0)];
    gives(Measure::Hardware, &rule(), &observations, &expected);
}

#[test]
fn what_no_honest_observation_can_be_is_refused_by_name() {
    type Spoil = fn(&mut Observation);
    let spoilings: [(&str, Spoil); 5] = [
        ("provider", |o| o.provider = provider(99)),
        ("items", |o| o.items = 0),
        ("accepted", |o| o.accepted = Some(Timestamp(999))),
        ("committed", |o| o.committed = Some(Timestamp(1_009))),
        ("canaries.right", |o| {
            o.canaries = Some(Canaries { asked: 1, right: 2 })
        }),
    ];
    for (key, spoil) in spoilings {
        let mut bad = seen(1, 10, 100);
        spoil(&mut bad);
        let error = score(Measure::Latency, &rule(), &[bad], &population());
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("game.observation.{key} = ")),
            "{error}"
        );
    }
}

proptest! {
    #[test]
    fn no_order_and_no_minority_changes_what_the_others_get(
        times in prop::collection::vec(50..150_u64, 5..12),
        liars in prop::collection::vec(0..5_000_u64, 0..2),
    ) {
        let of = |id: u8, ms: u64| [seen(id, 0, ms); 3];
        let honest: Vec<Observation> =
            (0..).zip(&times).flat_map(|(id, ms)| of(id, *ms)).collect();
        let mut all = honest.clone();
        all.extend((30..).zip(&liars).flat_map(|(id, ms)| of(id, *ms)));
        let scores = score(Measure::Latency, &rule(), &all, &population()).unwrap();
        all.reverse();
        prop_assert_eq!(&score(Measure::Latency, &rule(), &all, &population()).unwrap(), &scores);
        for (_, points) in &scores {
            prop_assert!(*points <= POINTS_MAX);
        }
        // Whoever is at least as fast gets at least as many points.
        for (left, right) in (0_u8..).zip(&times).zip((0_u8..).zip(&times).skip(1)) {
            let points = |id: u8| scores.iter().find(|(known, _)| *known == provider(id)).unwrap().1;
            if left.1 <= right.1 {
                prop_assert!(points(left.0) >= points(right.0));
            }
        }
        // One liar moves the middle by no more than to a neighbour: the fastest honest one has them all.
        let fastest = (0_u8..).zip(&times).min_by_key(|(_, ms)| **ms).unwrap().0;
        prop_assert_eq!(scores[usize::from(fastest)].1, POINTS_MAX);
    }
}
