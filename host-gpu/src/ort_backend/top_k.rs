//! The largest values of rows that are on a device, found there: a graph of one `TopK` node.
//!
//! What crosses to the host are the values asked for and their indices, not the rows.

use crate::backend::shown;
use crate::error::NnError;
use crate::pick::{Pick, check_order, wrong_type};
use crate::tensor::ElementType;
use half::{bf16, f16};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::{DynValue, Tensor};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Sessions of the graph on one device, one for each type of logits.
pub(super) struct TopK {
    /// Begins a session on the device.
    begin: Box<dyn Fn() -> Result<SessionBuilder, NnError> + Send + Sync>,
    sessions: Mutex<HashMap<i32, Session>>,
}

impl std::fmt::Debug for TopK {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TopK")
    }
}

impl TopK {
    pub(super) fn new(
        begin: impl Fn() -> Result<SessionBuilder, NnError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            begin: Box::new(begin),
            sessions: Mutex::default(),
        }
    }

    /// The `count` largest values of each of `rows`, `count` being no more than a row has.
    pub(super) fn find(
        &self,
        logits: &DynValue,
        ty: ElementType,
        rows: &[u32],
        count: u32,
    ) -> Result<Vec<Vec<Pick>>, NnError> {
        let number = data_type(ty).ok_or_else(|| NnError::Guest(wrong_type(ty)))?;
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let session = match sessions.entry(number) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let session = (self.begin)()?.commit_from_memory(&model(number));
                place.insert(session.map_err(backend)?)
            }
        };
        let (values, indices) = run(session, logits, count).map_err(backend)?;
        let values = numbers(&values, ty)?;
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
}

fn run(
    session: &mut Session,
    logits: &DynValue,
    count: u32,
) -> Result<(DynValue, DynValue), ort::Error> {
    let host = MemoryInfo::new(
        AllocationDevice::CPU,
        0,
        AllocatorType::Device,
        MemoryType::CPUOutput,
    )?;
    let mut binding = session.create_binding()?;
    binding.bind_input("x", logits)?;
    binding.bind_input(
        "k",
        &Tensor::from_array(([1_usize], vec![i64::from(count)]))?,
    )?;
    binding.bind_output_to_device("values", &host)?;
    binding.bind_output_to_device("indices", &host)?;
    let mut outputs = session.run_binding(&binding)?.into_iter();
    let mut next = || outputs.next().map(|(_, value)| value);
    next()
        .zip(next())
        .ok_or_else(|| ort::Error::new("two outputs were bound"))
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

/// The number of a type of logits in `TensorProto.DataType`.
fn data_type(ty: ElementType) -> Option<i32> {
    match ty {
        ElementType::F32 => Some(1),
        ElementType::F16 => Some(10),
        ElementType::Bf16 => Some(16),
        _ => None,
    }
}

fn backend(error: ort::Error) -> NnError {
    let text = error.to_string();
    NnError::Backend(format!("top-k on the device: {}", shown(&text)))
}

/// The graph: `TopK(x, k) -> values, indices`, largest first, over the last dimension of any shape.
fn model(data_type: i32) -> Vec<u8> {
    const INT64: i32 = 7;
    let mut node = Vec::new();
    for input in ["x", "k"] {
        bytes(&mut node, 1, input.as_bytes());
    }
    for output in ["values", "indices"] {
        bytes(&mut node, 2, output.as_bytes());
    }
    bytes(&mut node, 4, b"TopK");
    let mut graph = Vec::new();
    bytes(&mut graph, 1, &node);
    bytes(&mut graph, 2, b"top-k");
    for (field, name, ty) in [
        (11, "x", data_type),
        (11, "k", INT64),
        (12, "values", data_type),
        (12, "indices", INT64),
    ] {
        // ValueInfoProto { name, type: TypeProto { tensor_type: Tensor { elem_type } } }
        let (mut tensor, mut outer, mut port) = (Vec::new(), Vec::new(), Vec::new());
        number(&mut tensor, 1, ty.unsigned_abs().into());
        bytes(&mut outer, 1, &tensor);
        bytes(&mut port, 1, name.as_bytes());
        bytes(&mut port, 2, &outer);
        bytes(&mut graph, field, &port);
    }
    let (mut opset, mut model) = (Vec::new(), Vec::new());
    number(&mut opset, 2, 11);
    number(&mut model, 1, 8);
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
