//! Anchors: figures that are published or can be reckoned by hand, and the skip-ahead against a walk item by
//! item through the functions that the aggregator calls.

use super::attack::{ATTACKS, Attack, COLLUDING};
use super::draw::Draw;
use super::ours::{self, Ablation, Habit, Life, real};
use super::voting::{Copies, outcome};
use super::world::World;
use super::{Campaign, Noise, Row, attack, majority_error, run, table};
use crate::audit::{Audit, Risk, audited};
use crate::beacon::Beacon;
use crate::finality::{Consequence, Provider};
use crate::params::Params;
use crate::rate::Ppb;

fn world<'a>(params: &'a Params, attack: &'a Attack, share: f64, horizon: u64) -> World<'a> {
    World {
        params,
        noise: Noise::default(),
        attack,
        providers: 1_000,
        share,
        horizon,
        rate: 1.0,
        seed: 1,
        lives: 500,
    }
}

fn campaign(policies: &[&str], adversaries: &[&str], horizon: u64) -> Campaign {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Campaign {
        lives: 500,
        shares: vec![0.1, 0.3],
        horizons: vec![horizon],
        policies: owned(policies),
        adversaries: owned(adversaries),
        sweeps: false,
        ..Campaign::default()
    }
}

fn row<'a>(rows: &'a [Row], policy: &str, adversary: &str, share: f64) -> &'a Row {
    let found = rows.iter().find(|row| {
        row.policy == policy && row.adversary == adversary && row.share.to_bits() == share.to_bits()
    });
    found.unwrap_or_else(|| panic!("no row of {policy} against {adversary} at {share}"))
}

#[test]
fn majorities_need_as_many_votes_as_published() {
    // Sarmenta: 1e-6 at 20 % takes m = 26. Watanabe and Fukushi: 35 % takes 15 for 0.05 and 29 for 0.01.
    for (wrong, error, needed) in [
        (0.1, 1e-4, 7),
        (0.1, 1e-6, 12),
        (0.2, 1e-6, 26),
        (0.35, 0.05, 15),
        (0.35, 0.01, 29),
    ] {
        let least = (1..100).find(|m| majority_error(wrong, *m) <= error);
        assert_eq!(least, Some(needed), "{wrong} {error}");
    }
}

#[test]
fn plain_voting_fails_as_reckoned() {
    let params = Params::default();
    let all_copies = Attack::named("all copies").unwrap();
    for (copies, attack, share, error, executions) in [
        (Copies::Two, &COLLUDING, 0.1, 2.8e-2, 2.18),
        (Copies::Two, &COLLUDING, 0.3, 0.216, 2.42),
        (Copies::Two, all_copies, 0.1, 1e-2, 2.0),
        (Copies::Three, &COLLUDING, 0.1, 2.8e-2, 3.0),
        (Copies::Three, all_copies, 0.3, 2.7e-2, 3.0),
    ] {
        let found = outcome(copies, &world(&params, attack, share, 10_000));
        assert!(
            (found.0 - error).abs() < 1e-9,
            "{copies:?} {share}: {found:?}"
        );
        assert!(
            (found.1 - executions).abs() < 1e-3,
            "{copies:?} {share}: {found:?}"
        );
    }
}

#[test]
fn rivals_do_as_they_did_elsewhere() {
    // Our own figures from an independent program: 2 000 tasks a host, 20 000 tasks a host.
    let boinc = run(&campaign(&["BOINC"], &["colluding"], 2_000), |_, _| {});
    let posp = run(
        &campaign(&["PoSP p=0.05 n=1 ban"], &["colluding"], 20_000),
        |_, _| {},
    );
    for (found, share, error, executions) in [
        (
            row(&boinc.rows, "BOINC adaptive", "colluding", 0.1),
            0.1,
            2.0e-2,
            1.31,
        ),
        (
            row(&boinc.rows, "BOINC adaptive", "colluding", 0.3),
            0.3,
            1.7e-1,
            1.75,
        ),
        // f (1 - pe) / (pe H)
        (
            row(&posp.rows, "PoSP p=0.05 n=1 ban", "colluding", 0.1),
            0.1,
            1.06e-4,
            1.05,
        ),
        (
            row(&posp.rows, "PoSP p=0.05 n=1 ban", "colluding", 0.3),
            0.3,
            4.1e-4,
            1.05,
        ),
    ] {
        assert!(
            (found.error / error - 1.0).abs() < 0.2,
            "{share} {error}: {found:?}"
        );
        assert!(
            (found.executions / executions - 1.0).abs() < 0.2,
            "{share} {executions}: {found:?}"
        );
    }
}

