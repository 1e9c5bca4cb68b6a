use super::*;

const SEED: [u8; 32] = [9; 32];

fn published(chunk: u32) -> TopRule {
    TopRule {
        chunk,
        top_k: 128,
        mismatches: 38,
        mean: 10.0,
        median: 8.0,
    }
}

/// All three, for tensors of these elements.
fn rules() -> [SketchRule; 3] {
    let ours = TopRule {
        mean: 256.0,
        median: 128.0,
        ..published(8192)
    };
    [
        SketchRule::Toploc(published(8192)),
        SketchRule::ToplocF32(ours),
        SketchRule::Projection {
            dims: 32,
            distance: 1e-3,
        },
    ]
}

/// Numbers of a bell's shape without a pattern, in the rule's own type.
fn tensor(rule: &SketchRule, count: u32, salt: u32, change: impl Fn(usize, f32) -> f32) -> Vec<u8> {
    let mix = |i: u32| {
        let mixed = (i ^ salt.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        (mixed ^ (mixed >> 13)).wrapping_mul(0xc2b2_ae35)
    };
    let number = |i: u32| {
        (0..12)
            .map(|j| mix(i * 12 + j) as f32 / 2_f32.powi(32))
            .sum::<f32>()
            - 6.0
    };
    let values = (0..count).map(|i| change(i as usize, number(i)));
    let encode = |value: f32| match rule {
        SketchRule::Toploc(_) => half::bf16::from_f32(value).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    values.flat_map(encode).collect()
}

fn graded(result: Result<(), Finding>) -> Option<Grade> {
    result.err().map(|finding| finding.grade)
}

/// Compares both ways, and each with the other's sketch; all must come to the same.
fn check_pair(rule: &SketchRule, left: &[u8], right: &[u8], expected: Option<Grade>, what: &str) {
    assert_eq!(
        graded(compare(rule, left, right)),
        expected,
        "{what}: {rule:?}"
    );
    assert_eq!(
        graded(compare(rule, right, left)),
        expected,
        "{what}, swapped: {rule:?}"
    );
    let sketch = sketch(rule, right, &SEED).unwrap();
    let checked = check(rule, left, &sketch, &SEED);
    assert_eq!(
        checked.err().map(|d| d.grade),
        expected,
        "{what}, by sketch: {rule:?}"
    );
}

#[test]
fn a_little_noise_agrees_and_another_tensor_does_not() {
    for rule in rules() {
        let honest = tensor(&rule, 20_000, 1, |_, value| value);
        let noisy = tensor(&rule, 20_000, 1, |at, value| {
            value * (1.0 + 1e-6 * (at % 7) as f32)
        });
        check_pair(&rule, &honest, &honest, None, "the same");
        check_pair(&rule, &honest, &noisy, None, "noise");
        let other = tensor(&rule, 20_000, 2, |_, value| value);
        check_pair(&rule, &honest, &other, Some(Grade::Clear), "another");
        let half = tensor(&rule, 20_000, 1, |_, value| value / 2.0);
        check_pair(&rule, &honest, &half, Some(Grade::Clear), "half of it");
    }
}

#[test]
fn what_is_a_little_beyond_the_bound_is_ambiguous() {
    let projection = rules()[2];
    let honest = tensor(&projection, 4000, 1, |_, value| value);
    for (scale, expected) in [
        (1.0005, None),
        (1.002, Some(Grade::Ambiguous)),
        (1.01, Some(Grade::Clear)),
    ] {
        // All of it in one direction, which the projection of a multiple shows exactly.
        let drifted = tensor(&projection, 4000, 1, |_, value| value * scale);
        check_pair(&projection, &honest, &drifted, expected, "a drift");
    }
}

#[test]
fn toploc_sees_the_largest_values_and_a_projection_all() {
    let tampered = |rule: &SketchRule| {
        tensor(rule, 8192, 1, |_, value| match value.abs() < 1.0 {
            true => -value,
            false => value,
        })
    };
    for (rule, expected) in rules().iter().zip([None, None, Some(Grade::Clear)]) {
        let honest = tensor(rule, 8192, 1, |_, value| value);
        check_pair(
            rule,
            &honest,
            &tampered(rule),
            expected,
            "small ones tampered",
        );
    }
}

/// A tensor whose largest values are in the other's proof may still lack what the other has.
#[test]
fn two_tensors_agree_only_if_each_agrees_with_the_others_proof() {
    let rule = rules()[1];
    let SketchRule::ToplocF32(top) = rule else {
        panic!()
    };
    // The left has 128 large values. The right has the same but as many of its own that are larger, so
    // that its largest are not the left's at all; then the left's largest are checked by both.
    let left = tensor(
        &rule,
        8192,
        1,
        |at, value| if at < 128 { 50.0 } else { value },
    );
    let right = tensor(&rule, 8192, 1, |at, value| match at {
        0..128 => 50.0,
        128..256 => 60.0,
        _ => value,
    });
    let proof = Proof::build(Form::F32, &left, 128).unwrap();
    assert_eq!(top.judge(&proof, &left), Ok(()));
    assert_eq!(graded(top.judge(&proof, &right)), Some(Grade::Clear));
    assert_eq!(graded(compare(&rule, &left, &right)), Some(Grade::Clear));
}

#[test]
fn what_is_no_tensor_or_no_sketch_is_incomparable() {
    for rule in rules() {
        let good = tensor(&rule, 8192, 1, |_, value| value);
        let size = rule.size();
        let mut inf = good.clone();
        let last = inf.len() - size;
        inf[last..].copy_from_slice(&good[..size]);
        let spot = last + size - 2;
        (inf[spot], inf[spot + 1]) = (0x80, 0x7f);
        let ours = sketch(&rule, &good, &SEED).unwrap();
        for (what, output) in [
            ("empty", vec![]),
            ("half", good[1..].to_vec()),
            ("infinite", inf),
        ] {
            assert_eq!(
                graded(compare(&rule, &output, &output)),
                Some(Grade::Incomparable),
                "{what}"
            );
            assert_eq!(
                graded(compare(&rule, &good, &output)),
                Some(Grade::Incomparable),
                "{what}"
            );
            assert_eq!(
                graded(compare(&rule, &output, &good)),
                Some(Grade::Incomparable),
                "{what}"
            );
            assert!(sketch(&rule, &output, &SEED).is_err(), "{what}");
            let error = check(&rule, &output, &ours, &SEED).unwrap_err();
            assert_eq!(error.grade, Grade::Incomparable, "{what}: {error}");
        }
        for raw in [
            vec![],
            ours[1..].to_vec(),
            [&ours[..], &[0]].concat(),
            ours.repeat(2),
        ] {
            let error = check(&rule, &good, &raw, &SEED).unwrap_err();
            assert_eq!(error.grade, Grade::Incomparable, "{error}");
        }
        let shorter = tensor(&rule, 8000, 1, |_, value| value);
        assert_eq!(graded(compare(&rule, &good, &shorter)), Some(Grade::Clear));
    }
}

#[test]
fn a_last_chunk_that_is_too_short_for_a_proof_is_named() {
    let rule = rules()[0];
    let short = tensor(&rule, 8192 + 127, 1, |_, value| value);
    let error = sketch(&rule, &short, &SEED).unwrap_err().to_string();
    assert!(error.contains("of 127 elements, it must be 128"), "{error}");
    let long = tensor(&rule, 8192 + 128, 1, |_, value| value);
    assert_eq!(sketch(&rule, &long, &SEED).unwrap().len(), 2 * 258);
}
