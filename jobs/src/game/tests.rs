mod scoring;

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::draw::round;
use super::epoch::{epoch_of, split, start_of};
use super::report::{GAMES_MAX, Played, Row, ScoreReport};
use super::score::{Observation, POINTS_MAX, Standing};
use super::*;
use crate::digest::BlobRef;
use crate::ids::ProviderId;
use crate::manifest::{Manifest, Resolved};
use crate::money::Amount;
use crate::package::InputRef;
use crate::statement::Signed;
use crate::time::Timestamp;

/// The echo job over a pool of so many lines.
pub(crate) fn package(lines: u32) -> Package {
    let text = include_str!("../../../examples/echo/job.toml");
    let items: Vec<String> = (0..lines).map(|line| format!("line {line}")).collect();
    let resolved = Resolved {
        component: BlobRef::of(b"component"),
        models: Vec::new(),
        input: InputRef::of(&items).unwrap().0,
        nonce: [7; 16],
    };
    Manifest::parse(text).unwrap().lock(resolved).unwrap()
}

const TEXT: &str = r#"
schema = 1
name = "latency"
version = 1
about = "how long a line takes"
measure = "latency"
job = "job.toml"
[rounds]
per_epoch = 4
items_min = 2
items_max = 8
pause_ms_min = 10
pause_ms_max = 90
[scoring]
samples_min = 2
full_permille = 1000
none_permille = 3000
network_ms_max = 20
"#;

fn game() -> GameManifest {
    GameManifest::lock(GameText::parse(TEXT).unwrap(), package(10)).unwrap()
}

fn rule() -> Scoring {
    game().scoring
}

fn provider(number: u8) -> ProviderId {
    ProviderId([number; 32])
}

fn population() -> BTreeSet<ProviderId> {
    (0..40).map(provider).collect()
}

/// An agreed answer of two items, given out at 1000, accepted and committed so much later.
fn seen(number: u8, accepted_ms: u64, committed_ms: u64) -> Observation {
    Observation {
        provider: provider(number),
        class: Digest::of(b"class"),
        items: 2,
        dispatched: Timestamp(1_000),
        accepted: Some(Timestamp(1_000 + accepted_ms)),
        committed: Some(Timestamp(1_000 + committed_ms)),
        standing: Standing::Agreed,
        tokens: 50,
        canaries: None,
    }
}

#[test]
fn a_signed_game_verifies_and_a_tampered_one_does_not() {
    let key = ClientKey::generate().unwrap();
    let signed = game().sign(&key).unwrap();
    let again = SignedGame::parse(&signed.to_text().unwrap()).unwrap();
    let verified = again.verify().unwrap();
    assert_eq!(verified.author, key.client_id());
    assert_eq!(verified.digest, game().digest().unwrap());
    let mut other = signed;
    other.game.scoring.none_permille += 1;
    assert!(matches!(
        other.verify(),
        Err(Error::Signature { .. } | Error::DigestMismatch { .. })
    ));
    let bare = key.sign_blob(&game().to_canonical().unwrap()).unwrap();
    other.bundle = bare;
    assert!(
        other.verify().is_err(),
        "bytes without their kind are no game"
    );
}

