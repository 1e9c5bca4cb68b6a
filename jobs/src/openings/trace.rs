//! What is noted: values rounded to bfloat16, in chunks.

use super::{CHUNK_BYTES, CHUNK_VALUES, Noted};
use crate::merkle::Growing;

/// Not a number, whichever it was.
const NAN: u16 = 0x7fc0;

/// A run of values of one inference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Which inference of the shard.
    pub inference: u32,
    /// Where in its tensor the run begins.
    pub offset: u32,
    /// The values, in bfloat16; 1 to [`CHUNK_VALUES`].
    pub values: Vec<u16>,
}

impl Chunk {
    /// The canonical bytes: all chunks have as many, so that one is found by its number.
    pub fn to_bytes(&self) -> [u8; CHUNK_BYTES] {
        let count = u16::try_from(self.values.len()).unwrap_or(u16::MAX);
        let places = [self.inference.to_le_bytes(), self.offset.to_le_bytes()];
        let values = self.values.iter().flat_map(|value| value.to_le_bytes());
        let head = places.into_iter().flatten().chain(count.to_le_bytes());
        let mut bytes = [0; CHUNK_BYTES];
        let written = head.chain(values);
        bytes
            .iter_mut()
            .zip(written)
            .for_each(|(to, from)| *to = from);
        bytes
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let short = || format!("has {} bytes, a chunk has {CHUNK_BYTES}", bytes.len());
        let bytes: &[u8; CHUNK_BYTES] = bytes.try_into().map_err(|_| short())?;
        let [i0, i1, i2, i3, o0, o1, o2, o3, c0, c1, values @ ..] = bytes;
        let count = usize::from(u16::from_le_bytes([*c0, *c1]));
        if !(1..=CHUNK_VALUES).contains(&count) {
            return Err(format!(
                "has {count} values, a chunk has 1 to {CHUNK_VALUES}"
            ));
        }
        let all = values
            .as_chunks::<2>()
            .0
            .iter()
            .map(|v| u16::from_le_bytes(*v));
        let chunk = Self {
            inference: u32::from_le_bytes([*i0, *i1, *i2, *i3]),
            offset: u32::from_le_bytes([*o0, *o1, *o2, *o3]),
            values: all.take(count).collect(),
        };
        if chunk.to_bytes() != *bytes {
            return Err("has something behind its values".into());
        }
        Ok(chunk)
    }
}

/// Rounds to the nearest bfloat16, of two as near to the even one; every NaN is one.
pub fn round(value: f32) -> u16 {
    if value.is_nan() {
        return NAN;
    }
    let bits = value.to_bits();
    let odd = (bits >> 16) & 1;
    // The largest finite values round to infinity, as they should: no sum here reaches the sign.
    (bits.wrapping_add(0x7fff).wrapping_add(odd) >> 16) as u16
}

/// The encoded chunks of one inference, of its tensor's bytes: 32-bit floats, little-endian.
pub fn chunks_of(inference: u32, tensor: &[u8]) -> impl Iterator<Item = [u8; CHUNK_BYTES]> + '_ {
    let values = tensor.as_chunks::<4>().0;
    let offsets = (0_u32..).step_by(CHUNK_VALUES);
    values
        .chunks(CHUNK_VALUES)
        .zip(offsets)
        .map(move |(run, offset)| {
            let values = run.iter().map(|value| round(f32::from_le_bytes(*value)));
            let values = values.collect();
            let chunk = Chunk {
                inference,
                offset,
                values,
            };
            chunk.to_bytes()
        })
}

/// Counts and hashes chunks as they come.
#[derive(Clone, Debug, Default)]
pub struct Noter {
    tree: Growing,
    inferences: u32,
}

impl Noter {
    /// Takes the next encoded chunk; `None` if there are more than can be counted.
    pub fn push(&mut self, chunk: &[u8]) -> Option<()> {
        self.tree.push(chunk)
    }

    /// Ends an inference; the number that it has.
    pub fn end_inference(&mut self) -> u32 {
        let number = self.inferences;
        self.inferences = number.saturating_add(1);
        number
    }

    /// Inferences that have ended.
    pub const fn inferences(&self) -> u32 {
        self.inferences
    }

    /// Bytes of the encoded chunks so far.
    pub fn noted_bytes(&self) -> u64 {
        u64::from(self.tree.count()).saturating_mul(CHUNK_BYTES as u64)
    }

    /// What was noted so far.
    pub fn noted(&self) -> Noted {
        Noted {
            root: self.tree.root(),
            chunks: self.tree.count(),
            inferences: self.inferences,
        }
    }
}
