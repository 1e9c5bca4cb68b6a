//! A look at an ONNX file before ONNX Runtime sees it.
//!
//! A model comes from a stranger, and ONNX Runtime trusts what it loads in places: files and memory
//! that a tensor names, functions that call one another, tensors whose declared size is not that of
//! their bytes. What no honest export needs is refused here, by name; what remains (a loop without
//! end, a constant that folds into gigabytes) is stopped by the limits on time and memory.
//!
//! The numbers of the fields are those of `onnx.proto3`, IR version 10.

pub(crate) mod cut;
pub(crate) mod edit;
mod network;
mod wire;
pub(crate) mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use wire::{Fields, Value, numbers};

pub use network::{DeclaredDim, DeclaredInput};

use crate::backend::shown;
use crate::tensor::ElementType;

/// Nodes of a model, those of its sub-graphs included.
const NODES_MAX: usize = 200_000;
/// Tensors in a model: initialisers and attributes.
const TENSORS_MAX: usize = 100_000;
/// Graphs within graphs (the bodies of `If`, `Loop` and `Scan`).
const SUBGRAPHS_MAX: usize = 4_096;
/// Levels of graphs within graphs.
const DEPTH_MAX: usize = 8;
/// The largest dimension that an input or output may declare.
const DIM_MAX: i64 = u32::MAX as i64;
/// The most dimensions of a tensor.
const RANK_MAX: usize = 16;

/// Whose operators a model may use. All of them are compiled into the library.
const DOMAINS: [&str; 5] = [
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "com.microsoft",
    "com.microsoft.nchwc",
];

/// Operators of these domains that reach out of the graph: to files, to an interpreter, to a network.
const FORBIDDEN: [&str; 6] = [
    "ATen",
    "EPContext",
    "ExternalFunctionOp",
    "PythonOp",
    "PythonOpGrad",
    "RemoteCall",
];

/// By these bytes, from the fourth on, ONNX Runtime tells models in a format of its own from ONNX: bytes that are
/// both would be one model here and another there.
const OTHER_FORMAT: &[u8] = b"ORTM";

/// The number of a type in `TensorProto.DataType`.
pub(crate) const fn data_type(ty: ElementType) -> u32 {
    match ty {
        ElementType::F32 => 1,
        ElementType::U8 => 2,
        ElementType::I32 => 6,
        ElementType::I64 => 7,
        ElementType::F16 => 10,
        ElementType::F64 => 11,
        ElementType::Bf16 => 16,
    }
}

/// What a model holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Nodes, those of sub-graphs included.
    pub nodes: usize,
    /// Initialisers and tensors in attributes.
    pub tensors: usize,
    /// Graphs within graphs.
    pub subgraphs: usize,
}

/// Reads a model from end to end, and says what is in it or why it is refused.
///
/// # Errors
/// What is wrong with the model, or which bound it breaks.
pub fn inspect(model: &[u8]) -> Result<Census, String> {
    if model.get(4..8) == Some(OTHER_FORMAT) {
        return Err(
            "it is in a format of its own of ONNX Runtime's: give the ONNX file".to_owned(),
        );
    }
    let mut census = Census::default();
    let mut graph = None;
    for field in Fields::of(model) {
        match field? {
            (7, Value::Bytes(bytes)) => once(&mut graph, bytes, "graph")?,
            (20, _) => return Err("it carries training information".to_owned()),
            // Inlined by the library: a few that call one another many times each are a bomb.
            (25, _) => return Err("it defines functions: export it with them inlined".to_owned()),
            _ => {}
        }
    }
    let graph = graph.ok_or("it holds no graph")?;
    census.graph(graph, 0)?;
    Ok(census)
}

/// Keeps the one value of a field. Protobuf merges a second one into it, and then what was checked is
/// not what is loaded.
fn once<'a>(place: &mut Option<&'a [u8]>, bytes: &'a [u8], what: &str) -> Result<(), String> {
    match place.replace(bytes) {
        None => Ok(()),
        Some(_) => Err(format!("a {what} is given twice")),
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "a name is not UTF-8".to_owned())
}

fn domain(name: &[u8]) -> Result<(), String> {
    let name = text(name)?;
    if DOMAINS.contains(&name) {
        return Ok(());
    }
    Err(format!(
        "it uses operators of {:?}; allowed are those of {DOMAINS:?}",
        shown(name)
    ))
}

fn count(counter: &mut usize, bound: usize, what: &str) -> Result<(), String> {
    *counter = counter.saturating_add(1);
    if *counter > bound {
        return Err(format!("it has more than {bound} {what}"));
    }
    Ok(())
}

