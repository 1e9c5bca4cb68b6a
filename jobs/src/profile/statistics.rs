//! How far two answers are apart, and what a sample of distances says about those not seen. Pure numbers.

use serde::{Deserialize, Serialize};

/// Distances of which a tail is estimated, at least.
pub const TAIL_SAMPLES_MIN: usize = 8;

/// Halvings by which a bound is found.
const HALVINGS: u32 = 60;

/// How far two answers to one item are apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// `max|a - b| / max(max|a|, max|b|)`: the `rtol` at which they just agree, without an `atol`.
    pub max_norm: f64,
    /// One less their cosine similarity.
    pub cosine_gap: f64,
    /// If their largest elements stand at different places: by how much the first's largest exceeds
    /// what it has at the second's place, relative to its largest magnitude.
    pub flip: Option<f64>,
    /// Whether they are equal, element for element.
    pub identical: bool,
}

/// The distance of two vectors of one length without NaN and infinities.
///
/// Every number is computed in `f64`, in order. Two zero vectors are equal; a zero vector and another
/// are as far apart as can be.
pub fn distance(left: &[f64], right: &[f64]) -> Distance {
    let largest = |values: &[f64]| values.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
    let (left_max, right_max) = (largest(left), largest(right));
    let scale = left_max.max(right_max);
    let pairs = || left.iter().zip(right);
    let worst = pairs().fold(0.0_f64, |worst, (a, b)| worst.max((a - b).abs()));
    let identical = worst == 0.0;
    let (top, other) = (top(left), top(right));
    let flip = (top != other).then(|| {
        let value = |at: Option<usize>| at.and_then(|at| left.get(at)).copied().unwrap_or(0.0);
        let margin = value(top) - value(other);
        if left_max > 0.0 {
            margin / left_max
        } else {
            0.0
        }
    });
    Distance {
        max_norm: if identical { 0.0 } else { worst / scale },
        cosine_gap: if identical {
            0.0
        } else {
            (1.0 - cosine(pairs(), left_max, right_max)).max(0.0)
        },
        flip,
        identical,
    }
}

/// The place of the largest element, the first of equals.
fn top(values: &[f64]) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (value, at) in values.iter().zip(0..) {
        if best.is_none_or(|(_, most)| *value > most) {
            best = Some((at, *value));
        }
    }
    best.map(|(at, _)| at)
}

fn cosine<'a>(
    pairs: impl Iterator<Item = (&'a f64, &'a f64)>,
    left_max: f64,
    right_max: f64,
) -> f64 {
    if left_max == 0.0 || right_max == 0.0 {
        return if left_max == right_max { 1.0 } else { 0.0 };
    }
    let (mut dot, mut left_square, mut right_square) = (0.0, 0.0, 0.0);
    for (a, b) in pairs {
        let (a, b) = (a / left_max, b / right_max);
        dot += a * b;
        left_square += a * a;
        right_square += b * b;
    }
    dot / (left_square.sqrt() * right_square.sqrt())
}

/// Where a sample of numbers lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The median.
    pub median: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The largest.
    pub largest: f64,
}

impl Spread {
    /// Of these numbers; zeros if there are none.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = (share * sorted.len().saturating_sub(1) as f64).ceil();
            sorted.get(place as usize).copied().unwrap_or(0.0)
        };
        Self {
            least: at(0.0),
            median: at(0.5),
            p99: at(0.99),
            largest: at(1.0),
        }
    }
}

/// A log-normal distribution fitted to distances. What it says of those not seen is an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// Mean of the natural logarithms.
    pub mean_ln: f64,
    /// Their standard deviation.
    pub deviation_ln: f64,
    /// Distances it was fitted to: those above zero.
    pub samples: u32,
}

