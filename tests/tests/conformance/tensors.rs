//! Lists of tensors as `tests/guests/tensors` writes them, and when two of them are the same answer.

use half::{bf16, f16};

/// Element types in the order of their numbers, with the bytes of an element.
const TYPES: [(&str, usize); 7] = [
    ("f16", 2),
    ("f32", 4),
    ("f64", 8),
    ("bf16", 2),
    ("u8", 1),
    ("i32", 4),
    ("i64", 8),
];

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) ty: usize,
    pub(crate) dims: Vec<u32>,
    pub(crate) data: Vec<u8>,
}

/// The tensors of a list; panics if it is none.
pub(crate) fn decode(mut bytes: &[u8]) -> Vec<Tensor> {
    let mut take = |count: usize| {
        let (head, rest) = bytes.split_at(count);
        bytes = rest;
        head
    };
    let number = |bytes: &[u8]| {
        let wide = bytes
            .iter()
            .rev()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        usize::try_from(wide).unwrap()
    };
    let count = number(take(4));
    let mut tensors = Vec::new();
    for _ in 0..count {
        let length = number(take(2));
        let name = String::from_utf8(take(length).to_vec()).unwrap();
        let (ty, rank) = (number(take(1)), number(take(1)));
        let dims = (0..rank).map(|_| u32::try_from(number(take(4))).unwrap());
        let dims = dims.collect();
        let length = number(take(4));
        let data = take(length).to_vec();
        tensors.push(Tensor {
            name,
            ty,
            dims,
            data,
        });
    }
    tensors
}

/// What is wrong with an answer, if anything is: the suite's own comparison, except that dimensions
/// must be equal too.
pub(crate) fn difference(
    found: &[Tensor],
    wanted: &[Tensor],
    rtol: f64,
    atol: f64,
) -> Option<String> {
    // A case may expect only the first of a graph's outputs.
    if found.len() < wanted.len() {
        return Some(format!("{} outputs for {}", found.len(), wanted.len()));
    }
    let mut pairs = found.iter().zip(wanted);
    pairs.find_map(|(found, wanted)| one(found, wanted, rtol, atol))
}

fn one(found: &Tensor, wanted: &Tensor, rtol: f64, atol: f64) -> Option<String> {
    let named = |tensor: &Tensor| (tensor.name.clone(), TYPES[tensor.ty].0, tensor.dims.clone());
    if named(found) != named(wanted) {
        return Some(format!("{:?} for {:?}", named(found), named(wanted)));
    }
    let (found, wanted) = (numbers(found), numbers(wanted));
    if found.len() != wanted.len() {
        return Some(format!("{} elements for {}", found.len(), wanted.len()));
    }
    let mut pairs = found.iter().zip(&wanted).enumerate();
    pairs.find_map(|(at, (found, wanted))| {
        let equal = found == wanted || found.is_nan() && wanted.is_nan();
        let near = (found - wanted).abs() <= atol + rtol * wanted.abs() && wanted.is_finite();
        (!equal && !near).then(|| format!("element {at} is {found} instead of {wanted}"))
    })
}

/// The elements; what a f64 cannot hold of an i64 is far below the tolerance.
fn numbers(tensor: &Tensor) -> Vec<f64> {
    let elements = tensor.data.chunks_exact(TYPES[tensor.ty].1);
    let number = |bytes: &[u8]| match tensor.ty {
        0 => f16::from_le_bytes(bytes.try_into().unwrap()).to_f64(),
        1 => f64::from(f32::from_le_bytes(bytes.try_into().unwrap())),
        2 => f64::from_le_bytes(bytes.try_into().unwrap()),
        3 => bf16::from_le_bytes(bytes.try_into().unwrap()).to_f64(),
        4 => f64::from(bytes[0]),
        5 => f64::from(i32::from_le_bytes(bytes.try_into().unwrap())),
        _ => i64::from_le_bytes(bytes.try_into().unwrap()) as f64,
    };
    elements.map(number).collect()
}

#[test]
fn an_answer_is_right_within_the_tolerance_only() {
    let tensor = |values: &[f32], dims: &[u32]| Tensor {
        name: "y".to_owned(),
        ty: 1,
        dims: dims.to_vec(),
        data: values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
    };
    let wanted = tensor(&[1.0, f32::NAN, f32::INFINITY], &[3]);
    let mut other_type = wanted.clone();
    other_type.ty = 5;
    for (found, right) in [
        (wanted.clone(), true),
        (tensor(&[1.0005, f32::NAN, f32::INFINITY], &[3]), true),
        (tensor(&[1.002, f32::NAN, f32::INFINITY], &[3]), false),
        (tensor(&[1.0, 0.0, f32::INFINITY], &[3]), false),
        (tensor(&[1.0, f32::NAN, f32::NEG_INFINITY], &[3]), false),
        (tensor(&[1.0, f32::NAN, f32::MAX], &[3]), false),
        (tensor(&[1.0, f32::NAN, f32::INFINITY], &[1, 3]), false),
        (tensor(&[1.0, f32::NAN], &[2]), false),
        (other_type, false),
    ] {
        let difference = difference(&[found], std::slice::from_ref(&wanted), 1e-3, 1e-7);
        assert_eq!(difference.is_none(), right, "{difference:?}");
    }
    assert!(difference(&[], &[wanted], 1e-3, 1e-7).is_some());
}
