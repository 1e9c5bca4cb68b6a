//! A model without a guest: run as a calibration wants it, over many samples, in a worker process.
//!
//! Where a job's graphs run in one pinned way, a calibration runs one graph in many: other optimisation
//! levels, thread counts and batches, and edited as somebody who saves effort would edit it. All of it
//! happens where models are parsed anyway, in a confined worker; its parent sees names and numbers.

mod batch;

use std::io::Read;
use std::sync::Arc;

use host_gpu::{
    ElementType, GraphOptions, NnBackend, NnSession, OrtBackend, OrtLibrary, Port, StopFlag,
    TensorValue,
};
use jobs::offer::DeviceKind;
use jobs::outcome::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::engine::engine_id;
use crate::failure::FailureKind;
use crate::sandbox::{bounded, nn_device};
use crate::task::{LocalBlob, SHARD_BYTES_MAX, model_digest};

/// Most samples of one run.
pub const SAMPLES_MAX: usize = 4096;
/// Most rows that share a run.
pub const BATCH_MAX: u32 = 1024;

/// What errors call the model.
const NAME: &str = "under calibration";

/// How much a graph is rewritten before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Optimisation {
    /// Not at all.
    Off,
    /// Constants are folded and what is redundant goes.
    Basic,
    /// Nodes are fused, too.
    Extended,
    /// Memory layouts change, too: how jobs run.
    All,
}

impl From<Optimisation> for host_gpu::Optimisation {
    fn from(level: Optimisation) -> Self {
        match level {
            Optimisation::Off => Self::Off,
            Optimisation::Basic => Self::Basic,
            Optimisation::Extended => Self::Extended,
            Optimisation::All => Self::All,
        }
    }
}

/// A change to the model before it is loaded; see [`host_gpu::ModelEdit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Edit {
    /// Weights of eight bits.
    Int8Weights,
    /// Numbers of half precision.
    Fp16Weights,
    /// Weights of four bits.
    Int4Weights,
    /// A layer that does nothing.
    SkippedLayer,
}

impl From<Edit> for host_gpu::ModelEdit {
    fn from(edit: Edit) -> Self {
        match edit {
            Edit::Int8Weights => Self::Int8Weights,
            Edit::Fp16Weights => Self::Fp16Weights,
            Edit::Int4Weights => Self::Int4Weights,
            Edit::SkippedLayer => Self::SkippedLayer,
        }
    }
}

/// One way to run a model over samples, which travel beside it: an item list of encoded [`Sample`]s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRun {
    /// The model.
    pub model: LocalBlob,
    /// What is done to it first.
    pub edit: Option<Edit>,
    /// Where it runs.
    pub device: DeviceKind,
    /// How much it is rewritten.
    pub optimisation: Optimisation,
    /// Threads within one kernel.
    pub intra_threads: u16,
    /// Rows that share a run. More than one needs inputs whose first dimension is free.
    pub batch: u32,
    /// The output that is wanted.
    pub output: String,
    /// Whether only the last position of each sample is wanted: of `[positions, width]` the last row.
    pub last_position: bool,
}

/// A tensor of a sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleTensor {
    /// The input it is for.
    pub name: String,
    /// Its element type, as [`ModelPort::ty`] has it.
    pub ty: String,
    /// Its dimensions.
    pub dims: Vec<u32>,
    /// Its elements, little-endian.
    pub bytes: Vec<u8>,
}

/// One row of inputs: every input of the model, each with a first dimension of one if that is free.
pub type Sample = Vec<SampleTensor>;

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelPort {
    /// Its name.
    pub name: String,
    /// Its element type: `f32`, `i64`, ….
    pub ty: String,
    /// Its dimensions; `None` where any size will do.
    pub dims: Vec<Option<u32>>,
    /// What the model calls its free dimensions.
    pub symbols: Vec<Option<String>>,
    /// Rows of the table that its numbers pick from, if they do.
    pub below: Option<u64>,
}

impl std::fmt::Display for ModelPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dim = |dim: &Option<u32>| dim.map_or("any".to_owned(), |dim| dim.to_string());
        let dims: Vec<String> = self.dims.iter().map(dim).collect();
        write!(f, "{} {} [{}]", self.name, self.ty, dims.join(", "))
    }
}

/// A model's inputs and outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelPorts {
    /// What it takes.
    pub inputs: Vec<ModelPort>,
    /// What it gives.
    pub outputs: Vec<ModelPort>,
}

