use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;

use super::*;

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').collect())
}

fn bf16s(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|bits| bits.to_le_bytes()).collect()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// All values multiplied, and rounded once.
fn scaled(values: &[u16], by: f32) -> Vec<u16> {
    let scale = |bits: &u16| half::bf16::from_f32(half::bf16::from_bits(*bits).to_f32() * by);
    values.iter().map(|bits| scale(bits).to_bits()).collect()
}

#[test]
fn proofs_are_those_that_the_library_publishes() {
    let mut seen = 0;
    for line in lines(include_str!("../../../../tests/toploc/readme.txt")) {
        let raw = hex::decode(line[0]).unwrap();
        let (raw, _) = raw.as_chunks::<2>();
        let values: Vec<u16> = raw.iter().copied().map(u16::from_be_bytes).collect();
        let published = BASE64_STANDARD.decode(line[1]).unwrap();
        let proof = Proof::build(Form::Bf16, &bf16s(&values), 4).unwrap();
        assert_eq!(proof.encode(), published, "{}", line[1]);
        assert_eq!(Proof::decode(Form::Bf16, 4, &published).unwrap(), proof);

        let jittered = proof.distance(&bf16s(&scaled(&values, 1.01))).unwrap();
        let [mean, median] = [line[2], line[3]].map(|number| number.parse().unwrap());
        let expected = Distance {
            mismatches: 0,
            mean,
            median,
        };
        assert_eq!(jittered, expected, "{}", line[1]);
        seen += 1;
    }
    assert_eq!(seen, 5);
}

/// The tensor of a line of `reference.txt`: numbers of an xorshift below 1, and peaks of which no two
/// are at one place.
fn drawn(elements: usize, top_k: usize, mut seed: u64, stride: usize) -> Vec<u16> {
    let mut draw = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let (sign, exponent) = ((seed >> 63) as u16, 120 + ((seed >> 32) % 8) as u16);
        sign << 15 | exponent << 7 | (seed >> 20) as u16 & 127
    };
    let mut values: Vec<u16> = (0..elements).map(|_| draw()).collect();
    for i in 0..top_k {
        values[i * stride % elements] = ((i & 1) << 15 | 130 << 7 | i & 127) as u16;
    }
    values
}

#[test]
fn proofs_are_those_of_the_library() {
    let mut moduli = Vec::new();
    for line in lines(include_str!("../../../../tests/toploc/reference.txt")) {
        let [elements, top_k, stride] = [0, 1, 3].map(|at| line[at].parse::<usize>().unwrap());
        let tensor = bf16s(&drawn(elements, top_k, line[2].parse().unwrap(), stride));
        let proof = Proof::build(Form::Bf16, &tensor, top_k as u16).unwrap();
        assert_eq!(
            hex::encode(proof.encode()),
            line[4],
            "{}",
            line[..4].join(" ")
        );
        moduli.push(proof.modulus);
    }
    assert_eq!(moduli, [65_497, 65_496, 65_497, 65_497]);
}

#[test]
fn a_proof_of_128_values_has_258_bytes() {
    assert_eq!(Form::Bf16.proof_bytes(128), 258);
    assert_eq!(Form::F32.proof_bytes(128), 512);
}