#[test]
fn credibility_breaks_its_own_promise_under_collusion() {
    // Elsewhere, at 400 items a host and one rate: 1e-4 and 5.8e-5 at 30 %, for promises of 1e-4 and 1e-6.
    let report = run(&campaign(&["Sarmenta"], &["colluding"], 1_000), |_, _| {});
    for (policy, least, most, executions) in [
        ("Sarmenta 1e-4", 1e-4, 3e-4, 2.43),
        ("Sarmenta 1e-6", 1e-5, 2e-4, 3.50),
    ] {
        let found = row(&report.rows, policy, "colluding", 0.3);
        assert!((least..most).contains(&found.error), "{found:?}");
        assert!(
            (found.executions / executions - 1.0).abs() < 0.05,
            "{found:?}"
        );
    }
}

/// Mean and variance of the mean.
fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0);
    (mean, variance / n)
}

/// Wrong items that became final, executions, and whether a life was banned.
type Outcome = (f64, f64, f64);

/// One life, item by item.
fn walk(params: &Params, habit: &Habit, horizon: u64, number: u64) -> Outcome {
    let mut draw = Draw::new(99, number);
    let beacon = Beacon::new(*blake3::hash(&number.to_le_bytes()).as_bytes(), false);
    let (mut provider, mut pending) = (Provider::default(), Vec::<u64>::new());
    let (mut wrong, mut executions) = (0.0, 0.0);
    let floor = real(params.peer) + real(params.trusted);
    let mut failing: Vec<u64> = Vec::new();
    for item in 0..horizon {
        let rates = provider.rates(params, Risk::ORDINARY);
        let check = audited(&beacon, &[0; 32], item, rates);
        let is_wrong = draw.chance(habit.rate);
        provider.produce(params, 1).unwrap();
        executions += 1.0;
        let finds = match check {
            Some(Audit::Peer) => habit.peer_finds,
            Some(Audit::Trusted) => habit.trusted_finds,
            None => 0.0,
        };
        if check.is_some() {
            executions += 1.0;
            provider.audit(item).unwrap();
        }
        if is_wrong && draw.chance(finds) {
            failing.push(item);
        } else {
            if check.is_some() {
                provider.pass(params, item).unwrap();
            }
            pending.extend(is_wrong.then_some(item));
        }
        if item + 1 == horizon && failing.is_empty() {
            let (last, rate) = provider.leave(params).unwrap();
            executions += real(rate) * (last.end - last.start) as f64;
            let caught = |_: &u64| draw.chance(real(rate) * habit.trusted_finds);
            (failing, pending) = pending.into_iter().partition(caught);
        }
        while let Some(item) = failing.pop() {
            executions += f64::from(params.confirmations) + 1.0;
            match provider.fail(params, item, true).unwrap() {
                Consequence::Forgiven { recheck, rate } => {
                    executions += real(rate) * (recheck.end - recheck.start) as f64;
                    let caught = |_: &u64| draw.chance(real(rate) * habit.trusted_finds);
                    let (caught, rest): (Vec<u64>, Vec<u64>) =
                        pending.into_iter().partition(caught);
                    failing.extend(caught);
                    pending = rest;
                }
                Consequence::Banned { invalid } => {
                    executions += (invalid.end - invalid.start) as f64;
                    executions +=
                        (horizon - item.max(provider.produced() - 1) - 1) as f64 * (1.0 + floor);
                    return (wrong, executions, 1.0);
                }
            }
        }
        let until = provider.finalised();
        wrong += pending.iter().filter(|item| **item < until).count() as f64;
        pending.retain(|item| *item >= until);
    }
    (wrong + pending.len() as f64, executions, 0.0)
}

