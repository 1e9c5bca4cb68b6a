//! Intervals and quantiles.

/// The normal quantile of 95 % on both sides.
const Z: f64 = 1.959_964;
/// An upper bound on the rate of what never happened in n tries is this over n, with 95 %.
const RULE_OF_THREE: f64 = 3.0;

/// Wilson's interval for a proportion, with the number of tries that are really independent: clusters whose
/// counts vary more than chance would have them are worth fewer tries. Without any event, the rule of three.
pub(super) fn interval(wrong: f64, wrong_squared: f64, clusters: f64, items: f64) -> (f64, f64) {
    if items <= 0.0 {
        return (0.0, 1.0);
    }
    if wrong <= 0.0 {
        return (0.0, (RULE_OF_THREE / items).min(1.0));
    }
    let mean = wrong / clusters;
    let variance =
        (wrong_squared / clusters - mean * mean).max(0.0) * clusters / (clusters - 1.0).max(1.0);
    let proportion = (wrong / items).min(1.0);
    let by_chance = mean * (1.0 - proportion);
    let effect = if by_chance > 0.0 {
        (variance / by_chance).max(1.0)
    } else {
        1.0
    };
    let tries = items / effect;
    wilson(proportion, tries)
}

/// Wilson's interval.
fn wilson(proportion: f64, tries: f64) -> (f64, f64) {
    let square = Z * Z / tries;
    let centre = proportion + square / 2.0;
    let spread = Z * (proportion * (1.0 - proportion) / tries + square / (4.0 * tries)).sqrt();
    let low = ((centre - spread) / (1.0 + square)).max(0.0);
    (low, ((centre + spread) / (1.0 + square)).min(1.0))
}

/// The value below which a share of the sorted values lies; nothing of nothing.
pub(super) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = (share * last as f64).round() as usize;
    sorted.get(at.min(last)).copied()
}

/// Probability of at least `successes` of `tries`.
pub(super) fn binomial_tail(tries: u64, probability: f64, successes: u64) -> f64 {
    if successes == 0 {
        return 1.0;
    }
    let (n, p) = (tries as f64, probability);
    if n * p > 1_000.0 {
        // Far in the tail of a large number the normal bound is good enough: it decides nothing alone.
        let z = (successes as f64 - 0.5 - n * p) / (n * p * (1.0 - p)).sqrt();
        return if z < 0.0 {
            1.0
        } else {
            (-z * z / 2.0).exp() / 2.0
        };
    }
    if successes > tries {
        return 0.0;
    }
    // From the first term of the tail upwards, so that small tails keep their digits.
    let first = successes as f64;
    let choose: f64 = (0..successes)
        .map(|k| ((n - k as f64) / (first - k as f64)).ln())
        .sum();
    let mut term = (choose + first * p.ln() + (n - first) * (-p).ln_1p()).exp();
    let mut tail = 0.0;
    for k in successes..=tries {
        tail += term;
        term *= (n - k as f64) / (k as f64 + 1.0) * p / (1.0 - p);
    }
    tail.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_the_published_ones() {
        // Wilson, 10 of 100 and 1 of 10: textbook values.
        for (proportion, tries, low, high) in
            [(0.1, 100.0, 0.0552, 0.1744), (0.1, 10.0, 0.0179, 0.4042)]
        {
            let found = wilson(proportion, tries);
            assert!(
                (found.0 - low).abs() < 1e-3 && (found.1 - high).abs() < 1e-3,
                "{found:?}"
            );
        }
        assert_eq!(interval(0.0, 0.0, 10.0, 3e6), (0.0, 1e-6));
    }

    #[test]
    fn clumps_widen_the_interval() {
        // A hundred wrong items: spread evenly, or all in two of a hundred lives.
        let even = interval(100.0, 100.0, 100.0, 1e6);
        let clumped = interval(100.0, 2.0 * 2_500.0, 100.0, 1e6);
        assert!(
            clumped.1 - clumped.0 > 4.0 * (even.1 - even.0),
            "{even:?} {clumped:?}"
        );
        assert!(clumped.0 < 1e-4 && clumped.1 > 1e-4);
    }

    #[test]
    fn quantiles_are_of_what_there_is() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.99), Some(3.0));
    }

    #[test]
    fn tails_are_right() {
        for (tries, probability, successes, tail) in [
            (10, 0.5, 8, 0.054_687_5),
            (5, 0.05, 5, 3.125e-7),
            (20, 0.05, 0, 1.0),
            (20, 0.05, 21, 0.0),
        ] {
            let found = binomial_tail(tries, probability, successes);
            assert!((found - tail).abs() < 1e-9, "{tries} {successes}: {found}");
        }
    }
}