/// What a run gave. The answers travel beside it: an item list, one answer for each sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRan {
    /// The execution class.
    pub fingerprint: Fingerprint,
    /// What an edit did.
    pub edited: Option<String>,
    /// The output's element type.
    pub ty: String,
}

/// Runs models. One of a process.
#[derive(Debug)]
pub(crate) struct Models {
    backend: OrtBackend,
}

impl Models {
    /// Loads the inference library.
    pub(crate) fn new() -> Result<Self, FailureKind> {
        let library = OrtLibrary::load_discovered().map_err(failed)?;
        Ok(Self {
            backend: OrtBackend::new(library),
        })
    }

    /// A model's inputs and outputs.
    pub(crate) fn ports(&self, model: &LocalBlob) -> Result<ModelPorts, FailureKind> {
        let bytes = read(model)?;
        let declared = host_gpu::declared_inputs(&bytes).map_err(refused)?;
        let options = GraphOptions {
            optimisation: host_gpu::Optimisation::Off,
            ..GraphOptions::on(host_gpu::Device::Cpu)
        };
        let session = self.load(&bytes, &options)?;
        let port = |port: &Port| {
            let known = declared.iter().find(|known| known.name == port.name);
            let symbol = |dim: &host_gpu::DeclaredDim| match dim {
                host_gpu::DeclaredDim::Named(name) => Some(name.clone()),
                _ => None,
            };
            ModelPort {
                name: port.name.clone(),
                ty: port.ty.name().to_owned(),
                dims: port.dims.clone(),
                symbols: known.map_or(Vec::new(), |known| known.dims.iter().map(symbol).collect()),
                below: known.and_then(|known| known.below),
            }
        };
        Ok(ModelPorts {
            inputs: session.io().inputs.iter().map(port).collect(),
            outputs: session.io().outputs.iter().map(port).collect(),
        })
    }

    /// Runs a model over encoded samples; gives encoded answers.
    pub(crate) fn run(
        &self,
        run: &ModelRun,
        samples: &[u8],
    ) -> Result<(ModelRan, Vec<u8>), FailureKind> {
        let samples = samples_of(samples)?;
        let mut bytes = read(&run.model)?;
        let edit = |edit: Edit| host_gpu::edit_model(&mut bytes, edit.into());
        let edited = run.edit.map(edit).transpose().map_err(refused)?;
        let options = GraphOptions {
            intra_threads: run.intra_threads,
            optimisation: run.optimisation.into(),
            ..GraphOptions::on(nn_device(run.device))
        };
        let parts = self.backend.fingerprint(&options).map_err(failed)?;
        let mut session = self.load(&bytes, &options)?;
        drop(bytes);
        let (answers, ty) = answers(session.as_mut(), run, &samples)?;
        let ran = ModelRan {
            fingerprint: Fingerprint {
                engine: engine_id(),
                library: bounded(parts.engine),
                execution_provider: bounded(parts.execution_provider),
                device: bounded(parts.device),
                options: bounded(parts.options),
            },
            edited,
            ty: ty.name().to_owned(),
        };
        let answers = jobs::items::encode(&answers).map_err(FailureKind::task)?;
        Ok((ran, answers))
    }

    fn load(
        &self,
        bytes: &[u8],
        options: &GraphOptions,
    ) -> Result<Box<dyn NnSession>, FailureKind> {
        // Whoever waits for too long ends the process.
        let stop = StopFlag::default();
        self.backend
            .load(NAME, bytes, options, &stop)
            .map_err(failed)
    }
}

fn failed(error: host_gpu::NnError) -> FailureKind {
    FailureKind::model(NAME, &error)
}

fn refused(reason: String) -> FailureKind {
    FailureKind::ModelRefused {
        name: NAME.to_owned(),
        reason,
    }
}

/// The model's bytes, checked.
fn read(model: &LocalBlob) -> Result<Vec<u8>, FailureKind> {
    let what = || format!("model {}", model.blob.digest);
    let max = jobs::manifest::MODEL_BYTES_MAX;
    if model.blob.size > max {
        let size = model.blob.size;
        return Err(FailureKind::task(format!(
            "a model of {size} bytes, the bound is {max}"
        )));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(model.blob.size).unwrap_or(0));
    std::fs::File::open(&model.path)
        .and_then(|file| {
            let one_more = model.blob.size.saturating_add(1);
            file.take(one_more).read_to_end(&mut bytes)
        })
        .map_err(|error| FailureKind::blob(what(), error))?;
    let digest = host_gpu::ModelDigest::of(&bytes);
    if bytes.len() as u64 != model.blob.size || digest != model_digest(&model.blob.digest) {
        return Err(FailureKind::blob(what(), "the file holds something else"));
    }
    Ok(bytes)
}

