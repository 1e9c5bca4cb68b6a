//! A model executed node by node, for those who have to show or to check how they computed.
//!
//! A [`Tracer`] cuts a model into parts and runs them one after the other with every rewriting of the graph switched
//! off, on one thread of the processor, so that what a node computes does not depend on where the model is cut. What
//! it notes of each value goes into a [`Trace`]; from that follows what crosses each position. A [`Frontier`] holds
//! the values themselves at one position, from where the execution can go on.
//!
//! [`Tracer::expect`] computes one node again, and [`Expected::judge`] says whether somebody's result of it is one
//! that honest arithmetic may give.

mod arithmetic;
mod array;
mod leaf;
mod normal;
mod product;

pub use leaf::{Expected, LeafFinding, Means};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backend::{Device, GraphOptions, NnBackend, NnSession, Optimisation, StopFlag, shown};
use crate::error::NnError;
use crate::onnx::cut::{Carrier, Cut, Part, Typed};
use crate::ort_backend::OrtBackend;
use crate::tensor::{BoundInput, TensorValue};

/// Nodes of one part, at most. Part of what a trace is: whoever takes another number may get other bits where the
/// library has no kernel for a type and casts around it.
const PART_NODES: usize = 128;
/// Values that one part makes, at most, unless a single node makes more.
const PART_VALUES: usize = 512;

/// What a trace says of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedTensor {
    /// Its name in the model.
    pub name: String,
    /// Its element type, by ONNX's number.
    pub element: u32,
    /// Its dimensions.
    pub dims: Vec<u32>,
    /// BLAKE3 of its contents: little-endian, row-major. Types that `wasi:nn` lacks are written as the next wider
    /// one that it has.
    pub digest: [u8; 32],
    /// Bytes of its contents.
    pub bytes: u64,
}

/// What an execution made of each value, as far as it has come.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    values: BTreeMap<usize, TracedTensor>,
}

/// The values at one position, by their numbers.
#[derive(Debug, Clone)]
pub struct Frontier {
    position: usize,
    values: BTreeMap<usize, Arc<TensorValue>>,
}

impl Frontier {
    /// Before which node it stands.
    pub fn position(&self) -> usize {
        self.position
    }
}

/// What a node is, for people and for the one who examines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its operator.
    pub operator: String,
    /// The tensors of the frontier that it reads.
    pub reads: Vec<String>,
    /// The tensors that it makes and that somebody reads.
    pub makes: Vec<String>,
    /// Whether the first of them is `f32`.
    pub floats: bool,
}

/// A part that is loaded.
struct Loaded {
    session: Box<dyn NnSession>,
    inputs: Vec<(String, usize)>,
    outputs: Vec<(String, usize)>,
}

/// Executes a model in parts.
pub struct Tracer<'m> {
    backend: Arc<OrtBackend>,
    name: String,
    cut: Cut<'m>,
    types: Vec<Option<Carrier>>,
    /// The first positions of the parts, and the last of all.
    edges: Vec<usize>,
    /// Parts between two edges, kept once they are loaded: together they are the model.
    loaded: BTreeMap<usize, Loaded>,
}

impl std::fmt::Debug for Tracer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tracer({:?}, {} nodes)", self.name, self.nodes())
    }
}

impl<'m> Tracer<'m> {
    /// Cuts a model and learns the type of everything that may cross a position.
    ///
    /// # Errors
    /// [`NnError::GraphRejected`] if it cannot be cut, with the reason.
    pub fn new(backend: Arc<OrtBackend>, name: &str, model: &'m [u8]) -> Result<Self, NnError> {
        let cut = Cut::of(model).map_err(|reason| rejected(name, reason))?;
        let mut tracer = Self {
            backend,
            name: name.to_owned(),
            types: vec![None; cut.values().len()],
            edges: edges(&cut),
            cut,
            loaded: BTreeMap::new(),
        };
        for id in tracer.cut.frontier(0) {
            let element = tracer.cut.declared_type(id);
            tracer.learn(id, element)?;
        }
        let edges = tracer.edges.clone();
        for pair in edges.windows(2) {
            if let [from, to] = *pair {
                tracer.infer(from, to)?;
            }
        }
        Ok(tracer)
    }

