//! Which operators the referee computes itself, in double precision, and how far single precision may be from that.
//!
//! With `u = 2^-24`, the unit roundoff of single precision, and `gamma(k) = k u / (1 - k u)`, every way to add up `k`
//! products in single precision, in whatever order, fused or not, gives a result within `gamma(k) |a|.|b|` of the
//! exact one (N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., SIAM 2002, section 3.1 and
//! (3.13) for matrices). One correctly rounded operation is off by at most `gamma(1)` of its result. What the double
//! precision of the reference is off itself is the same with `2^-53`, and added. A result may fall below the least
//! normal number, where some kernels round to zero: each operation may lose [`TINY`] besides.

use super::array::{Array, Bounded, places, stretched};
use super::{normal, product};
use crate::onnx::cut::attributes::Attributes;

/// The unit roundoff of single precision.
pub(super) const UNIT: f64 = 1.0 / 16_777_216.0;
/// The unit roundoff of double precision, in which the reference is computed.
const UNIT_DOUBLE: f64 = f64::EPSILON / 2.0;
/// The least normal number of single precision: what one operation loses at most where it rounds to zero.
pub(super) const TINY: f64 = f32::MIN_POSITIVE as f64;

/// How far `k` operations may be off, as a share of the sum of magnitudes; infinite where the bound says nothing.
pub(super) fn gamma(k: f64) -> f64 {
    let single = k * UNIT;
    let double = k * UNIT_DOUBLE;
    if single >= 1.0 {
        return f64::INFINITY;
    }
    single / (1.0 - single) + double / (1.0 - double)
}

/// A node to be computed: its operator, what it is told, what it reads (in order; `None` where left out).
pub(super) struct Node<'a> {
    pub(super) op: &'a str,
    pub(super) domain: &'a str,
    pub(super) opset: u64,
    pub(super) attributes: Attributes<'a>,
    pub(super) inputs: Vec<Option<Array>>,
    /// Of inputs that are integers: axes, say.
    pub(super) integers: Vec<Option<Vec<i64>>>,
}

impl Node<'_> {
    pub(super) fn input(&self, at: usize) -> Option<&Array> {
        self.inputs.get(at)?.as_ref()
    }
}

/// The first output of a node and its bounds; `None` for what is not known here.
pub(super) fn compute(node: &Node<'_>) -> Option<Bounded> {
    if !node.domain.is_empty() {
        return None;
    }
    match node.op {
        "Add" => pairwise(node, |a, b| a + b),
        "Sub" => pairwise(node, |a, b| a - b),
        "Mul" => pairwise(node, |a, b| a * b),
        "Div" => pairwise(node, |a, b| a / b),
        "Sqrt" => alone(node, f64::sqrt, gamma(1.0)),
        "Relu" => alone(node, |x| if x < 0.0 { 0.0 } else { x }, 0.0),
        "Neg" => alone(node, |x| -x, 0.0),
        "MatMul" => product::matmul(node),
        "Gemm" => product::gemm(node),
        "Conv" => product::conv(node),
        "Softmax" => normal::softmax(node),
        "LayerNormalization" => normal::layer(node),
        "ReduceMean" => normal::mean(node),
        _ => None,
    }
}

/// Operators of two arrays, each result rounded once.
fn pairwise(node: &Node<'_>, each: impl Fn(f64, f64) -> f64) -> Option<Bounded> {
    let (a, b) = (node.input(0)?, node.input(1)?);
    let shape = stretched(&a.dims, &b.dims)?;
    let (left, right) = (places(&a.dims, &shape)?, places(&b.dims, &shape)?);
    let pairs = left.iter().zip(&right);
    let data: Vec<f64> = pairs.map(|(x, y)| each(a.at(*x), b.at(*y))).collect();
    let bound = data
        .iter()
        .map(|value| gamma(1.0) * value.abs() + TINY)
        .collect();
    Some(Bounded {
        value: Array::new(shape, data)?,
        bound,
    })
}

fn alone(node: &Node<'_>, each: impl Fn(f64) -> f64, share: f64) -> Option<Bounded> {
    let value = node.input(0)?.map(each);
    let tiny = if share > 0.0 { TINY } else { 0.0 };
    let bound = value.data.iter().map(|y| share * y.abs() + tiny).collect();
    Some(Bounded { value, bound })
}
