//! When two outputs agree.

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

/// Compares two output lists item by item.
///
/// # Errors
/// The first disagreement.
pub fn compare<A: AsRef<[u8]>, B: AsRef<[u8]>>(
    comparator: &Comparator,
    left: &[A],
    right: &[B],
) -> Result<(), Disagreement> {
    let _ = (comparator, left, right);
    todo!("helper")
}
