use proptest::prelude::*;

use super::*;

fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// So many numbers of -1 to 1 without a pattern.
fn values(count: u32, salt: u32) -> Vec<f32> {
    let mix = |i: u32| (i ^ salt.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
    let mixed = (0..count).map(|i| mix(mix(i) ^ (mix(i) >> 13)));
    mixed
        .map(|bits| bits as i32 as f32 / 2_f32.powi(31))
        .collect()
}

fn project(values: &[f32], dims: u8, seed: u8) -> Projection {
    Projection::of(&bytes(values), dims, &[seed; 32]).unwrap()
}

#[test]
fn the_distance_of_projections_is_that_of_the_tensors() {
    let left = values(2000, 1);
    let noise = values(2000, 2);
    for size in [1e-6_f32, 0.5] {
        let right: Vec<f32> = left.iter().zip(&noise).map(|(a, b)| a + size * b).collect();
        let pairs = || {
            left.iter()
                .zip(&right)
                .map(|(a, b)| (f64::from(*a), f64::from(*b)))
        };
        let true_distance = relative(pairs);
        for (dims, spread) in [(DIMS_MIN, 0.3), (DIMS_MAX, 0.15)] {
            let error = |seed| {
                let [a, b] = [&left, &right].map(|values| project(values, dims, seed));
                a.distance(&b).unwrap() / true_distance - 1.0
            };
            let squares: f64 = (0..100).map(|seed| error(seed).powi(2)).sum();
            let found = (squares / 100.0).sqrt();
            // Both lengths are estimates, each off by 1 in the root of twice the numbers.
            assert!(
                (spread / 3.0..spread).contains(&found),
                "{size} {dims}: {found}"
            );
        }
    }
}

#[test]
fn a_wrong_tensor_made_for_one_seed_is_found_by_another() {
    let honest = values(4096, 3);
    // Wherever the signs of the first numbers are equal for two elements, moving weight from one to the
    // other leaves those numbers as they were. With 16 numbers, such pairs are easy to find.
    let mut signs = std::collections::HashMap::new();
    let column = |at: usize| {
        let mut one = vec![0.0; honest.len()];
        one[at] = 1.0;
        project(&one, DIMS_MIN, 7).encode()
    };
    let (first, second) = (0..honest.len())
        .find_map(|at| signs.insert(column(at), at).map(|before| (before, at)))
        .unwrap();
    let mut wrong = honest.clone();
    wrong[first] += 64.0;
    wrong[second] -= 64.0;
    let apart = |seed| {
        let [a, b] = [&honest, &wrong].map(|values| project(values, DIMS_MIN, seed));
        a.distance(&b).unwrap()
    };
    assert!(apart(7) < 1e-6, "{}", apart(7));
    assert!((0..7).all(|seed| apart(seed) > 0.5));
}

#[test]
fn every_output_has_its_own_seed() {
    let seeds: std::collections::BTreeSet<[u8; 32]> = [
        seed(&[0; 32], &Digest::of(b"a"), 0),
        seed(&[1; 32], &Digest::of(b"a"), 0),
        seed(&[0; 32], &Digest::of(b"b"), 0),
        seed(&[0; 32], &Digest::of(b"a"), 1),
    ]
    .into();
    assert_eq!(seeds.len(), 4);
    let tensor = bytes(&values(100, 1));
    let projected = seeds
        .iter()
        .map(|seed| Projection::of(&tensor, DIMS_MIN, seed).unwrap().encode());
    assert_eq!(
        projected.collect::<std::collections::BTreeSet<_>>().len(),
        4
    );
}

#[test]
fn it_is_the_same_on_every_machine() {
    let projection = project(&[1.0, -2.5, 1e-3, 1e6, 0.0], DIMS_MIN, 1);
    let expected = "c82374c81824744818247448e823744838247448c82374c8182474c8382474c8c82374c8182474483824744838247448182474c838247448e82374c8182474c8";
    assert_eq!(hex::encode(projection.encode()), expected);
}

#[test]
fn what_cannot_be_projected_or_read_is_named() {
    for (tensor, dims, words) in [
        (vec![], 16, "of 0 bytes"),
        (
            vec![0; 6],
            16,
            "of 6 bytes, it must be 1 to 268435456 elements of 4",
        ),
        (bytes(&[1.0; 600]), 15, "to 15 numbers, it must be 16 to 64"),
        (bytes(&[1.0]), 65, "to 65 numbers"),
        (bytes(&[1.0, f32::NAN]), 16, "element 1 is NaN"),
        (
            bytes(&[&[0.0; 600][..], &[f32::INFINITY]].concat()),
            16,
            "element 600 is inf",
        ),
        // All signs agree on one element, so that the sum is larger than a number can be.
        (bytes(&[f32::MAX; 1000]), 16, "is not finite"),
    ] {
        let error = Projection::of(&tensor, dims, &[0; 32])
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    for (raw, dims, words) in [
        (vec![0; 63], 16, "63 bytes, 16 numbers take 64"),
        (vec![0; 68], 16, "68 bytes"),
        (vec![0; 32], 8, "to 8 numbers"),
        (
            bytes(&[&[0.0; 15][..], &[f32::NAN]].concat()),
            16,
            "number 15 is not finite",
        ),
    ] {
        let error = Projection::decode(dims, &raw).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn nothing_is_no_distance_from_nothing_and_all_of_something_from_it() {
    let (zero, one) = (project(&[0.0; 9], 16, 0), project(&[1.0; 9], 16, 0));
    assert_eq!(zero.distance(&zero), Some(0.0));
    assert_eq!(zero.distance(&one), Some(1.0));
    assert_eq!(one.distance(&zero), Some(1.0));
    assert_eq!(one.distance(&project(&[1.0; 9], 17, 0)), None);
}

proptest! {
    /// Signs depend on seed and length, not on values: sums add up.
    #[test]
    fn a_projection_survives_its_encoding_and_doubles_with_its_tensor(
        values in prop::collection::vec(-1e3_f32..1e3, 1..700), dims in DIMS_MIN..=DIMS_MAX, seed: u8,
    ) {
        let one = project(&values, dims, seed);
        prop_assert_eq!(Projection::decode(dims, &one.encode()).unwrap(), one.clone());
        let doubled: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
        let two = project(&doubled, dims, seed);
        prop_assert!(one.0.iter().zip(&two.0).all(|(a, b)| a * 2.0 == *b));
        prop_assert_eq!(one.distance(&two), two.distance(&one));
    }
}
