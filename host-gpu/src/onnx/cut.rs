//! A model cut between its nodes.
//!
//! Nodes of the main graph stand in one canonical order: as in the file, but each behind those whose results it reads.
//! *Position* `p` is the place before node `p`; the last one is behind all nodes. The *frontier* at a position is every
//! value that was made before it and is read at or behind it or is an output of the model. Weights and constants are
//! in no frontier: they belong to the model. A node with graphs of its own (`If`, `Loop`, `Scan`) is one node, and
//! reads what its graphs read.
//!
//! A [`part`] is a model of its own: the nodes between two positions, the weights they use, what they read as typed
//! inputs, what they make as outputs.

pub(crate) mod attributes;
mod part;
mod scope;
#[cfg(test)]
mod tests;

pub(crate) use part::{Carrier, Part, Typed};

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::wire::{Fields, Value};
use super::{inspect, text};
use crate::backend::shown;

/// The most nodes of a model that is cut, constants left out.
pub(crate) const CUT_NODES_MAX: usize = 16_384;
/// The largest model that is cut, in bytes.
const CUT_BYTES_MAX: usize = 2 << 30;
/// The most values that cross one position.
pub(crate) const FRONTIER_MAX: usize = 1_024;
/// The longest name of a value, in bytes.
const NAME_BYTES_MAX: usize = 512;
/// The most values at all positions together: what a trace has to name.
const CROSSINGS_MAX: usize = 8 << 20;

/// Operators that draw numbers: two executions differ, and nobody lied.
const RANDOM: [&str; 6] = [
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
];

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning<'m> {
    /// An initialiser: its `TensorProto`.
    Initialiser(&'m [u8]),
    /// A `Constant` node: its `NodeProto`.
    Constant(&'m [u8]),
    /// A value, by its number.
    Value(usize),
}

/// A value that some position may be crossed by.
#[derive(Debug, Clone)]
pub(crate) struct CutValue<'m> {
    pub(crate) name: &'m str,
    /// What the model declares of it, if it is an input: a `ValueInfoProto`.
    declared: Option<&'m [u8]>,
    /// The first position behind what makes it; 0 for an input.
    pub(crate) born: usize,
    /// The last position that it crosses; `None` if nobody wants it.
    pub(crate) last: Option<usize>,
}

impl CutValue<'_> {
    fn crosses(&self, position: usize) -> bool {
        self.born <= position && self.last.is_some_and(|last| position <= last)
    }
}

/// A node of the main graph.
#[derive(Debug, Clone)]
pub(crate) struct CutNode<'m> {
    /// Its `NodeProto`.
    pub(crate) bytes: &'m [u8],
    pub(crate) op: &'m str,
    pub(crate) domain: &'m str,
    /// Its own inputs by name, in order; an empty name is one that is left out.
    pub(crate) inputs: Vec<&'m str>,
    /// Its outputs by name, in order.
    pub(crate) outputs: Vec<&'m str>,
    /// Names that its graphs take from the main graph.
    captured: Vec<&'m str>,
}

impl<'m> CutNode<'m> {
    fn read(bytes: &'m [u8]) -> Result<Self, String> {
        let mut node = Self {
            bytes,
            op: "",
            domain: "",
            inputs: Vec::new(),
            outputs: Vec::new(),
            captured: Vec::new(),
        };
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(name)) => node.inputs.push(text(name)?),
                (2, Value::Bytes(name)) => node.outputs.push(text(name)?),
                (4, Value::Bytes(op)) => node.op = text(op)?,
                (7, Value::Bytes(domain)) => node.domain = text(domain)?,
                _ => {}
            }
        }
        if node.domain == "ai.onnx" {
            node.domain = "";
        }
        node.captured = scope::captured(bytes)?;
        scope::operators(bytes, &mut |op| match RANDOM.contains(&op) {
            true => Err(format!("it draws random numbers with {op}")),
            false => Ok(()),
        })?;
        Ok(node)
    }

    fn is_constant(&self) -> bool {
        self.op == "Constant" && self.domain.is_empty() && self.inputs.is_empty()
    }

    /// Every name that it takes from the main graph.
    fn reads(&self) -> impl Iterator<Item = &'m str> + '_ {
        let own = self.inputs.iter().chain(&self.captured);
        own.copied().filter(|name| !name.is_empty())
    }
}

