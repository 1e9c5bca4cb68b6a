//! TOPLOC: a polynomial through the largest values of a tensor (Ong et al., 2025).
//!
//! The largest magnitudes of a model's last hidden state depend on its weights, its input and its
//! precision, and hardly on the machine. A proof is the polynomial modulo a prime that gives, at the
//! place of each, its bits. Whoever has a tensor of their own evaluates it at the largest of theirs:
//! where both tensors have the same value, nearly the same number comes out; at any other place, any.
//!
//! In [`Form::Bf16`] proofs are those of the library of its authors, byte for byte: places are taken
//! modulo the largest number up to 65,497 that keeps them apart, values modulo the prime 65,497, and
//! only exponents and mantissas are compared. Where that library hands out a proof of nothing, there
//! is an error here. [`Form::F32`] is our own: the prime is 2^32 - 5, above which no finite number has
//! its bits and below which every tensor's places lie, so that neither is reduced; and signs count.
//!
//! It sees the largest values and nothing else, and comparing is one-sided: two tensors agree if each
//! agrees with the proof of the other.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::field::{evaluate, interpolate};
use crate::Error;

/// Most values in a proof.
pub const TOP_K_MAX: u16 = 256;
/// Most elements that one proof is about.
pub const ELEMENTS_MAX: usize = 1 << 28;

/// Of [`Form::Bf16`], and where the search for a modulus begins.
const PRIME_16: u64 = 65_497;
/// Of [`Form::F32`].
const PRIME_32: u64 = (1 << 32) - 5;

const KIND: &str = "TOPLOC proof";

/// What a tensor holds, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The upper half of 32-bit floats.
    Bf16,
    /// 32-bit floats.
    F32,
}

impl Form {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }

    /// Bits of the mantissa.
    const fn mantissa(self) -> u32 {
        match self {
            Self::Bf16 => 7,
            Self::F32 => 23,
        }
    }

    /// Bytes of a proof of so many values.
    pub(super) fn proof_bytes(self, top_k: u16) -> usize {
        let values = usize::from(top_k).saturating_mul(self.size());
        match self {
            Self::Bf16 => values.saturating_add(2),
            Self::F32 => values,
        }
    }

    /// The largest mantissa there is.
    pub(super) fn largest_mantissa(self) -> u32 {
        1_u32.wrapping_shl(self.mantissa()).wrapping_sub(1)
    }

    fn elements(self, bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
        bytes.chunks_exact(self.size()).map(|raw| match *raw {
            [a, b] => u32::from(u16::from_le_bytes([a, b])),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => 0,
        })
    }

    /// The bits without the sign, in the order of magnitudes.
    fn magnitude(self, bits: u32) -> u32 {
        match self {
            Self::Bf16 => bits & 0x7fff,
            Self::F32 => bits & 0x7fff_ffff,
        }
    }

    /// Whether the bits are a number: what is neither has all bits of the exponent.
    fn is_finite(self, bits: u32) -> bool {
        let largest = 0xff_u32.wrapping_shl(self.mantissa());
        self.magnitude(bits) < largest
    }

    /// What must be equal, and what may be nearly so.
    fn parts(self, bits: u32) -> (u32, u32) {
        let mantissa = self.mantissa();
        let low = bits & self.largest_mantissa();
        match self {
            Self::Bf16 => (self.magnitude(bits).wrapping_shr(mantissa), low),
            Self::F32 => (bits.wrapping_shr(mantissa), low),
        }
    }

    fn evaluate(self, coefficients: &[u64], x: u64) -> u64 {
        match self {
            Self::Bf16 => evaluate::<PRIME_16>(coefficients, x),
            Self::F32 => evaluate::<PRIME_32>(coefficients, x),
        }
    }
}

/// A proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    form: Form,
    modulus: u64,
    /// Lowest first, as many as there are values.
    coefficients: Vec<u64>,
}

/// How far a tensor is from a proof.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// At how many of the tensor's largest values the proof gives another exponent.
    pub mismatches: u32,
    /// Mean difference of the mantissas where it gives the same, in units of their last bit; infinite
    /// if there is no such value.
    pub mean: f64,
    /// The median of these differences, the larger of the two in the middle.
    pub median: f64,
}

impl Proof {
    /// Makes the proof of a tensor's `top_k` largest magnitudes. Of equal ones at the border, the first
    /// are taken.
    ///
    /// # Errors
    /// If the tensor has fewer elements or too many, if one of them is not finite, or if no modulus
    /// keeps the places apart.
    pub fn build(form: Form, tensor: &[u8], top_k: u16) -> Result<Self, Error> {
        let largest = largest(form, tensor, top_k)?;
        let modulus = match form {
            Form::Bf16 => modulus(&largest)?,
            Form::F32 => PRIME_32,
        };
        let points: Vec<(u64, u64)> = largest
            .iter()
            .map(|(place, bits)| (place.rem_euclid(modulus), u64::from(*bits)))
            .collect();
        let coefficients = match form {
            Form::Bf16 => interpolate::<PRIME_16>(&points),
            Form::F32 => interpolate::<PRIME_32>(&points),
        };
        let coefficients = coefficients.ok_or_else(|| bad("two values have one place".into()))?;
        Ok(Self {
            form,
            modulus,
            coefficients,
        })
    }

    /// The bytes it travels as, big-endian: of [`Form::Bf16`] the modulus and the coefficients, two
    /// each; of [`Form::F32`] the coefficients, four each.
    pub fn encode(&self) -> Vec<u8> {
        let coefficients = self.coefficients.iter();
        match self.form {
            // All of these are below the prime of their form.
            Form::Bf16 => std::iter::once(&self.modulus)
                .chain(coefficients)
                .flat_map(|number| (*number as u16).to_be_bytes())
                .collect(),
            Form::F32 => coefficients
                .flat_map(|number| (*number as u32).to_be_bytes())
                .collect(),
        }
    }

