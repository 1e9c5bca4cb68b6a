//! A graph as an editor sees it: nodes in order, who makes which value, and where in the file the
//! constants lie. Of the top graph only: what is inside of `If` and `Loop` is left as it is.

use std::collections::HashMap;
use std::ops::Range;

use super::wire::{Fields, Value, numbers};
use super::{inspect, text};

/// Nodes between a consumer and the stored tensor that it reads.
const STEPS_MAX: usize = 8;

/// `TensorProto.DataType`, as far as an editor knows them.
pub(super) mod types {
    pub(in crate::onnx) const F32: u64 = 1;
    pub(in crate::onnx) const U8: u64 = 2;
    pub(in crate::onnx) const I8: u64 = 3;
    pub(in crate::onnx) const F16: u64 = 10;
    pub(in crate::onnx) const BF16: u64 = 16;
}

/// A node.
#[derive(Debug, Default)]
pub(super) struct Node<'a> {
    pub(super) op: &'a str,
    pub(super) name: &'a str,
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    /// The attribute `transB` of a `Gemm`.
    pub(super) transposed: bool,
    /// The value of a `Constant`.
    constant: Option<&'a [u8]>,
}

impl<'a> Node<'a> {
    /// An input by position; empty ones are left out by the author.
    pub(super) fn input(&self, at: usize) -> Option<&'a str> {
        self.inputs.get(at).copied().filter(|name| !name.is_empty())
    }
}

/// A tensor that the file holds.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) dims: Vec<usize>,
    pub(super) ty: u64,
    /// Where its elements lie as plain little-endian numbers, if they do.
    pub(super) place: Option<Range<usize>>,
}

impl Stored {
    pub(super) fn elements(&self) -> usize {
        self.dims.iter().copied().fold(1, usize::saturating_mul)
    }
}

/// A stored tensor behind what a node reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'n, 'a> {
    pub(super) name: &'a str,
    pub(super) stored: &'n Stored,
    /// Whether a transposition lies between.
    pub(super) transposed: bool,
    /// The zero point that is subtracted on the way.
    pub(super) zero_point: Option<&'a str>,
}

/// A dimension as a model declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclaredDim {
    /// This size.
    Fixed(u32),
    /// Any, and equal wherever the name is.
    Named(String),
    /// Any.
    Free,
}

/// What a model says of an input, beyond what the library repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredInput {
    /// Its name.
    pub name: String,
    /// Its dimensions.
    pub dims: Vec<DeclaredDim>,
    /// Rows of the table that its numbers pick from, if they do.
    pub below: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Network<'a> {
    model: &'a [u8],
    pub(super) nodes: Vec<Node<'a>>,
    stored: HashMap<&'a str, Stored>,
    makers: HashMap<&'a str, usize>,
    users: HashMap<&'a str, Vec<usize>>,
    inputs: Vec<&'a [u8]>,
}

impl<'a> Network<'a> {
    /// Reads a model, which is inspected first.
    pub(super) fn read(model: &'a [u8]) -> Result<Self, String> {
        inspect(model)?;
        let mut network = Self {
            model,
            nodes: Vec::new(),
            stored: HashMap::new(),
            makers: HashMap::new(),
            users: HashMap::new(),
            inputs: Vec::new(),
        };
        for field in Fields::of(model) {
            if let (7, Value::Bytes(graph)) = field? {
                network.graph(graph)?;
            }
        }
        Ok(network)
    }

    fn graph(&mut self, graph: &'a [u8]) -> Result<(), String> {
        for field in Fields::of(graph) {
            match field? {
                (1, Value::Bytes(bytes)) => self.node(bytes)?,
                (5, Value::Bytes(tensor)) => {
                    let (name, stored) = self.tensor(tensor)?;
                    self.stored.insert(name, stored);
                }
                (11, Value::Bytes(port)) => self.inputs.push(port),
                _ => {}
            }
        }
        Ok(())
    }

