//! A fixed number of workers, replaced when they are spent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::handle::{WorkerConfig, WorkerHandle};
use crate::failure::{Failure, FailureKind};
use crate::task::{ProbeReport, ShardOutcome, ShardTask};

/// Tasks that wait for a worker at most; one more is refused.
pub const WAITING_MAX: u64 = 1024;

/// Workers of one pool at most.
pub const WORKERS_MAX: usize = 256;

/// Executes tasks in worker processes, as many at a time as it has workers.
///
/// A worker is started when a task needs it, serves one task after another while it stays clean, and
/// is killed and replaced after a trap, a broken limit, a deadline or a lost pipe. Dropping the
/// future of [`WorkerPool::execute`] kills the worker that ran it.
#[derive(Debug)]
pub struct WorkerPool {
    config: WorkerConfig,
    slots: Semaphore,
    idle: Mutex<Vec<WorkerHandle>>,
    waiting: AtomicU64,
    started: AtomicU64,
    size: usize,
}

impl WorkerPool {
    /// A pool of `size` workers (at least one, at most [`WORKERS_MAX`]). None is started yet.
    pub fn new(config: WorkerConfig, size: usize) -> Self {
        let size = size.clamp(1, WORKERS_MAX);
        Self {
            config,
            slots: Semaphore::new(size),
            idle: Mutex::default(),
            waiting: AtomicU64::new(0),
            started: AtomicU64::new(0),
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

    /// Processes of workers that wait for a task now.
    pub fn idle_ids(&self) -> Vec<u32> {
        self.idle().iter().filter_map(WorkerHandle::id).collect()
    }

    /// Devices and fingerprints, as a worker sees them.
    ///
    /// # Errors
    /// If no worker starts, or it is lost.
    pub async fn probe(&self) -> Result<ProbeReport, FailureKind> {
        let _slot = self.slot().await?;
        let mut worker = self.take().await?;
        let report = worker.probe().await?;
        self.put(worker);
        Ok(report)
    }

    /// Executes a shard on its encoded items.
    ///
    /// # Errors
    /// See [`FailureKind`].
    pub async fn execute(&self, task: ShardTask, items: Vec<u8>) -> Result<ShardOutcome, Failure> {
        let _slot = self.slot().await?;
        let mut worker = self.take().await?;
        let result = worker.execute(task, items).await;
        self.put(worker);
        result
    }

    async fn slot(&self) -> Result<SemaphorePermit<'_>, FailureKind> {
        let waiting = Waiting::enter(&self.waiting)?;
        let slot = self.slots.acquire().await.map_err(FailureKind::lost)?;
        drop(waiting);
        Ok(slot)
    }

    /// An idle worker that still lives, or a new one.
    async fn take(&self) -> Result<WorkerHandle, FailureKind> {
        loop {
            let idle = self.idle().pop();
            let Some(mut worker) = idle else { break };
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
        Ok(worker)
    }

    fn put(&self, worker: WorkerHandle) {
        if worker.is_clean() {
            self.idle().push(worker);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<WorkerHandle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a task among those that wait, until it is dropped.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicU64) -> Result<Self, FailureKind> {
        let entered = Self(count);
        let waiting = count.fetch_add(1, Ordering::AcqRel);
        if waiting >= WAITING_MAX {
            return Err(FailureKind::Busy {
                waiting,
                limit: WAITING_MAX,
            });
        }
        Ok(entered)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_by_name_and_frees_itself() {
        let count = AtomicU64::new(0);
        let inside: Vec<_> = (0..WAITING_MAX)
            .map(|_| Waiting::enter(&count).unwrap())
            .collect();
        let refused = Waiting::enter(&count).err().unwrap();
        assert!(
            matches!(
                refused,
                FailureKind::Busy {
                    limit: WAITING_MAX,
                    ..
                }
            ),
            "{refused}"
        );
        drop(inside);
        assert_eq!(count.load(Ordering::Acquire), 0);
    }
}
