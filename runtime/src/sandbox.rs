//! One store per shard.
//!
//! [`Sandbox::prepare`] does what costs time and is shared between shards: reading and checking the
//! component, compiling it or finding it in the cache, loading graphs. [`Prepared::run`] makes a
//! store, instantiates, runs, and drops the store whatever happened.

mod execute;
pub(crate) mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use host_gpu::{Device, DeviceKind as NnDeviceKind, GraphCache, GraphOptions, NnBackend};
use jobs::component::Profile;
use jobs::digest::Digest;
use jobs::offer::DeviceKind;
use jobs::outcome::{Fingerprint, Placement};
use serde::{Deserialize, Serialize};
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::bindings::InferencePre;
use crate::cache::ComponentCache;
use crate::failure::{Failure, FailureKind};
use crate::limits::ShardLimits;
use crate::notes::Recorder;
use crate::task::{
    DeviceReport, LocalBlob, MODELS_MAX, ProbeReport, ShardOutcome, ShardTask, model_digest,
};
use state::State;

pub use execute::Prepared;

/// Compiled components that one sandbox keeps in memory.
pub const COMPONENTS_MAX: usize = 16;

/// What runs graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backend {
    /// ONNX Runtime, loaded from where it was set up. Without it, jobs without models still run.
    Onnx,
    /// The pure-Rust twin, for tests.
    Reference,
    /// None: jobs with models are refused.
    None,
}

/// How a sandbox is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// Directory of compiled components.
    pub cache_dir: PathBuf,
    /// Most bytes in that directory.
    pub cache_max_bytes: u64,
    /// What runs graphs.
    pub backend: Backend,
    /// Processes that use the machine's GPUs at once, this one included: each graph may take an equal part of a
    /// GPU's memory.
    pub gpu_processes: u16,
}

/// Default of [`SandboxConfig::cache_max_bytes`].
pub const CACHE_BYTES_DEFAULT: u64 = 2 << 30;

impl SandboxConfig {
    /// ONNX Runtime and a cache of [`CACHE_BYTES_DEFAULT`] in this directory.
    pub fn new(cache_dir: PathBuf) -> Self {
        Self {
            cache_dir,
            cache_max_bytes: CACHE_BYTES_DEFAULT,
            backend: Backend::Onnx,
            gpu_processes: 1,
        }
    }
}

/// Executes shards in this process. Cheap to share behind an `Arc`.
pub struct Sandbox {
    engine: Engine,
    linker: Linker<State>,
    cache: ComponentCache,
    /// Most recently used last; at most [`COMPONENTS_MAX`].
    components: Mutex<Vec<(Digest, InferencePre<State>)>>,
    /// Graphs, or why there are none.
    graphs: Result<GraphCache, String>,
    /// The execution classes of this process, which stay what they are; one for each device.
    classes: Mutex<Vec<(Device, Fingerprint)>>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox")
            .field("cache", &self.cache)
            .field("graphs", &self.graphs)
            .finish_non_exhaustive()
    }
}

impl Sandbox {
    /// A sandbox. Loads ONNX Runtime into this process if the configuration says so.
    ///
    /// # Errors
    /// If the engine does not run here or the cache cannot be opened. Missing ONNX Runtime is not an
    /// error here: it is reported by [`Sandbox::probe`] and by jobs that need it.
    pub fn new(config: &SandboxConfig) -> Result<Self, FailureKind> {
        let engine = crate::engine::engine()?;
        Ok(Self {
            linker: crate::linker::linker(&engine)?,
            cache: ComponentCache::open(&config.cache_dir, config.cache_max_bytes, &engine)?,
            components: Mutex::default(),
            graphs: graph_cache(config),
            classes: Mutex::default(),
            engine,
        })
    }

    /// Usable devices and their execution classes.
    pub fn probe(&self) -> ProbeReport {
        let mut report = ProbeReport {
            devices: Vec::new(),
            no_models: self.graphs.as_ref().err().cloned(),
        };
        if let Ok(graphs) = &self.graphs {
            for info in graphs.available_devices() {
                match self.fingerprint_on(info.device) {
                    Ok(fingerprint) => report.devices.push(DeviceReport {
                        kind: match info.kind {
                            NnDeviceKind::Cpu => DeviceKind::Cpu,
                            NnDeviceKind::Cuda => DeviceKind::Gpu,
                        },
                        name: info.name,
                        memory_bytes: info.memory_bytes,
                        fingerprint,
                    }),
                    Err(error) => tracing::warn!(device = %info.device, %error, "unusable"),
                }
            }
        }
        if report.device(DeviceKind::Cpu).is_none() {
            report.devices.push(DeviceReport {
                kind: DeviceKind::Cpu,
                name: std::env::consts::ARCH.to_owned(),
                memory_bytes: 0,
                fingerprint: without_models(),
            });
        }
        report.devices.sort_by_key(|device| device.kind);
        report
    }

