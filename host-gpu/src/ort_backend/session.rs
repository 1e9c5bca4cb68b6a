//! One ONNX Runtime session: inputs in place, outputs kept as the library made them.

use super::binding;
use super::kernels::Kernels;
use crate::backend::{GraphIo, MAX_PORTS, NnSession, NodesOn, Port, StopFlag, shown};
use crate::error::{FaultCode, GuestFault, NnError};
use crate::pick::{Pick, Rows};
use crate::tensor::plain::{Plain, bytes_of, values_of};
use crate::tensor::{
    BackendTensor, BoundInput, ElementType, MAX_RANK, NamedOutput, ReadBack, TensorValue,
};
use half::{bf16, f16};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{
    DynValue, Outlet, PrimitiveTensorElementType, TensorElementType, TensorRef, ValueType,
};
use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Words of the library by which it says that memory ran out, which is our trouble and not the guest's.
pub(super) const OUT_OF_MEMORY: [&str; 3] = ["Failed to allocate", "out of memory", "bad_alloc"];

/// The longest name of an input or output, in bytes. It is repeated in every answer.
const NAME_BYTES_MAX: usize = 256;

/// Words by which a device's libraries and driver say that they failed.
const DRIVER: [&str; 6] = ["CUDA", "CUBLAS", "CUDNN", "CUFFT", "CURAND", "cuda"];

#[derive(Debug)]
pub(crate) struct OrtSession {
    session: Session,
    io: GraphIo,
    placement: Vec<NodesOn>,
    outputs: Outputs,
}

/// Where a session's outputs go.
#[derive(Debug)]
pub(super) enum Outputs {
    /// To host memory, as the library has it.
    Host,
    /// They stay on the device, where the next run finds them without a copy. Those that the guest
    /// has read before go to host memory that the device can write to.
    Device {
        device: MemoryInfo<'static>,
        pinned: MemoryInfo<'static>,
        kernels: Arc<Kernels>,
    },
}

impl Outputs {
    /// On the CUDA device of this index.
    pub(super) fn cuda(index: u32, kernels: Kernels) -> Result<Self, ort::Error> {
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        let memory = |device, ty| MemoryInfo::new(device, index, AllocatorType::Device, ty);
        Ok(Self::Device {
            device: memory(AllocationDevice::CUDA, MemoryType::Default)?,
            pinned: memory(AllocationDevice::CUDA_PINNED, MemoryType::CPUOutput)?,
            kernels: Arc::new(kernels),
        })
    }
}

/// A value that the library made and still owns.
struct OrtTensor {
    value: DynValue,
    ty: ElementType,
    /// Of a value that is on a device.
    remote: Option<Remote>,
}

/// What a value on a device knows beside itself.
struct Remote {
    /// Its copy in host memory, made when somebody first asks.
    copy: OnceLock<Result<DynValue, String>>,
    /// Where it is noted that somebody asked, and under which name.
    read_back: Arc<ReadBack>,
    output: String,
    kernels: Arc<Kernels>,
}

