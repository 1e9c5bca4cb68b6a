//! The two spellings of an ECDSA signature: DER, and both numbers side by side.

use super::FIXED_SIGNATURE_BYTES;

/// Bytes of each number.
const HALF: usize = FIXED_SIGNATURE_BYTES / 2;
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;

/// Both numbers as DER.
pub(super) fn to_der(signature: &[u8; FIXED_SIGNATURE_BYTES]) -> Vec<u8> {
    let (r, s) = signature.split_at(HALF);
    let body = [integer(r), integer(s)].concat();
    let mut der = vec![SEQUENCE, length(&body)];
    der.extend(body);
    der
}

fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let mut digits: Vec<u8> = number.iter().skip(zeros).copied().collect();
    // An empty number is zero, and one that begins with a set bit would be negative.
    if digits.first().is_none_or(|byte| byte & 0x80 != 0) {
        digits.insert(0, 0);
    }
    let mut der = vec![INTEGER, length(&digits)];
    der.extend(digits);
    der
}

/// Lengths are below 128 here: two numbers of at most 33 bytes with their heads.
fn length(bytes: &[u8]) -> u8 {
    u8::try_from(bytes.len()).unwrap_or(u8::MAX)
}

/// Both numbers, if the bytes are a signature in DER.
pub(super) fn from_der(der: &[u8]) -> Option<[u8; FIXED_SIGNATURE_BYTES]> {
    let (body, rest) = element(SEQUENCE, der)?;
    let (r, body) = element(INTEGER, body)?;
    let (s, body) = element(INTEGER, body)?;
    if !rest.is_empty() || !body.is_empty() {
        return None;
    }
    let halves = [padded(r)?, padded(s)?].concat();
    halves.try_into().ok()
}

fn element(kind: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, bytes) = bytes.split_first()?;
    let (length, bytes) = bytes.split_first()?;
    if *found != kind {
        return None;
    }
    bytes.split_at_checked(usize::from(*length))
}

fn padded(number: &[u8]) -> Option<[u8; HALF]> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..)?;
    let mut half = [0; HALF];
    let start = HALF.checked_sub(digits.len())?;
    half.get_mut(start..)?.copy_from_slice(digits);
    Some(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_say_the_same() {
        let mut cases = vec![[0; 64], [0xff; 64], [1; 64]];
        let mut small = [0; 64];
        small[31] = 0x80;
        small[63] = 0x7f;
        cases.push(small);
        for case in cases {
            let der = to_der(&case);
            assert_eq!(from_der(&der), Some(case));
            for cut in 0..der.len() {
                assert_eq!(from_der(&der[..cut]), None);
            }
            assert_eq!(from_der(&[der, vec![0]].concat()), None);
        }
        assert_eq!(to_der(&small)[..5], [0x30, 7, 2, 2, 0]);
    }
}
