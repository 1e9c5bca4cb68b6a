use proptest::prelude::*;

use super::*;

fn numeric(dtype: Dtype, atol: f64, rtol: f64, min_cosine: f64) -> Comparator {
    Comparator::Numeric {
        dtype,
        atol,
        rtol,
        min_cosine,
        top1: None,
        rms: None,
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

/// Checks the grade of a pair of arrays under a rule, both ways.
fn check_grade(comparator: &Comparator, left: &[f64], right: &[f64], expected: Option<Grade>) {
    let Comparator::Numeric { dtype, .. } = *comparator else {
        panic!()
    };
    let (left, right) = (encode(dtype, left), encode(dtype, right));
    assert_eq!(
        graded(comparator, &left, &right),
        expected,
        "{comparator:?}"
    );
}

fn graded(comparator: &Comparator, left: &[u8], right: &[u8]) -> Option<Grade> {
    let forth = compare(comparator, &[left], &[right])
        .err()
        .map(|d| d.grade);
    let back = compare(comparator, &[right], &[left])
        .err()
        .map(|d| d.grade);
    assert_eq!(forth, back, "the relation is symmetric: {comparator:?}");
    forth
}

#[test]
fn what_is_beyond_the_bound_is_clear_from_four_times_on() {
    let (ambiguous, clear) = (Some(Grade::Ambiguous), Some(Grade::Clear));
    let close = numeric(Dtype::F16, 0.25, 0.0, -1.0);
    let [inf, nan, largest] = [f64::INFINITY, f64::NAN, 65504.0];
    for (left, right, expected) in [
        (&[1.0][..], &[1.25][..], None),
        (&[1.0], &[1.5], ambiguous),
        (&[1.0], &[2.0], ambiguous),
        (&[1.0], &[2.125], clear),
        (&[1.0], &[nan], Some(Grade::Incomparable)),
        (&[1.0], &[inf], clear),
        // Next to the end of what the type holds, a last bit may decide.
        (&[largest], &[inf], ambiguous),
        (&[largest], &[-inf], clear),
        (&[inf], &[-inf], clear),
        (&[1.0], &[1.0, 1.0], clear),
    ] {
        check_grade(&close, left, right, expected);
    }
    let pointing = numeric(Dtype::F64, 10.0, 0.0, 0.99);
    for (angle, expected) in [(0.1, None), (0.3, ambiguous), (0.6, clear)] {
        let right = [f64::cos(angle), f64::sin(angle)];
        check_grade(&pointing, &[1.0, 0.0], &right, expected);
    }
    assert_eq!(graded(&Comparator::Exact, b"a", b"b"), clear);
    assert_eq!(graded(&Comparator::Exact, b"a", b"ab"), clear);
}

#[test]
fn the_gravest_disagreement_is_told_and_of_equals_the_first() {
    let close = numeric(Dtype::F64, 1.0, 0.0, -1.0);
    let item = |value: f64| encode(Dtype::F64, &[value]);
    let zero = || vec![item(0.0); 5];
    for (values, expected) in [
        ([0.0, 0.0, 0.0, 0.0, 1.0], None),
        ([0.0, 2.0, 3.0, 0.0, 0.0], Some((1, Grade::Ambiguous))),
        (
            [0.0, 2.0, f64::NAN, 3.0, f64::NAN],
            Some((2, Grade::Incomparable)),
        ),
        ([0.0, 2.0, f64::NAN, 9.0, 99.0], Some((3, Grade::Clear))),
    ] {
        let right = values.map(item);
        let found = compare(&close, &zero(), &right).err();
        let found = found.map(|d| (d.item.unwrap(), d.grade));
        assert_eq!(found, expected, "{values:?}");
    }
    let error = compare(&close, &zero(), &[item(0.0)]).unwrap_err();
    assert_eq!((error.item, error.grade), (None, Grade::Incomparable));
}

#[test]
fn the_largest_element_may_change_only_where_it_was_hardly_the_largest() {
    let with_top = |tolerance| Comparator::Numeric {
        dtype: Dtype::F32,
        atol: 1.0,
        rtol: 0.0,
        min_cosine: -1.0,
        top1: tolerance,
        rms: None,
    };
    let (ambiguous, clear) = (Some(Grade::Ambiguous), Some(Grade::Clear));
    let inf = f64::INFINITY;
    for (tolerance, left, right, expected) in [
        (None, &[3.0, 2.5, 0.0][..], &[2.5, 3.0, 0.0][..], None),
        (Some(0.25), &[3.0, 2.5, 0.0], &[3.5, 2.0, 0.0], None),
        (Some(0.25), &[3.0, 2.5, 0.0], &[2.5, 3.0, 0.0], None),
        (Some(0.125), &[3.0, 2.5, 0.0], &[2.5, 3.0, 0.0], ambiguous),
        (Some(0.0625), &[3.0, 2.5, 0.0], &[2.5, 3.0, 0.0], ambiguous),
        (Some(0.03), &[3.0, 2.5, 0.0], &[2.5, 3.0, 0.0], clear),
        // By how much it was larger than the other's largest, not than the next of its own.
        (Some(0.125), &[3.0, 2.9, 2.25], &[2.25, 2.9, 3.0], ambiguous),
        // Of equals, the first: that the second is a little larger elsewhere is no change.
        (Some(0.1), &[3.0, 3.0], &[3.0, 3.125], None),
        (Some(0.0), &[-inf, -inf, 1.0], &[-inf, -inf, 1.5], None),
        (Some(0.0), &[], &[], None),
    ] {
        check_grade(&with_top(tolerance), left, right, expected);
    }
}

/// A drift of all elements within the tolerance passes the largest difference and, as it points the
/// same way, the cosine. It does not pass the mean, which honest noise does.
#[test]
fn a_drift_of_every_element_is_bounded_by_the_mean() {
    let rule = |rms| Comparator::Numeric {
        dtype: Dtype::F32,
        atol: 1e-3,
        rtol: 0.0,
        min_cosine: 0.999,
        top1: None,
        rms,
    };
    let honest: Vec<f64> = (0..1000)
        .map(|i| f64::from(i * 7919 % 1000) / 500.0 - 1.0)
        .collect();
    let changed = |by: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
        honest
            .iter()
            .enumerate()
            .map(|(at, value)| value + by(at, *value))
            .collect()
    };
    let noise = changed(&|at, _| if at % 100 == 0 { 9e-4 } else { 1e-4 });
    let shifted = changed(&|_, _| 9e-4);
    let grown = changed(&|_, value| 9e-4 * value.signum());
    for right in [&noise, &shifted, &grown] {
        check_grade(&rule(None), &honest, right, None);
    }
    check_grade(&rule(Some(0.4)), &honest, &noise, None);
    for right in [&shifted, &grown] {
        check_grade(&rule(Some(0.4)), &honest, right, Some(Grade::Ambiguous));
        check_grade(&rule(Some(0.2)), &honest, right, Some(Grade::Clear));
    }
}

#[test]
fn an_array_as_large_as_an_item_may_be_is_compared() {
    let comparator = numeric(Dtype::F16, 0.5, 0.0, 0.5);
    let left = vec![0x3c; crate::items::ITEM_BYTES_MAX as usize];
    let mut right = left.clone();
    assert_eq!(graded(&comparator, &left, &right), None);
    *right.last_mut().unwrap() = 0x7c;
    assert_eq!(
        graded(&comparator, &left, &right),
        Some(Grade::Incomparable)
    );
}

/// One of each comparator, all of which take a few hundred bytes.
fn each() -> Vec<Comparator> {
    let numeric = |dtype| Comparator::Numeric {
        dtype,
        atol: 0.01,
        rtol: 0.01,
        min_cosine: 0.9,
        top1: Some(1e-3),
        rms: Some(0.5),
    };
    let top = sketch::TopRule {
        chunk: 64,
        top_k: 1,
        mismatches: 0,
        mean: 2.0,
        median: 2.0,
    };
    let field = json::Field {
        pointer: "/a".into(),
        rule: json::FieldRule::Numeric {
            atol: 0.01,
            rtol: 0.0,
        },
    };
    vec![
        Comparator::Exact,
        numeric(Dtype::F16),
        numeric(Dtype::F32),
        numeric(Dtype::F64),
        Comparator::Tokens(tokens::TokensRule {
            atol: 0.01,
            draws: None,
            rms: Some(0.5),
        }),
        Comparator::Json(json::JsonRule {
            fields: vec![field],
        }),
        Comparator::Fingerprint(sketch::SketchRule::Toploc(top)),
        Comparator::Fingerprint(sketch::SketchRule::ToplocF32(top)),
        Comparator::Fingerprint(sketch::SketchRule::Projection {
            dims: 16,
            distance: 0.01,
        }),
    ]
}

/// An output that means something to one comparator or another.
fn output() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        -2.0..2.0_f32,
        Just(1.0),
        Just(0.0),
        Just(f32::INFINITY),
        Just(f32::NAN)
    ];
    let array = prop::collection::vec(number, 0..140);
    let array = array.prop_map(|values| values.iter().flat_map(|v| v.to_le_bytes()).collect());
    let step = (0..3_u32, -1.0..=0.0_f32, 0.0..0.1_f32).prop_map(|(token, logprob, margin)| {
        tokens::Step {
            token,
            logprob,
            margin,
        }
    });
    let text = (prop::collection::vec(step, 0..6), "[ab]?");
    let text = text.prop_map(|(steps, text)| tokens::encode(&steps, text.as_bytes()).unwrap());
    let json = (-1.0..1.0_f64, 0..3_u8)
        .prop_map(|(a, b)| format!("{{\"a\":{a},\"b\":[{b}]}}").into_bytes());
    let any = prop::collection::vec(any::<u8>(), 0..60);
    prop_oneof![array, text, json, any]
}

/// A copy with a few bytes, or the last digits of its numbers, changed.
fn nearby(output: &[u8], changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut output = output.to_vec();
    let length = output.len();
    for (at, by) in changes.iter().filter(|_| length > 0) {
        let at = at.index(length);
        output[at] ^= by & if at % 4 == 0 { 0xff } else { 0x11 };
    }
    output
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the outputs: no comparator minds their order, and one that is anything to it agrees with
    /// itself.
    #[test]
    fn every_comparator_is_symmetric_and_what_it_can_read_agrees_with_itself(
        left in output(),
        other in output(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        for comparator in each() {
            for right in [&other, &nearby(&left, &changes)] {
                let grade = graded(&comparator, &left, right);
                let itself = graded(&comparator, right, right);
                prop_assert!(matches!(itself, None | Some(Grade::Incomparable)), "{:?}", comparator);
                if itself.is_some() && comparator != Comparator::Exact {
                    prop_assert!(grade.is_some(), "{:?}", comparator);
                }
            }
        }
    }
}
