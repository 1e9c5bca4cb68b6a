//! Bare ONNX Runtime: the same library in the same process, called from Rust without a guest.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use host_gpu::OrtLibrary;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorRef, ValueType};

use crate::guests::Decoder;

/// The library that the sandbox uses.
pub(crate) fn library() -> Result<Arc<OrtLibrary>> {
    Ok(OrtLibrary::load_discovered()?)
}

/// Where a session runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Cpu,
    Cuda,
}

/// A session with the options that ours has: one thread, every optimisation, deterministic kernels.
pub(crate) fn session(model: &[u8], on: On) -> Result<Session> {
    let library = library()?;
    Ok(builder(&library, on)?.commit_from_memory(model)?)
}

fn builder(library: &OrtLibrary, on: On) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(library.environment())?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_deterministic_compute(true)?;
    if on == On::Cpu {
        return Ok(builder);
    }
    let cuda = ort::ep::CUDA::default().with_device_id(0).with_tf32(false);
    Ok(builder.with_execution_providers([cuda.build().error_on_failure()])?)
}

/// Runs a model of one input and one output, and reads the output.
pub(crate) fn once(session: &mut Session, dims: &[i64], x: &[f32], y: &mut Vec<f32>) -> Result<()> {
    let x = TensorRef::from_array_view((dims.to_vec(), x))?;
    let outputs = session.run([SessionInputValue::from(x)])?;
    let out = outputs.values().next().context("no output")?;
    let (_, values) = out.try_extract_tensor::<f32>()?;
    y.clear();
    y.extend_from_slice(values);
    Ok(())
}

/// A decoder whose cache is passed from run to run through an IoBinding.
pub(crate) struct Loop {
    session: Session,
    model: Decoder,
    caches: MemoryInfo<'static>,
    logits: MemoryInfo<'static>,
}

impl Loop {
    pub(crate) fn new(bytes: &[u8], on: On) -> Result<Self> {
        let session = session(bytes, on)?;
        let model = describe(&session)?;
        let device = match on {
            On::Cpu => AllocationDevice::CPU,
            On::Cuda => AllocationDevice::CUDA,
        };
        let info = |device| MemoryInfo::new(device, 0, AllocatorType::Device, MemoryType::Default);
        Ok(Self {
            model,
            session,
            caches: info(device)?,
            logits: info(AllocationDevice::CPU)?,
        })
    }

    pub(crate) fn model(&self) -> Decoder {
        self.model
    }

    /// Continues a prompt greedily by `count` tokens.
    pub(crate) fn write(&mut self, prompt: &[u32], count: usize) -> Result<Vec<u32>> {
        let names = self.model.caches();
        let (heads, width) = (i64::from(self.model.heads), i64::from(self.model.width));
        let mut past: Vec<DynValue> = Vec::with_capacity(names.len());
        for _ in &names {
            let allocator = self.session.allocator();
            past.push(Tensor::<f32>::new(allocator, [1, heads, 0, width])?.into_dyn());
        }
        let mut feed: Vec<i64> = prompt.iter().map(|token| i64::from(*token)).collect();
        let (mut length, mut written) = (0_i64, Vec::with_capacity(count));
        while written.len() < count {
            let n = i64::try_from(feed.len())?;
            let positions: Vec<i64> = (length..length + n).collect();
            length += n;
            let mask = vec![1_i64; usize::try_from(length)?];
            let mut binding = self.session.create_binding()?;
            binding.bind_input("input_ids", &Tensor::from_array(([1, n], feed))?)?;
            binding.bind_input("attention_mask", &Tensor::from_array(([1, length], mask))?)?;
            binding.bind_input("position_ids", &Tensor::from_array(([1, n], positions))?)?;
            for (name, value) in names.iter().zip(&past) {
                binding.bind_input(name, value)?;
            }
            binding.bind_output_to_device("logits", &self.logits)?;
            for name in &names {
                binding.bind_output_to_device(present(name), &self.caches)?;
            }
            let mut outputs = self.session.run_binding(&binding)?;
            let logits = outputs.remove("logits").context("no logits")?;
            past = names
                .iter()
                .map(|name| outputs.remove(present(name)).context("a cache is missing"))
                .collect::<Result<_>>()?;
            let (_, values) = logits.try_extract_tensor::<f32>()?;
            let next = likeliest(values, self.model.vocabulary as usize)?;
            written.push(next);
            feed = vec![i64::from(next)];
        }
        Ok(written)
    }
}

/// The output that becomes this input.
fn present(past: &str) -> String {
    past.replacen("past_key_values.", "present.", 1)
}

/// The greatest of the last row; of equals the first.
fn likeliest(logits: &[f32], vocabulary: usize) -> Result<u32> {
    let from = logits
        .len()
        .checked_sub(vocabulary)
        .context("too few logits")?;
    let row = logits.get(from..).unwrap_or_default();
    let (mut best, mut value) = (0, f32::NEG_INFINITY);
    for (at, candidate) in row.iter().enumerate() {
        if *candidate > value {
            (best, value) = (at, *candidate);
        }
    }
    Ok(u32::try_from(best)?)
}

/// What the guest is told of a model, read from the model.
pub(crate) fn describe(session: &Session) -> Result<Decoder> {
    let sizes = |ty: &ValueType| match ty {
        ValueType::Tensor { shape, .. } => shape.to_vec(),
        _ => Vec::new(),
    };
    let find = |name: &str| {
        let ports = session.inputs().iter().chain(session.outputs());
        let found = ports
            .filter(|port| port.name() == name)
            .map(|port| sizes(port.dtype()))
            .next();
        found.with_context(|| format!("the model has no {name}"))
    };
    let cache = find("past_key_values.0.key")?;
    let size = |dims: &[i64], at: usize| -> Result<u32> {
        Ok(u32::try_from(*dims.get(at).context("too few dimensions")?)?)
    };
    let model = Decoder {
        layers: u32::try_from(session.inputs().len().saturating_sub(3) / 2)?,
        heads: size(&cache, 1)?,
        width: size(&cache, 3)?,
        vocabulary: size(&find("logits")?, 2)?,
    };
    let outputs: Vec<&str> = session.outputs().iter().map(|port| port.name()).collect();
    let mut expected = vec!["logits".to_owned()];
    expected.extend(model.caches().iter().map(|cache| present(cache)));
    ensure!(
        outputs == expected,
        "the model's outputs are in another order"
    );
    Ok(model)
}
