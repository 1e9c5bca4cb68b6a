//! A part of a model, written as a model.

use std::collections::BTreeSet;

use super::super::write::{Message, new};
use super::{Cut, CutNode, Meaning};
use crate::backend::shown;
use crate::tensor::ElementType;

/// How names begin that only parts have.
pub(super) const CARRIED: &str = "assay.carried.";

/// ONNX's numbers of element types.
const BOOL: u64 = 9;

/// How a value of some element type is carried from one part to the next. What `wasi:nn` has no name for is
/// cast to the next wider type that it has, which loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Carrier {
    /// The element type in the model, by ONNX's number.
    pub(crate) own: u64,
    /// The element type in which it is carried.
    pub(crate) carried: ElementType,
}

impl Carrier {
    /// For this element type, by ONNX's number.
    pub(crate) fn of(own: u64) -> Option<Self> {
        let carried = match own {
            1 => ElementType::F32,
            2 | BOOL => ElementType::U8,
            3..=6 => ElementType::I32,
            7 | 12 => ElementType::I64,
            10 => ElementType::F16,
            11 => ElementType::F64,
            16 => ElementType::Bf16,
            _ => return None,
        };
        Some(Self { own, carried })
    }

    fn number(self) -> u64 {
        crate::onnx::data_type(self.carried).into()
    }

    fn is_cast(self) -> bool {
        self.own != self.number()
    }
}

/// A part, and what goes in and out, by numbers of values.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) model: Vec<u8>,
    /// Port and value.
    pub(crate) inputs: Vec<(String, usize)>,
    /// Port and value.
    pub(crate) outputs: Vec<(String, usize)>,
}

/// Whether a part's outputs have their types already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Typed {
    /// They are what the library is to be asked.
    NotYet,
    /// They are known, and carried.
    Yes,
}

impl Cut<'_> {
    /// The part between two positions that makes these values. `types` has a carrier for each value that the part
    /// reads, and for those it makes unless they are [`Typed::NotYet`].
    pub(crate) fn part(
        &self,
        from: usize,
        to: usize,
        makes: &[usize],
        types: &[Option<Carrier>],
        typed: Typed,
    ) -> Result<Part, String> {
        let nodes = self.nodes.get(from..to).unwrap_or_default();
        let mut graph = new();
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        let mut ports = new();
        for id in self.reads(from, to) {
            let (name, carrier) = self.carried(id, types)?;
            let port = match carrier.is_cast() {
                true => format!("{CARRIED}in.{name}"),
                false => name.to_owned(),
            };
            if carrier.is_cast() {
                graph = graph.bytes(1, cast(&port, name, carrier.own));
            }
            ports = ports.bytes(11, tensor_port(&port, Some(carrier.number())));
            inputs.push((port, id));
        }
        for node in nodes {
            graph = graph.bytes(1, node.bytes);
        }
        for id in makes.iter().copied() {
            let name = self.values.get(id).map_or("", |value| value.name);
            if typed == Typed::NotYet {
                ports = ports.bytes(12, tensor_port(name, None));
                outputs.push((name.to_owned(), id));
                continue;
            }
            let (name, carrier) = self.carried(id, types)?;
            let port = match carrier.is_cast() {
                true => format!("{CARRIED}out.{name}"),
                false => name.to_owned(),
            };
            if carrier.is_cast() {
                graph = graph.bytes(1, cast(name, &port, carrier.number()));
            }
            ports = ports.bytes(12, tensor_port(&port, Some(carrier.number())));
            outputs.push((port, id));
        }
        let mut graph = self.weights(nodes, graph).bytes(2, "part");
        graph.0.extend(ports.0);
        let mut model = new().number(1, self.ir);
        for opset in &self.opsets {
            model = model.bytes(8, opset);
        }
        Ok(Part {
            model: model.bytes(7, graph).0,
            inputs,
            outputs,
        })
    }

    fn carried(&self, id: usize, types: &[Option<Carrier>]) -> Result<(&str, Carrier), String> {
        let name = self.values.get(id).map_or("", |value| value.name);
        let carrier = types.get(id).copied().flatten();
        let carrier = carrier.ok_or_else(|| format!("the type of {:?} is unknown", shown(name)))?;
        Ok((name, carrier))
    }

    /// Adds the weights and constants that these nodes use. Constants come first among the nodes, though the
    /// library would find them anywhere.
    fn weights(&self, nodes: &[CutNode<'_>], graph: Message) -> Message {
        let names: BTreeSet<&str> = nodes.iter().flat_map(CutNode::reads).collect();
        let (mut constants, mut tensors) = (new(), new());
        for name in names {
            match self.meanings.get(name) {
                Some(Meaning::Constant(node)) => constants = constants.bytes(1, node),
                Some(Meaning::Initialiser(tensor)) => tensors = tensors.bytes(5, tensor),
                Some(Meaning::Value(_)) | None => {}
            }
        }
        constants.0.extend(graph.0);
        constants.0.extend(tensors.0);
        constants
    }
}

/// `to = Cast(from)`.
fn cast(from: &str, to: &str, element: u64) -> Message {
    // An attribute of the type `INT`, which is 2.
    let attribute = new()
        .bytes(1, "to")
        .number(3, element.cast_signed())
        .number(20, 2);
    new()
        .bytes(1, from)
        .bytes(2, to)
        .bytes(4, "Cast")
        .bytes(5, attribute)
}

/// An input or output of any shape; without an element type, the library finds both.
fn tensor_port(name: &str, element: Option<u64>) -> Message {
    let port = new().bytes(1, name);
    match element {
        None => port,
        Some(element) => {
            let tensor = new().number(1, element.cast_signed());
            port.bytes(2, new().bytes(1, tensor))
        }
    }
}