fn samples_of(encoded: &[u8]) -> Result<Vec<Sample>, FailureKind> {
    let items = jobs::items::decode(encoded).map_err(FailureKind::task)?;
    if items.is_empty() || items.len() > SAMPLES_MAX {
        let count = items.len();
        let reason = format!("{count} samples, there must be 1 to {SAMPLES_MAX}");
        return Err(FailureKind::task(reason));
    }
    let sample = |item: &&[u8]| postcard::from_bytes(item).map_err(FailureKind::task);
    items.iter().map(sample).collect()
}

/// Every sample's answer, in order, and their type.
fn answers(
    session: &mut dyn NnSession,
    run: &ModelRun,
    samples: &[Sample],
) -> Result<(Vec<Vec<u8>>, ElementType), FailureKind> {
    let known = |port: &&Port| port.name == run.output;
    let Some(output) = session.io().outputs.iter().find(known).cloned() else {
        let names = session.io().outputs.iter().map(|port| port.name.as_str());
        let names: Vec<&str> = names.take(8).collect();
        let wanted = &run.output;
        let reason = format!("the model has no output {wanted:?}; it has {names:?}");
        return Err(FailureKind::task(reason));
    };
    let free = |name: &str| {
        let port = session.io().inputs.iter().find(|port| port.name == name);
        port.is_some_and(|port| port.dims.first() == Some(&None))
    };
    let batches = batch::stack(samples, run.batch, free).map_err(FailureKind::task)?;
    let mut answers: Vec<Vec<u8>> = vec![Vec::new(); samples.len()];
    let mut total = 0_usize;
    for batch in batches {
        let value = evaluate(session, &batch.tensors, &run.output)?;
        let rows = batch::split(&value, batch.width, run.last_position);
        for (row, sample) in rows
            .map_err(FailureKind::task)?
            .into_iter()
            .zip(&batch.rows)
        {
            total = total.saturating_add(row.len());
            if total > SHARD_BYTES_MAX / 2 {
                let bound = SHARD_BYTES_MAX / 2;
                return Err(FailureKind::task(format!(
                    "answers of more than {bound} bytes: take fewer samples or the last position only"
                )));
            }
            if let Some(place) = answers.get_mut(*sample) {
                *place = row;
            }
        }
    }
    Ok((answers, output.ty))
}

fn evaluate(
    session: &mut dyn NnSession,
    tensors: &[SampleTensor],
    output: &str,
) -> Result<TensorValue, FailureKind> {
    let mut given = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let known = ElementType::ALL
            .into_iter()
            .find(|ty| ty.name() == tensor.ty);
        let ty = known.ok_or_else(|| FailureKind::task(format!("no type {:?}", tensor.ty)))?;
        let value = TensorValue::from_bytes(ty, &tensor.dims, &tensor.bytes);
        let value = value
            .map_err(|fault| FailureKind::task(format!("input {:?}: {fault}", tensor.name)))?;
        given.push((tensor.name.clone(), Arc::new(value)));
    }
    let bound = session.io().bind(given);
    let bound =
        bound.map_err(|fault| FailureKind::task(format!("a sample does not fit: {fault}")))?;
    let outputs = session.run(&bound, &StopFlag::default());
    let outputs = outputs.map_err(|error| match error {
        host_gpu::NnError::Guest(fault) => {
            FailureKind::task(format!("the model fails on a sample: {fault}"))
        }
        other => failed(other),
    })?;
    let found = outputs.into_iter().find(|(name, _)| name == output);
    found
        .map(|(_, value)| value)
        .ok_or_else(|| FailureKind::task(format!("a run gave no output {output:?}")))
}

/// A sample as it travels.
///
/// # Errors
/// If it cannot be encoded.
pub fn encode_sample(sample: &Sample) -> Result<Vec<u8>, FailureKind> {
    postcard::to_stdvec(sample).map_err(FailureKind::task)
}
