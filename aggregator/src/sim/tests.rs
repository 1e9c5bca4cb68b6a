//! The simulator holds, replays bit for bit, and finds every deliberate mistake.

use super::*;
use crate::core::Sabotage;

fn config(seeds: u64, sabotage: Option<Sabotage>) -> SimConfig {
    SimConfig {
        sabotage,
        ..SimConfig::new(seeds, 0)
    }
}

#[test]
fn no_seed_violates_anything_and_the_faults_are_real() {
    let report = run(config(60, None), |_| ());
    assert_eq!(report.violations, [], "{report:#?}");
    let counts = report.counts;
    println!("{counts:?}");
    assert!(
        counts.done > counts.failed,
        "most jobs are done: {counts:?}"
    );
    assert!(
        counts.failed > 0 && counts.banned > 0 && counts.dissented > 0,
        "{counts:?}"
    );
    assert!(counts.restarts > 30 && counts.faults > 3_000, "{counts:?}");
    assert!(counts.rewarded > 60, "{counts:?}");
    assert!(counts.accused > 30 && counts.liquidated > 0, "{counts:?}");
}

#[test]
fn a_seed_replays_bit_for_bit_on_any_number_of_threads() {
    let one = SimConfig {
        threads: 1,
        ..config(6, None)
    };
    let three = SimConfig { threads: 3, ..one };
    assert_eq!(run(one, |_| ()), run(three, |_| ()));
    assert_eq!(run_seed(&one, 5), run_seed(&one, 5));
    assert_ne!(run_seed(&one, 5).log_hash, run_seed(&one, 4).log_hash);
}

/// Seeds within which every mistake must be found.
const FOUND_WITHIN: u64 = 500;

fn first_found(sabotage: Sabotage) -> Option<SimViolation> {
    (0..FOUND_WITHIN).find_map(|seed| run_seed(&config(1, Some(sabotage)), seed).violation)
}

#[test]
fn a_broken_verdict_is_found() {
    let mistakes = [
        Sabotage::FirstReplicaWins,
        Sabotage::StarVerdict,
        Sabotage::IgnoreFuel,
        Sabotage::IgnoreOpenings,
    ];
    for sabotage in mistakes {
        let found = first_found(sabotage).unwrap_or_else(|| panic!("{sabotage:?} stays hidden"));
        println!(
            "{sabotage:?}: seed {} at {} ms: {}",
            found.seed, found.at_ms, found.what
        );
    }
}

#[test]
fn a_broken_audit_is_found() {
    let mistakes = [
        Sabotage::PayAtOnce,
        Sabotage::ForgiveAll,
        Sabotage::KeepInvalid,
        Sabotage::SelfAudit,
        Sabotage::SkipDraw,
    ];
    for sabotage in mistakes {
        let found = first_found(sabotage).unwrap_or_else(|| panic!("{sabotage:?} stays hidden"));
        println!(
            "{sabotage:?}: seed {} at {} ms: {}",
            found.seed, found.at_ms, found.what
        );
    }
}

#[test]
fn a_broken_liquidation_is_found() {
    let found = first_found(Sabotage::MinRule).expect("the broken rule stays hidden");
    println!(
        "MinRule: seed {} at {} ms: {}",
        found.seed, found.at_ms, found.what
    );
}

#[test]
fn a_broken_settlement_is_found() {
    let mistakes = [
        Sabotage::PayLosers,
        Sabotage::PayTwice,
        Sabotage::ForgetVoid,
        Sabotage::IgnoreDeadline,
        Sabotage::IgnorePrice,
        Sabotage::IgnoreKin,
        Sabotage::EndlessStep,
        Sabotage::OverspendRewards,
    ];
    for sabotage in mistakes {
        let found = first_found(sabotage).unwrap_or_else(|| panic!("{sabotage:?} stays hidden"));
        println!(
            "{sabotage:?}: seed {} at {} ms: {}",
            found.seed, found.at_ms, found.what
        );
    }
}
