//! Verdicts of jobs in which replicas open values within a model.
//!
//! What was opened is not in a record, so that two replicas did not agree in it is the aggregator's word: whoever is left
//! out may have the same outputs. What can be computed is computed: those who are held to be right agree in their
//! outputs, their meters and in how much they noted, and they are a quorum.

use crate::outcome::Outcome;

/// Why those who are held to be right cannot be, if they cannot.
pub(super) fn refused<'a>(
    recorded: &[usize],
    quorum: usize,
    outcome: impl Fn(usize) -> Option<&'a Outcome>,
    agree: impl Fn(usize, usize) -> bool,
) -> Option<String> {
    if recorded.len() < quorum.max(1) {
        let count = recorded.len();
        return Some(format!("{count} of its replicas agreed, {quorum} must"));
    }
    let sizes = |at: usize| {
        let noted = outcome(at)?.noted?;
        Some((noted.inferences, noted.chunks))
    };
    for (&left, after) in recorded.iter().zip(1_usize..) {
        if sizes(left).is_none() {
            return Some(format!("replica {left} agreed and noted nothing"));
        }
        for &right in recorded.get(after..).unwrap_or_default() {
            if !agree(left, right) || sizes(left) != sizes(right) {
                return Some(format!("replicas {left} and {right} agreed and differ"));
            }
        }
    }
    None
}