    /// Reads a proof of `top_k` values.
    ///
    /// # Errors
    /// If it has another length, says that there is none (modulus 0), or a number in it is no number
    /// of its form.
    pub fn decode(form: Form, top_k: u16, bytes: &[u8]) -> Result<Self, Error> {
        check_top_k(top_k)?;
        let (length, wanted) = (bytes.len(), form.proof_bytes(top_k));
        if length != wanted {
            let reason = format!("{length} bytes, {top_k} values take {wanted}");
            return Err(bad(reason));
        }
        let mut numbers = bytes.chunks_exact(form.size()).map(|raw| match *raw {
            [a, b] => u64::from(u16::from_be_bytes([a, b])),
            [a, b, c, d] => u64::from(u32::from_be_bytes([a, b, c, d])),
            _ => u64::MAX,
        });
        let modulus = match form {
            Form::Bf16 => numbers.next().unwrap_or(0),
            Form::F32 => PRIME_32,
        };
        if modulus == 0 {
            return Err(bad("modulus 0: whoever made it could not".into()));
        }
        let prime = match form {
            Form::Bf16 => PRIME_16,
            Form::F32 => PRIME_32,
        };
        if modulus < u64::from(top_k) || modulus > prime {
            let reason = format!("modulus {modulus}, it must be {top_k} to {prime}");
            return Err(bad(reason));
        }
        let coefficients: Vec<u64> = numbers.collect();
        if let Some(beyond) = coefficients.iter().find(|number| **number >= prime) {
            return Err(bad(format!(
                "coefficient {beyond}, it must be below {prime}"
            )));
        }
        Ok(Self {
            form,
            modulus,
            coefficients,
        })
    }

    /// How far a tensor is from the one that the proof was made of, as far as its largest values tell.
    ///
    /// # Errors
    /// As [`Proof::build`]: the tensor's fault, not the proof's.
    pub fn distance(&self, tensor: &[u8]) -> Result<Distance, Error> {
        // As many as were counted when it was made or read.
        let top_k = self.coefficients.len() as u16;
        let mut mismatches = 0_u32;
        let mut differences = Vec::with_capacity(self.coefficients.len());
        for (place, bits) in largest(self.form, tensor, top_k)? {
            let place = place.rem_euclid(self.modulus);
            // Below the prime, so it fits.
            let claimed = self.form.evaluate(&self.coefficients, place) as u32;
            let (exponent, mantissa) = self.form.parts(bits);
            let (claimed_exponent, claimed_mantissa) = self.form.parts(claimed);
            match exponent == claimed_exponent {
                true => differences.push(mantissa.abs_diff(claimed_mantissa)),
                false => mismatches = mismatches.saturating_add(1),
            }
        }
        differences.sort_unstable();
        let sum: f64 = differences.iter().copied().map(f64::from).sum();
        let middle = differences.get(differences.len().div_euclid(2));
        Ok(Distance {
            mismatches,
            mean: match middle {
                Some(_) => sum / differences.len() as f64,
                None => f64::INFINITY,
            },
            median: middle.copied().map_or(f64::INFINITY, f64::from),
        })
    }
}

fn bad(reason: String) -> Error {
    Error::Decode { what: KIND, reason }
}

fn check_top_k(top_k: u16) -> Result<(), Error> {
    if (1..=TOP_K_MAX).contains(&top_k) {
        return Ok(());
    }
    Err(bad(format!(
        "of {top_k} values, it must be 1 to {TOP_K_MAX}"
    )))
}

/// The elements of largest magnitude, with their places.
fn largest(form: Form, tensor: &[u8], top_k: u16) -> Result<Vec<(u64, u32)>, Error> {
    check_top_k(top_k)?;
    if !tensor.len().is_multiple_of(form.size()) {
        let (bytes, size) = (tensor.len(), form.size());
        return Err(bad(format!(
            "{bytes} bytes are no whole number of {size}-byte elements"
        )));
    }
    let count = tensor.len().div_euclid(form.size());
    if count < usize::from(top_k) || count > ELEMENTS_MAX {
        let reason = format!("of {count} elements, it must be {top_k} to {ELEMENTS_MAX}");
        return Err(bad(reason));
    }
    // The least of those kept is on top.
    let mut kept: BinaryHeap<Reverse<(u32, Reverse<u32>, u32)>> = BinaryHeap::new();
    // Places fit: there are at most `ELEMENTS_MAX`.
    for (bits, place) in form.elements(tensor).zip(0_u32..) {
        if !form.is_finite(bits) {
            return Err(bad(format!("element {place} is not finite")));
        }
        let this = (form.magnitude(bits), Reverse(place), bits);
        if kept.len() < usize::from(top_k) {
            kept.push(Reverse(this));
        } else if let Some(mut least) = kept.peek_mut()
            && least.0 < this
        {
            *least = Reverse(this);
        }
    }
    let found = kept.into_iter();
    Ok(found
        .map(|Reverse((_, Reverse(place), bits))| (u64::from(place), bits))
        .collect())
}

/// The largest modulus up to the prime under which no two places are one.
fn modulus(largest: &[(u64, u32)]) -> Result<u64, Error> {
    let least = (largest.len() as u64).max(1);
    let apart = |modulus: &u64| {
        let mut seen = BTreeSet::new();
        largest
            .iter()
            .all(|(place, _)| seen.insert(place.rem_euclid(*modulus)))
    };
    let found = (least..=PRIME_16).rev().find(apart);
    found.ok_or_else(|| {
        bad(format!(
            "no modulus of {least} to {PRIME_16} keeps the places apart"
        ))
    })
}

#[cfg(test)]
mod tests;