#[test]
fn what_no_proof_can_be_made_of_is_named() {
    let (one, inf, nan) = (0x3f80, 0x7f80, 0xffc0);
    for (values, top_k, words) in [
        (vec![], 1, "of 0 elements, it must be 1 to 268435456"),
        (vec![one; 3], 4, "of 3 elements, it must be 4"),
        (vec![one, inf], 1, "element 1 is not finite"),
        (vec![nan, one], 1, "element 0 is not finite"),
        (vec![one], 0, "of 0 values, it must be 1 to 256"),
        (vec![one; 300], 257, "of 257 values, it must be 1 to 256"),
    ] {
        let error = Proof::build(Form::Bf16, &bf16s(&values), top_k).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    let error = Proof::build(Form::F32, &[0; 6], 1).unwrap_err().to_string();
    assert!(
        error.contains("6 bytes are no whole number of 4-byte"),
        "{error}"
    );
    for value in [f32::NAN, f32::NEG_INFINITY] {
        let error = Proof::build(Form::F32, &f32s(&[0.0, value]), 1).unwrap_err();
        assert!(
            error.to_string().contains("element 1 is not finite"),
            "{error}"
        );
    }
}

#[test]
fn malformed_proofs_are_refused() {
    let bytes =
        |numbers: &[u16]| -> Vec<u8> { numbers.iter().flat_map(|n| n.to_be_bytes()).collect() };
    for (form, top_k, raw, words) in [
        (Form::Bf16, 2, vec![], "0 bytes, 2 values take 6"),
        (
            Form::Bf16,
            2,
            bytes(&[65_497, 1]),
            "4 bytes, 2 values take 6",
        ),
        (Form::Bf16, 2, bytes(&[65_497, 1, 2, 3]), "8 bytes"),
        // What the library hands out when it could make none.
        (
            Form::Bf16,
            2,
            bytes(&[0, 0, 0]),
            "modulus 0: whoever made it could not",
        ),
        (
            Form::Bf16,
            2,
            bytes(&[1, 0, 0]),
            "modulus 1, it must be 2 to 65497",
        ),
        (Form::Bf16, 2, bytes(&[65_498, 0, 0]), "modulus 65498"),
        (
            Form::Bf16,
            2,
            bytes(&[65_497, 0, 65_497]),
            "coefficient 65497, it must be below 65497",
        ),
        (
            Form::F32,
            1,
            vec![0xff, 0xff, 0xff, 0xfb],
            "coefficient 4294967291",
        ),
        (Form::F32, 1, vec![0; 5], "5 bytes, 1 values take 4"),
        (Form::F32, 0, vec![], "of 0 values"),
        (Form::F32, 257, vec![0; 1028], "of 257 values"),
    ] {
        let error = Proof::decode(form, top_k, &raw).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(Proof::decode(Form::F32, 1, &[0xff, 0xff, 0xff, 0xfa]).is_ok());
}

#[test]
fn another_tensor_is_far_and_a_shrunk_one_has_other_exponents() {
    let values = drawn(20_000, 0, 1, 1);
    let proof = Proof::build(Form::Bf16, &bf16s(&values), 128).unwrap();
    let far = proof.distance(&bf16s(&drawn(20_000, 0, 2, 1))).unwrap();
    assert!(far.mismatches > 100, "{far:?}");
    let quarter = proof.distance(&bf16s(&scaled(&values, 0.25))).unwrap();
    assert_eq!(quarter.mismatches, 128);
    assert_eq!(
        (quarter.mean, quarter.median),
        (f64::INFINITY, f64::INFINITY)
    );
}

#[test]
fn in_32_bits_signs_and_every_place_count() {
    let mut values: Vec<f32> = (0..70_000).map(|i| i as f32 / 1e6).collect();
    // Two places that are one modulo 65,497.
    (values[0], values[65_497]) = (5.0, -6.0);
    let proof = Proof::build(Form::F32, &f32s(&values), 2).unwrap();
    let near = |values: &[f32]| proof.distance(&f32s(values)).unwrap();
    let zero = Distance {
        mismatches: 0,
        mean: 0.0,
        median: 0.0,
    };
    assert_eq!(near(&values), zero);
    values[0] = f32::from_bits(5.0_f32.to_bits() + 6);
    assert_eq!(
        near(&values),
        Distance {
            mean: 3.0,
            median: 6.0,
            ..zero
        }
    );
    values[0] = -5.0;
    assert_eq!(near(&values).mismatches, 1);
}

proptest! {
    /// Whatever the tensor: its own proof gives back every value, and survives its encoding.
    #[test]
    fn a_proof_is_no_distance_from_its_own_tensor(
        mut values in prop::collection::vec(any::<u32>(), 8..200), top_k in 1..8_u16,
    ) {
        let zero = Distance { mismatches: 0, mean: 0.0, median: 0.0 };
        for form in [Form::Bf16, Form::F32] {
            // Clears the lowest bit of the exponent, which all numbers that are none have.
            values.iter_mut().for_each(|bits| *bits &= !(1 << form.mantissa()));
            let tensor: Vec<u8> = values
                .iter()
                .flat_map(|bits| bits.to_le_bytes()[..form.size()].to_vec())
                .collect();
            let proof = Proof::build(form, &tensor, top_k).unwrap();
            prop_assert_eq!(proof.distance(&tensor).unwrap(), zero);
            let bytes = proof.encode();
            prop_assert_eq!(bytes.len(), form.proof_bytes(top_k));
            prop_assert_eq!(Proof::decode(form, top_k, &bytes).unwrap(), proof);
        }
    }
}
