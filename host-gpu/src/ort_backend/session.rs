//! One ONNX Runtime session: inputs in place, outputs kept as the library made them.

use crate::backend::{GraphIo, MAX_PORTS, NnSession, Port, StopFlag, shown};
use crate::error::{FaultCode, GuestFault, NnError};
use crate::tensor::plain::{Plain, bytes_of, values_of};
use crate::tensor::{BackendTensor, BoundInput, ElementType, MAX_RANK, NamedOutput, TensorValue};
use half::{bf16, f16};
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{
    DynValue, Outlet, PrimitiveTensorElementType, TensorElementType, TensorRef, ValueType,
};
use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Words of the library by which it says that memory ran out, which is our trouble and not the guest's.
pub(super) const OUT_OF_MEMORY: [&str; 3] = ["Failed to allocate", "out of memory", "bad_alloc"];

#[derive(Debug)]
pub(crate) struct OrtSession {
    session: Session,
    io: GraphIo,
}

/// A value that the library made and still owns.
struct OrtTensor {
    value: DynValue,
    ty: ElementType,
}

impl OrtSession {
    /// Describes the session, or says why `wasi:nn` cannot carry its inputs and outputs.
    pub(crate) fn new(session: Session) -> Result<Self, String> {
        let inputs = ports("input", session.inputs())?;
        let outputs = ports("output", session.outputs())?;
        Ok(Self {
            session,
            io: GraphIo { inputs, outputs },
        })
    }
}

fn ports(kind: &str, outlets: &[Outlet]) -> Result<Vec<Port>, String> {
    if outlets.len() > MAX_PORTS {
        return Err(format!(
            "{} {kind}s, the bound is {MAX_PORTS}",
            outlets.len()
        ));
    }
    let port = |outlet: &Outlet| {
        let name = outlet.name().to_owned();
        let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
            return Err(format!("{kind} {:?} is no tensor", shown(&name)));
        };
        let known = element_type(*ty);
        let ty = known.ok_or_else(|| {
            format!(
                "{kind} {:?} is {ty}, which wasi:nn cannot carry",
                shown(&name)
            )
        })?;
        if shape.len() > MAX_RANK {
            return Err(format!(
                "{kind} {:?} has rank {}, the bound is {MAX_RANK}",
                shown(&name),
                shape.len()
            ));
        }
        // Anything that is no size is "any size": -1 by convention.
        let dims = shape.iter().map(|dim| u32::try_from(*dim).ok()).collect();
        Ok(Port { name, ty, dims })
    };
    outlets.iter().map(port).collect()
}

fn element_type(ty: TensorElementType) -> Option<ElementType> {
    Some(match ty {
        TensorElementType::Float16 => ElementType::F16,
        TensorElementType::Float32 => ElementType::F32,
        TensorElementType::Float64 => ElementType::F64,
        TensorElementType::Bfloat16 => ElementType::Bf16,
        TensorElementType::Uint8 => ElementType::U8,
        TensorElementType::Int32 => ElementType::I32,
        TensorElementType::Int64 => ElementType::I64,
        _ => return None,
    })
}

impl NnSession for OrtSession {
    fn io(&self) -> &GraphIo {
        &self.io
    }

    fn run(&mut self, inputs: &[BoundInput], stop: &StopFlag) -> Result<Vec<NamedOutput>, NnError> {
        let options = Arc::new(RunOptions::new().map_err(backend)?);
        let terminator = Arc::clone(&options);
        let armed = stop.arm(Box::new(move || {
            // Setting a flag; the run it belongs to looks at it between kernels.
            let _ = terminator.terminate();
        }))?;
        let mut values = Vec::with_capacity(inputs.len());
        for input in inputs {
            values.push((Cow::Borrowed(input.name.as_str()), input_value(input)?));
        }
        let outputs = match self.session.run_with_options(values, &options) {
            Ok(outputs) => outputs,
            Err(_) if stop.is_stopped() => return Err(NnError::Stopped),
            Err(error) => return Err(run_error(&error.to_string())),
        };
        drop(armed);
        outputs
            .into_iter()
            .map(|(name, value)| Ok((name.to_owned(), output_value(name, value)?)))
            .collect()
    }
}