    fn node(&mut self, bytes: &'a [u8]) -> Result<(), String> {
        let mut node = Node::default();
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(name)) => node.inputs.push(text(name)?),
                (2, Value::Bytes(name)) => node.outputs.push(text(name)?),
                (3, Value::Bytes(name)) => node.name = text(name)?,
                (4, Value::Bytes(op)) => node.op = text(op)?,
                (5, Value::Bytes(attribute)) => attribute_of(&mut node, attribute)?,
                _ => {}
            }
        }
        let at = self.nodes.len();
        if let (Some(tensor), [output]) = (node.constant, node.outputs.as_slice()) {
            let (_, stored) = self.tensor(tensor)?;
            self.stored.insert(output, stored);
        }
        for output in node.outputs.iter().filter(|name| !name.is_empty()) {
            self.makers.insert(output, at);
        }
        for input in node.inputs.iter().filter(|name| !name.is_empty()) {
            self.users.entry(input).or_default().push(at);
        }
        self.nodes.push(node);
        Ok(())
    }

    fn tensor(&self, bytes: &'a [u8]) -> Result<(&'a str, Stored), String> {
        let (mut name, mut dims, mut ty) = ("", Vec::new(), 0);
        let (mut raw, mut floats, mut pieces) = (None, None, 0);
        for field in Fields::of(bytes) {
            match field? {
                (1, value) => numbers(value, |dim| {
                    dims.push(usize::try_from(dim).unwrap_or(usize::MAX));
                })?,
                (2, Value::Number(number)) => ty = number,
                (4, Value::Bytes(packed)) => (floats, pieces) = (Some(packed), pieces + 1),
                (4, _) => pieces += 2,
                (8, Value::Bytes(bytes)) => name = text(bytes)?,
                (9, Value::Bytes(bytes)) => raw = Some(bytes),
                _ => {}
            }
        }
        // Floats in one packed field lie there as they would in raw data.
        let floats = floats.filter(|_| pieces == 1 && ty == types::F32);
        let place = raw.or(floats).and_then(|part| self.place(part));
        Ok((name, Stored { dims, ty, place }))
    }

    /// Where a part of the model lies in it.
    fn place(&self, part: &[u8]) -> Option<Range<usize>> {
        let start = part
            .as_ptr()
            .addr()
            .checked_sub(self.model.as_ptr().addr())?;
        let range = start..start.checked_add(part.len())?;
        self.model.get(range.clone()).map(|_| range)
    }

    /// The stored tensors, by name.
    pub(super) fn stored(&self) -> impl Iterator<Item = (&'a str, &Stored)> {
        self.stored.iter().map(|(name, stored)| (*name, stored))
    }

    /// The stored tensor of this very name.
    pub(super) fn constant(&self, name: &str) -> Option<&Stored> {
        self.stored.get(name)
    }

    /// The bytes of a stored tensor's elements.
    pub(super) fn bytes(&self, stored: &Stored) -> Option<&'a [u8]> {
        self.model.get(stored.place.clone()?)
    }

    /// The nodes that read a value.
    pub(super) fn users(&self, name: &str) -> impl Iterator<Item = &Node<'a>> {
        let users = self.users.get(name).into_iter().flatten();
        users.filter_map(|at| self.nodes.get(*at))
    }

    /// The stored tensor that a value is, or is made of by no more than a change of type, layout or scale.
    pub(super) fn behind(&self, name: &'a str) -> Option<Found<'_, 'a>> {
        self.behind_within(name, STEPS_MAX)
    }

    fn behind_within(&self, name: &'a str, steps: usize) -> Option<Found<'_, 'a>> {
        if let Some(stored) = self.stored.get(name) {
            return Some(Found {
                name,
                stored,
                transposed: false,
                zero_point: None,
            });
        }
        let steps = steps.checked_sub(1)?;
        let node = self.nodes.get(*self.makers.get(name)?)?;
        let first = node.input(0)?;
        match node.op {
            "Cast" | "Identity" => self.behind_within(first, steps),
            "Transpose" => self
                .behind_within(first, steps)
                .filter(|found| found.stored.dims.len() == 2)
                .map(|found| Found {
                    transposed: !found.transposed,
                    ..found
                }),
            "DequantizeLinear" => self.behind_within(first, steps).map(|found| Found {
                zero_point: node.input(2).or(found.zero_point),
                ..found
            }),
            // Scaled by a constant.
            "Mul" => {
                let second = node.input(1)?;
                let both = [first, second].map(|name| self.behind_within(name, steps));
                let [Some(one), Some(other)] = both else {
                    return None;
                };
                let larger = one.stored.elements() >= other.stored.elements();
                Some(if larger { one } else { other })
            }
            _ => None,
        }
    }

    /// What the model says of its inputs.
    pub(super) fn declared(&self) -> Result<Vec<DeclaredInput>, String> {
        let mut declared = Vec::new();
        for port in &self.inputs {
            let (mut name, mut dims) = ("", Vec::new());
            for field in Fields::of(port) {
                match field? {
                    (1, Value::Bytes(bytes)) => name = text(bytes)?,
                    (2, Value::Bytes(ty)) => dims = declared_dims(ty)?,
                    _ => {}
                }
            }
            // Older models list their weights as inputs, too.
            if !self.stored.contains_key(name) {
                let below = self.picks_from(name);
                let name = name.to_owned();
                declared.push(DeclaredInput { name, dims, below });
            }
        }
        Ok(declared)
    }

    /// Rows of the smallest table that a `Gather` picks from by the numbers of this input.
    fn picks_from(&self, name: &str) -> Option<u64> {
        let gathers = self
            .users(name)
            .filter(|node| node.op == "Gather" && node.input(1) == Some(name));
        let rows = gathers.filter_map(|node| {
            let table = self.behind(node.input(0)?)?;
            table.stored.dims.first().map(|rows| *rows as u64)
        });
        rows.min()
    }
}

