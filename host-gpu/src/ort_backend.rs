//! The backend that runs ONNX graphs: ONNX Runtime on the processor or on CUDA.
//!
//! Options are pinned here and nowhere else, and spelled out in the fingerprint: one thread within
//! a kernel, kernels one after the other, all graph optimisations (unless a calibration asks for
//! fewer), deterministic compute. A device that was asked for and cannot be used is an error; ONNX
//! Runtime's own habit of going on with the processor is switched off.

mod binding;
pub(crate) mod devices;
mod kernels;
pub(crate) mod library;
mod placement;
mod session;
#[cfg(test)]
mod tests;
mod types;

use crate::backend::{
    Device, DeviceInfo, FingerprintParts, GraphOptions, NnBackend, NnSession, Optimisation,
    StopFlag,
};
use crate::error::NnError;
use crate::onnx;
use kernels::Kernels;
use library::OrtLibrary;
use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{ArenaExtendStrategy, ExecutionProviderDispatch};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use session::{OUT_OF_MEMORY, OrtSession, Outputs};
use std::sync::{Arc, OnceLock};

/// Where a model's weights in other files would be looked for. A model here is one file, which its
/// digest covers; what it names besides must not be found.
const EXTERNAL_FOLDER: &str = "session.model_external_initializers_file_folder_path";
/// What the bytes of a model are. If the library may guess, it reads some that are ONNX as something else,
/// which nobody has looked at.
const FORMAT: &str = "session.load_model_format";
/// No folder at all.
const NO_FOLDER: &str = "/dev/null";

/// What CUDA keeps on a GPU for each process that uses it (context, kernels, workspaces of its libraries), in
/// bytes, rounded up.
const DRIVER_BYTES: u64 = 1 << 30;

/// ONNX Runtime, as loaded by [`OrtLibrary::load`].
#[derive(Debug)]
pub struct OrtBackend {
    library: Arc<OrtLibrary>,
    devices: OnceLock<Vec<DeviceInfo>>,
    /// Processes that use each GPU.
    processes: u16,
}

impl OrtBackend {
    /// A backend on a loaded library, alone on its GPUs.
    pub fn new(library: Arc<OrtLibrary>) -> Self {
        Self {
            library,
            devices: OnceLock::new(),
            processes: 1,
        }
    }

    /// One of so many processes that use the same GPUs: no graph takes more of a GPU's memory than an
    /// equal part of it. A run that wants more fails, and its neighbours go on.
    #[must_use]
    pub fn shared_by(mut self, processes: u16) -> Self {
        self.processes = processes.max(1);
        self
    }

    /// The library it runs on.
    pub fn library(&self) -> &OrtLibrary {
        &self.library
    }

    /// Where outputs of sessions with these options go.
    fn outputs(&self, options: &GraphOptions) -> Result<Outputs, NnError> {
        let Device::Cuda(index) = options.device else {
            return Ok(Outputs::Host);
        };
        let (library, options, arena) = (Arc::clone(&self.library), *options, self.arena(index));
        let kernels = Kernels::new(move || builder(&library, &options, arena));
        Outputs::cuda(index, kernels).map_err(|error| NnError::Backend(error.to_string()))
    }

    /// Whether a session can be set up on the device, as opposed to merely being named by the library.
    fn probe(&self, device: Device) -> Result<(), NnError> {
        builder(&self.library, &GraphOptions::on(device), None).map(drop)
    }

    /// Bytes of a GPU's memory that one graph may take.
    fn arena(&self, index: u32) -> Option<usize> {
        let device = Device::Cuda(index);
        let info = self
            .available_devices()
            .into_iter()
            .find(|info| info.device == device)?;
        arena_bytes(info.memory_bytes, self.processes)
    }
}

/// A process's part of a GPU's memory, less what the driver keeps for itself in each process.
fn arena_bytes(device_bytes: u64, processes: u16) -> Option<usize> {
    let part = device_bytes / u64::from(processes.max(1));
    let usable = part.saturating_sub(DRIVER_BYTES);
    usize::try_from(usable).ok().filter(|bytes| *bytes > 0)
}

/// A builder with every pinned option set and the execution provider registered. On a GPU a session takes
/// at most `arena` bytes.
fn builder(
    library: &OrtLibrary,
    options: &GraphOptions,
    arena: Option<usize>,
) -> Result<SessionBuilder, NnError> {
    let plain = || -> Result<SessionBuilder, ort::Error> {
        Ok(Session::builder(library.environment())?
            .with_optimization_level(level(options.optimisation))?
            .with_intra_threads(usize::from(options.intra_threads.max(1)))?
            .with_inter_threads(1)?
            .with_parallel_execution(false)?
            .with_intra_op_spinning(false)?
            .with_config_entry(EXTERNAL_FOLDER, NO_FOLDER)?
            .with_config_entry(FORMAT, "ONNX")?
            .with_config_entry(placement::RECORD, "1")?
            .with_deterministic_compute(true)?)
    };
    let builder = plain().map_err(|error| NnError::Backend(error.to_string()))?;
    let Device::Cuda(index) = options.device else {
        return Ok(builder);
    };
    builder
        .with_execution_providers([cuda(index, arena)?])
        .map_err(|error| unavailable(options.device, &error.to_string()))
}