/// A model, its nodes in canonical order, and what crosses each position.
#[derive(Debug, Clone)]
pub(crate) struct Cut<'m> {
    ir: i64,
    opsets: Vec<&'m [u8]>,
    /// The version of the standard operators.
    opset: u64,
    nodes: Vec<CutNode<'m>>,
    values: Vec<CutValue<'m>>,
    meanings: BTreeMap<&'m str, Meaning<'m>>,
}

/// The graph's parts, as they stand in the file.
#[derive(Debug, Default)]
struct Parts<'m> {
    nodes: Vec<CutNode<'m>>,
    initialisers: Vec<&'m [u8]>,
    inputs: Vec<&'m [u8]>,
    outputs: Vec<&'m [u8]>,
}

impl<'m> Cut<'m> {
    /// Reads a model.
    ///
    /// # Errors
    /// Why it cannot be cut.
    pub(crate) fn of(model: &'m [u8]) -> Result<Self, String> {
        if model.len() > CUT_BYTES_MAX {
            let bytes = model.len();
            return Err(format!(
                "it has {bytes} bytes, the bound is {CUT_BYTES_MAX}"
            ));
        }
        inspect(model)?;
        let (mut ir, mut opsets, mut graph) = (0, Vec::new(), None);
        for field in Fields::of(model) {
            match field? {
                (1, Value::Number(version)) => ir = version.cast_signed(),
                (7, Value::Bytes(bytes)) => graph = Some(bytes),
                (8, Value::Bytes(opset)) => opsets.push(opset),
                _ => {}
            }
        }
        let parts = Parts::read(graph.ok_or("it holds no graph")?)?;
        let opset = standard_opset(&opsets)?;
        let mut cut = Self {
            ir,
            opsets,
            opset,
            nodes: Vec::new(),
            values: Vec::new(),
            meanings: BTreeMap::new(),
        };
        cut.name(&parts)?;
        cut.nodes = ordered(parts.nodes)?;
        cut.live(&parts.outputs)?;
        Ok(cut)
    }

    /// Gives every name its meaning. Values are numbered: inputs, then outputs of nodes in the order of the file
    /// until [`Cut::live`] has the canonical one.
    fn name(&mut self, parts: &Parts<'m>) -> Result<(), String> {
        for tensor in &parts.initialisers {
            let name = field_text(tensor, 8)?;
            self.mean(name, Meaning::Initialiser(tensor))?;
        }
        for port in &parts.inputs {
            let name = field_text(port, 1)?;
            // Such an input only says that the weight could be another one, which no job can make it.
            if matches!(self.meanings.get(name), Some(Meaning::Initialiser(_))) {
                continue;
            }
            self.value(name, Some(port), 0)?;
        }
        for node in parts.nodes.iter().filter(|node| node.is_constant()) {
            let [name] = node.outputs.as_slice() else {
                return Err("a constant has not one output".to_owned());
            };
            self.mean(name, Meaning::Constant(node.bytes))?;
        }
        Ok(())
    }

    fn mean(&mut self, name: &'m str, meaning: Meaning<'m>) -> Result<(), String> {
        if name.len() > NAME_BYTES_MAX {
            let (bytes, name) = (name.len(), shown(name));
            return Err(format!(
                "the name {name:?}… has {bytes} bytes, the bound is {NAME_BYTES_MAX}"
            ));
        }
        if name.starts_with(part::CARRIED) {
            return Err(format!("the name {:?} is ours", shown(name)));
        }
        match self.meanings.insert(name, meaning) {
            None => Ok(()),
            Some(_) => Err(format!("{:?} is made twice", shown(name))),
        }
    }

