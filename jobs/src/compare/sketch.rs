//! Tensors by their sketches: a few hundred bytes that tell how close another tensor is.
//!
//! The rule is about whole tensors, and where both are at hand ([`compare`](super::compare)) it is
//! applied to both. A sketch is for whoever has one tensor and would judge another's: [`sketch`] makes
//! it, [`check`] holds a tensor of one's own against it.
//!
//! An output is one tensor, little-endian, without a head. A sketch has no head either: the rule, which
//! is in the manifest, says all about its form, and anything of another length is refused. Nothing
//! carries sketches between peers yet; what is here is their bytes and what they show.

use serde::{Deserialize, Serialize};

use super::{Disagreement, Finding, Grade, same_length, whole, within};
use crate::Error;
use crate::manifest::within as in_bounds;
use toploc::{Form, Proof};

mod field;
pub mod projection;
pub mod toploc;

/// Most elements of one chunk.
pub const CHUNK_MAX: u32 = 1 << 26;
/// Least elements of a chunk for each value of its proof, which takes as many steps to make as it has
/// values, squared.
pub const CHUNK_PER_VALUE: u32 = 64;

/// When two tensors agree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "mode", deny_unknown_fields)]
pub enum SketchRule {
    /// bfloat16, by the largest values, as TOPLOC publishes it.
    Toploc(TopRule),
    /// 32-bit floats, by the largest values.
    ToplocF32(TopRule),
    /// 32-bit floats, by their distance, which a projection from a seed estimates.
    Projection {
        /// Numbers in a projection.
        dims: u8,
        /// How far two tensors may be apart, in lengths of the longer one.
        distance: f64,
    },
}

/// What a tensor may differ by from another's proof.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopRule {
    /// Elements of each proof but the last: usually 32 tokens of the model's width.
    pub chunk: u32,
    /// Values in each proof. The last chunk must have as many.
    pub top_k: u16,
    /// At how many of them exponents may differ.
    pub mismatches: u16,
    /// How much mantissas may differ on average where exponents do not, in units of the last bit.
    pub mean: f64,
    /// What the median of these differences may be.
    pub median: f64,
}

impl SketchRule {
    fn size(&self) -> usize {
        match self {
            Self::Toploc(_) => Form::Bf16.size(),
            Self::ToplocF32(_) => Form::F32.size(),
            Self::Projection { .. } => Form::F32.size(),
        }
    }

    fn top(&self) -> Option<(Form, &TopRule)> {
        match self {
            Self::Toploc(rule) => Some((Form::Bf16, rule)),
            Self::ToplocF32(rule) => Some((Form::F32, rule)),
            Self::Projection { .. } => None,
        }
    }

    /// Checks every bound. Keys begin with `verify`.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let (form, top) = match self {
            Self::Projection { dims, distance } => {
                let all = projection::DIMS_MIN..=projection::DIMS_MAX;
                in_bounds("verify.dims", *dims, all)?;
                return in_bounds("verify.distance", *distance, 0.0..=2.0);
            }
            Self::Toploc(top) => (Form::Bf16, top),
            Self::ToplocF32(top) => (Form::F32, top),
        };
        in_bounds("verify.top_k", top.top_k, 1..=toploc::TOP_K_MAX)?;
        let least = u32::from(top.top_k).saturating_mul(CHUNK_PER_VALUE);
        in_bounds("verify.chunk", top.chunk, least..=CHUNK_MAX)?;
        in_bounds("verify.mismatches", top.mismatches, 0..=top.top_k)?;
        let largest = f64::from(form.largest_mantissa());
        in_bounds("verify.mean", top.mean, 0.0..=largest)?;
        in_bounds("verify.median", top.median, 0.0..=largest)
    }
}

impl TopRule {
    fn chunks<'t>(&self, form: Form, tensor: &'t [u8]) -> impl Iterator<Item = &'t [u8]> {
        let bytes = (self.chunk.max(1) as usize).saturating_mul(form.size());
        tensor.chunks(bytes)
    }

    /// What it shows that a tensor is so far from a proof.
    fn judge(&self, proof: &Proof, tensor: &[u8]) -> Result<(), Finding> {
        let found = proof.distance(tensor).map_err(incomparable)?;
        let [mismatches, most, all] =
            [found.mismatches, self.mismatches.into(), self.top_k.into()].map(f64::from);
        if !within(mismatches, most) {
            let reason = format!("{mismatches} of {all} exponents differ, more than {most}");
            // There are only so many: what is more than half of what was not allowed is as clear.
            let clear = mismatches > (most + all) / 2.0;
            return Err(match clear {
                true => Finding::clear(reason),
                false => Finding::beyond(mismatches, most, reason),
            });
        }
        for (what, value, most) in [
            ("mean", found.mean, self.mean),
            ("median", found.median, self.median),
        ] {
            if !within(value, most) {
                let reason = format!("mantissas differ by {value} in the {what}, more than {most}");
                return Err(Finding::beyond(value, most, reason));
            }
        }
        Ok(())
    }
}

fn incomparable(error: Error) -> Finding {
    Finding::incomparable(error.to_string())
}

