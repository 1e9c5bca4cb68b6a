use super::*;

fn numeric(dtype: Dtype, atol: f64, rtol: f64, min_cosine: f64) -> Comparator {
    Comparator::Numeric {
        dtype,
        atol,
        rtol,
        min_cosine,
    }
}

fn encode(dtype: Dtype, values: &[f64]) -> Vec<u8> {
    let encode_one = |value: &f64| match dtype {
        Dtype::F16 => half::f16::from_f64(*value).to_le_bytes().to_vec(),
        Dtype::F32 => (*value as f32).to_le_bytes().to_vec(),
        Dtype::F64 => value.to_le_bytes().to_vec(),
    };
    values.iter().flat_map(encode_one).collect()
}

/// Checks one pair both ways: agreement is symmetric.
fn check(tolerances: [f64; 3], left: &[f64], right: &[f64], agree: bool) {
    let [atol, rtol, min_cosine] = tolerances;
    for dtype in [Dtype::F16, Dtype::F32, Dtype::F64] {
        let comparator = numeric(dtype, atol, rtol, min_cosine);
        let (left, right) = (encode(dtype, left), encode(dtype, right));
        let forth = compare(&comparator, &[&left], &[&right]);
        let back = compare(&comparator, &[&right], &[&left]);
        assert_eq!(forth.is_ok(), agree, "{dtype:?}: {forth:?}");
        assert_eq!(back.is_ok(), agree, "{dtype:?}, swapped: {back:?}");
    }
}

#[test]
fn tolerances() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let strict = [0.0, 0.0, 1.0];
    check(strict, &[1.0, 0.3, 7.7], &[1.0, 0.3, 7.7], true);
    check(strict, &[], &[], true);
    check(strict, &[1.0], &[1.5], false);
    check([0.5, 0.0, -1.0], &[1.0], &[1.5], true);
    check([0.49, 0.0, -1.0], &[1.0], &[1.5], false);
    // Relative to the largest element, not to each: small elements may differ by as much.
    check([0.0, 0.01, -1.0], &[100.0, 0.0], &[100.0, 1.0], true);
    check([0.0, 0.009, -1.0], &[100.0, 0.0], &[100.0, 1.0], false);
    // Close by norm, but pointing elsewhere.
    check([1.0, 0.0, 0.9], &[0.5, 0.0], &[0.0, 0.5], false);
    check([1.0, 0.0, 0.0], &[0.5, 0.0], &[0.0, 0.5], true);
    // Zero vectors point nowhere, together.
    check([0.0, 0.0, 1.0], &[0.0, 0.0], &[0.0, -0.0], true);
    check([1.0, 0.0, 0.5], &[0.0], &[0.25], false);
    // NaN agrees with nothing, infinity only with itself.
    check([10.0, 10.0, -1.0], &[nan, 1.0], &[nan, 1.0], false);
    check([10.0, 10.0, -1.0], &[nan], &[1.0], false);
    check([0.25, 0.0, 0.5], &[-inf, 1.0], &[-inf, 1.25], true);
    check([10.0, 10.0, -1.0], &[inf, 1.0], &[-inf, 1.0], false);
    check([10.0, 10.0, -1.0], &[inf, 1.0], &[4.0, 1.0], false);
    check([0.0, 0.0, 1.0], &[inf], &[inf], true);
}

#[test]
fn huge_and_tiny_numbers_keep_their_direction() {
    let comparator = numeric(Dtype::F64, 0.0, 3.0, 0.99);
    for scale in [1e300, 1e-300] {
        let left = encode(Dtype::F64, &[scale, scale]);
        let same = encode(Dtype::F64, &[scale * 1.001, scale]);
        let other = encode(Dtype::F64, &[scale, -scale]);
        assert_eq!(compare(&comparator, &[&left], &[&same]), Ok(()));
        let error = compare(&comparator, &[&left], &[&other]).unwrap_err();
        assert!(error.reason.contains("cosine"), "{error}");
    }
}

#[test]
fn lengths_must_match_and_hold_whole_elements() {
    let comparator = numeric(Dtype::F32, 1.0, 1.0, -1.0);
    let reason = |left: &[&[u8]], right: &[&[u8]]| {
        compare(&comparator, left, right).unwrap_err().to_string()
    };
    assert_eq!(reason(&[b"", b""], &[b""]), "2 outputs against 1");
    assert_eq!(
        reason(&[b"", &[0; 4]], &[b"", &[0; 8]]),
        "item 1: 4 bytes against 8"
    );
    assert_eq!(
        reason(&[&[0; 5]], &[&[0; 5]]),
        "item 0: 5 bytes are no whole number of 4-byte elements"
    );
}

#[test]
fn exact_names_the_byte() {
    let compare = |left: &[&[u8]], right: &[&[u8]]| compare(&Comparator::Exact, left, right);
    assert_eq!(compare(&[b"ab"], &[b"ab"]), Ok(()));
    let error = compare(&[b"", b"ab"], &[b"", b"ac"]).unwrap_err();
    assert_eq!((error.item, &*error.reason), (Some(1), "byte 1 differs"));
    let (zero, minus) = (0.0_f32.to_le_bytes(), (-0.0_f32).to_le_bytes());
    assert!(compare(&[&zero], &[&minus]).is_err());
}

#[test]
fn the_worst_element_is_named_with_its_bound() {
    let comparator = numeric(Dtype::F32, 0.5, 0.0, -1.0);
    let left = encode(Dtype::F32, &[1.0, 2.0, 3.0]);
    let right = encode(Dtype::F32, &[1.25, 4.0, 3.0]);
    let error = compare(&comparator, &[left], &[right]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "item 0: element 1 differs by 2e0, more than 5e-1"
    );
}