fn backend(error: ort::Error) -> NnError {
    NnError::Backend(error.to_string())
}

/// A run fails because of its inputs, unless the machine ran out of memory.
fn run_error(message: &str) -> NnError {
    tracing::debug!(?message, "a run failed");
    if OUT_OF_MEMORY.iter().any(|words| message.contains(words)) {
        return NnError::Backend(message.to_owned());
    }
    GuestFault::new(FaultCode::RuntimeError, message).into()
}

/// The input as the library sees it: its own value, or a view of our bytes. Nothing is copied.
fn input_value(input: &BoundInput) -> Result<SessionInputValue<'_>, NnError> {
    let own = input
        .value
        .backend_value()
        .and_then(|value| value.downcast_ref::<OrtTensor>());
    if let Some(own) = own
        && input.dims == input.value.dims()
    {
        return Ok(own.value.view().into());
    }
    let bytes = input.value.host_bytes()?;
    match input.value.ty() {
        ElementType::F16 => view::<f16>(&input.dims, bytes),
        ElementType::F32 => view::<f32>(&input.dims, bytes),
        ElementType::F64 => view::<f64>(&input.dims, bytes),
        ElementType::Bf16 => view::<bf16>(&input.dims, bytes),
        ElementType::U8 => view::<u8>(&input.dims, bytes),
        ElementType::I32 => view::<i32>(&input.dims, bytes),
        ElementType::I64 => view::<i64>(&input.dims, bytes),
    }
}

fn view<'a, T>(dims: &[u32], bytes: &'a [u8]) -> Result<SessionInputValue<'a>, NnError>
where
    T: Plain + PrimitiveTensorElementType + fmt::Debug,
{
    let values = values_of::<T>(bytes)
        .ok_or_else(|| NnError::Backend("a tensor is not aligned".to_owned()))?;
    let shape: Vec<i64> = dims.iter().map(|dim| i64::from(*dim)).collect();
    let tensor = TensorRef::from_array_view((shape, values)).map_err(backend)?;
    Ok(tensor.into())
}

fn output_value(name: &str, value: DynValue) -> Result<TensorValue, NnError> {
    let odd = |what: &str| NnError::Backend(format!("output {:?} {what}", shown(name)));
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(odd("is no tensor"));
    };
    let ty = element_type(*ty).ok_or_else(|| odd("has a type that wasi:nn cannot carry"))?;
    if shape.len() > MAX_RANK {
        return Err(odd("has too many dimensions"));
    }
    let dims: Option<Vec<u32>> = shape.iter().map(|dim| u32::try_from(*dim).ok()).collect();
    let dims = dims.ok_or_else(|| odd("has a dimension above 2^32"))?;
    Ok(TensorValue::from_backend(
        ty,
        dims,
        Box::new(OrtTensor { value, ty }),
    ))
}

impl OrtTensor {
    fn bytes<T: Plain + PrimitiveTensorElementType>(&self) -> Result<&[u8], NnError> {
        let (_, values) = self.value.try_extract_tensor::<T>().map_err(backend)?;
        Ok(bytes_of(values))
    }
}

impl BackendTensor for OrtTensor {
    fn host_bytes(&self) -> Result<&[u8], NnError> {
        match self.ty {
            ElementType::F16 => self.bytes::<f16>(),
            ElementType::F32 => self.bytes::<f32>(),
            ElementType::F64 => self.bytes::<f64>(),
            ElementType::Bf16 => self.bytes::<bf16>(),
            ElementType::U8 => self.bytes::<u8>(),
            ElementType::I32 => self.bytes::<i32>(),
            ElementType::I64 => self.bytes::<i64>(),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for OrtTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrtTensor({})", self.ty)
    }
}