impl Tail {
    /// Fits the distances above zero; `None` if fewer than [`TAIL_SAMPLES_MIN`] are.
    pub fn fit(distances: &[f64]) -> Option<Self> {
        let logs: Vec<f64> = distances
            .iter()
            .filter(|distance| **distance > 0.0 && distance.is_finite())
            .map(|distance| distance.ln())
            .collect();
        if logs.len() < TAIL_SAMPLES_MIN {
            return None;
        }
        let count = logs.len() as f64;
        let mean = logs.iter().sum::<f64>() / count;
        let square = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>();
        Some(Self {
            mean_ln: mean,
            deviation_ln: (square / (count - 1.0)).sqrt(),
            samples: u32::try_from(logs.len()).unwrap_or(u32::MAX),
        })
    }

    /// The distance that is exceeded with this probability.
    pub fn exceeded_with(&self, probability: f64) -> f64 {
        (self.mean_ln - normal_quantile(probability) * self.deviation_ln).exp()
    }

    /// The probability of a larger distance than this, to within a factor of two: of tails that far out
    /// no more is known anyway.
    pub fn probability_beyond(&self, distance: f64) -> f64 {
        let (mut low, mut high) = (1e-300_f64.ln(), 0.5_f64.ln());
        if distance <= self.exceeded_with(0.5) || self.deviation_ln == 0.0 {
            return if distance < self.mean_ln.exp() {
                1.0
            } else {
                0.0
            };
        }
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            match self.exceeded_with(middle.exp()) > distance {
                true => low = middle,
                false => high = middle,
            }
        }
        high.exp()
    }
}

/// The quantile of the standard normal distribution: Acklam's rational approximation, to 1e-9 relative.
pub fn normal_quantile(probability: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 6] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 5] = [
        7.784695709041462e-3,
        3.224671290700398e-1,
        2.445134137142996,
        3.754408661907416,
        1.0,
    ];
    const LOW: f64 = 0.02425;
    let horner = |factors: &[f64], x: f64| factors.iter().fold(0.0, |sum, f| sum * x + f);
    if probability < LOW {
        let q = (-2.0 * probability.ln()).sqrt();
        return horner(&C, q) / horner(&D, q);
    }
    if probability > 1.0 - LOW {
        return -normal_quantile(1.0 - probability);
    }
    let q = probability - 0.5;
    let r = q * q;
    horner(&A, r) * q / horner(&B, r)
}

/// A bound from below, at 95 % confidence, on the probability of what was seen `hits` times in `trials`
/// independent ones (Clopper and Pearson).
pub fn probability_at_least(hits: u32, trials: u32) -> f64 {
    if hits == 0 || trials == 0 {
        return 0.0;
    }
    bisect(|p| at_least(hits, trials, p) < 0.05)
}

/// A bound from above, likewise. For no hit it is the rule of three: close to `3 / trials`.
pub fn probability_at_most(hits: u32, trials: u32) -> f64 {
    if hits >= trials {
        return 1.0;
    }
    bisect(|p| 1.0 - at_least(hits.saturating_add(1), trials, p) > 0.05)
}

/// The largest probability for which `holds`, which does for small ones.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        match holds(middle) {
            true => low = middle,
            false => high = middle,
        }
    }
    f64::midpoint(low, high)
}

/// The probability of at least `hits` in `trials` of probability `p` each.
fn at_least(hits: u32, trials: u32, p: f64) -> f64 {
    let (n, odds) = (f64::from(trials), (p / (1.0 - p)).ln());
    let mut term = n * (1.0 - p).ln();
    let mut sum = 0.0;
    for k in 0..=trials {
        if k >= hits {
            sum += term.exp();
        }
        term += ((n - f64::from(k)) / (f64::from(k) + 1.0)).ln() + odds;
    }
    sum.min(1.0)
}

/// The probability that at least one of `items` is caught if each is with `rate`.
pub fn among(rate: f64, items: u32) -> f64 {
    1.0 - (1.0 - rate).powf(f64::from(items))
}

/// Rounded up to two significant digits, as tolerances are written.
pub fn rounded_up(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return value;
    }
    let digits = value.log10().floor() - 1.0;
    // Through text, so that what is written is what is meant.
    let leading = (value / 10_f64.powf(digits) - 1e-9).ceil();
    format!("{leading}e{digits}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests;