    fn value(
        &mut self,
        name: &'m str,
        declared: Option<&'m [u8]>,
        born: usize,
    ) -> Result<(), String> {
        self.mean(name, Meaning::Value(self.values.len()))?;
        self.values.push(CutValue {
            name,
            declared,
            born,
            last: None,
        });
        Ok(())
    }

    /// Finds where each value is made and where it is read last.
    fn live(&mut self, outputs: &[&'m [u8]]) -> Result<(), String> {
        let nodes = std::mem::take(&mut self.nodes);
        for (node, at) in nodes.iter().zip(1..) {
            for name in node.outputs.iter().filter(|name| !name.is_empty()) {
                self.value(name, None, at)?;
            }
        }
        for (node, at) in nodes.iter().zip(0..) {
            for name in node.reads() {
                // Names of an outer graph that does not have them: the library says it better.
                self.wanted(name, at);
            }
        }
        for port in outputs {
            self.wanted(field_text(port, 1)?, nodes.len());
        }
        self.nodes = nodes;
        let mut crossings = 0_usize;
        for position in 0..=self.nodes.len() {
            let crossing = self.frontier(position).len();
            crossings = crossings.saturating_add(crossing);
            if crossing > FRONTIER_MAX {
                return Err(format!(
                    "{crossing} values cross position {position}, the bound is {FRONTIER_MAX}"
                ));
            }
            if crossings > CROSSINGS_MAX {
                return Err(format!(
                    "more than {CROSSINGS_MAX} values cross its positions"
                ));
            }
        }
        Ok(())
    }

    fn wanted(&mut self, name: &str, position: usize) {
        if let Some(Meaning::Value(id)) = self.meanings.get(name).copied()
            && let Some(value) = self.values.get_mut(id)
        {
            value.last = value.last.max(Some(position));
        }
    }

    pub(crate) fn nodes(&self) -> &[CutNode<'m>] {
        &self.nodes
    }

    pub(crate) fn values(&self) -> &[CutValue<'m>] {
        &self.values
    }

    /// The version of the standard operators.
    pub(crate) fn opset(&self) -> u64 {
        self.opset
    }

    /// Numbers of the values that cross a position, in canonical order.
    pub(crate) fn frontier(&self, position: usize) -> Vec<usize> {
        let values = (0..).zip(&self.values);
        let crossing = values.filter(|(_, value)| value.crosses(position));
        crossing.map(|(id, _)| id).collect()
    }

    /// Numbers of the values that the nodes between two positions read from before them.
    pub(crate) fn reads(&self, from: usize, to: usize) -> Vec<usize> {
        let nodes = self.nodes.get(from..to).unwrap_or_default();
        let names = nodes.iter().flat_map(CutNode::reads);
        let ids = names.filter_map(|name| self.id(name));
        let mut ids: Vec<usize> = ids
            .filter(|id| self.values.get(*id).is_some_and(|value| value.born <= from))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Numbers of the values that the nodes between two positions make and that somebody wants.
    pub(crate) fn makes(&self, from: usize, to: usize) -> Vec<usize> {
        let values = (0..).zip(&self.values);
        let made = values.filter(|(_, value)| {
            value.born > from
                && value.born <= to
                && value.last.is_some_and(|last| last >= value.born)
        });
        made.map(|(id, _)| id).collect()
    }

    /// The number of the value of this name.
    pub(crate) fn id(&self, name: &str) -> Option<usize> {
        match self.meanings.get(name)? {
            Meaning::Value(id) => Some(*id),
            _ => None,
        }
    }

    /// The `TensorProto` of a weight or constant.
    pub(crate) fn weight(&self, name: &str) -> Option<&'m [u8]> {
        match self.meanings.get(name)? {
            Meaning::Initialiser(tensor) => Some(tensor),
            Meaning::Constant(node) => attributes::Attributes::of(node).tensor("value"),
            Meaning::Value(_) => None,
        }
    }

    /// The element type that the model declares of an input.
    pub(crate) fn declared_type(&self, id: usize) -> Option<u64> {
        declared_type(self.values.get(id)?.declared?)
    }
}

impl<'m> Parts<'m> {
    fn read(graph: &'m [u8]) -> Result<Self, String> {
        let mut parts = Self::default();
        let mut nodes = 0_usize;
        for field in Fields::of(graph) {
            match field? {
                (1, Value::Bytes(node)) => {
                    let node = CutNode::read(node)?;
                    nodes += usize::from(!node.is_constant());
                    if nodes > CUT_NODES_MAX {
                        return Err(format!("it has more than {CUT_NODES_MAX} nodes"));
                    }
                    parts.nodes.push(node);
                }
                (5, Value::Bytes(tensor)) => parts.initialisers.push(tensor),
                (11, Value::Bytes(port)) => parts.inputs.push(port),
                (12, Value::Bytes(port)) => parts.outputs.push(port),
                _ => {}
            }
        }
        Ok(parts)
    }
}

/// The nodes in canonical order, constants left out: of those that could come next, the first in the file.
fn ordered(nodes: Vec<CutNode<'_>>) -> Result<Vec<CutNode<'_>>, String> {
    let nodes: Vec<CutNode<'_>> = nodes.into_iter().filter(|n| !n.is_constant()).collect();
    let mut maker = BTreeMap::new();
    for (node, at) in nodes.iter().zip(0_usize..) {
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            maker.insert(*name, at);
        }
    }
    let mut missing = vec![0_usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for ((node, at), missing) in nodes.iter().zip(0_usize..).zip(&mut missing) {
        for from in node.reads().filter_map(|name| maker.get(name)) {
            if let Some(readers) = readers.get_mut(*from) {
                readers.push(at);
                *missing += 1;
            }
        }
    }
    let free = (0..).zip(&missing).filter(|(_, missing)| **missing == 0);
    let mut ready: BinaryHeap<Reverse<usize>> = free.map(|(at, _)| Reverse(at)).collect();
    let mut slots: Vec<Option<CutNode<'_>>> = nodes.into_iter().map(Some).collect();
    let count = slots.len();
    let mut ordered = Vec::with_capacity(count);
    while let Some(Reverse(at)) = ready.pop() {
        ordered.extend(slots.get_mut(at).and_then(Option::take));
        for reader in readers.get(at).into_iter().flatten() {
            if let Some(missing) = missing.get_mut(*reader) {
                *missing -= 1;
                if *missing == 0 {
                    ready.push(Reverse(*reader));
                }
            }
        }
    }
    if ordered.len() < count {
        return Err("its nodes wait for one another".to_owned());
    }
    Ok(ordered)
}

/// The version of the operators without a domain.
fn standard_opset(opsets: &[&[u8]]) -> Result<u64, String> {
    let mut found = 0;
    for opset in opsets {
        let (mut standard, mut version) = (true, 0);
        for field in Fields::of(opset) {
            match field? {
                (1, Value::Bytes(domain)) => standard = matches!(domain, b"" | b"ai.onnx"),
                (2, Value::Number(number)) => version = number,
                _ => {}
            }
        }
        if standard {
            found = version;
        }
    }
    Ok(found)
}

fn field_text(message: &[u8], number: u64) -> Result<&str, String> {
    for field in Fields::of(message) {
        if let (found, Value::Bytes(name)) = field?
            && found == number
        {
            return text(name);
        }
    }
    Ok("")
}

/// The element type of a declared tensor: `ValueInfoProto` → `TypeProto` → `Tensor` → element type.
fn declared_type(port: &[u8]) -> Option<u64> {
    let inner = |message, number| {
        Fields::of(message).find_map(|field| match field {
            Ok((found, Value::Bytes(bytes))) if found == number => Some(bytes),
            _ => None,
        })
    };
    let tensor = inner(inner(port, 2)?, 1)?;
    Fields::of(tensor).find_map(|field| match field {
        Ok((1, Value::Number(element))) => Some(element),
        _ => None,
    })
}