    /// Nodes of the model, constants left out; positions are one more.
    pub fn nodes(&self) -> usize {
        self.cut.nodes().len()
    }

    /// A node; `None` if there is none of that number.
    pub fn node(&self, node: usize) -> Option<NodeInfo> {
        let found = self.cut.nodes().get(node)?;
        let names = |ids: Vec<usize>| ids.into_iter().map(|id| self.value_name(id)).collect();
        let makes = self.cut.makes(node, node + 1);
        let first = makes.first().and_then(|id| self.types.get(*id).copied());
        Some(NodeInfo {
            floats: first.flatten().is_some_and(|carrier| carrier.own == 1),
            operator: found.op.to_owned(),
            reads: names(self.cut.reads(node, node + 1)),
            makes: names(makes),
        })
    }

    /// Names of the tensors that cross a position, in canonical order.
    pub fn frontier(&self, position: usize) -> Vec<String> {
        let ids = self.cut.frontier(position).into_iter();
        ids.map(|id| self.value_name(id)).collect()
    }

    /// What crosses a position in this execution; `None` if it has not come so far.
    pub fn crossing(&self, trace: &Trace, position: usize) -> Option<Vec<TracedTensor>> {
        let ids = self.cut.frontier(position).into_iter();
        ids.map(|id| trace.values.get(&id).cloned()).collect()
    }

    /// Begins an execution: every input of the model by name.
    ///
    /// # Errors
    /// If one is missing, unknown or of another type than the model says.
    pub fn begin(
        &self,
        inputs: Vec<(String, Arc<TensorValue>)>,
        trace: &mut Trace,
    ) -> Result<Frontier, NnError> {
        let mut values = BTreeMap::new();
        for (name, value) in inputs {
            let id = self.cut.id(&name).filter(|id| self.born(*id) == Some(0));
            let id = id.ok_or_else(|| self.wrong(format!("no input {:?}", shown(&name))))?;
            self.note(id, &value, trace)?;
            values.insert(id, value);
        }
        let mut frontier = Frontier {
            position: 0,
            values,
        };
        self.settle(&mut frontier, 0)?;
        Ok(frontier)
    }

    /// Goes on to another position.
    ///
    /// # Errors
    /// If a node fails, or the position lies behind.
    pub fn advance(
        &mut self,
        mut frontier: Frontier,
        to: usize,
        trace: &mut Trace,
        stop: &StopFlag,
    ) -> Result<Frontier, NnError> {
        if to < frontier.position || to > self.nodes() {
            let (from, last) = (frontier.position, self.nodes());
            return Err(self.wrong(format!("position {to} is not between {from} and {last}")));
        }
        while frontier.position < to {
            let from = frontier.position;
            let edge = self.edges.iter().copied().find(|edge| *edge > from);
            let until = edge.unwrap_or(to).min(to);
            let whole = self.edges.contains(&from) && edge == Some(until);
            let made = match whole {
                true => {
                    if !self.loaded.contains_key(&from) {
                        let makes = self.cut.makes(from, until);
                        let part = self.load(from, until, &makes)?;
                        self.loaded.insert(from, part);
                    }
                    let part = self.loaded.get_mut(&from);
                    part.map_or_else(|| Ok(Vec::new()), |part| run(part, &frontier.values, stop))?
                }
                false => {
                    let makes = self.cut.makes(from, until);
                    run(&mut self.load(from, until, &makes)?, &frontier.values, stop)?
                }
            };
            for (id, value) in made {
                self.note(id, &value, trace)?;
                frontier.values.insert(id, value);
            }
            self.settle(&mut frontier, until)?;
        }
        Ok(frontier)
    }

