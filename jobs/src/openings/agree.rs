//! When opened values agree.

use super::{Chunk, Noted, OpeningsRule};
use crate::compare::{CLEAR_FACTOR, Disagreement, Grade};

/// Bits of a bfloat16's fraction that are written down.
const FRACTION_BITS: i32 = 7;

/// The least exponent of a bfloat16 that is no subnormal.
const EXPONENT_MIN: i32 = -126;

/// Whether two replicas agree in what they noted: as many inferences and chunks, and in the chunks that both opened the
/// same places of the same inferences, and values that are close. Everything that was opened counts, so a chunk is worth
/// as many values as it has.
///
/// # Errors
/// Where they differ, and what that shows: at most [`CLEAR_FACTOR`] times beyond the tolerance shows nothing.
pub fn agree(
    rule: &OpeningsRule,
    (left_noted, left): (&Noted, &[Chunk]),
    (right_noted, right): (&Noted, &[Chunk]),
) -> Result<(), Disagreement> {
    let sizes = |noted: &Noted| (noted.inferences, noted.chunks);
    if sizes(left_noted) != sizes(right_noted) || left.len() != right.len() {
        return Err(clear(format!(
            "{} chunks of {} inferences were noted, and {} of {}",
            left_noted.chunks, left_noted.inferences, right_noted.chunks, right_noted.inferences
        )));
    }
    let mut gravest: Option<Disagreement> = None;
    for (left, right) in left.iter().zip(right) {
        if let Err(found) = chunks_agree(rule, left, right) {
            let graver = gravest
                .as_ref()
                .is_none_or(|known| known.grade < found.grade);
            gravest = if graver { Some(found) } else { gravest };
        }
    }
    gravest.map_or(Ok(()), Err)
}

fn chunks_agree(rule: &OpeningsRule, left: &Chunk, right: &Chunk) -> Result<(), Disagreement> {
    let head = |chunk: &Chunk| (chunk.inference, chunk.offset, chunk.values.len());
    if head(left) != head(right) {
        return Err(clear(format!(
            "inference {} from {} on was noted where the other has inference {} from {} on",
            left.inference, left.offset, right.inference, right.offset
        )));
    }
    let mut worst: Option<Disagreement> = None;
    for ((one, two), at) in left.values.iter().zip(&right.values).zip(0_u32..) {
        let (one, two) = (value(*one), value(*two));
        if one == two || one.is_nan() && two.is_nan() {
            continue;
        }
        let (difference, bound) = ((one - two).abs(), bound(rule, one, two));
        // What is no number is beyond every bound.
        if difference <= bound {
            continue;
        }
        let reason = format!(
            "inference {}, value {}: {one} and {two} were noted, at most {bound} apart agree",
            left.inference,
            left.offset.saturating_add(at)
        );
        let grade = match difference <= CLEAR_FACTOR * bound {
            true => Grade::Ambiguous,
            false => return Err(clear(reason)),
        };
        worst.get_or_insert(Disagreement {
            item: None,
            grade,
            reason,
        });
    }
    worst.map_or(Ok(()), Err)
}

/// How far apart two rounded values may be: as far as the job says, and one step of the rounding, because either may have
/// been rounded away from the other by half a step.
fn bound(rule: &OpeningsRule, one: f64, two: f64) -> f64 {
    let larger = one.abs().max(two.abs());
    if !larger.is_finite() {
        return 0.0;
    }
    rule.atol + rule.rtol * larger + step(larger)
}

/// The distance between a bfloat16 of this size and the next.
fn step(size: f64) -> f64 {
    let exponent = match size > 0.0 {
        true => size.log2().floor() as i32,
        false => EXPONENT_MIN,
    };
    2_f64.powi(exponent.max(EXPONENT_MIN).saturating_sub(FRACTION_BITS))
}

fn value(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

fn clear(reason: String) -> Disagreement {
    Disagreement {
        item: None,
        grade: Grade::Clear,
        reason,
    }
}