#[test]
fn what_is_no_game_is_refused_by_field() {
    type Spoil = fn(&mut GameManifest);
    let spoilings: [(&str, Spoil); 14] = [
        ("game.kind", |g| {
            g.kind = "assay/tolerance-profile/v1".into()
        }),
        ("game.schema", |g| g.schema = 2),
        ("game.name", |g| g.name = "Latency!".into()),
        ("game.about", |g| g.about.clear()),
        ("game.version", |g| g.version = 0),
        ("game.weight", |g| g.weight = WEIGHT_MAX + 1),
        ("game.package.nonce", |g| g.package.nonce = "1".repeat(32)),
        ("game.package.policy", |g| {
            g.package.policy = Policy::Trusted {
                providers: (0..2).map(provider).collect(),
            };
        }),
        ("game.rounds.per_epoch", |g| g.rounds.per_epoch = 0),
        ("game.rounds.items_max", |g| g.rounds.items_max = 11),
        ("game.rounds.items_min", |g| g.rounds.items_min = 9),
        ("game.rounds.pause_ms_min", |g| g.rounds.pause_ms_min = 91),
        ("game.scoring.samples_min", |g| g.scoring.samples_min = 0),
        // Less time is better, so nothing is given beyond the ratio for all.
        ("game.scoring.none_permille", |g| {
            g.scoring.none_permille = 1000
        }),
    ];
    for (key, spoil) in spoilings {
        let mut bad = game();
        spoil(&mut bad);
        let error = bad.check().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{key} = ")), "{error}");
    }
    let shares = rule().check(Measure::Identity).unwrap_err().to_string();
    assert!(
        shares.starts_with("game.scoring.full_permille = 1000"),
        "{shares}"
    );
    for (bad, words) in [
        (TEXT.replace("latency\"\njob", "luck\"\njob"), "luck"),
        (TEXT.replace("version = 1", ""), "version"),
        (format!("extra = 1\n{TEXT}"), "extra"),
    ] {
        let error = GameText::parse(&bad).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn every_shipped_game_is_one() {
    let shipped = [
        (
            Measure::Latency,
            include_str!("../../../examples/games/latency/game.toml"),
            1024,
        ),
        (
            Measure::Throughput,
            include_str!("../../../examples/games/throughput/game.toml"),
            20,
        ),
        (
            Measure::Identity,
            include_str!("../../../examples/games/identity/game.toml"),
            1024,
        ),
        (
            Measure::Hardware,
            include_str!("../../../examples/games/hardware/game.toml"),
            1024,
        ),
        (
            Measure::Availability,
            include_str!("../../../examples/games/availability/game.toml"),
            6,
        ),
    ];
    assert_eq!(
        shipped.map(|(measure, ..)| measure),
        Measure::ALL.map(|(_, measure)| measure)
    );
    for (measure, text, lines) in shipped {
        let text = GameText::parse(text).unwrap();
        assert_eq!(
            (text.measure, text.name.as_str()),
            (measure, measure.name())
        );
        GameManifest::lock(text, package(lines)).unwrap();
    }
}

#[test]
fn rounds_are_drawn_within_their_bounds_and_only_the_seed_tells_them() {
    let rounds = game().rounds;
    let mut orders = BTreeSet::new();
    for number in 0..200 {
        let drawn = round(&rounds, 10, &[1; 32], number);
        assert!((10..=90).contains(&drawn.pause_ms), "{drawn:?}");
        assert!((2..=8).contains(&drawn.items.len()), "{drawn:?}");
        let distinct: BTreeSet<u32> = drawn.items.iter().copied().collect();
        assert_eq!(distinct.len(), drawn.items.len(), "{drawn:?}");
        assert!(distinct.iter().all(|item| *item < 10), "{drawn:?}");
        assert_eq!(drawn, round(&rounds, 10, &[1; 32], number));
        assert_ne!(drawn, round(&rounds, 10, &[2; 32], number));
        orders.insert(drawn.items);
    }
    assert!(orders.len() > 190, "{} different rounds", orders.len());
}

fn report(games: &[(Measure, u32)], rows: &[(u8, &[Option<u16>])]) -> ScoreReport {
    let played = |(measure, weight): &(Measure, u32)| Played {
        game: Digest::of(measure.name().as_bytes()),
        measure: *measure,
        weight: *weight,
    };
    let row = |(number, points): &(u8, &[Option<u16>])| Row {
        provider: provider(*number),
        points: points.to_vec(),
    };
    ScoreReport {
        aggregator: provider(200),
        epoch: 7,
        games: games.iter().map(played).collect(),
        rows: rows.iter().map(row).collect(),
    }
}

#[test]
fn gates_multiply_and_the_rest_is_a_weighted_mean() {
    let games = [
        (Measure::Latency, 3),
        (Measure::Availability, 1),
        (Measure::Identity, 1),
    ];
    let report = report(
        &games,
        &[
            (1, &[Some(10_000), Some(10_000), Some(10_000)]),
            (2, &[Some(10_000), Some(2_000), Some(5_000)]),
            (3, &[Some(10_000), Some(10_000), Some(0)]),
            (4, &[None, Some(4_000), None]),
            (5, &[None, None, Some(6_000)]),
            (6, &[None, None, None]),
        ],
    );
    report.check().unwrap();
    let totals: Vec<u16> = report.totals().iter().map(|(_, points)| *points).collect();
    assert_eq!(totals, [10_000, 4_000, 0, 4_000, 6_000]);
}

#[test]
fn a_report_of_the_largest_size_can_be_signed_and_a_spoilt_one_is_refused() {
    let games = vec![(Measure::Latency, WEIGHT_MAX); GAMES_MAX];
    let points = [Some(POINTS_MAX); GAMES_MAX];
    let mut largest = report(&games, &[]);
    largest.rows = (0..report::ROWS_MAX as u32)
        .map(|number| {
            let mut id = [255; 32];
            id[..4].copy_from_slice(&number.to_be_bytes());
            Row {
                provider: ProviderId(id),
                points: points.to_vec(),
            }
        })
        .collect();
    largest.epoch = u64::MAX;
    largest.check().unwrap();
    let key = ed25519_dalek::SigningKey::from_bytes(&[3; 32]);
    let signed = Signed::sign(&largest, &key).unwrap();
    assert_eq!(signed.verify().unwrap().statement, largest);
    type Spoil = fn(&mut ScoreReport);
    let spoilings: [(&str, Spoil); 5] = [
        ("game.report.games = 0", |r| r.games.clear()),
        ("game.report.rows = 1025", |r| {
            r.rows.push(r.rows[0].clone())
        }),
        ("game.report.rows.provider", |r| {
            r.rows[1] = r.rows[0].clone()
        }),
        ("game.report.rows.points = 7", |r| {
            r.rows[5].points.truncate(7)
        }),
        ("game.report.rows.points = 10001", |r| {
            r.rows[5].points[0] = Some(POINTS_MAX + 1);
        }),
    ];
    for (words, spoil) in spoilings {
        let mut bad = largest.clone();
        spoil(&mut bad);
        let error = bad.check().unwrap_err().to_string();
        assert!(error.starts_with(words), "{error}");
    }
}

#[test]
fn epochs_follow_one_another_without_a_gap() {
    for (time, length, epoch) in [(0, 1_000, 0), (999, 1_000, 0), (1_000, 1_000, 1), (5, 0, 5)] {
        assert_eq!(epoch_of(Timestamp(time), length), epoch);
    }
    for epoch in [0, 1, 12_345] {
        let start = start_of(epoch, 60_000);
        assert_eq!(epoch_of(start, 60_000), epoch);
        assert_eq!(epoch_of(start.plus_ms(59_999), 60_000), epoch);
    }
}

proptest! {
    #[test]
    fn a_split_loses_nothing_and_follows_the_points(
        pot in prop_oneof![0..2_000_u128, Just(u128::MAX), any::<u128>()],
        points in prop::collection::vec(0..=POINTS_MAX, 0..40),
    ) {
        let named: Vec<_> = (0..).map(provider).zip(points.iter().copied()).collect();
        let shares = split(Amount(pot), &named);
        let sum = shares.iter().try_fold(0_u128, |sum, (_, share)| sum.checked_add(share.0));
        let sum = sum.unwrap();
        prop_assert!(sum <= pot);
        let paid = named.iter().filter(|(_, points)| *points > 0).count() as u128;
        if paid > 0 {
            // Each is rounded down by less than one micro-unit.
            prop_assert!(pot - sum < paid.max(1));
        } else {
            prop_assert_eq!(sum, 0);
        }
        for pair in shares.windows(2) {
            let of = |id: ProviderId| named.iter().find(|(known, _)| *known == id).unwrap().1;
            let (left, right) = (of(pair[0].0), of(pair[1].0));
            prop_assert!(left.cmp(&right) as i8 * pair[0].1.cmp(&pair[1].1) as i8 >= 0);
        }
    }
}
