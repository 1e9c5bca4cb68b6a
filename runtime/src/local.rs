//! A whole job on this machine, with nobody to trust but oneself: `assay job run --local`.
//!
//! The same sandbox, the same limits and the same shards as on a provider, so what passes here
//! passes there. There is one replica, no commitment and no payment.

use std::path::PathBuf;

use jobs::digest::BlobRef;
use jobs::ids::JobId;
use jobs::offer::DeviceKind;
use jobs::outcome::{Fingerprint, Meters};
use jobs::package::{Limits, Package};
use jobs::plan::{ShardSpan, plan};

use crate::failure::{Failure, FailureKind};
use crate::log::LogLine;
use crate::task::{LocalBlob, LocalModel, Noting, ShardTask};
use crate::worker::WorkerPool;

/// A job whose blobs lie on this machine.
#[derive(Clone, Debug)]
pub struct LocalJob {
    /// The job's id; decides what a guest draws as randomness.
    pub job: JobId,
    /// The guest.
    pub component: LocalBlob,
    /// Its graphs.
    pub models: Vec<LocalModel>,
    /// Its input, item by item.
    pub items: Vec<Vec<u8>>,
    /// Items in each shard but the last.
    pub items_per_shard: u32,
    /// Caps on one shard.
    pub limits: Limits,
    /// Where graphs run.
    pub device: DeviceKind,
    /// Whether nodes for which the device has no kernel may run on the processor.
    pub cpu_nodes: bool,
    /// What is noted meanwhile, as on a provider: a job that has too much of it fails here too.
    pub noting: Option<Noting>,
}

impl LocalJob {
    /// The job of a package; `model_paths` has a path for each of its models, in its order.
    ///
    /// # Errors
    /// If there is not exactly one path for each model.
    pub fn from_package(
        job: JobId,
        package: &Package,
        component_path: PathBuf,
        model_paths: Vec<PathBuf>,
        items: Vec<Vec<u8>>,
    ) -> Result<Self, FailureKind> {
        if model_paths.len() != package.models.len() {
            let (paths, models) = (model_paths.len(), package.models.len());
            return Err(FailureKind::task(format!(
                "{paths} paths for {models} models"
            )));
        }
        let file = |path: PathBuf, blob: BlobRef| LocalBlob { path, blob };
        let models = package.models.iter().zip(model_paths);
        Ok(Self {
            job,
            component: file(component_path, package.component),
            models: models
                .map(|(model, path)| LocalModel {
                    name: model.name.clone(),
                    file: file(path, model.blob),
                })
                .collect(),
            items,
            items_per_shard: package.items_per_shard,
            limits: package.limits,
            device: package.device.unwrap_or(DeviceKind::Cpu),
            cpu_nodes: package.cpu_nodes,
            noting: Noting::of(package),
        })
    }
}

/// A finished shard, for whoever shows progress.
#[derive(Clone, Debug)]
pub struct LocalShard {
    /// Which.
    pub span: ShardSpan,
    /// What it cost.
    pub meters: Meters,
    /// What the guest logged.
    pub log: Vec<LogLine>,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct LocalResult {
    /// One output per item, in order.
    pub outputs: Vec<Vec<u8>>,
    /// What all shards cost together.
    pub meters: Meters,
    /// Where they ran; `None` if there were no items.
    pub fingerprint: Option<Fingerprint>,
    /// Shards that ran.
    pub shards: u32,
}

/// A shard that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("shard {shard} failed: {failure}")]
pub struct LocalError {
    /// Its index.
    pub shard: u32,
    /// Why.
    pub failure: Failure,
}

/// Runs every shard, as many at a time as the pool has workers, and tells `progress` of each one in
/// shard order.
///
/// # Errors
/// The first shard that failed; the others are stopped.
pub async fn run_local(
    job: &LocalJob,
    pool: &WorkerPool,
    mut progress: impl FnMut(&LocalShard),
) -> Result<LocalResult, LocalError> {
    let count = u32::try_from(job.items.len()).unwrap_or(u32::MAX);
    let spans = plan(count, job.items_per_shard);
    let mut result = LocalResult {
        outputs: Vec::with_capacity(job.items.len()),
        meters: Meters::default(),
        fingerprint: None,
        shards: 0,
    };
    // A group at a time keeps the outputs in order and needs no tasks that outlive an error.
    for group in spans.chunks(pool.size()) {
        let running = group.iter().map(|span| run_shard(job, pool, *span));
        for (shard, outputs, fingerprint) in try_join_in_order(running).await? {
            result.meters = result.meters.plus(shard.meters);
            result.outputs.extend(outputs);
            result.fingerprint = Some(fingerprint);
            result.shards = result.shards.saturating_add(1);
            progress(&shard);
        }
    }
    Ok(result)
}

type Ran = (LocalShard, Vec<Vec<u8>>, Fingerprint);

async fn run_shard(job: &LocalJob, pool: &WorkerPool, span: ShardSpan) -> Result<Ran, LocalError> {
    let failed = |failure: Failure| LocalError {
        shard: span.index,
        failure,
    };
    let first = span.first_item as usize;
    let items = job
        .items
        .get(first..first.saturating_add(span.items as usize));
    let encoded = jobs::items::encode(items.unwrap_or_default())
        .map_err(|error| failed(FailureKind::task(error).into()))?;
    let task = ShardTask {
        job: job.job,
        shard: span.index,
        first_item: u64::from(span.first_item),
        component: job.component.clone(),
        models: job.models.clone(),
        device: job.device,
        cpu_nodes: job.cpu_nodes,
        noting: job.noting.clone(),
        limits: job.limits,
    };
    let done = pool.execute(task, encoded).await.map_err(failed)?;
    let outputs = jobs::items::decode(&done.outputs)
        .map_err(|error| failed(FailureKind::lost(error).into()))?;
    let outputs = outputs.into_iter().map(<[u8]>::to_vec).collect();
    let shard = LocalShard {
        span,
        meters: done.outcome.meters,
        log: done.log,
    };
    Ok((shard, outputs, done.outcome.fingerprint))
}

/// Drives all futures together; their results in order, or the first error.
async fn try_join_in_order<T, E, F>(futures: impl Iterator<Item = F>) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<T, E>>,
{
    use std::task::Poll;
    let mut running: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        let mut pending = false;
        for (future, slot) in &mut running {
            if slot.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(Ok(value)) => *slot = Some(value),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            return Poll::Pending;
        }
        Poll::Ready(Ok(running
            .iter_mut()
            .filter_map(|(_, slot)| slot.take())
            .collect()))
    })
    .await
}