    /// A tensor of a frontier, by name.
    pub fn tensor<'f>(&self, frontier: &'f Frontier, name: &str) -> Option<&'f Arc<TensorValue>> {
        frontier.values.get(&self.cut.id(name)?)
    }

    /// A tensor from what somebody says of it: its dimensions and contents, as a trace describes them.
    ///
    /// # Errors
    /// If the model has no such value, or the contents are not as long as the dimensions say.
    pub fn receive(
        &self,
        name: &str,
        dims: &[u32],
        bytes: &[u8],
    ) -> Result<Arc<TensorValue>, NnError> {
        let id = self.cut.id(name);
        let carrier = id.and_then(|id| self.types.get(id).copied().flatten());
        let carrier = carrier.ok_or_else(|| self.wrong(format!("no {:?}", shown(name))))?;
        let value = TensorValue::from_bytes(carrier.carried, dims, bytes)?;
        Ok(Arc::new(value))
    }

    /// Puts another tensor in the place of one: what a liar does, for tests and measurements.
    ///
    /// # Errors
    /// If no such tensor crosses this position, or its type is another one.
    pub fn replace(
        &self,
        frontier: &mut Frontier,
        name: &str,
        value: Arc<TensorValue>,
        trace: &mut Trace,
    ) -> Result<(), NnError> {
        let id = self.cut.id(name);
        let id = id.filter(|id| frontier.values.contains_key(id));
        let id = id.ok_or_else(|| self.wrong(format!("no {:?} there", shown(name))))?;
        self.note(id, &value, trace)?;
        frontier.values.insert(id, value);
        Ok(())
    }

    /// Runs one node alone, on exactly the tensors that it reads.
    fn run_node(
        &self,
        node: usize,
        inputs: &BTreeMap<usize, Arc<TensorValue>>,
        stop: &StopFlag,
    ) -> Result<Vec<(usize, Arc<TensorValue>)>, NnError> {
        let makes = self.cut.makes(node, node + 1);
        run(&mut self.load(node, node + 1, &makes)?, inputs, stop)
    }

    fn load(&self, from: usize, to: usize, makes: &[usize]) -> Result<Loaded, NnError> {
        let part = self.cut.part(from, to, makes, &self.types, Typed::Yes);
        let part = part.map_err(|reason| self.wrong(reason))?;
        let options = GraphOptions {
            optimisation: Optimisation::Off,
            ..GraphOptions::on(Device::Cpu)
        };
        let stop = StopFlag::default();
        let session = self
            .backend
            .load(&self.name, &part.model, &options, &stop)?;
        Ok(Loaded {
            session,
            inputs: part.inputs,
            outputs: part.outputs,
        })
    }

    /// Asks the library for the types of what a part makes.
    fn infer(&mut self, from: usize, to: usize) -> Result<(), NnError> {
        let makes = self.cut.makes(from, to);
        let part = self
            .cut
            .part(from, to, &makes, &self.types, Typed::NotYet)
            .map_err(|reason| self.wrong(reason))?;
        if part.outputs.is_empty() {
            return Ok(());
        }
        let Part { model, outputs, .. } = part;
        let found: BTreeMap<String, Option<u64>> = self
            .backend
            .output_types(&self.name, &model)?
            .into_iter()
            .collect();
        for (name, id) in outputs {
            self.learn(id, found.get(&name).copied().flatten())?;
        }
        Ok(())
    }

    fn learn(&mut self, id: usize, element: Option<u64>) -> Result<(), NnError> {
        let carrier = element.and_then(Carrier::of);
        let carrier = carrier.ok_or_else(|| {
            let name = self.value_name(id);
            let name = shown(&name);
            self.wrong(match element {
                None => format!("{name:?} is no tensor of numbers, and crosses a position"),
                Some(element) => {
                    format!("{name:?} has the element type {element}, which nothing here carries")
                }
            })
        })?;
        if let Some(place) = self.types.get_mut(id) {
            *place = Some(carrier);
        }
        Ok(())
    }

    /// Moves to a position: what does not cross it is let go, and what does has to be there.
    fn settle(&self, frontier: &mut Frontier, position: usize) -> Result<(), NnError> {
        let crossing = self.cut.frontier(position);
        for id in &crossing {
            if !frontier.values.contains_key(id) {
                let name = self.value_name(*id);
                return Err(self.wrong(format!("{:?} is missing", shown(&name))));
            }
        }
        frontier
            .values
            .retain(|id, _| crossing.binary_search(id).is_ok());
        frontier.position = position;
        Ok(())
    }

    fn note(&self, id: usize, value: &TensorValue, trace: &mut Trace) -> Result<(), NnError> {
        let carrier = self.types.get(id).copied().flatten();
        let Some(carrier) = carrier.filter(|carrier| carrier.carried == value.ty()) else {
            let name = self.value_name(id);
            return Err(self.wrong(format!("{:?} is given as {}", shown(&name), value.ty())));
        };
        let bytes = value.host_bytes()?;
        let traced = TracedTensor {
            name: self.value_name(id),
            element: u32::try_from(carrier.own).unwrap_or(u32::MAX),
            dims: value.dims().to_vec(),
            digest: *blake3::hash(bytes).as_bytes(),
            bytes: bytes.len() as u64,
        };
        trace.values.insert(id, traced);
        Ok(())
    }

    fn value_name(&self, id: usize) -> String {
        let value = self.cut.values().get(id);
        value.map_or_else(String::new, |value| value.name.to_owned())
    }

    fn born(&self, id: usize) -> Option<usize> {
        Some(self.cut.values().get(id)?.born)
    }

    fn wrong(&self, reason: String) -> NnError {
        rejected(&self.name, reason)
    }
}

