//! When two outputs agree.
//!
//! Everything here is computed in `f64`, element by element in order, so that two aggregators that
//! compare the same bytes come to the same verdict.
//!
//! A comparator is a relation between two outputs of one item. Each is symmetric, none but
//! [`Comparator::Exact`] is transitive. Outputs that are no such thing as the comparator is about
//! (NaN, half an element, malformed text) do not even agree with themselves; whoever asks that first
//! keeps them from being judged.
//!
//! Start at [`compare`]; each rule is a file of its own: `numeric`, [`tokens`], [`json`] and
//! [`sketch`], which the manifest calls `fingerprint`.

use serde::{Deserialize, Serialize};

use crate::package::Dtype;

pub mod json;
mod numeric;
pub mod sketch;
pub mod tokens;

/// How many times over its bound a difference must be to be [`Grade::Clear`]. Honest executions lie
/// within the bound, so between it and this is where one might, on a machine that nobody measured.
pub const CLEAR_FACTOR: f64 = 4.0;

/// The rule by which two replicas' outputs of one shard agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
        /// If given, both vectors have their largest element at the same place, unless each prefers
        /// its own to the other's by no more than twice this. It says something only if it is less
        /// than the tolerance that the elements have anyway.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        top1: Option<f64>,
        /// If given, the root mean square of all differences is at most this part of the tolerance.
        /// Rounding makes few elements differ as much as the worst; a drift of all of them does not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rms: Option<f64>,
    },
    /// What a language model wrote, with the probability of each token.
    Tokens(tokens::TokensRule),
    /// One JSON value, field by field.
    Json(json::JsonRule),
    /// Tensors by what is left of them in a sketch of a few hundred bytes.
    Fingerprint(sketch::SketchRule),
}

/// What a disagreement shows. Later ones are graver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// The two do not agree, and neither is shown to be wrong: beyond the bound, but by no more than
    /// [`CLEAR_FACTOR`] times, or parted where an honest execution may have gone either way. Nobody is
    /// paid for it and nobody loses a stake.
    Ambiguous,
    /// At least one of them is nothing that the comparator could judge. Against an honest output it
    /// is worth nothing; alike on every replica it is the guest's failure.
    Incomparable,
    /// No tolerance of the job's explains it: at least one of the two was not computed as the job
    /// says, if both come from fingerprints that the tolerances were made for. Which one, an audit
    /// must say.
    Clear,
}

/// Why two outputs do not agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Disagreement {
    /// The item that differs; `None` if the lists differ in length.
    pub item: Option<u32>,
    /// What this shows.
    pub grade: Grade,
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

/// A disagreement about one item.
#[derive(Clone, Debug, PartialEq)]
struct Finding {
    grade: Grade,
    reason: String,
}

impl Finding {
    fn clear(reason: impl Into<String>) -> Self {
        Self {
            grade: Grade::Clear,
            reason: reason.into(),
        }
    }

    fn ambiguous(reason: impl Into<String>) -> Self {
        Self {
            grade: Grade::Ambiguous,
            reason: reason.into(),
        }
    }

    fn incomparable(reason: impl Into<String>) -> Self {
        Self {
            grade: Grade::Incomparable,
            reason: reason.into(),
        }
    }

    /// What `value` shows, which is more than `bound`.
    fn beyond(value: f64, bound: f64, reason: impl Into<String>) -> Self {
        match value > CLEAR_FACTOR * bound {
            true => Self::clear(reason),
            false => Self::ambiguous(reason),
        }
    }

    fn of_item(self, item: u32) -> Disagreement {
        Disagreement {
            item: Some(item),
            grade: self.grade,
            reason: self.reason,
        }
    }
}

/// Whether a value is within a bound; neither is if either is NaN.
fn within(value: f64, bound: f64) -> bool {
    value <= bound
}

/// Compares two output lists item by item. The relation is symmetric, and it is not transitive.
///
/// Numerically, two items agree if they have the same number of elements, no NaN, the same
/// infinities at the same places, `max|a - b| <= atol + rtol * max(max|a|, max|b|)`, and a cosine
/// similarity of at least `min_cosine`. Infinities take no part in norms and cosine. The cosine of
/// two zero vectors counts as one, that of a zero vector and another as zero. `top1` and `rms` ask
/// for more; the other comparators are described where they are defined.
///
/// # Errors
/// The gravest disagreement, and of equally grave ones the first. The search ends at the first that
/// is [`Grade::Clear`].
pub fn compare<A: AsRef<[u8]>, B: AsRef<[u8]>>(
    comparator: &Comparator,
    left: &[A],
    right: &[B],
) -> Result<(), Disagreement> {
    if left.len() != right.len() {
        return Err(Disagreement {
            item: None,
            grade: Grade::Incomparable,
            reason: format!("{} outputs against {}", left.len(), right.len()),
        });
    }
    let mut gravest: Option<Disagreement> = None;
    for ((left, right), item) in left.iter().zip(right).zip(0..) {
        let Err(finding) = compare_item(comparator, left.as_ref(), right.as_ref()) else {
            continue;
        };
        if gravest.as_ref().is_none_or(|g| g.grade < finding.grade) {
            let graver = finding.of_item(item);
            if graver.grade == Grade::Clear {
                return Err(graver);
            }
            gravest = Some(graver);
        }
    }
    gravest.map_or(Ok(()), Err)
}

fn compare_item(comparator: &Comparator, left: &[u8], right: &[u8]) -> Result<(), Finding> {
    match comparator {
        Comparator::Exact => {
            same_length(left, right)?;
            let differs = left.iter().zip(right).position(|(a, b)| a != b);
            differs.map_or(Ok(()), |at| {
                Err(Finding::clear(format!("byte {at} differs")))
            })
        }
        &Comparator::Numeric {
            dtype,
            atol,
            rtol,
            min_cosine,
            top1,
            rms,
        } => {
            let rule = numeric::Rule {
                dtype,
                atol,
                rtol,
                min_cosine,
                top1,
                rms,
            };
            rule.compare(left, right)
        }
        Comparator::Tokens(rule) => tokens::compare(rule, left, right),
        Comparator::Json(rule) => json::compare(rule, left, right),
        Comparator::Fingerprint(rule) => sketch::compare(rule, left, right),
    }
}

/// No tolerance explains another number of bytes where each has its meaning by its place.
fn same_length(left: &[u8], right: &[u8]) -> Result<(), Finding> {
    if left.len() == right.len() {
        return Ok(());
    }
    let reason = format!("{} bytes against {}", left.len(), right.len());
    Err(Finding::clear(reason))
}

/// Refuses bytes that are no whole number of elements.
fn whole(bytes: &[u8], size: usize) -> Result<(), Finding> {
    if bytes.len().is_multiple_of(size) {
        return Ok(());
    }
    let length = bytes.len();
    let reason = format!("{length} bytes are no whole number of {size}-byte elements");
    Err(Finding::incomparable(reason))
}

#[cfg(test)]
mod tests;