#[test]
fn skipping_ahead_agrees_with_a_walk_item_by_item() {
    let lives = 3_000u64;
    for (window, forgiven, rate, peer_finds) in [
        (50, 1, 0.02, 0.7),
        (150, 0, 0.01, 0.7),
        (20, 2, 0.1, 1.0),
        (1, 1, 0.05, 0.5),
    ] {
        let params = Params {
            peer: Ppb::millionths(100_000),
            trusted: Ppb::millionths(20_000),
            ramp_checks: 15,
            window,
            forgiven,
            recheck: Ppb::millionths(600_000),
            ..Params::default()
        };
        let (horizon, mut by_hand, mut skipping) = (400, Vec::new(), Vec::new());
        let mut habit = ours::habit(
            &world(&params, &COLLUDING, 0.3, horizon),
            Ablation::default(),
        );
        (habit.rate, habit.peer_finds, habit.framed) = (rate, peer_finds, 0.0);
        for life in 0..lives {
            by_hand.push(walk(&params, &habit, horizon, life));
            let life = Life::new(&params, habit, Draw::new(7, life)).run(horizon);
            skipping.push((life.wrong as f64, life.executions, f64::from(life.slashed)));
        }
        let columns: [fn(&Outcome) -> f64; 3] = [|l| l.0, |l| l.1, |l| l.2];
        for (column, of) in columns.iter().enumerate() {
            let (a, b) = (
                mean(&by_hand.iter().map(of).collect::<Vec<_>>()),
                mean(&skipping.iter().map(of).collect::<Vec<_>>()),
            );
            let deviation = (a.1 + b.1).sqrt();
            assert!(
                (a.0 - b.0).abs() <= 5.0 * deviation + 1e-9,
                "W={window}, column {column}: {a:?} {b:?}"
            );
        }
    }
}

#[test]
fn the_claim_holds_and_cheating_is_a_loss() {
    let report = run(
        &campaign(
            &["ours"],
            &["independent", "colluding", "sleeper", "burst"],
            10_000_000,
        ),
        |_, _| {},
    );
    for row in report.rows.iter().filter(|row| row.policy == "ours") {
        assert!(row.error_ci95.1 <= 1e-6, "{row:?}");
        assert!(row.executions <= 1.10, "{row:?}");
        assert!(row.profit_max < 0.0, "{row:?}");
        assert_eq!(row.slashed_honest, 0, "{row:?}");
    }
    let error = |policy: &str| row(&report.rows, policy, "colluding", 0.3).error;
    for (ablation, times) in [
        ("ours, no holdback", 1.3),
        ("ours, no floor", 1.5),
        ("ours, no trusted", 1.1),
        ("ours, foreseen", 1e4),
    ] {
        assert!(
            error(ablation) > error("ours") * times,
            "{ablation}: {}",
            error(ablation)
        );
    }
}

#[test]
fn false_mismatches_slash_nobody_because_they_are_confirmed() {
    let noise = Noise {
        silent: 0.0,
        ..Noise::default()
    };
    for (confirmations, forgiven, fails) in [(2, 1, false), (2, 0, false), (0, 1, true)] {
        let params = Params {
            confirmations,
            forgiven,
            ..Params::default()
        };
        let world = World {
            noise,
            ..world(&params, &attack::NOBODY, 0.0, 10_000_000)
        };
        let honest = ours::honest(&world, 300);
        assert_eq!(
            honest.slashed > 0,
            fails,
            "{confirmations} {forgiven}: {honest:?}"
        );
    }
}

#[test]
fn a_campaign_repeats_itself_on_any_number_of_threads() {
    let one = Campaign {
        threads: 1,
        lives: 50,
        ..campaign(&[], &["colluding"], 10_000)
    };
    let reports = [1, 2, 5].map(|threads| {
        run(
            &Campaign {
                threads,
                ..one.clone()
            },
            |_, _| {},
        )
    });
    assert!(reports[0] == reports[1] && reports[1] == reports[2]);
    let other = run(&Campaign { seed: 2, ..one }, |_, _| {});
    assert_ne!(reports[0], other);
}

#[test]
fn every_adversary_has_a_name_of_its_own_and_tables_name_every_policy() {
    let mut names: Vec<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ATTACKS.len());
    let report = run(
        &Campaign {
            lives: 20,
            ..campaign(&["3x", "ours"], &["colluding", "relay"], 10_000)
        },
        |_, _| {},
    );
    let text = table::text(&report);
    for name in ["3x", "ours, no floor", "ours, foreseen"] {
        assert!(text.contains(name), "{text}");
    }
    let relay = row(&report.rows, "ours", "relay", 0.3);
    assert!(
        relay.error == 0.0 && relay.slashed_honest == 0,
        "right answers are no cheat: {relay:?}"
    );
}
