//! When two outputs agree.
//!
//! Everything here is computed in `f64`, element by element in order, so that two aggregators that
//! compare the same bytes come to the same verdict.

use serde::{Deserialize, Serialize};

use crate::package::Dtype;

/// The rule by which two replicas' outputs of one shard agree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", deny_unknown_fields)]
pub enum Comparator {
    /// Bitwise equality.
    Exact,
    /// Numeric closeness of arrays; NaN never agrees, not even with itself.
    Numeric {
        /// Element type, little-endian.
        dtype: Dtype,
        /// Absolute tolerance.
        atol: f64,
        /// Tolerance relative to the largest magnitude of the item (max-norm).
        rtol: f64,
        /// Least cosine similarity of each item's vectors.
        min_cosine: f64,
    },
}

/// Why two outputs do not agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Disagreement {
    /// First item that differs; `None` if the lists differ in length.
    pub item: Option<u32>,
    /// What differs, with the value and the bound.
    pub reason: String,
}

impl std::fmt::Display for Disagreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.item {
            Some(item) => write!(f, "item {item}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// Compares two output lists item by item. The relation is symmetric, and it is not transitive.
///
/// Numerically, two items agree if they have the same number of elements, no NaN, the same
/// infinities at the same places, `max|a - b| <= atol + rtol * max(max|a|, max|b|)`, and a cosine
/// similarity of at least `min_cosine`. Infinities take no part in norms and cosine. The cosine of
/// two zero vectors counts as one, that of a zero vector and another as zero.
///
/// # Errors
/// The first disagreement.
pub fn compare<A: AsRef<[u8]>, B: AsRef<[u8]>>(
    comparator: &Comparator,
    left: &[A],
    right: &[B],
) -> Result<(), Disagreement> {
    if left.len() != right.len() {
        return Err(Disagreement {
            item: None,
            reason: format!("{} outputs against {}", left.len(), right.len()),
        });
    }
    for ((left, right), item) in left.iter().zip(right).zip(0..) {
        compare_item(comparator, left.as_ref(), right.as_ref()).map_err(|reason| Disagreement {
            item: Some(item),
            reason,
        })?;
    }
    Ok(())
}

fn compare_item(comparator: &Comparator, left: &[u8], right: &[u8]) -> Result<(), String> {
    if left.len() != right.len() {
        return Err(format!("{} bytes against {}", left.len(), right.len()));
    }
    match *comparator {
        Comparator::Exact => {
            let differs = left.iter().zip(right).position(|(a, b)| a != b);
            differs.map_or(Ok(()), |at| Err(format!("byte {at} differs")))
        }
        Comparator::Numeric {
            dtype,
            atol,
            rtol,
            min_cosine,
        } => {
            let size = dtype.size();
            if !left.len().is_multiple_of(size) {
                return Err(format!(
                    "{} bytes are no whole number of {size}-byte elements",
                    left.len()
                ));
            }
            compare_numbers(
                || elements(dtype, left).zip(elements(dtype, right)),
                left == right,
                [atol, rtol, min_cosine],
            )
        }
    }
}

/// Compares two vectors, given as an iterator that can be started over, so that nothing is copied.
fn compare_numbers<I: Iterator<Item = (f64, f64)>>(
    pairs: impl Fn() -> I,
    same_bytes: bool,
    [atol, rtol, min_cosine]: [f64; 3],
) -> Result<(), String> {
    // The largest magnitude of either vector, and the largest difference.
    let (mut left_max, mut right_max, mut worst, mut worst_at) = (0.0_f64, 0.0_f64, 0.0_f64, 0);
    for ((a, b), at) in pairs().zip(0_usize..) {
        if a.is_nan() || b.is_nan() {
            return Err(format!("element {at} is NaN"));
        }
        if a.is_infinite() || b.is_infinite() {
            if a != b {
                return Err(format!("element {at} is {a} against {b}"));
            }
            continue;
        }
        left_max = left_max.max(a.abs());
        right_max = right_max.max(b.abs());
        let difference = (a - b).abs();
        if difference > worst {
            (worst, worst_at) = (difference, at);
        }
    }
    if same_bytes {
        // Rounding could otherwise put the cosine of a vector with itself below one.
        return Ok(());
    }
    let bound = atol + rtol * left_max.max(right_max);
    // Written so that a NaN bound, which no checked comparator has, disagrees.
    if !matches!(
        worst.partial_cmp(&bound),
        Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal)
    ) {
        return Err(format!(
            "element {worst_at} differs by {worst:e}, more than {bound:e}"
        ));
    }
    let cosine = cosine(pairs(), left_max, right_max);
    if cosine >= min_cosine {
        Ok(())
    } else {
        Err(format!("cosine {cosine} is below {min_cosine}"))
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

#[cfg(test)]
mod tests;
