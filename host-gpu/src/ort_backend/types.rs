//! What the library infers of a model without running it.

use super::{OrtBackend, builder, rejected};
use crate::backend::{Device, GraphOptions, Optimisation};
use crate::error::NnError;
use ort::value::{TensorElementType, ValueType};

impl OrtBackend {
    /// The element types of a model's outputs, by ONNX's numbers; `None` for what is no tensor, or one of strings.
    pub(crate) fn output_types(
        &self,
        name: &str,
        bytes: &[u8],
    ) -> Result<Vec<(String, Option<u64>)>, NnError> {
        let options = GraphOptions {
            optimisation: Optimisation::Off,
            ..GraphOptions::on(Device::Cpu)
        };
        crate::onnx::inspect(bytes).map_err(|reason| rejected(name, reason))?;
        let session = builder(&self.library, &options, None)?.commit_from_memory(bytes);
        let session = session.map_err(|error| rejected(name, error.to_string()))?;
        let outlets = session.outputs().iter();
        let typed = outlets.map(|outlet| (outlet.name().to_owned(), element(outlet.dtype())));
        Ok(typed.collect())
    }
}

fn element(ty: &ValueType) -> Option<u64> {
    let ValueType::Tensor { ty, .. } = ty else {
        return None;
    };
    Some(match ty {
        TensorElementType::Float32 => 1,
        TensorElementType::Uint8 => 2,
        TensorElementType::Int8 => 3,
        TensorElementType::Uint16 => 4,
        TensorElementType::Int16 => 5,
        TensorElementType::Int32 => 6,
        TensorElementType::Int64 => 7,
        TensorElementType::Bool => 9,
        TensorElementType::Float16 => 10,
        TensorElementType::Float64 => 11,
        TensorElementType::Uint32 => 12,
        TensorElementType::Bfloat16 => 16,
        _ => return None,
    })
}
