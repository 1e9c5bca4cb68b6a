//! Closeness of arrays.

use super::{Finding, same_length, whole, within};
use crate::package::Dtype;

/// The fields of [`super::Comparator::Numeric`], which says what they mean.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    pub(super) dtype: Dtype,
    pub(super) atol: f64,
    pub(super) rtol: f64,
    pub(super) min_cosine: f64,
    pub(super) top1: Option<f64>,
    pub(super) rms: Option<f64>,
}

/// What one pass over two vectors finds out.
#[derive(Default)]
struct Survey {
    /// Largest magnitude of each.
    left_max: f64,
    right_max: f64,
    /// Largest difference, and where.
    worst: f64,
    worst_at: usize,
    /// Largest element of each, and where it is first.
    left_best: Option<Best>,
    right_best: Option<Best>,
}

#[derive(Clone, Copy)]
struct Best {
    at: usize,
    value: f64,
    /// What the other vector has there.
    other: f64,
}

impl Rule {
    pub(super) fn compare(&self, left: &[u8], right: &[u8]) -> Result<(), Finding> {
        let size = self.dtype.size();
        whole(left, size)?;
        whole(right, size)?;
        same_length(left, right)?;
        // Started over for each pass, so that nothing is copied.
        let pairs = || elements(self.dtype, left).zip(elements(self.dtype, right));
        let found = survey(self.dtype, pairs())?;
        if left == right {
            // Rounding could otherwise put the cosine of a vector with itself below one.
            return Ok(());
        }
        let bound = self.atol + self.rtol * found.left_max.max(found.right_max);
        // A NaN bound, which no checked comparator has, disagrees.
        if !within(found.worst, bound) {
            let (worst, at) = (found.worst, found.worst_at);
            let reason = format!("element {at} differs by {worst:e}, more than {bound:e}");
            return Err(Finding::beyond(worst, bound, reason));
        }
        self.check_rms(pairs(), &found, bound)?;
        let cosine = cosine(pairs(), found.left_max, found.right_max);
        if !within(self.min_cosine, cosine) {
            let least = self.min_cosine;
            let reason = format!("cosine {cosine} is below {least}");
            // What is missing from one grows with the square of a difference.
            let [missing, allowed] = [1.0 - cosine, 1.0 - least].map(|m| m.max(0.0).sqrt());
            return Err(Finding::beyond(missing, allowed, reason));
        }
        self.check_top1(&found)
    }

    fn check_rms(
        &self,
        pairs: impl Iterator<Item = (f64, f64)>,
        found: &Survey,
        bound: f64,
    ) -> Result<(), Finding> {
        let Some(part) = self.rms else {
            return Ok(());
        };
        if found.worst == 0.0 {
            return Ok(());
        }
        let (mut squares, mut count) = (0.0, 0.0);
        for (a, b) in pairs.filter(|(a, _)| a.is_finite()) {
            // Scaled, so that squares neither overflow nor vanish.
            let part = (a - b) / found.worst;
            squares += part * part;
            count += 1.0;
        }
        let (rms, most) = (found.worst * f64::sqrt(squares / count), part * bound);
        if within(rms, most) {
            return Ok(());
        }
        let reason = format!("the elements differ by {rms:e} in the mean, more than {most:e}");
        Err(Finding::beyond(rms, most, reason))
    }

    fn check_top1(&self, found: &Survey) -> Result<(), Finding> {
        let (Some(tolerance), Some(left), Some(right)) =
            (self.top1, found.left_best, found.right_best)
        else {
            return Ok(());
        };
        if left.at == right.at {
            return Ok(());
        }
        // How much each prefers its own place to the other's.
        let margin = |own: Best, other: Best| own.value - other.other;
        let larger = margin(left, right).max(margin(right, left));
        let bound = 2.0 * tolerance;
        if within(larger, bound) {
            return Ok(());
        }
        let reason = format!(
            "the largest element is {} against {}, by a margin of {larger:e}, more than {bound:e}",
            left.at, right.at
        );
        Err(Finding::beyond(larger, bound, reason))
    }
}

fn survey(dtype: Dtype, pairs: impl Iterator<Item = (f64, f64)>) -> Result<Survey, Finding> {
    let mut found = Survey::default();
    for ((a, b), at) in pairs.zip(0_usize..) {
        if a.is_nan() || b.is_nan() {
            return Err(Finding::incomparable(format!("element {at} is NaN")));
        }
        let best = |value, other| Best { at, value, other };
        let beats = |value: f64, so_far: &Option<Best>| so_far.is_none_or(|so| value > so.value);
        if beats(a, &found.left_best) {
            found.left_best = Some(best(a, b));
        }
        if beats(b, &found.right_best) {
            found.right_best = Some(best(b, a));
        }
        if a.is_infinite() || b.is_infinite() {
            if a != b {
                return Err(overflow(dtype, a, b, at));
            }
            continue;
        }
        found.left_max = found.left_max.max(a.abs());
        found.right_max = found.right_max.max(b.abs());
        let difference = (a - b).abs();
        if difference > found.worst {
            (found.worst, found.worst_at) = (difference, at);
        }
    }
    Ok(found)
}

/// One is infinite and the other is not the same. Next to the end of what its type can hold, a last
/// bit decides that; elsewhere it does not.
fn overflow(dtype: Dtype, a: f64, b: f64, at: usize) -> Finding {
    let reason = format!("element {at} is {a} against {b}");
    let largest = match dtype {
        Dtype::F16 => half::f16::MAX.to_f64(),
        Dtype::F32 => f64::from(f32::MAX),
        Dtype::F64 => f64::MAX,
    };
    match a.abs().min(b.abs()) {
        least if least.is_finite() && least > largest / 2.0 && a * b > 0.0 => {
            Finding::ambiguous(reason)
        }
        _ => Finding::clear(reason),
    }
}

/// Cosine similarity over the finite elements. Each vector is scaled by its largest magnitude
/// first, so that squares neither overflow nor vanish.
fn cosine(pairs: impl Iterator<Item = (f64, f64)>, left_max: f64, right_max: f64) -> f64 {
    match (left_max == 0.0, right_max == 0.0) {
        (true, true) => return 1.0,
        (false, false) => {}
        _ => return 0.0,
    }
    let (mut dot, mut left_square, mut right_square) = (0.0, 0.0, 0.0);
    for (a, b) in pairs.filter(|(a, _)| a.is_finite()) {
        let (a, b) = (a / left_max, b / right_max);
        dot += a * b;
        left_square += a * a;
        right_square += b * b;
    }
    dot / (left_square.sqrt() * right_square.sqrt())
}

fn elements(dtype: Dtype, bytes: &[u8]) -> impl Iterator<Item = f64> + '_ {
    bytes.chunks_exact(dtype.size()).map(move |chunk| {
        let mut raw = [0; 8];
        for (to, from) in raw.iter_mut().zip(chunk) {
            *to = *from;
        }
        let [a, b, c, d, ..] = raw;
        match dtype {
            Dtype::F16 => half::f16::from_le_bytes([a, b]).to_f64(),
            Dtype::F32 => f64::from(f32::from_le_bytes([a, b, c, d])),
            Dtype::F64 => f64::from_le_bytes(raw),
        }
    })
}