/// As the library calls it.
const fn level(optimisation: Optimisation) -> GraphOptimizationLevel {
    match optimisation {
        Optimisation::Off => GraphOptimizationLevel::Disable,
        Optimisation::Basic => GraphOptimizationLevel::Level1,
        Optimisation::Extended => GraphOptimizationLevel::Level2,
        Optimisation::All => GraphOptimizationLevel::All,
    }
}

fn cuda(index: u32, arena: Option<usize>) -> Result<ExecutionProviderDispatch, NnError> {
    let id = i32::try_from(index).map_err(|_| unavailable(Device::Cuda(index), "no such index"))?;
    // The default search benchmarks convolution kernels on the spot, so that two sessions may choose
    // differently; TF32 drops bits that a processor keeps.
    let provider = ort::ep::CUDA::default()
        .with_device_id(id)
        .with_conv_algorithm_search(ConvAlgorithmSearch::Default)
        .with_tf32(false);
    let provider = match arena {
        // Memory is asked for as it is needed, since doubling what one has runs into the bound early.
        Some(bytes) => provider
            .with_memory_limit(bytes)
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested),
        None => provider,
    };
    Ok(provider.build().error_on_failure())
}

fn unavailable(device: Device, reason: &str) -> NnError {
    NnError::DeviceUnavailable {
        device: device.to_string(),
        reason: reason.to_owned(),
    }
}

impl NnBackend for OrtBackend {
    fn available_devices(&self) -> Vec<DeviceInfo> {
        let find = || {
            let mut found = vec![devices::cpu()];
            for gpu in devices::nvidia() {
                match self.probe(gpu.device) {
                    Ok(()) => found.push(gpu),
                    Err(error) => {
                        tracing::info!(device = %gpu.device, name = gpu.name, %error, "gpu not offered")
                    }
                }
            }
            found
        };
        self.devices.get_or_init(find).clone()
    }

    fn fingerprint(&self, options: &GraphOptions) -> Result<FingerprintParts, NnError> {
        let level = options.optimisation.name();
        let pinned = format!("opt={level};inter=1;mode=sequential;deterministic=1");
        let intra = options.intra_threads.max(1);
        let info = self
            .available_devices()
            .into_iter()
            .find(|info| info.device == options.device);
        let info = info.ok_or_else(|| match self.probe(options.device) {
            Err(error) => error,
            Ok(()) => unavailable(options.device, "the machine does not describe it"),
        })?;
        Ok(match options.device {
            Device::Cpu => FingerprintParts {
                engine: self.library.engine().to_owned(),
                execution_provider: "CPUExecutionProvider".to_owned(),
                // The instruction set picks the kernels; the maker's name does not.
                device: info.driver,
                options: format!("{pinned};intra={intra}"),
            },
            Device::Cuda(_) => FingerprintParts {
                engine: format!(
                    "{} {}",
                    self.library.engine(),
                    self.library.cuda_provider_digest()?
                ),
                execution_provider: "CUDAExecutionProvider".to_owned(),
                // Kernels without a CUDA version run on the host's processor.
                device: format!(
                    "{} driver {}; host {}",
                    info.name,
                    info.driver,
                    devices::cpu().driver
                ),
                options: format!("{pinned};intra={intra};conv=default;tf32=0"),
            },
        })
    }

    fn load(
        &self,
        name: &str,
        bytes: &[u8],
        options: &GraphOptions,
        stop: &StopFlag,
    ) -> Result<Box<dyn NnSession>, NnError> {
        let rejected = |reason: String| rejected(name, reason);
        let census = onnx::inspect(bytes).map_err(rejected)?;
        tracing::debug!(name, ?census, "a model is loaded");
        let arena = match options.device {
            Device::Cuda(index) => self.arena(index),
            Device::Cpu => None,
        };
        let mut builder = builder(&self.library, options, arena)?;
        let canceler = builder.canceler();
        let armed = stop.arm(Box::new(move || {
            // A load that cannot be told to stop still ends; nobody waits for it.
            let _ = canceler.cancel();
        }))?;
        let session = builder.commit_from_memory(bytes);
        drop(armed);
        if stop.is_stopped() {
            return Err(NnError::Stopped);
        }
        let session = session.map_err(|error| {
            let reason = error.to_string();
            // A constant that is folded takes this machine's memory, and another may have more.
            match OUT_OF_MEMORY.iter().any(|words| reason.contains(words)) {
                true => NnError::Backend(reason),
                false => rejected(reason),
            }
        })?;
        let placement = placement::of(&session).map_err(rejected)?;
        let outputs = self.outputs(options)?;
        let session = OrtSession::new(session, placement, outputs).map_err(rejected)?;
        Ok(Box::new(session))
    }
}

fn rejected(name: &str, reason: String) -> NnError {
    NnError::GraphRejected {
        name: name.to_owned(),
        reason,
    }
}