impl Census {
    fn graph(&mut self, bytes: &[u8], depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("its graphs are nested more than {DEPTH_MAX} deep"));
        }
        let mut names = BTreeSet::new();
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(node)) => self.node(node, depth)?,
                (5, Value::Bytes(initialiser)) => {
                    let name = self.tensor(initialiser)?;
                    if !names.insert(name) {
                        return Err(format!(
                            "two initialisers are named {:?}",
                            shown(text(name)?)
                        ));
                    }
                }
                (11 | 12, Value::Bytes(port)) => declared(port)?,
                // Made dense by the library, whatever size that is.
                (15, _) => return Err("it has sparse initialisers".to_owned()),
                _ => {}
            }
        }
        Ok(())
    }

    fn subgraph(&mut self, bytes: &[u8], depth: usize) -> Result<(), String> {
        count(&mut self.subgraphs, SUBGRAPHS_MAX, "sub-graphs")?;
        self.graph(bytes, depth + 1)
    }

    fn node(&mut self, bytes: &[u8], depth: usize) -> Result<(), String> {
        count(&mut self.nodes, NODES_MAX, "nodes")?;
        for field in Fields::of(bytes) {
            match field? {
                (4, Value::Bytes(op)) => {
                    let op = text(op)?;
                    if FORBIDDEN.contains(&op) {
                        return Err(format!(
                            "it uses the operator {op}, which reaches out of the graph"
                        ));
                    }
                }
                (5, Value::Bytes(attribute)) => self.attribute(attribute, depth)?,
                (7, Value::Bytes(name)) => domain(name)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn attribute(&mut self, bytes: &[u8], depth: usize) -> Result<(), String> {
        let (mut tensor, mut graph) = (None, None);
        for field in Fields::of(bytes) {
            match field? {
                (5, Value::Bytes(one)) => once(&mut tensor, one, "tensor of an attribute")?,
                (6, Value::Bytes(one)) => once(&mut graph, one, "graph of an attribute")?,
                (10, Value::Bytes(one)) => {
                    self.tensor(one)?;
                }
                (11, Value::Bytes(one)) => self.subgraph(one, depth)?,
                (22 | 23, _) => return Err("an attribute is a sparse tensor".to_owned()),
                _ => {}
            }
        }
        if let Some(tensor) = tensor {
            self.tensor(tensor)?;
        }
        graph.map_or(Ok(()), |graph| self.subgraph(graph, depth))
    }

    /// Checks that a tensor's bytes are in it and are as many as its dimensions say; its name.
    fn tensor<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        count(&mut self.tensors, TENSORS_MAX, "tensors")?;
        let mut tensor = Tensor::default();
        for field in Fields::of(bytes) {
            let (number, value) = field?;
            tensor.field(number, value)?;
        }
        tensor.check()?;
        Ok(tensor.name)
    }
}

/// A tensor as its fields describe it.
#[derive(Debug, Default)]
struct Tensor<'a> {
    name: &'a [u8],
    dims: Vec<i64>,
    ty: u64,
    raw: Option<&'a [u8]>,
    /// Elements in the typed fields, by the number of the field.
    typed: Vec<(u64, u64)>,
}

impl<'a> Tensor<'a> {
    fn field(&mut self, number: u64, value: Value<'a>) -> Result<(), String> {
        match (number, value) {
            (1, value) => {
                let dims = &mut self.dims;
                numbers(value, |dim| {
                    // One more than allowed is enough to refuse them.
                    if dims.len() <= RANK_MAX {
                        dims.push(dim.cast_signed());
                    }
                })?;
            }
            (2, Value::Number(ty)) => self.ty = ty,
            (3, _) => return Err("a tensor comes in segments".to_owned()),
            (4 | 10, Value::Four | Value::Eight) => self.add(number, 1),
            (4, Value::Bytes(packed)) => self.add(number, packed.len() as u64 / 4),
            (10, Value::Bytes(packed)) => self.add(number, packed.len() as u64 / 8),
            (5 | 7 | 11, value) => {
                let mut found = 0;
                numbers(value, |_| found += 1)?;
                self.add(number, found);
            }
            (6, Value::Bytes(_)) => self.add(number, 1),
            (8, Value::Bytes(name)) => self.name = name,
            (9, Value::Bytes(raw)) => once(&mut self.raw, raw, "tensor's content")?,
            (13, _) => return Err(self.outside()),
            (14, Value::Number(location)) if location != 0 => return Err(self.outside()),
            _ => {}
        }
        Ok(())
    }

