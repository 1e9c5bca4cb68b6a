//! Two kernels of our own on a device, as small graphs: the largest values of rows, and a copy to the
//! host.
//!
//! What crosses to the host for the first are the values asked for and their indices, not the rows.

use super::binding::{self, host_memory};
use crate::backend::shown;
use crate::error::NnError;
use crate::onnx::data_type;
use crate::onnx::write::{Message, new};
use crate::pick::{Pick, Rows, check_order, wrong_type};
use crate::tensor::ElementType;
use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, Session};
use ort::value::{DynValue, Tensor};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The version of the operators, the first in which a copy takes every type of ours.
const OPSET: i64 = 13;
/// The version of the file's format that goes with it.
const IR_VERSION: i64 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kernel {
    /// `Identity(x) -> y`.
    Copy,
    /// `(x, shape, rows, k) -> values, indices`: of these rows of `x`, largest first.
    TopK,
}

/// Sessions of the kernels on one device, made when first needed.
pub(super) struct Kernels {
    /// Begins a session on the device.
    begin: Box<dyn Fn() -> Result<SessionBuilder, NnError> + Send + Sync>,
    sessions: Mutex<HashMap<(Kernel, ElementType), Session>>,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kernels")
    }
}

impl Kernels {
    pub(super) fn new(
        begin: impl Fn() -> Result<SessionBuilder, NnError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            begin: Box::new(begin),
            sessions: Mutex::default(),
        }
    }

    /// A copy of a value in host memory.
    pub(super) fn to_host(&self, value: &DynValue, ty: ElementType) -> Result<DynValue, NnError> {
        let mut outputs = self.run(Kernel::Copy, ty, &[("x", value)], &["y"])?;
        outputs.pop().ok_or_else(missing)
    }

    /// The `count` largest values of each of `rows` of `len` values, `count` being no more than a row
    /// has. `None` if the device gave what no row has: some fill rows up with values that beat -inf.
    pub(super) fn top_k(
        &self,
        logits: &DynValue,
        ty: ElementType,
        rows: &Rows,
        count: u32,
    ) -> Result<Option<Vec<Vec<Pick>>>, NnError> {
        if !matches!(ty, ElementType::F32 | ElementType::F16 | ElementType::Bf16) {
            return Err(wrong_type(ty).into());
        }
        let vector = |values: Vec<i64>| {
            let tensor = Tensor::from_array(([values.len()], values));
            tensor.map(Tensor::into_dyn).map_err(backend)
        };
        let shape = vector(vec![-1, i64::from(rows.len)])?;
        let wanted = vector(rows.wanted.iter().map(|row| i64::from(*row)).collect())?;
        let k = vector(vec![i64::from(count)])?;
        let inputs = [
            ("x", logits),
            ("shape", &shape),
            ("rows", &wanted),
            ("k", &k),
        ];
        let mut outputs = self.run(Kernel::TopK, ty, &inputs, &["values", "indices"])?;
        let indices = outputs.pop().ok_or_else(missing)?;
        let values = outputs.pop().ok_or_else(missing)?;
        let (_, indices) = indices.try_extract_tensor::<i64>().map_err(backend)?;
        let (_, values) = values.try_extract_tensor::<f32>().map_err(backend)?;
        let width = (count as usize).max(1);
        let found = indices.chunks(width).zip(values.chunks(width));
        let mut picked = Vec::with_capacity(rows.wanted.len());
        for (row, (indices, values)) in rows.wanted.iter().zip(found) {
            let index = |at: &i64| u32::try_from(*at).ok().filter(|at| *at < rows.len);
            let indices: Option<Vec<u32>> = indices.iter().map(index).collect();
            let Some(indices) = indices else {
                return Ok(None);
            };
            let picks = indices.into_iter().zip(values.iter().copied());
            picked.push(check_order(picks.collect(), *row)?);
        }
        Ok((picked.len() == rows.wanted.len()).then_some(picked))
    }

    fn run(
        &self,
        kernel: Kernel,
        ty: ElementType,
        inputs: &[(&str, &DynValue)],
        outputs: &[&str],
    ) -> Result<Vec<DynValue>, NnError> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let session = match sessions.entry((kernel, ty)) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let session = (self.begin)()?.commit_from_memory(model(kernel, ty).as_ref());
                place.insert(session.map_err(backend)?)
            }
        };
        let host = host_memory().map_err(backend)?;
        let options = RunOptions::new().map_err(backend)?;
        let outputs = outputs.iter().map(|name| (*name, &host));
        let values = binding::run(session, inputs, outputs, &options).map_err(backend)?;
        Ok(values.into_iter().map(|(_, value)| value).collect())
    }
}

