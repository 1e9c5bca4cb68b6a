//! How likely a result is wrong after what its provider passed, against providers that collude.
//!
//! Sarmenta's product of such probabilities holds for independent errors only: colluders share one coin, so
//! all of them are wrong together. Here agreement of m results counts as f^(m-1), not as u^m.

use crate::params::Params;
use crate::rate::Ppb;

/// Certainty, in the parts that probabilities of this module are counted in: 10^-18.
pub const ATTO: u128 = 1_000_000_000_000_000_000;
/// Euler's number in billionths, rounded down, so that bounds with it in the divisor are rounded up.
const E_PPB: u128 = 2_718_281_828;

/// An upper bound on the probability that a result is wrong whose provider passed `passed` checks and would
/// have been banned at the first failure, when a share `malicious` of providers cheats at the rate that is
/// best for them: `f / ((1-f) e k)`, and never more than `f`. In parts of 10^18.
#[must_use]
pub fn wrong_at_most(malicious: Ppb, passed: u64) -> u128 {
    let f = u128::from(malicious.get());
    let prior = f
        .saturating_mul(ATTO)
        .checked_div(1_000_000_000)
        .unwrap_or(ATTO);
    let honest = u128::from(malicious.complement().get());
    let divisor = honest
        .saturating_mul(E_PPB)
        .saturating_mul(u128::from(passed));
    // f / (1-f) is a ratio of billionths; e brings a billionth of its own.
    let bound = f
        .saturating_mul(ATTO)
        .saturating_mul(1_000_000_000)
        .checked_div(divisor);
    bound.map_or(prior, |bound| bound.saturating_add(1).min(prior))
}

/// An upper bound on the probability that agreeing results of diverse providers are all wrong, who passed so
/// many checks each: that of the least tried, times the share of stake that would have to be drawn again and
/// again. In parts of 10^18; certainty for no result at all.
#[must_use]
pub fn agreement_wrong_at_most(malicious: Ppb, passed: &[u64]) -> u128 {
    let Some(least) = passed.iter().min() else {
        return ATTO;
    };
    let one = wrong_at_most(malicious, *least);
    passed
        .iter()
        .skip(1)
        .fold(one, |bound, _| malicious.of(bound).saturating_add(1))
}

/// Whether agreeing results are enough to be final at once. `passed` has one entry per result: the checks
/// that its provider passed. The caller has made sure that they are diverse.
#[must_use]
pub fn fast_path(params: &Params, passed: &[u64]) -> bool {
    let bound = u128::from(params.fast_bound.get()).saturating_mul(ATTO / 1_000_000_000);
    passed.len() >= usize::from(params.fast_results)
        && agreement_wrong_at_most(params.planning, passed) <= bound
}

/// The least number of checks with which one result alone is at most `error` likely to be wrong.
#[must_use]
pub fn checks_for(malicious: Ppb, error: Ppb) -> u64 {
    let bound = u128::from(error.get()).saturating_mul(ATTO / 1_000_000_000);
    let (mut low, mut high) = (0u64, u64::MAX);
    while low < high {
        let middle = low.midpoint(high);
        if wrong_at_most(malicious, middle) <= bound {
            high = middle;
        } else {
            low = middle.saturating_add(1);
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    const F10: Ppb = Ppb::millionths(100_000);
    const F30: Ppb = Ppb::millionths(300_000);

    #[test]
    fn the_bound_is_the_published_one() {
        for (malicious, passed, bound) in [
            (F10, 0, 0.1),
            (F10, 1, 0.040_875),
            (F10, 1_000, 4.0875e-5),
            (F30, 1_000, 1.5766e-4),
            (F30, 1, 0.157_66),
            (Ppb::ZERO, 5, 0.0),
            (Ppb::ONE, 5, 1.0),
        ] {
            let found = wrong_at_most(malicious, passed) as f64 / ATTO as f64;
            assert!(
                (found - bound).abs() <= bound * 1e-4 + 1e-17,
                "{malicious} {passed}: {found}"
            );
        }
    }

    #[test]
    fn the_checks_for_one_result_alone_are_the_published_ones() {
        for (malicious, error, checks) in [
            (F10, Ppb::millionths(100), 409),
            (F10, Ppb::millionths(1), 40_876),
            (F30, Ppb::millionths(100), 1_577),
            (F30, Ppb::millionths(1), 157_663),
        ] {
            assert_eq!(checks_for(malicious, error), checks, "{malicious} {error}");
        }
    }

    #[test]
    fn agreement_of_colluders_counts_as_one_coin() {
        // k = 1000, m = 2: 4e-6 at f = 0.1 and 4.7e-5 at f = 0.3.
        for (malicious, bound) in [(F10, 4.0875e-6), (F30, 4.73e-5)] {
            let found = agreement_wrong_at_most(malicious, &[1_000, 5_000]) as f64 / ATTO as f64;
            assert!((found - bound).abs() < bound * 1e-3, "{found}");
        }
        assert_eq!(agreement_wrong_at_most(F10, &[]), ATTO);
    }

    #[test]
    fn the_fast_path_wants_enough_results_of_enough_record() {
        let params = Params::default();
        for (passed, fine) in [
            (vec![], false),
            (vec![u64::MAX], false),
            (vec![0, 1_000_000], false),
            (vec![400, 1_000_000], false),
            (vec![500, 500], true),
            (vec![0, 0, 0], false),
        ] {
            assert_eq!(fast_path(&params, &passed), fine, "{passed:?}");
        }
    }
}
