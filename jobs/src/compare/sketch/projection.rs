//! A random projection: how far two tensors are apart, from a few numbers of each.
//!
//! Each number is the sum of all elements, each with a sign that is drawn; the distance of two
//! projections is that of the tensors, give or take an eighth with 64 numbers and a quarter with 16
//! (Johnson and Lindenstrauss). Unlike TOPLOC it sees every element, and says nothing about where two tensors differ.
//!
//! Whoever knows the signs can make a wrong tensor with the right projection, so they are drawn from
//! a seed that nobody knew when the tensor was committed to: a beacon's later word, with what it is
//! used for hashed into it.

use crate::Error;

/// Fewest numbers in a projection.
pub const DIMS_MIN: u8 = 16;
/// Most numbers in a projection: the signs of one element are one word.
pub const DIMS_MAX: u8 = 64;
/// Most elements of a projected tensor.
pub const ELEMENTS_MAX: usize = 1 << 28;

/// Under which the signs are derived from the seed.
const CONTEXT: &str = "assay 2026-11 sketch projection signs v1";
/// Elements whose signs are drawn at once.
const AT_ONCE: usize = 512;
/// Bytes of one element, and of one number.
const SIZE: usize = 4;

const KIND: &str = "projection";

/// A projection: [`DIMS_MIN`] to [`DIMS_MAX`] finite numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection(Vec<f32>);

impl Projection {
    /// Projects a tensor of little-endian 32-bit floats. The same bytes give the same projection on
    /// every machine: the sums are in order, in 64-bit floats, and rounded once.
    ///
    /// # Errors
    /// If the tensor is empty, too large or no whole number of elements, if an element is not finite,
    /// or if `dims` is out of bounds.
    pub fn of(tensor: &[u8], dims: u8, seed: &[u8; 32]) -> Result<Self, Error> {
        check_dims(dims)?;
        let (elements, rest) = tensor.as_chunks::<SIZE>();
        if !rest.is_empty() || elements.is_empty() || elements.len() > ELEMENTS_MAX {
            let bytes = tensor.len();
            let reason =
                format!("of {bytes} bytes, it must be 1 to {ELEMENTS_MAX} elements of {SIZE}");
            return Err(bad(reason));
        }
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(seed).update(&[dims]);
        hasher.update(&(elements.len() as u64).to_le_bytes());
        let mut signs = hasher.finalize_xof();
        let mut drawn = [0; AT_ONCE * 8];
        let mut sums = vec![0.0_f64; usize::from(dims)];
        for (run, chunk) in elements.chunks(AT_ONCE).zip(0_usize..) {
            signs.fill(&mut drawn);
            let (words, _) = drawn.as_chunks::<8>();
            for ((raw, word), at) in run.iter().zip(words).zip(0_usize..) {
                let value = f32::from_le_bytes(*raw);
                if !value.is_finite() {
                    let at = chunk.saturating_mul(AT_ONCE).saturating_add(at);
                    return Err(bad(format!("element {at} is {value}")));
                }
                let (value, mut word) = (f64::from(value), u64::from_le_bytes(*word));
                for sum in &mut sums {
                    *sum += if word & 1 == 1 { value } else { -value };
                    word >>= 1;
                }
            }
        }
        // So that the length of a projection is about that of the tensor.
        let scale = f64::from(dims).sqrt();
        let numbers: Vec<f32> = sums.iter().map(|sum| (sum / scale) as f32).collect();
        finite(&numbers)?;
        Ok(Self(numbers))
    }

    /// The bytes it travels as: 32-bit floats, little-endian.
    pub fn encode(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    }

    /// Reads a projection of so many numbers.
    ///
    /// # Errors
    /// If it has another length or a number that is not finite.
    pub fn decode(dims: u8, bytes: &[u8]) -> Result<Self, Error> {
        check_dims(dims)?;
        let (length, wanted) = (bytes.len(), usize::from(dims).saturating_mul(SIZE));
        if length != wanted {
            return Err(bad(format!("{length} bytes, {dims} numbers take {wanted}")));
        }
        let (raw, _) = bytes.as_chunks::<SIZE>();
        let numbers: Vec<f32> = raw.iter().copied().map(f32::from_le_bytes).collect();
        finite(&numbers)?;
        Ok(Self(numbers))
    }

    /// About how far the two tensors are apart, in lengths of the longer one: 0 if they are equal, at
    /// most 2. `None` if one has more numbers than the other.
    pub fn distance(&self, other: &Self) -> Option<f64> {
        let pairs = || self.0.iter().zip(&other.0);
        let pairs = || pairs().map(|(a, b)| (f64::from(*a), f64::from(*b)));
        (self.0.len() == other.0.len()).then(|| relative(pairs))
    }
}

/// How far two vectors of finite numbers are apart, in lengths of the longer one.
pub(super) fn relative<I: Iterator<Item = (f64, f64)>>(pairs: impl Fn() -> I) -> f64 {
    let largest = pairs().fold(0.0_f64, |max, (a, b)| max.max(a.abs()).max(b.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    let (mut apart, mut left, mut right) = (0.0, 0.0, 0.0);
    for (a, b) in pairs() {
        // Scaled, so that squares neither overflow nor vanish.
        let (a, b) = (a / largest, b / largest);
        apart += (a - b) * (a - b);
        left += a * a;
        right += b * b;
    }
    (apart / f64::max(left, right)).sqrt()
}

fn check_dims(dims: u8) -> Result<(), Error> {
    if (DIMS_MIN..=DIMS_MAX).contains(&dims) {
        return Ok(());
    }
    let reason = format!("to {dims} numbers, it must be {DIMS_MIN} to {DIMS_MAX}");
    Err(bad(reason))
}

fn finite(numbers: &[f32]) -> Result<(), Error> {
    let wrong = numbers.iter().position(|number| !number.is_finite());
    wrong.map_or(Ok(()), |at| Err(bad(format!("number {at} is not finite"))))
}

fn bad(reason: String) -> Error {
    Error::Decode { what: KIND, reason }
}

#[cfg(test)]
mod tests;