fn missing() -> NnError {
    NnError::Backend("a kernel of ours gave too few outputs".to_owned())
}

fn backend(error: ort::Error) -> NnError {
    let text = error.to_string();
    NnError::Backend(format!("a kernel of ours: {}", shown(&text)))
}

/// A port of a kernel's graph: its name, and its type if that is not the kernel's own.
type KernelPort = (&'static str, Option<ElementType>);
/// A node of a kernel's graph: operator, inputs, outputs.
type KernelNode = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const I64: Option<ElementType> = Some(ElementType::I64);
const F32: Option<ElementType> = Some(ElementType::F32);

impl Kernel {
    const fn inputs(self) -> &'static [KernelPort] {
        match self {
            Self::Copy => &[("x", None)],
            Self::TopK => &[("x", None), ("shape", I64), ("rows", I64), ("k", I64)],
        }
    }

    const fn outputs(self) -> &'static [KernelPort] {
        match self {
            Self::Copy => &[("y", None)],
            Self::TopK => &[("values", F32), ("indices", I64)],
        }
    }

    const fn nodes(self) -> &'static [KernelNode] {
        match self {
            Self::Copy => &[("Identity", &["x"], &["y"])],
            Self::TopK => &[
                ("Reshape", &["x", "shape"], &["matrix"]),
                ("Gather", &["matrix", "rows"], &["some"]),
                // `TopK` does not know every type of logits; this one holds them all.
                ("Cast", &["some"], &["wide"]),
                ("TopK", &["wide", "k"], &["values", "indices"]),
            ],
        }
    }
}

/// The graph of a kernel for tensors of a type.
fn model(kernel: Kernel, ty: ElementType) -> Message {
    let mut graph = new();
    for (operator, inputs, outputs) in kernel.nodes() {
        let named = |node: Message, field, names: &[&str]| {
            names
                .iter()
                .fold(node, |node, name| node.bytes(field, name))
        };
        let node = named(named(new(), 1, inputs), 2, outputs).bytes(4, operator);
        graph = graph.bytes(
            1,
            match *operator {
                "Cast" => node.bytes(5, cast_to(ElementType::F32)),
                _ => node,
            },
        );
    }
    graph = graph.bytes(2, "kernel");
    for (field, ports) in [(11, kernel.inputs()), (12, kernel.outputs())] {
        for (name, fixed) in ports {
            // ValueInfoProto { name, type: TypeProto { tensor_type: Tensor { elem_type } } }
            let tensor = new().number(1, i64::from(data_type(fixed.unwrap_or(ty))));
            let port = new().bytes(1, name).bytes(2, new().bytes(1, tensor));
            graph = graph.bytes(field, port);
        }
    }
    let opset = new().number(2, OPSET);
    new().number(1, IR_VERSION).bytes(7, graph).bytes(8, opset)
}

/// The attribute `to` of a `Cast`.
fn cast_to(ty: ElementType) -> Message {
    const INT: i64 = 2;
    new()
        .bytes(1, "to")
        .number(3, i64::from(data_type(ty)))
        .number(20, INT)
}