    /// The execution class of what runs on a device.
    ///
    /// # Errors
    /// If the device is not usable here.
    pub fn fingerprint(&self, device: DeviceKind) -> Result<Fingerprint, FailureKind> {
        match (device, &self.graphs) {
            (DeviceKind::Cpu, Err(_)) => Ok(without_models()),
            _ => self.fingerprint_on(nn_device(device)),
        }
    }

    fn fingerprint_on(&self, device: Device) -> Result<Fingerprint, FailureKind> {
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = classes.iter().find(|(known, _)| *known == device) {
            return Ok(known.clone());
        }
        let class = self.class(device)?;
        classes.push((device, class.clone()));
        Ok(class)
    }

    fn class(&self, device: Device) -> Result<Fingerprint, FailureKind> {
        let parts = self
            .graphs()?
            .fingerprint(&GraphOptions::on(device))
            .map_err(|error| FailureKind::model("", &error))?;
        Ok(Fingerprint {
            engine: crate::engine::engine_id(),
            library: bounded(parts.engine),
            execution_provider: bounded(parts.execution_provider),
            device: bounded(parts.device),
            options: bounded(parts.options),
        })
    }

    fn graphs(&self) -> Result<&GraphCache, FailureKind> {
        let reason = |reason: &String| FailureKind::Device {
            reason: reason.clone(),
        };
        self.graphs.as_ref().map_err(reason)
    }

    /// Prepares and runs.
    ///
    /// Blocks its thread while it compiles and loads models; call it where that is no harm, such as
    /// a worker process. `items` is an encoded item list.
    ///
    /// # Errors
    /// See [`FailureKind`].
    pub async fn execute(&self, task: &ShardTask, items: &[u8]) -> Result<ShardOutcome, Failure> {
        let limits = ShardLimits::from(task.limits);
        self.prepare(task, limits)?.run(items).await
    }

    /// Reads, checks and compiles the component and loads the graphs. Blocks.
    ///
    /// # Errors
    /// If the component is not a job, a blob is not what its digest names, or a model or the device
    /// cannot be used.
    pub fn prepare(
        &self,
        task: &ShardTask,
        limits: ShardLimits,
    ) -> Result<Prepared<'_>, FailureKind> {
        if task.models.len() > MODELS_MAX {
            let count = task.models.len();
            let reason = format!("{count} models, the bound is {MODELS_MAX}");
            return Err(FailureKind::task(reason));
        }
        let fingerprint = self.fingerprint(task.device)?;
        let component = self.component(&task.component)?;
        let options = GraphOptions {
            // On the processor they mean nothing, and shall not make two graphs of one.
            host_nodes: task.cpu_nodes && task.device == DeviceKind::Gpu,
            ..GraphOptions::on(nn_device(task.device))
        };
        let mut graphs = BTreeMap::new();
        let mut placement = Vec::new();
        for model in &task.models {
            let digest = model_digest(&model.file.blob.digest);
            let graph = self
                .graphs()?
                .load_with(&model.name, digest, &model.file.path, options)
                .map_err(|error| FailureKind::model(&model.name, &error))?;
            placement.extend(graph.placement().iter().map(|on| Placement {
                model: model.name.clone(),
                execution_provider: on.provider.clone(),
                nodes: on.nodes,
            }));
            if graphs.insert(model.name.clone(), graph).is_some() {
                let reason = format!("two models are named {:?}", model.name);
                return Err(FailureKind::task(reason));
            }
        }
        let (recorder, notes) = match &task.noting {
            None => (None, None),
            Some(noting) => {
                let unknown = || format!("no model is named {:?}", noting.graph);
                let graph = graphs.get(&noting.graph);
                let graph = graph.ok_or_else(|| FailureKind::task(unknown()))?;
                let (recorder, notes) = Recorder::new(noting, graph)?;
                (Some(recorder), Some(notes))
            }
        };
        let names = task.models.iter().map(|model| model.name.clone()).collect();
        let context = crate::context::Context::new(task.job, task.shard, task.first_item, names);
        Ok(Prepared {
            engine: &self.engine,
            component,
            state: State::new(&limits, task.job, context, graphs, notes),
            recorder,
            limits,
            fingerprint,
            placement,
        })
    }

    /// The component, ready to be instantiated: from memory, from disk, or compiled.
    fn component(&self, file: &LocalBlob) -> Result<InferencePre<State>, FailureKind> {
        if let Some(found) = self.recall(file.blob.digest) {
            return Ok(found);
        }
        let bytes = read_component(file)?;
        let summary = jobs::component::check(&bytes).map_err(FailureKind::component)?;
        let (component, origin) = self.cache.load(&self.engine, file.blob.digest, &bytes)?;
        tracing::debug!(digest = %file.blob.digest, ?origin, "component");
        let refused = |error: wasmtime::Error| FailureKind::component(format!("{error:#}"));
        let linked = match summary.profile {
            Profile::Pure => self.linker.instantiate_pre(&component),
            Profile::Compat => crate::wasi::linker_for(&self.engine, &self.linker, &component)
                .and_then(|linker| linker.instantiate_pre(&component)),
        };
        let linked = linked.map_err(refused)?;
        let linked = InferencePre::new(linked).map_err(refused)?;
        self.remember(file.blob.digest, linked.clone());
        Ok(linked)
    }

    fn recall(&self, digest: Digest) -> Option<InferencePre<State>> {
        let mut known = self
            .components
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let at = known.iter().position(|(known, _)| *known == digest)?;
        let entry = known.remove(at);
        let found = entry.1.clone();
        known.push(entry);
        Some(found)
    }

    fn remember(&self, digest: Digest, component: InferencePre<State>) {
        let mut known = self
            .components
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() >= COMPONENTS_MAX {
            known.remove(0);
        }
        known.push((digest, component));
    }
}