/// Makes the sketch of an output. Only a projection uses the seed.
///
/// # Errors
/// If the output is empty or no tensor of the rule's, or has an element that is not finite.
pub fn sketch(rule: &SketchRule, output: &[u8], seed: &[u8; 32]) -> Result<Vec<u8>, Error> {
    rule.check()?;
    let Some((form, top)) = rule.top() else {
        let &SketchRule::Projection { dims, .. } = rule else {
            return Ok(Vec::new());
        };
        return Ok(projection::Projection::of(output, dims, seed)?.encode());
    };
    not_empty(output)?;
    let mut bytes = Vec::new();
    for chunk in top.chunks(form, output) {
        bytes.extend(Proof::build(form, chunk, top.top_k)?.encode());
    }
    Ok(bytes)
}

fn not_empty(output: &[u8]) -> Result<(), Error> {
    if !output.is_empty() {
        return Ok(());
    }
    Err(Error::Decode {
        what: "tensor",
        reason: "it is empty".into(),
    })
}

/// Holds an output of one's own against the sketch of another's. Of TOPLOC's two sides this is one:
/// the largest values of one's own must be in the sketch.
///
/// # Errors
/// The gravest disagreement, and of equally grave ones the first. It has no item: the caller knows
/// which. It is [`Grade::Incomparable`] if the sketch or the output is none of the rule's.
pub fn check(
    rule: &SketchRule,
    output: &[u8],
    sketch: &[u8],
    seed: &[u8; 32],
) -> Result<(), Disagreement> {
    check_output(rule, output, sketch, seed).map_err(|finding| Disagreement {
        item: None,
        grade: finding.grade,
        reason: finding.reason,
    })
}

fn check_output(
    rule: &SketchRule,
    output: &[u8],
    sketch: &[u8],
    seed: &[u8; 32],
) -> Result<(), Finding> {
    rule.check().map_err(incomparable)?;
    if let &SketchRule::Projection { dims, distance } = rule {
        let theirs = projection::Projection::decode(dims, sketch).map_err(incomparable)?;
        let ours = projection::Projection::of(output, dims, seed).map_err(incomparable)?;
        // Both have as many numbers.
        return far(ours.distance(&theirs).unwrap_or(f64::NAN), distance);
    }
    let Some((form, top)) = rule.top() else {
        return Ok(());
    };
    not_empty(output).map_err(incomparable)?;
    let proofs = sketch.chunks(form.proof_bytes(top.top_k));
    let (wanted, found) = (top.chunks(form, output).count(), proofs.len());
    if wanted != found {
        let reason = format!("a sketch of {found} proofs, the output has {wanted} chunks");
        return Err(Finding::incomparable(reason));
    }
    let mut gravest = None;
    for (chunk, proof) in top.chunks(form, output).zip(proofs) {
        let proof = Proof::decode(form, top.top_k, proof).map_err(incomparable)?;
        keep(&mut gravest, top.judge(&proof, chunk))?;
    }
    gravest.map_or(Ok(()), Err)
}

/// Keeps the graver finding; ends the search if none can be graver.
fn keep(gravest: &mut Option<Finding>, judged: Result<(), Finding>) -> Result<(), Finding> {
    match judged {
        Err(finding) if finding.grade == Grade::Clear => return Err(finding),
        Err(finding) if gravest.as_ref().is_none_or(|g| g.grade < finding.grade) => {
            *gravest = Some(finding);
        }
        _ => {}
    }
    Ok(())
}

fn far(distance: f64, most: f64) -> Result<(), Finding> {
    if within(distance, most) {
        return Ok(());
    }
    let reason = format!("{distance:e} of its length apart, more than {most:e}");
    Err(Finding::beyond(distance, most, reason))
}

/// Compares two tensors, both ways.
pub(super) fn compare(rule: &SketchRule, left: &[u8], right: &[u8]) -> Result<(), Finding> {
    for output in [left, right] {
        not_empty(output).map_err(incomparable)?;
        whole(output, rule.size())?;
    }
    same_length(left, right)?;
    let Some((form, top)) = rule.top() else {
        let &SketchRule::Projection { distance, .. } = rule else {
            return Ok(());
        };
        return compare_whole(left, right, distance);
    };
    let mut gravest = None;
    for (left_chunk, right_chunk) in top.chunks(form, left).zip(top.chunks(form, right)) {
        let build = |chunk| Proof::build(form, chunk, top.top_k).map_err(incomparable);
        let proof = build(left_chunk)?;
        if left_chunk == right_chunk {
            // It agrees with its own proof, which could be made.
            continue;
        }
        keep(&mut gravest, top.judge(&proof, right_chunk))?;
        keep(&mut gravest, top.judge(&build(right_chunk)?, left_chunk))?;
    }
    gravest.map_or(Ok(()), Err)
}

/// The distance itself, where nothing needs to be estimated.
fn compare_whole(left: &[u8], right: &[u8], most: f64) -> Result<(), Finding> {
    let values = |bytes| -> &[[u8; 4]] { <[u8]>::as_chunks(bytes).0 };
    let (left, right) = (values(left), values(right));
    let value = |raw: &[u8; 4]| f64::from(f32::from_le_bytes(*raw));
    for (raw, at) in left.iter().zip(right).zip(0_usize..) {
        let (a, b) = (value(raw.0), value(raw.1));
        if !(a.is_finite() && b.is_finite()) {
            return Err(Finding::incomparable(format!(
                "element {at} is {a} against {b}"
            )));
        }
    }
    let pairs = || left.iter().zip(right).map(|(a, b)| (value(a), value(b)));
    far(projection::relative(pairs), most)
}

#[cfg(test)]
mod tests;
