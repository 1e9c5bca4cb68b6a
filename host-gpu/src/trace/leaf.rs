//! One node computed again by somebody trusted, and a result of somebody else held against it.

use std::collections::BTreeMap;
use std::sync::Arc;

use half::{bf16, f16};

use super::Tracer;
use super::arithmetic::{self, Node};
use super::array::Array;
use crate::backend::{StopFlag, shown};
use crate::error::NnError;
use crate::onnx::cut::attributes::{Attributes, weight};
use crate::tensor::{ElementType, TensorValue};

/// How far a node that the library computes again may be off, as a share of its largest result, for element types
/// of 24 bits of precision and more. An experience and no theorem: kernels of one operator differ by a few units in
/// the last place of an element; this is 128 units of the largest one.
pub(super) const SHARE_SINGLE: f64 = 1.0 / 131_072.0;
/// The same for half precision: four units.
pub(super) const SHARE_HALF: f64 = 1.0 / 512.0;
/// The same for `bf16`: four units.
pub(super) const SHARE_BRAIN: f64 = 1.0 / 64.0;

/// How a node was computed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Means {
    /// In double precision, with a proven bound for each element.
    Bound,
    /// By the library, with a tolerance from experience.
    Tolerance,
    /// By the library, to the last bit: its results are integers, truth values or only moved about.
    Bitwise,
}

/// Whether somebody's result of a node is one that honest arithmetic may give.
#[derive(Debug, Clone, PartialEq)]
pub enum LeafFinding {
    /// It is; and the largest distance to the result computed again, as a share of what is allowed.
    Inside {
        /// At most 1.
        share: f64,
    },
    /// It is not, and why.
    Outside {
        /// With the element, the value and the bound.
        reason: String,
    },
}

/// What one tensor should be.
#[derive(Debug, Clone)]
enum Wanted {
    Bits(Vec<u8>),
    Near { value: Vec<f64>, bound: Vec<f64> },
}

#[derive(Debug, Clone)]
struct Output {
    ty: ElementType,
    dims: Vec<u32>,
    wanted: Wanted,
}

/// What a node's results should be.
#[derive(Debug, Clone)]
pub struct Expected {
    means: Means,
    outputs: BTreeMap<String, Output>,
}

