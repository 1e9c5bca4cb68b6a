//! Our side: a sandbox in this process, and tasks for it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use jobs::offer::DeviceKind;
use jobs::package::Limits;
use runtime::{
    Backend, Failure, LocalBlob, LocalModel, Sandbox, SandboxConfig, ShardLimits, ShardOutcome,
    ShardTask,
};
use tempfile::TempDir;

use crate::measure::Clock;

/// Limits that no row comes near unless it says so.
pub(crate) const WIDE: Limits = Limits {
    fuel: 1 << 50,
    memory_bytes: 1 << 30,
    output_bytes_per_item: 8 << 20,
    wall_ms: 600_000,
};

/// A sandbox with a folder and an executor of its own.
pub(crate) struct Ours {
    pub(crate) sandbox: Sandbox,
    pub(crate) executor: tokio::runtime::Runtime,
    pub(crate) folder: TempDir,
}

impl Ours {
    pub(crate) fn new(backend: Backend) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self {
            sandbox: sandbox(folder.path(), backend)?,
            executor: executor()?,
            folder,
        })
    }

    /// Puts a component into the folder and makes a task of it.
    pub(crate) fn task(&self, component: &[u8], models: &[(&str, &Path)]) -> Result<ShardTask> {
        task(self.folder.path(), component, models)
    }

    /// Writes a model into the folder.
    pub(crate) fn model(&self, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.folder.path().join(Digest::of(bytes).to_hex());
        std::fs::write(&path, bytes)?;
        Ok(path)
    }

    /// Executes a shard, as a worker would.
    pub(crate) fn run(&self, task: &ShardTask, items: &[u8]) -> Result<ShardOutcome, Failure> {
        self.executor.block_on(self.sandbox.execute(task, items))
    }

    /// Seconds that a shard took which has to succeed, and what it produced.
    pub(crate) fn timed(&self, task: &ShardTask, items: &[u8]) -> Result<(f64, ShardOutcome)> {
        let clock = Clock::start();
        let done = self
            .run(task, items)
            .map_err(|failure| anyhow!("{failure}"))?;
        Ok((clock.seconds(), done))
    }

    /// Microseconds of each of `count` shards, one after the other.
    pub(crate) fn each(&self, task: &ShardTask, items: &[u8], count: usize) -> Result<Vec<f64>> {
        let limits = ShardLimits::from(task.limits);
        self.executor
            .block_on(async {
                let mut all = Vec::with_capacity(count);
                for _ in 0..count {
                    let clock = Clock::start();
                    let prepared = self.sandbox.prepare(task, limits.clone());
                    // What came out is dropped within the time, as it is where this is compared.
                    drop(prepared.map_err(Failure::from)?.run(items).await?);
                    all.push(clock.seconds() * 1e6);
                }
                Ok::<_, Failure>(all)
            })
            .map_err(|failure| anyhow!("{failure}"))
    }
}

pub(crate) fn executor() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

pub(crate) fn sandbox(folder: &Path, backend: Backend) -> Result<Sandbox> {
    let mut config = SandboxConfig::new(folder.join("compiled"));
    config.backend = backend;
    Sandbox::new(&config).map_err(|failure| anyhow!("{failure}"))
}

pub(crate) fn task(folder: &Path, component: &[u8], models: &[(&str, &Path)]) -> Result<ShardTask> {
    let blob = BlobRef::of(component);
    let path = folder.join(blob.digest.to_hex());
    std::fs::write(&path, component)?;
    let models = models.iter().map(|(name, path)| {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let file = LocalBlob {
            path: path.to_path_buf(),
            blob: BlobRef::of(&bytes),
        };
        Ok(LocalModel {
            name: (*name).to_owned(),
            file,
        })
    });
    Ok(ShardTask {
        job: JobId(Digest::of(b"bench")),
        shard: 0,
        first_item: 0,
        component: LocalBlob { path, blob },
        models: models.collect::<Result<_>>()?,
        device: DeviceKind::Cpu,
        cpu_nodes: false,
        noting: None,
        limits: WIDE,
    })
}

/// Items as they travel.
pub(crate) fn items<I: AsRef<[u8]>>(items: &[I]) -> Result<Vec<u8>> {
    Ok(jobs::items::encode(items)?)
}

/// The outputs of a shard.
pub(crate) fn outputs(done: &ShardOutcome) -> Result<Vec<&[u8]>> {
    Ok(jobs::items::decode(&done.outputs)?)
}
