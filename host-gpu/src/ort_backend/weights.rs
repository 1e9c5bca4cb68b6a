//! Weights that several sessions of one graph hold together.
//!
//! ONNX Runtime shares what its kernels make of weights (packed matrices) only for initialisers that
//! were handed to it; so the large ones are read from the file once, handed to every session, and the
//! packed forms kept in one container. With a single session this would hold weights and packed forms
//! both, where otherwise the weights are let go: it is done only for graphs that may have several.

use crate::error::NnError;
use crate::onnx::{self, Initialiser};
use crate::tensor::plain::Plain;
use half::{bf16, f16};
use ort::session::builder::{PrepackedWeights, SessionBuilder};
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor};
use std::fmt;
use std::sync::Arc;

/// Initialisers below this size are left to each session, in bytes.
const SHARED_BYTES_MIN: usize = 4096;

/// What is shared.
pub(super) struct Weights {
    packed: PrepackedWeights,
    initialisers: Vec<(String, Arc<DynValue>)>,
}

impl Weights {
    /// The large weights of a model that was inspected.
    pub(super) fn of(model: &[u8]) -> Result<Self, NnError> {
        let mut initialisers = Vec::new();
        for found in onnx::initialisers(model, SHARED_BYTES_MIN).map_err(NnError::Backend)? {
            if let Some(value) = value(&found)? {
                initialisers.push((found.name.to_owned(), Arc::new(value)));
            }
        }
        Ok(Self {
            packed: PrepackedWeights::new(),
            initialisers,
        })
    }

    /// Makes a session that is built next use them.
    pub(super) fn put(&self, builder: SessionBuilder) -> Result<SessionBuilder, ort::Error> {
        let mut builder = builder.with_prepacked_weights(&self.packed)?;
        for (name, value) in &self.initialisers {
            builder = builder.with_initializer(name, Arc::clone(value))?;
        }
        Ok(builder)
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Weights({} initialisers)", self.initialisers.len())
    }
}

/// The initialiser as a value of the library; none for types that `ort` has no numbers for.
fn value(initialiser: &Initialiser<'_>) -> Result<Option<DynValue>, NnError> {
    // The numbers are those of `TensorProto.DataType`.
    Ok(Some(match initialiser.ty {
        1 => owned::<f32>(initialiser)?,
        2 => owned::<u8>(initialiser)?,
        3 => owned::<i8>(initialiser)?,
        6 => owned::<i32>(initialiser)?,
        7 => owned::<i64>(initialiser)?,
        10 => owned::<f16>(initialiser)?,
        11 => owned::<f64>(initialiser)?,
        16 => owned::<bf16>(initialiser)?,
        _ => return Ok(None),
    }))
}

/// A copy that is aligned: in the file, a tensor starts anywhere.
fn owned<T>(initialiser: &Initialiser<'_>) -> Result<DynValue, NnError>
where
    T: Plain + PrimitiveTensorElementType + fmt::Debug,
{
    let values = crate::tensor::plain::copied_values::<T>(initialiser.raw);
    let tensor = Tensor::from_array((initialiser.dims.clone(), values))
        .map_err(|error| NnError::Backend(error.to_string()))?;
    Ok(tensor.into_dyn())
}