impl Tracer<'_> {
    /// Computes a node again from what it reads, by name.
    ///
    /// # Errors
    /// If an input is missing or of another type, or the node fails.
    pub fn expect(
        &self,
        node: usize,
        inputs: &[(String, Arc<TensorValue>)],
        stop: &StopFlag,
    ) -> Result<Expected, NnError> {
        let mut given = BTreeMap::new();
        for id in self.cut.reads(node, node + 1) {
            let name = self.value_name(id);
            let found = inputs.iter().find(|(given, _)| *given == name);
            let carrier = self.types.get(id).copied().flatten();
            let found = found
                .filter(|(_, value)| carrier.is_some_and(|carrier| carrier.carried == value.ty()));
            let Some((_, value)) = found else {
                return Err(self.wrong(format!("input {:?} is missing", shown(&name))));
            };
            given.insert(id, Arc::clone(value));
        }
        if let Some(expected) = self.in_doubles(node, &given) {
            return Ok(expected);
        }
        let made = self.run_node(node, &given, stop)?;
        let mut means = Means::Bitwise;
        let found = self.cut.nodes().get(node);
        let is = |list: &[&str]| found.is_some_and(|n| n.domain.is_empty() && list.contains(&n.op));
        let (moves, steps) = (is(&MOVERS), is(&STEPPERS));
        let mut outputs = BTreeMap::new();
        for (id, value) in made {
            let bytes = value.host_bytes()?;
            let share = share(value.ty()).filter(|_| !moves);
            let wanted = match share {
                None if steps => {
                    means = Means::Tolerance;
                    within_a_step(value.ty(), bytes)
                }
                None => Wanted::Bits(bytes.to_vec()),
                Some(share) => {
                    means = Means::Tolerance;
                    near(value.ty(), bytes, share)
                }
            };
            let output = Output {
                ty: value.ty(),
                dims: value.dims().to_vec(),
                wanted,
            };
            outputs.insert(self.value_name(id), output);
        }
        Ok(Expected { means, outputs })
    }

    /// The node in double precision, if it is one of those whose bounds are known and everything is `f32`.
    fn in_doubles(
        &self,
        node: usize,
        given: &BTreeMap<usize, Arc<TensorValue>>,
    ) -> Option<Expected> {
        let found = self.cut.nodes().get(node)?;
        let [output] = found.outputs.as_slice() else {
            return None;
        };
        let id = self.cut.id(output)?;
        if self.types.get(id).copied().flatten()?.own != 1 {
            return None;
        }
        let (mut inputs, mut integers) = (Vec::new(), Vec::new());
        for name in &found.inputs {
            let read = self.read(name, given)?;
            inputs.push(read.0);
            integers.push(read.1);
        }
        let computed = arithmetic::compute(&Node {
            op: found.op,
            domain: found.domain,
            opset: self.cut.opset(),
            attributes: Attributes::of(found.bytes),
            inputs,
            integers,
        })?;
        let dims: Option<Vec<u32>> = computed
            .value
            .dims
            .iter()
            .map(|dim| u32::try_from(*dim).ok())
            .collect();
        let output = Output {
            ty: ElementType::F32,
            dims: dims?,
            wanted: Wanted::Near {
                value: computed.value.data,
                bound: computed.bound,
            },
        };
        Some(Expected {
            means: Means::Bound,
            outputs: BTreeMap::from([(self.value_name(id), output)]),
        })
    }

    /// An input as doubles or as integers; nothing for one that is left out.
    #[allow(
        clippy::type_complexity,
        reason = "two readings of one input, used once"
    )]
    fn read(
        &self,
        name: &str,
        given: &BTreeMap<usize, Arc<TensorValue>>,
    ) -> Option<(Option<Array>, Option<Vec<i64>>)> {
        if name.is_empty() {
            return Some((None, None));
        }
        let (element, dims, bytes) = match self.cut.id(name) {
            Some(id) => {
                let value = given.get(&id)?;
                let dims = value.dims().iter().map(|dim| *dim as usize).collect();
                let element = self.types.get(id).copied().flatten()?.own;
                (element, dims, value.host_bytes().ok()?)
            }
            None => weight(self.cut.weight(name)?)?,
        };
        match element {
            1 => {
                let data = numbers(ElementType::F32, bytes).collect();
                Some((Some(Array::new(dims, data)?), None))
            }
            7 => {
                let (whole, _) = bytes.as_chunks::<8>();
                let data = whole.iter().map(|bytes| i64::from_le_bytes(*bytes));
                Some((None, Some(data.collect())))
            }
            _ => None,
        }
    }
}

impl Expected {
    /// How it was computed.
    pub fn means(&self) -> Means {
        self.means
    }

    /// Holds somebody's tensor against it. `dims` and `bytes` are what that somebody says.
    pub fn judge(&self, name: &str, dims: &[u32], bytes: &[u8]) -> LeafFinding {
        let outside = |reason: String| LeafFinding::Outside { reason };
        let Some(output) = self.outputs.get(name) else {
            return outside(format!("the node makes no {:?}", shown(name)));
        };
        if dims != output.dims {
            return outside(format!(
                "its dimensions are {dims:?}, computed again they are {:?}",
                output.dims
            ));
        }
        match &output.wanted {
            Wanted::Bits(wanted) => {
                if wanted == bytes {
                    return LeafFinding::Inside { share: 0.0 };
                }
                let differs = wanted.iter().zip(bytes).position(|(a, b)| a != b);
                let at = differs.unwrap_or(wanted.len().min(bytes.len()));
                outside(format!("byte {at} is not what it is computed again"))
            }
            Wanted::Near { value, bound } => {
                let size = output.ty.size_bytes();
                if bytes.len() != value.len().saturating_mul(size) {
                    return outside(format!(
                        "it has {} bytes for {} elements of {size}",
                        bytes.len(),
                        value.len()
                    ));
                }
                let largest = largest(output.ty);
                let mut worst = 0.0_f64;
                for (((found, value), bound), at) in numbers(output.ty, bytes)
                    .zip(value)
                    .zip(bound)
                    .zip(0_usize..)
                {
                    let share = distance(found, *value, *bound, largest);
                    if share.is_nan() || share > 1.0 {
                        return outside(format!(
                            "element {at} is {found:e}, computed again {value:e}, the bound is {bound:e}"
                        ));
                    }
                    worst = worst.max(share);
                }
                LeafFinding::Inside { share: worst }
            }
        }
    }

