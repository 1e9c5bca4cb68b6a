use super::*;

#[test]
fn distances_are_the_comparators() {
    let far = |left: &[f64], right: &[f64]| distance(left, right);
    let same = far(&[1.0, -2.0], &[1.0, -2.0]);
    assert!(same.identical && same.max_norm == 0.0 && same.cosine_gap == 0.0);
    assert_eq!(far(&[0.0, 0.0], &[0.0, 0.0]).max_norm, 0.0);
    for (left, right, max_norm, cosine_gap, flip) in [
        (&[4.0, 1.0], &[4.0, 2.0], 0.25, 0.0238, None),
        (&[0.0, 0.0], &[1.0, 0.0], 1.0, 1.0, None),
        (&[1.0, 0.0], &[-1.0, 0.0], 2.0, 2.0, Some(1.0)),
        // The first prefers its own largest by a tenth of it.
        (&[1.0, 0.9], &[1.0, 1.1], 0.2 / 1.1, 0.005, Some(0.1)),
    ] {
        let found = far(left, right);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-3;
        assert!(
            close(found.max_norm, max_norm),
            "{left:?} {right:?} {found:?}"
        );
        assert!(
            close(found.cosine_gap, cosine_gap),
            "{left:?} {right:?} {found:?}"
        );
        assert_eq!(found.flip.is_some(), flip.is_some(), "{found:?}");
        assert!(
            close(found.flip.unwrap_or(0.0), flip.unwrap_or(0.0)),
            "{found:?}"
        );
        assert_eq!(found.max_norm, far(right, left).max_norm, "not symmetric");
    }
}

#[test]
fn spreads_are_of_the_sorted_numbers() {
    let numbers: Vec<f64> = (1..=101).rev().map(f64::from).collect();
    let spread = Spread::of(&numbers);
    let found = [spread.least, spread.median, spread.p99, spread.largest];
    assert_eq!(found, [1.0, 51.0, 100.0, 101.0]);
    assert_eq!(Spread::of(&[]), Spread::default());
}

/// Quantiles of the normal distribution from printed tables.
#[test]
fn quantiles_are_those_of_the_tables() {
    for (probability, expected) in [
        (0.5, 0.0),
        (0.05, -1.644_853_627),
        (0.975, 1.959_963_985),
        (0.01, -2.326_347_874),
        (1e-6, -4.753_424_309),
    ] {
        let found = normal_quantile(probability);
        assert!((found - expected).abs() < 1e-7, "{probability}: {found}");
    }
}

#[test]
fn a_log_normal_sample_gives_its_own_tail_back() {
    // The distribution's own quantiles stand for a sample of it.
    let sample: Vec<f64> = (1..2000)
        .map(|at| (-10.0 + 0.5 * normal_quantile(f64::from(at) / 2000.0)).exp())
        .collect();
    let tail = Tail::fit(&sample).unwrap();
    assert!((tail.mean_ln + 10.0).abs() < 1e-3 && (tail.deviation_ln - 0.5).abs() < 1e-2);
    let far = tail.exceeded_with(1e-6);
    assert!((tail.probability_beyond(far) / 1e-6 - 1.0).abs() < 1e-3);
    assert_eq!(tail.probability_beyond(f64::MIN_POSITIVE), 1.0);
    assert_eq!(Tail::fit(&sample[..TAIL_SAMPLES_MIN - 1]), None);
    assert_eq!(Tail::fit(&[0.0; 100]), None, "zeros have no logarithm");
}

/// Bounds from printed tables (Clopper and Pearson, one-sided 95 %).
#[test]
fn bounds_on_probabilities_are_those_of_the_tables() {
    for (hits, trials, low, high) in [
        (0, 10, 0.0, 0.2589),
        (0, 100, 0.0, 0.029_51),
        (0, 3000, 0.0, 0.000_998),
        (10, 10, 0.7411, 1.0),
        (5, 10, 0.2224, 0.7776),
        (99, 100, 0.9534, 0.9995),
    ] {
        let found = [
            probability_at_least(hits, trials),
            probability_at_most(hits, trials),
        ];
        for (found, expected) in found.into_iter().zip([low, high]) {
            assert!(
                (found - expected).abs() < 2e-4,
                "{hits}/{trials}: {found} {expected}"
            );
        }
    }
}

#[test]
fn many_items_catch_what_one_may_miss() {
    assert_eq!(among(0.5, 1), 0.5);
    assert_eq!(among(0.5, 2), 0.75);
    assert_eq!(among(0.0, 100), 0.0);
    assert_eq!(among(1.0, 10), 1.0);
}

#[test]
fn tolerances_are_rounded_up_to_two_digits() {
    for (value, expected) in [
        (0.0, 0.0),
        (1.3e-5, 1.3e-5),
        (1.31e-5, 1.4e-5),
        (9.91e-7, 1e-6),
        (0.5, 0.5),
        (2.0, 2.0),
    ] {
        let found = rounded_up(value);
        assert_eq!(found, expected, "{value}");
        assert!(found >= value * (1.0 - 1e-9));
    }
}