impl OrtSession {
    /// Describes the session, or says why `wasi:nn` cannot carry its inputs and outputs.
    pub(super) fn new(
        session: Session,
        placement: Vec<NodesOn>,
        outputs: Outputs,
    ) -> Result<Self, String> {
        let io = GraphIo {
            inputs: ports("input", session.inputs())?,
            outputs: ports("output", session.outputs())?,
        };
        // Such an output is the input itself, and the guest may be done with that.
        let given = |output: &&Port| io.inputs.iter().any(|input| input.name == output.name);
        if let Some(output) = io.outputs.iter().find(given) {
            let name = shown(&output.name);
            return Err(format!("{name:?} is both an input and an output"));
        }
        Ok(Self {
            session,
            io,
            placement,
            outputs,
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
        if name.len() > NAME_BYTES_MAX {
            let (name, bytes) = (shown(&name), name.len());
            return Err(format!(
                "the name of {kind} {name:?}… has {bytes} bytes, the bound is {NAME_BYTES_MAX}"
            ));
        }
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

    fn placement(&self) -> Vec<NodesOn> {
        self.placement.clone()
    }

    fn run(&mut self, inputs: &[BoundInput], stop: &StopFlag) -> Result<Vec<NamedOutput>, NnError> {
        self.run_for(inputs, &Arc::default(), stop)
    }

    fn run_for(
        &mut self,
        inputs: &[BoundInput],
        read_back: &Arc<ReadBack>,
        stop: &StopFlag,
    ) -> Result<Vec<NamedOutput>, NnError> {
        let options = Arc::new(RunOptions::new().map_err(backend)?);
        let terminator = Arc::clone(&options);
        let armed = stop.arm(Box::new(move || {
            // Setting a flag; the run it belongs to looks at it between kernels.
            let _ = terminator.terminate();
        }))?;
        let result = match &self.outputs {
            Outputs::Host => on_host(&mut self.session, inputs, &options),
            Outputs::Device {
                device,
                pinned,
                kernels,
            } => {
                let place = |output: &str| match read_back.has(output) {
                    true => pinned,
                    false => device,
                };
                let values = bound(&mut self.session, &self.io, inputs, place, &options);
                let remote = |output: &str| {
                    (!read_back.has(output)).then(|| Remote {
                        copy: OnceLock::new(),
                        read_back: Arc::clone(read_back),
                        output: output.to_owned(),
                        kernels: Arc::clone(kernels),
                    })
                };
                values.and_then(|values| {
                    let each = |(name, value): (String, DynValue)| {
                        let remote = remote(&name);
                        let value = output_value(&name, value, remote)?;
                        Ok((name, value))
                    };
                    values.into_iter().map(each).collect()
                })
            }
        };
        drop(armed);
        match result {
            Err(RunError::Library(_)) if stop.is_stopped() => Err(NnError::Stopped),
            Err(RunError::Library(error)) => Err(self.outputs.run_error(&error)),
            Err(RunError::Ours(error)) => Err(error),
            Ok(outputs) => Ok(outputs),
        }
    }
}

/// What the library says of a run may be the guest's fault; what we say is not.
enum RunError {
    Library(ort::Error),
    Ours(NnError),
}

impl From<ort::Error> for RunError {
    fn from(error: ort::Error) -> Self {
        Self::Library(error)
    }
}

impl From<NnError> for RunError {
    fn from(error: NnError) -> Self {
        Self::Ours(error)
    }
}

/// A run whose inputs and outputs are in host memory.
fn on_host(
    session: &mut Session,
    inputs: &[BoundInput],
    options: &RunOptions,
) -> Result<Vec<NamedOutput>, RunError> {
    let mut values = Vec::with_capacity(inputs.len());
    for input in inputs {
        values.push((Cow::Borrowed(input.name.as_str()), input_value(input)?));
    }
    let outputs = session.run_with_options(values, options)?;
    let mut lent = Vec::new();
    for input in inputs {
        if input.value.backend_value().is_none() {
            lent.push(input.value.host_bytes()?.as_ptr_range());
        }
    }
    let own = |(name, value): (&str, DynValue)| {
        // The library has no reason to answer with memory that it was only lent, which the guest may
        // give up before the answer. Should it find one, the answer is copied.
        let at = binding::address(&value)?;
        let borrowed = lent.iter().any(|lent| lent.contains(&at));
        let value = output_value(name, value, None)?;
        Ok((
            name.to_owned(),
            if borrowed { copy(&value)? } else { value },
        ))
    };
    outputs.into_iter().map(own).collect()
}

fn copy(value: &TensorValue) -> Result<TensorValue, NnError> {
    let bytes = value.host_bytes()?;
    Ok(TensorValue::from_bytes(value.ty(), value.dims(), bytes)?)
}

/// A run whose outputs go where `place` says. Inputs that are there already are not copied; others are
/// by the library, within the run.
fn bound<'a>(
    session: &mut Session,
    io: &GraphIo,
    inputs: &[BoundInput],
    place: impl Fn(&str) -> &'a MemoryInfo<'static>,
    options: &RunOptions,
) -> Result<Vec<(String, DynValue)>, RunError> {
    let mut values = Vec::with_capacity(inputs.len());
    for input in inputs {
        values.push((input.name.as_str(), input_value(input)?));
    }
    let inputs: Vec<(&str, &DynValue)> = values
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let outputs = io
        .outputs
        .iter()
        .map(|output| (output.name.as_str(), place(&output.name)));
    Ok(binding::run(session, &inputs, outputs, options)?)
}

fn backend(error: ort::Error) -> NnError {
    NnError::Backend(error.to_string())
}

impl Outputs {
    /// Whose trouble a failed run is. On the processor it fails because of its inputs, unless the
    /// machine ran out of memory. On a device it may have failed for reasons of the device's own, which
    /// another would not have: only what the library calls an invalid argument is the guest's.
    fn run_error(&self, error: &ort::Error) -> NnError {
        let message = error.to_string();
        tracing::debug!(?message, "a run failed");
        let remote = matches!(self, Self::Device { .. });
        let invalid = error.code() == ort::ErrorCode::InvalidArgument;
        if blames_guest(remote, invalid, &message) {
            return GuestFault::new(FaultCode::RuntimeError, &message).into();
        }
        NnError::Backend(message)
    }
}

fn blames_guest(remote: bool, invalid: bool, message: &str) -> bool {
    let memory = OUT_OF_MEMORY.iter().any(|words| message.contains(words));
    let driver = DRIVER.iter().any(|words| message.contains(words));
    !memory && (!remote || invalid && !driver)
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

fn output_value(
    name: &str,
    value: DynValue,
    remote: Option<Remote>,
) -> Result<TensorValue, NnError> {
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
        Box::new(OrtTensor { value, ty, remote }),
    ))
}

impl OrtTensor {
    fn bytes<T: Plain + PrimitiveTensorElementType>(&self) -> Result<&[u8], NnError> {
        let value = match &self.remote {
            None => &self.value,
            Some(remote) => remote.host_copy(&self.value, self.ty)?,
        };
        let (_, values) = value.try_extract_tensor::<T>().map_err(backend)?;
        Ok(bytes_of(values))
    }
}

impl Remote {
    fn host_copy(&self, value: &DynValue, ty: ElementType) -> Result<&DynValue, NnError> {
        self.read_back.note(&self.output);
        let copy = || self.kernels.to_host(value, ty);
        let made = self
            .copy
            .get_or_init(|| copy().map_err(|error| error.to_string()));
        made.as_ref()
            .map_err(|reason| NnError::Backend(reason.clone()))
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

    fn top_k(&self, rows: &[u32], len: u32, count: u32) -> Result<Option<Vec<Vec<Pick>>>, NnError> {
        let Some(remote) = &self.remote else {
            return Ok(None);
        };
        let rows = Rows {
            wanted: rows.to_vec(),
            len,
        };
        remote.kernels.top_k(&self.value, self.ty, &rows, count)
    }
}

impl fmt::Debug for OrtTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrtTensor({})", self.ty)
    }
}

#[cfg(test)]
mod tests {
    use super::blames_guest;

    #[test]
    fn a_failed_run_is_the_guests_fault_only_if_it_would_fail_elsewhere_too() {
        let shape = "Got invalid dimensions for input: x";
        for (remote, invalid, message, expected) in [
            (false, false, "Non-zero status code: out of bounds", true),
            (false, true, shape, true),
            (false, false, "bad_alloc", false),
            (true, true, shape, true),
            (
                true,
                false,
                "CUDA failure 700: illegal access; hostname=h",
                false,
            ),
            (true, true, "CUBLAS failure 14", false),
            (true, false, "Non-zero status code: something", false),
        ] {
            let found = blames_guest(remote, invalid, message);
            assert_eq!(found, expected, "{message}");
        }
    }
}