    /// For tests and measurements: the bound of an element, if there is one, and its value computed again.
    pub fn bound(&self, name: &str, element: usize) -> Option<(f64, f64)> {
        match &self.outputs.get(name)?.wanted {
            Wanted::Bits(_) => None,
            Wanted::Near { value, bound } => Some((*value.get(element)?, *bound.get(element)?)),
        }
    }
}

/// The distance of a number from what it should be, as a share of its bound; NaN or above one if it is too far.
fn distance(found: f64, value: f64, bound: f64, largest: f64) -> f64 {
    if value.is_nan() {
        return if found.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if found == value {
        return 0.0;
    }
    if found.is_infinite() {
        // It may have overflowed where doubles do not.
        let overflows = value.abs() + bound > largest && found.signum() == value.signum();
        return if overflows { 1.0 } else { f64::INFINITY };
    }
    (found - value).abs() / bound
}

fn largest(ty: ElementType) -> f64 {
    match ty {
        ElementType::F16 => 65_504.0,
        ElementType::F64 => f64::MAX,
        _ => f64::from(f32::MAX),
    }
}

/// The tolerance of an element type; `None` for integers.
fn share(ty: ElementType) -> Option<f64> {
    match ty {
        ElementType::F32 | ElementType::F64 => Some(SHARE_SINGLE),
        ElementType::F16 => Some(SHARE_HALF),
        ElementType::Bf16 => Some(SHARE_BRAIN),
        ElementType::U8 | ElementType::I32 | ElementType::I64 => None,
    }
}

/// Operators that move numbers about or convert them, which has one right result: the same bits everywhere.
const MOVERS: [&str; 25] = [
    "Cast",
    "Compress",
    "Concat",
    "ConstantOfShape",
    "DepthToSpace",
    "Expand",
    "EyeLike",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "Pad",
    "Reshape",
    "ScatterElements",
    "ScatterND",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
];

/// Operators that compute and then round to whole steps: what falls between two may be rounded to either.
const STEPPERS: [&str; 4] = [
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
];

fn within_a_step(ty: ElementType, bytes: &[u8]) -> Wanted {
    let value: Vec<f64> = numbers(ty, bytes).collect();
    let bound = vec![1.0; value.len()];
    Wanted::Near { value, bound }
}

/// What the library made, with a share of the largest finite number as the bound of each.
fn near(ty: ElementType, bytes: &[u8], share: f64) -> Wanted {
    let value: Vec<f64> = numbers(ty, bytes).collect();
    let finite = value.iter().map(|x| x.abs()).filter(|x| x.is_finite());
    let bound = share * finite.fold(0.0, f64::max) + arithmetic::TINY;
    let bound = vec![bound; value.len()];
    Wanted::Near { value, bound }
}

/// Numbers as doubles.
fn numbers(ty: ElementType, bytes: &[u8]) -> Box<dyn Iterator<Item = f64> + '_> {
    match ty {
        ElementType::F16 => {
            let whole = bytes.as_chunks::<2>().0.iter();
            Box::new(whole.map(|bytes| f16::from_le_bytes(*bytes).to_f64()))
        }
        ElementType::Bf16 => {
            let whole = bytes.as_chunks::<2>().0.iter();
            Box::new(whole.map(|bytes| bf16::from_le_bytes(*bytes).to_f64()))
        }
        ElementType::F64 => {
            let whole = bytes.as_chunks::<8>().0.iter();
            Box::new(whole.map(|bytes| f64::from_le_bytes(*bytes)))
        }
        ElementType::U8 => Box::new(bytes.iter().map(|byte| f64::from(*byte))),
        ElementType::I32 => {
            let whole = bytes.as_chunks::<4>().0.iter();
            Box::new(whole.map(|bytes| f64::from(i32::from_le_bytes(*bytes))))
        }
        ElementType::I64 => {
            let whole = bytes.as_chunks::<8>().0.iter();
            Box::new(whole.map(|bytes| i64::from_le_bytes(*bytes) as f64))
        }
        ElementType::F32 => {
            let whole = bytes.as_chunks::<4>().0.iter();
            Box::new(whole.map(|bytes| f64::from(f32::from_le_bytes(*bytes))))
        }
    }
}