fn attribute_of<'a>(node: &mut Node<'a>, attribute: &'a [u8]) -> Result<(), String> {
    let (mut name, mut number, mut tensor) = ("", 0, None);
    for field in Fields::of(attribute) {
        match field? {
            (1, Value::Bytes(bytes)) => name = text(bytes)?,
            (3, Value::Number(value)) => number = value,
            (5, Value::Bytes(bytes)) => tensor = Some(bytes),
            _ => {}
        }
    }
    match name {
        "transB" => node.transposed = number != 0,
        "value" if node.op == "Constant" || node.op.is_empty() => node.constant = tensor,
        _ => {}
    }
    Ok(())
}

/// `TypeProto` → `Tensor` → `TensorShapeProto` → `Dimension`.
fn declared_dims(ty: &[u8]) -> Result<Vec<DeclaredDim>, String> {
    let mut dims = Vec::new();
    for shape in inner(ty, &[1, 2])? {
        for dim in inner(shape, &[1])? {
            let mut declared = DeclaredDim::Free;
            for field in Fields::of(dim) {
                match field? {
                    (1, Value::Number(size)) => {
                        let size = u32::try_from(size).map_err(|_| "a dimension is too large")?;
                        declared = DeclaredDim::Fixed(size);
                    }
                    (2, Value::Bytes(name)) if !name.is_empty() => {
                        declared = DeclaredDim::Named(text(name)?.to_owned());
                    }
                    _ => {}
                }
            }
            dims.push(declared);
        }
    }
    Ok(dims)
}

/// The messages at the end of a way of field numbers.
fn inner<'a>(message: &'a [u8], way: &[u64]) -> Result<Vec<&'a [u8]>, String> {
    let mut level = vec![message];
    for number in way {
        let mut next = Vec::new();
        for message in level {
            for field in Fields::of(message) {
                if let (found, Value::Bytes(bytes)) = field?
                    && found == *number
                {
                    next.push(bytes);
                }
            }
        }
        level = next;
    }
    Ok(level)
}
