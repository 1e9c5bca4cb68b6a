//! The defaults, what spoils them, and the formulas.

use super::*;

/// Changes the defaults by one parameter.
fn with(change: impl FnOnce(&mut Params)) -> Params {
    let mut params = Params::default();
    change(&mut params);
    params
}

#[test]
fn the_defaults_are_safe_and_read_well() {
    let params = Params::default();
    assert_eq!(check(&params), Ok(()));
    let golden = include_str!("golden.txt");
    assert_eq!(Report(&params).to_string(), golden);
}

#[test]
fn an_unsafe_configuration_is_refused_by_name_with_value_and_bound() {
    for (name, change) in [
        ("work-pays", (|p| p.reward = p.cost - 1) as fn(&mut Params)),
        ("honest-dominates", |p| p.gain = 100_000_000_000_000),
        ("pardon-costs", |p| p.fine = 100_000_000),
        ("re-entry-costs", |p| (p.stake, p.fine) = (0, 180_000_000)),
        ("fines-are-covered", |p| p.stake = 200_000_000),
        ("accomplices-talk", |p| p.bounty = Ppb::millionths(100_000)),
        ("no-self-report", |p| p.bounty = Ppb::millionths(900_000)),
        ("residual-error", |p| p.trusted = Ppb::millionths(3_000)),
        ("residual-error", |p| p.horizon = 1_000_000),
        ("overhead", |p| p.peer = Ppb::millionths(100_000)),
        ("honest-losses", |p| p.silent_faults = Ppb::millionths(10)),
    ] {
        match check(&with(change)) {
            Err(Error::Unsafe {
                name: found,
                left,
                right,
                ..
            }) => {
                assert_eq!(found, name, "{left} {right}");
                assert_ne!(left, right);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let error = check(&with(|p| p.fine = 100_000_000))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("unsafe configuration: pardon-costs: 100 units is not >= "),
        "{error}"
    );
}

#[test]
fn the_least_stake_is_where_re_entry_begins_to_cost_more() {
    for change in [
        |_: &mut Params| {},
        |p: &mut Params| p.gain = 50_000_000,
        |p: &mut Params| p.forgiven = 0,
        |p: &mut Params| p.planning = Ppb::millionths(450_000),
    ] {
        let params = with(change);
        let least = stake_min(&params);
        let costs = |stake| reentry_costs(&Params { stake, ..params });
        assert!(costs(least) >= earned(&params));
        assert!(least == 0 || costs(least - 1) < earned(&params));
    }
}

#[test]
fn the_bounds_are_the_published_formulas() {
    // f / (pe H): p = 5 %, pt = 0.5 %, H = 1e7, no pardon.
    let params = with(|p| {
        p.peer = Ppb::millionths(50_000);
        p.trusted = Ppb::millionths(5_000);
        p.forgiven = 0;
    });
    for (malicious, error) in [
        (100_000, 0.1 * 0.95 / 0.05e7),
        (300_000, 0.3 * 0.96 / 0.04e7),
    ] {
        let found = error_at_most(&params, Ppb::millionths(malicious)) as f64 / ATTO as f64;
        assert!((found / error - 1.0).abs() < 1e-6, "{found} {error}");
    }
    assert_eq!(error_at_most(&params, Ppb::ZERO), 0);
    let blind = with(|p| {
        p.peer = Ppb::ZERO;
        p.trusted = Ppb::ZERO
    });
    assert_eq!(
        (error_at_most(&blind, Ppb::ONE), earned(&blind)),
        (ATTO, u128::MAX)
    );
}

#[test]
fn numbers_are_shown_with_their_unit() {
    for (value, unit, text) in [
        (1_500_000, Unit::Money, "1.5 units"),
        (0, Unit::Money, "0 units"),
        (ATTO, Unit::Atto, "1.00e0"),
        (1_234_567_890, Unit::Atto, "1.24e-9"),
        (7, Unit::Atto, "7e-18"),
        (42, Unit::Atto, "4.2e-17"),
        (100_000_000, Unit::Ppb, "10 %"),
    ] {
        assert_eq!(shown(value, unit), text);
    }
}