/// Runs a part on what a frontier holds.
fn run(
    part: &mut Loaded,
    values: &BTreeMap<usize, Arc<TensorValue>>,
    stop: &StopFlag,
) -> Result<Vec<(usize, Arc<TensorValue>)>, NnError> {
    if part.outputs.is_empty() {
        return Ok(Vec::new());
    }
    let bind = |(name, id): &(String, usize)| {
        let value = values.get(id)?;
        Some(BoundInput {
            name: name.clone(),
            dims: value.dims().to_vec(),
            value: Arc::clone(value),
        })
    };
    let bound: Option<Vec<BoundInput>> = part.inputs.iter().map(bind).collect();
    let bound = bound.ok_or_else(|| NnError::Backend("a part lacks an input".to_owned()))?;
    let outputs = part.session.run(&bound, stop)?;
    let mut by_name: BTreeMap<String, TensorValue> = outputs.into_iter().collect();
    let made = part.outputs.iter().filter_map(|(name, id)| {
        let value = by_name.remove(name)?;
        Some((*id, Arc::new(value)))
    });
    Ok(made.collect())
}

/// Where the canonical parts begin: each as long as its bounds allow.
fn edges(cut: &Cut<'_>) -> Vec<usize> {
    let mut made = vec![0_usize; cut.nodes().len()];
    for value in cut.values() {
        if value.last.is_some()
            && let Some(made) = value.born.checked_sub(1).and_then(|at| made.get_mut(at))
        {
            *made += 1;
        }
    }
    let mut edges = vec![0];
    let (mut nodes, mut values) = (0, 0);
    for (made, at) in made.iter().zip(0..) {
        if nodes == PART_NODES || nodes > 0 && values + made > PART_VALUES {
            edges.push(at);
            (nodes, values) = (0, 0);
        }
        nodes += 1;
        values += made;
    }
    edges.push(cut.nodes().len());
    edges.dedup();
    edges
}

fn rejected(name: &str, reason: String) -> NnError {
    NnError::GraphRejected {
        name: name.to_owned(),
        reason,
    }
}