/// Reads a component that is as long as it claims and has the digest it claims.
fn read_component(file: &LocalBlob) -> Result<Vec<u8>, FailureKind> {
    let what = || format!("component {}", file.blob.digest);
    let max = jobs::component::COMPONENT_BYTES_MAX as u64;
    if file.blob.size > max {
        let reason = format!("{} bytes, the bound is {max}", file.blob.size);
        return Err(FailureKind::component(reason));
    }
    let mut bytes = Vec::new();
    File::open(&file.path)
        .and_then(|open| {
            let one_more = file.blob.size.saturating_add(1);
            open.take(one_more).read_to_end(&mut bytes)
        })
        .map_err(|error| FailureKind::blob(what(), error))?;
    if bytes.len() as u64 != file.blob.size || Digest::of(&bytes) != file.blob.digest {
        return Err(FailureKind::blob(what(), "the file holds something else"));
    }
    Ok(bytes)
}

fn graph_cache(config: &SandboxConfig) -> Result<GraphCache, String> {
    let backend: Arc<dyn NnBackend> = match config.backend {
        Backend::Onnx => match host_gpu::OrtLibrary::load_discovered() {
            Ok(library) => {
                Arc::new(host_gpu::OrtBackend::new(library).shared_by(config.gpu_processes))
            }
            Err(error) => return Err(error.to_string()),
        },
        Backend::Reference => Arc::new(host_gpu::ReferenceBackend::new()),
        Backend::None => return Err("this sandbox has no inference library".into()),
    };
    Ok(GraphCache::new(backend, cache_limits()))
}

/// Every model that a manifest may name can be loaded, all of one job's at once; nothing beyond.
fn cache_limits() -> host_gpu::CacheLimits {
    host_gpu::CacheLimits {
        max_model_bytes: jobs::manifest::MODEL_BYTES_MAX,
        max_total_bytes: jobs::manifest::MODELS_BYTES_MAX,
        max_graphs: jobs::manifest::MODELS_MAX,
        sessions_per_graph: sessions_per_graph(),
        ..host_gpu::CacheLimits::default()
    }
}

/// As many as there are processors to run them, and shards to ask for them.
fn sessions_per_graph() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    processors.min(crate::engine::CONCURRENT_SHARDS_MAX as usize)
}

/// A job says which kind; a worker serves the first device of it.
pub(crate) fn nn_device(kind: DeviceKind) -> Device {
    match kind {
        DeviceKind::Cpu => Device::Cpu,
        DeviceKind::Gpu => Device::Cuda(0),
    }
}

/// The execution class of a machine without an inference library.
fn without_models() -> Fingerprint {
    Fingerprint {
        engine: crate::engine::engine_id(),
        library: "none".into(),
        execution_provider: "none".into(),
        device: std::env::consts::ARCH.into(),
        options: String::new(),
    }
}

/// A fingerprint's field, cut to what the wire takes. Two that differ only beyond it do not exist:
/// the digests in them come first.
pub(crate) fn bounded(mut field: String) -> String {
    let mut end = field.len().min(jobs::outcome::FINGERPRINT_FIELD_MAX);
    while !field.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    field.truncate(end);
    field
}
