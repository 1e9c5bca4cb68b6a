//! A fixed number of workers, replaced when they are spent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jobs::ids::JobId;

use super::handle::{WorkerConfig, WorkerHandle};
use super::turns::Turns;
use crate::failure::{Failure, FailureKind};
use crate::task::{ProbeReport, ShardOutcome, ShardTask};

/// Workers of one pool at most.
pub const WORKERS_MAX: usize = 256;

/// Executes tasks in worker processes, as many at a time as it has workers. Jobs take turns.
///
/// A worker is started when a task needs it, serves one task after another while it stays clean, and
/// is killed and replaced after a trap, a broken limit, a deadline or a lost pipe. Dropping the
/// future of [`WorkerPool::execute`] kills the worker that ran it.
#[derive(Debug)]
pub struct WorkerPool {
    config: WorkerConfig,
    turns: Arc<Turns>,
    /// Workers that wait for a task, with the job they worked for last; most recently used last.
    idle: Mutex<Vec<Idle>>,
    started: AtomicU64,
    /// What the latest worker goes without on this machine.
    missing: Mutex<Option<Vec<String>>>,
    size: usize,
}

type Idle = (Option<JobId>, WorkerHandle);

impl WorkerPool {
    /// A pool of `size` workers (at least one, at most [`WORKERS_MAX`]). None is started yet.
    pub fn new(config: WorkerConfig, size: usize) -> Self {
        let size = size.clamp(1, WORKERS_MAX);
        Self {
            config,
            turns: Turns::new(size),
            idle: Mutex::default(),
            started: AtomicU64::new(0),
            missing: Mutex::default(),
            size,
        }
    }

    /// Workers it may have at the same time.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Workers started so far, replacements included.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// Protections that workers go without on this machine; nothing if none was started yet.
    pub fn missing(&self) -> Option<Vec<String>> {
        let missing = self.missing.lock();
        missing.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Processes of workers that wait for a task now.
    pub fn idle_ids(&self) -> Vec<u32> {
        let idle = self.idle();
        idle.iter().filter_map(|(_, worker)| worker.id()).collect()
    }

    /// Devices and fingerprints, as a worker sees them.
    ///
    /// # Errors
    /// If no worker starts, or it is lost.
    pub async fn probe(&self) -> Result<ProbeReport, FailureKind> {
        let _place = self.turns.place(None).await?;
        let mut worker = self.take(None).await?;
        let report = worker.probe().await?;
        self.put(None, worker);
        Ok(report)
    }

    /// Executes a shard on its encoded items.
    ///
    /// # Errors
    /// See [`FailureKind`].
    pub async fn execute(&self, task: ShardTask, items: Vec<u8>) -> Result<ShardOutcome, Failure> {
        let job = Some(task.job);
        let _place = self.turns.place(job).await?;
        let mut worker = self.take(job).await?;
        let result = worker.execute(task, items).await;
        self.put(job, worker);
        result
    }

    /// An idle worker that still lives, or a new one. One that worked for the job before has its
    /// component compiled and its models loaded; else the one that was idle longest is the least loss.
    async fn take(&self, job: Option<JobId>) -> Result<WorkerHandle, FailureKind> {
        loop {
            let found = {
                let mut idle = self.idle();
                let known = idle.iter().rposition(|(last, _)| *last == job);
                (!idle.is_empty()).then(|| idle.remove(known.unwrap_or(0)))
            };
            let Some((_, mut worker)) = found else { break };
            if worker.is_alive() {
                return Ok(worker);
            }
        }
        let before = self.started.fetch_add(1, Ordering::Relaxed);
        let worker = WorkerHandle::spawn(&self.config).await?;
        if before == 0 {
            for protection in worker.missing() {
                tracing::warn!("workers on this machine go without {protection}");
            }
        }
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        *missing = Some(worker.missing().to_vec());
        Ok(worker)
    }

    fn put(&self, job: Option<JobId>, worker: WorkerHandle) {
        if worker.is_clean() {
            self.idle().push((job, worker));
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