    fn outside(&self) -> String {
        let name = String::from_utf8_lossy(self.name);
        format!(
            "tensor {:?} is not in the file: a model names no other files and no memory",
            shown(&name)
        )
    }

    fn add(&mut self, field: u64, elements: u64) {
        match self.typed.iter_mut().find(|(number, _)| *number == field) {
            Some((_, sum)) => *sum = sum.saturating_add(elements),
            None => self.typed.push((field, elements)),
        }
    }

    fn check(&self) -> Result<(), String> {
        let name = String::from_utf8_lossy(self.name);
        let name = shown(&name);
        if self.dims.len() > RANK_MAX {
            return Err(format!(
                "tensor {name:?} has more than {RANK_MAX} dimensions"
            ));
        }
        let elements = self.dims.iter().try_fold(1u64, |product, dim| {
            product.checked_mul(u64::try_from(*dim).ok()?)
        });
        let elements = elements.ok_or_else(|| {
            format!(
                "tensor {name:?} has dimensions {:?}, which is no size",
                self.dims
            )
        })?;
        let layout = Layout::of(self.ty)
            .ok_or_else(|| format!("tensor {name:?} has the unknown type {}", self.ty))?;
        let (found, expected) = match (self.raw, self.typed.as_slice()) {
            (Some(raw), []) => (raw.len() as u64, layout.bytes(elements)),
            (None, []) => (0, layout.bytes(elements)),
            (None, [(field, found)]) if *field == layout.field => {
                (*found, layout.entries(elements))
            }
            _ => {
                return Err(format!(
                    "tensor {name:?} has its content in the wrong place"
                ));
            }
        };
        if Some(found) == expected {
            return Ok(());
        }
        Err(format!(
            "tensor {name:?} declares dimensions {:?} and holds something of another size",
            self.dims
        ))
    }
}

/// How the elements of a type are written.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// Bits of an element in `raw_data`; 0 if it cannot be there.
    bits: u64,
    /// The typed field.
    field: u64,
    /// Entries of the typed field for so many elements.
    per: (u64, u64),
}

impl Layout {
    const fn of(ty: u64) -> Option<Self> {
        let (bits, field, per) = match ty {
            1 => (32, 4, (1, 1)),
            // uint8, int8, bool and the eight-bit floats.
            2 | 3 | 9 | 17 | 18 | 19 | 20 | 24 => (8, 5, (1, 1)),
            // uint16, int16, float16, bfloat16.
            4 | 5 | 10 | 16 => (16, 5, (1, 1)),
            6 => (32, 5, (1, 1)),
            7 => (64, 7, (1, 1)),
            8 => (0, 6, (1, 1)),
            11 => (64, 10, (1, 1)),
            12 => (32, 11, (1, 1)),
            13 => (64, 11, (1, 1)),
            14 => (64, 4, (2, 1)),
            15 => (128, 10, (2, 1)),
            // The four-bit types, two in a byte.
            21..=23 => (4, 5, (1, 2)),
            _ => return None,
        };
        Some(Self { bits, field, per })
    }

    /// Bytes of so many elements in `raw_data`.
    fn bytes(self, elements: u64) -> Option<u64> {
        if self.bits == 0 {
            return (elements == 0).then_some(0);
        }
        Some(elements.checked_mul(self.bits)?.div_ceil(8))
    }

    /// Entries of so many elements in the typed field.
    fn entries(self, elements: u64) -> Option<u64> {
        Some(elements.checked_mul(self.per.0)?.div_ceil(self.per.1))
    }
}

/// Checks what an input or output declares of its size: `ValueInfoProto` → `TypeProto` → `Tensor` →
/// `TensorShapeProto` → `Dimension`.
fn declared(port: &[u8]) -> Result<(), String> {
    const WAY: [u64; 4] = [2, 1, 2, 1];
    fn walk(bytes: &[u8], way: &[u64]) -> Result<(), String> {
        for field in Fields::of(bytes) {
            match (field?, way) {
                ((number, Value::Bytes(inner)), [next, rest @ ..]) if number == *next => {
                    walk(inner, rest)?;
                }
                ((1, Value::Number(dim)), []) => {
                    let dim = dim.cast_signed();
                    if !(0..=DIM_MAX).contains(&dim) {
                        return Err(format!(
                            "an input or output declares a dimension of {dim}, the bound is {DIM_MAX}"
                        ));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
    walk(port, &WAY)
}
