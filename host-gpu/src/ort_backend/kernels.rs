//! Two kernels of our own on a device, as graphs of one node each: the largest values of rows, and a
//! copy to the host.
//!
//! What crosses to the host for the first are the values asked for and their indices, not the rows.

use super::binding::{self, host_memory};
use crate::backend::shown;
use crate::error::NnError;
use crate::pick::{Pick, check_order, wrong_type};
use crate::tensor::ElementType;
use half::{bf16, f16};
use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, Session};
use ort::value::{DynValue, Tensor};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The version of the operators, the first in which a copy takes every type of ours.
const OPSET: u64 = 13;
/// The version of the file's format that goes with it.
const IR_VERSION: u64 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kernel {
    /// `Identity(x) -> y`.
    Copy,
    /// `TopK(x, k) -> values, indices`, largest first, over the last dimension of any shape.
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

    /// The `count` largest values of each of `rows`, `count` being no more than a row has.
    pub(super) fn top_k(
        &self,
        logits: &DynValue,
        ty: ElementType,
        rows: &[u32],
        count: u32,
    ) -> Result<Vec<Vec<Pick>>, NnError> {
        if !matches!(ty, ElementType::F32 | ElementType::F16 | ElementType::Bf16) {
            return Err(wrong_type(ty).into());
        }
        let k = Tensor::from_array(([1_usize], vec![i64::from(count)])).map_err(backend)?;
        let inputs = [("x", logits), ("k", &k.into_dyn())];
        let mut outputs = self.run(Kernel::TopK, ty, &inputs, &["values", "indices"])?;
        let indices = outputs.pop().ok_or_else(missing)?;
        let values = numbers(&outputs.pop().ok_or_else(missing)?, ty)?;
        let (_, indices) = indices.try_extract_tensor::<i64>().map_err(backend)?;
        let row = |row: &u32| {
            let start = (*row as usize).saturating_mul(count as usize);
            let range = start..start.saturating_add(count as usize);
            let found = values.get(range.clone()).zip(indices.get(range));
            let (values, indices) = found.ok_or_else(|| {
                NnError::Backend(format!("no row {row} in the answer of the device"))
            })?;
            let picks = indices.iter().zip(values);
            let picks = picks.map(|(at, value)| (u32::try_from(*at).unwrap_or(u32::MAX), *value));
            check_order(picks.collect(), *row)
        };
        rows.iter().map(row).collect()
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
                let session = (self.begin)()?.commit_from_memory(&model(kernel, ty));
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

fn numbers(values: &DynValue, ty: ElementType) -> Result<Vec<f32>, NnError> {
    Ok(match ty {
        ElementType::F16 => {
            let (_, values) = values.try_extract_tensor::<f16>().map_err(backend)?;
            values.iter().map(|value| value.to_f32()).collect()
        }
        ElementType::Bf16 => {
            let (_, values) = values.try_extract_tensor::<bf16>().map_err(backend)?;
            values.iter().map(|value| value.to_f32()).collect()
        }
        _ => {
            let (_, values) = values.try_extract_tensor::<f32>().map_err(backend)?;
            values.to_vec()
        }
    })
}

/// The number of a type in `TensorProto.DataType`.
fn data_type(ty: ElementType) -> u64 {
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

fn backend(error: ort::Error) -> NnError {
    let text = error.to_string();
    NnError::Backend(format!("a kernel of ours: {}", shown(&text)))
}

/// The graph of a kernel.
fn model(kernel: Kernel, ty: ElementType) -> Vec<u8> {
    type Ports = &'static [(&'static str, Option<ElementType>)];
    let (operator, inputs, outputs): (&str, Ports, Ports) = match kernel {
        Kernel::Copy => ("Identity", &[("x", None)], &[("y", None)]),
        Kernel::TopK => (
            "TopK",
            &[("x", None), ("k", Some(ElementType::I64))],
            &[("values", None), ("indices", Some(ElementType::I64))],
        ),
    };
    let (mut node, mut graph) = (Vec::new(), Vec::new());
    let mut ports = Vec::new();
    for (node_field, port_field, named) in [(1, 11, inputs), (2, 12, outputs)] {
        for (name, fixed) in named {
            bytes(&mut node, node_field, name.as_bytes());
            // ValueInfoProto { name, type: TypeProto { tensor_type: Tensor { elem_type } } }
            let (mut tensor, mut outer, mut port) = (Vec::new(), Vec::new(), Vec::new());
            number(&mut tensor, 1, data_type(fixed.unwrap_or(ty)));
            bytes(&mut outer, 1, &tensor);
            bytes(&mut port, 1, name.as_bytes());
            bytes(&mut port, 2, &outer);
            ports.push((port_field, port));
        }
    }
    bytes(&mut node, 4, operator.as_bytes());
    bytes(&mut graph, 1, &node);
    bytes(&mut graph, 2, operator.as_bytes());
    for (field, port) in &ports {
        bytes(&mut graph, *field, port);
    }
    let (mut opset, mut model) = (Vec::new(), Vec::new());
    number(&mut opset, 2, OPSET);
    number(&mut model, 1, IR_VERSION);
    bytes(&mut model, 7, &graph);
    bytes(&mut model, 8, &opset);
    model
}

/// A field of protobuf that holds bytes.
fn bytes(message: &mut Vec<u8>, field: u64, content: &[u8]) {
    varint(message, (field << 3) | 2);
    varint(message, content.len() as u64);
    message.extend_from_slice(content);
}

/// A field of protobuf that holds a number.
fn number(message: &mut Vec<u8>, field: u64, value: u64) {
    varint(message, field << 3);
    varint(message, value);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        message.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}
