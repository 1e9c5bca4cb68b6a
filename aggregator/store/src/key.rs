//! Keys whose bytes sort as their values do.
//!
//! Integers are big-endian, fixed-size identifiers are their bytes, text is escaped and terminated so
//! that it can stand in the middle of a tuple, tuples are their parts in order. A range over keys is
//! therefore a range over bytes in every engine.

use jobs::digest::Digest;
use jobs::ids::{AssignmentId, CaseId, ClientId, JobId, ProviderId};
use jobs::time::Timestamp;

/// A key with an order-preserving encoding: `a < b` exactly when `encode(a) < encode(b)`.
pub trait Key: Sized {
    /// Appends the key's bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes the key off the front of `input`; `None` when the bytes are not a key of this type.
    fn decode(input: &mut &[u8]) -> Option<Self>;

    /// The key's bytes alone.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// Reads a whole key; `None` when bytes are left over.
    fn from_bytes(mut input: &[u8]) -> Option<Self> {
        let key = Self::decode(&mut input)?;
        input.is_empty().then_some(key)
    }
}

macro_rules! integer_key {
    ($($int:ty),+) => {$(
        impl Key for $int {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn decode(input: &mut &[u8]) -> Option<Self> {
                let (head, rest) = input.split_first_chunk()?;
                *input = rest;
                Some(Self::from_be_bytes(*head))
            }
        }
    )+};
}
integer_key!(u8, u16, u32, u64, u128);

impl<const N: usize> Key for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        let (head, rest) = input.split_first_chunk()?;
        *input = rest;
        Some(*head)
    }
}

macro_rules! wrapped_key {
    ($($id:ident),+) => {$(
        impl Key for $id {
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }

            fn decode(input: &mut &[u8]) -> Option<Self> {
                Key::decode(input).map(Self)
            }
        }
    )+};
}
wrapped_key!(AssignmentId, CaseId, ClientId, JobId, ProviderId, Timestamp);

impl Key for Digest {
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_bytes().encode(out);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Key::decode(input).map(Self::from_bytes)
    }
}

/// Ends a text: smaller than any byte that continues one.
const TEXT_END: u8 = 0x00;
/// Follows a `TEXT_END` that is part of the text itself.
const TEXT_ESCAPE: u8 = 0xff;

impl Key for String {
    fn encode(&self, out: &mut Vec<u8>) {
        for &byte in self.as_bytes() {
            out.push(byte);
            if byte == TEXT_END {
                out.push(TEXT_ESCAPE);
            }
        }
        // Two bytes, so that "a" followed by another part sorts before "a\0" whatever the part is.
        out.extend_from_slice(&[TEXT_END, TEXT_END]);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        let mut text = Vec::new();
        loop {
            let (&byte, rest) = input.split_first()?;
            *input = rest;
            if byte != TEXT_END {
                text.push(byte);
                continue;
            }
            let (&mark, rest) = input.split_first()?;
            *input = rest;
            match mark {
                TEXT_ESCAPE => text.push(TEXT_END),
                TEXT_END => return Self::from_utf8(text).ok(),
                _ => return None,
            }
        }
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Some((A::decode(input)?, B::decode(input)?))
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Some((A::decode(input)?, B::decode(input)?, C::decode(input)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that every key reads back and that byte order is value order.
    fn check<K: Key + Ord + Clone + std::fmt::Debug>(keys: &[K]) {
        let mut by_value = keys.to_vec();
        by_value.sort();
        let mut by_bytes = keys.to_vec();
        by_bytes.sort_by_key(Key::to_bytes);
        assert_eq!(by_value, by_bytes);
        for key in keys {
            let bytes = key.to_bytes();
            assert_eq!(K::from_bytes(&bytes).as_ref(), Some(key));
            let mut longer = bytes.clone();
            longer.push(7);
            assert_eq!(K::from_bytes(&longer), None, "left-over bytes are refused");
            assert_eq!(K::from_bytes(&bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn byte_order_is_value_order() {
        check(&[0_u64, 1, 255, 256, u64::MAX, 65_536]);
        check(&[0_u128, 1, u128::MAX, 1 << 64]);
        check(&[[0_u8, 9], [9, 0], [255, 255]]);
        let texts = ["", "a", "a\0", "a\0b", "ab", "b", "\0", "ä"].map(String::from);
        check(&texts);
        let pairs: Vec<(String, u32)> = texts
            .iter()
            .flat_map(|text| [0, 1, u32::MAX].map(|n| (text.clone(), n)))
            .collect();
        check(&pairs);
        check(&[(1_u8, 2_u64, 3_u32), (1, 2, 2), (0, 9, 9), (1, 1, 9)]);
    }

    #[test]
    fn bad_text_is_refused() {
        for bytes in [&b"ab"[..], b"ab\0", b"ab\0\x01", b"\xff\0\0"] {
            assert_eq!(String::from_bytes(bytes), None);
        }
    }
}
