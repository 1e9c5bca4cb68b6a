//! What one execution of one shard may use.
//!
//! The job's manifest sets fuel, memory, output bytes and wall clock. Everything else is a constant
//! of this file and equal on every provider, because a guest can observe it: a limit that differed
//! would make honest replicas disagree.

use jobs::manifest::{ITEMS_PER_SHARD_MAX, SHARD_OUTPUT_BYTES_MAX};
use jobs::package::Limits;
use wasmtime::ResourceLimiter;

use crate::failure::FailureKind;

/// Core instances in one component.
pub const INSTANCES_MAX: u32 = 32;

/// Linear memories in one component.
pub const MEMORIES_MAX: u32 = 4;

/// Tables in one component.
pub const TABLES_MAX: u32 = 16;

/// Table elements, all tables of a component together.
pub const TABLE_ELEMENTS_MAX: usize = 100_000;

/// Stack of the guest, in bytes.
pub const WASM_STACK_BYTES_MAX: usize = 512 << 10;

/// Bytes that one call may move between guest and host.
pub const HOSTCALL_BYTES_MAX: u64 = 128 << 20;

/// What one output costs beside its bytes when the list of outputs leaves the guest, in bytes.
const OUTPUT_ENTRY_BYTES: u64 = 24;

// What a manifest may allow can leave the guest.
const _: () = assert!(
    SHARD_OUTPUT_BYTES_MAX + ITEMS_PER_SHARD_MAX as u64 * OUTPUT_ENTRY_BYTES <= HOSTCALL_BYTES_MAX
);

/// Component-model handles held at once.
pub const HANDLES_MAX: u32 = 8192;

/// Tensors, graphs, contexts and errors held at once.
pub const NN_RESOURCES_MAX: u32 = 4096;

/// Host memory of all tensors together, in bytes.
pub const NN_HOST_BYTES_MAX: u64 = 512 << 20;

/// One tensor, in bytes.
pub const NN_TENSOR_BYTES_MAX: u64 = 128 << 20;

/// Inputs of one compute.
pub const NN_INPUTS_MAX: u32 = 256;

/// Bytes a shard may log.
pub const LOG_BYTES_MAX: u64 = 64 << 10;

/// Fuel between two points at which a guest lets the executor look at the clock.
pub const FUEL_YIELD_INTERVAL: u64 = 1_000_000;

/// The limits of one execution. `From<jobs::package::Limits>` fills in the constants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardLimits {
    /// The job's own.
    pub job: Limits,
    /// [`TABLE_ELEMENTS_MAX`].
    pub table_elements: u64,
    /// [`INSTANCES_MAX`].
    pub instances: u32,
    /// [`HOSTCALL_BYTES_MAX`].
    pub hostcall_bytes: u64,
    /// [`HANDLES_MAX`].
    pub handles: u32,
    /// [`NN_RESOURCES_MAX`].
    pub nn_resources: u32,
    /// [`LOG_BYTES_MAX`].
    pub log_bytes: u64,
}

impl From<Limits> for ShardLimits {
    fn from(job: Limits) -> Self {
        Self {
            job,
            table_elements: TABLE_ELEMENTS_MAX as u64,
            instances: INSTANCES_MAX,
            hostcall_bytes: HOSTCALL_BYTES_MAX,
            handles: HANDLES_MAX,
            nn_resources: NN_RESOURCES_MAX,
            log_bytes: LOG_BYTES_MAX,
        }
    }
}

impl ShardLimits {
    pub(crate) fn nn(&self) -> host_gpu::NnLimits {
        host_gpu::NnLimits {
            max_resources: self.nn_resources as usize,
            max_tensor_bytes: NN_TENSOR_BYTES_MAX,
            max_host_bytes: NN_HOST_BYTES_MAX,
            max_inputs: NN_INPUTS_MAX as usize,
            compute_wall: std::time::Duration::from_millis(self.job.wall_ms),
        }
    }
}

/// A limit that was hit inside a host function, on its way out of the guest.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct LimitHit(pub(crate) FailureKind);

/// Sums over all memories and all tables of a store. (Wasmtime's own limits are per memory.)
#[derive(Debug)]
pub(crate) struct Limiter {
    memory: Sum,
    elements: Sum,
    instances: usize,
}

impl Limiter {
    pub(crate) fn new(limits: &ShardLimits) -> Self {
        Self {
            memory: Sum::new(limits.job.memory_bytes),
            elements: Sum::new(limits.table_elements),
            instances: limits.instances as usize,
        }
    }

    /// Most bytes of linear memory that were ever in use.
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        self.memory.peak
    }

    /// The first limit that a growth was refused for. A guest is told and may go on; if it traps
    /// instead, this is why.
    pub(crate) fn refusal(&self) -> Option<FailureKind> {
        if let Some(wanted) = self.memory.refused {
            let limit = self.memory.limit;
            return Some(FailureKind::MemoryLimit { wanted, limit });
        }
        let wanted = self.elements.refused?;
        let limit = self.elements.limit;
        Some(FailureKind::TableLimit { wanted, limit })
    }
}

#[derive(Debug)]
struct Sum {
    limit: u64,
    used: u64,
    peak: u64,
    refused: Option<u64>,
}

impl Sum {
    fn new(limit: u64) -> Self {
        Self {
            limit,
            used: 0,
            peak: 0,
            refused: None,
        }
    }

    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        // The engine asks before it looks at the maximum that the guest itself declared; such a
        // growth fails whatever is said here, and must not be counted.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return true;
        }
        let more = (desired as u64).saturating_sub(current as u64);
        let wanted = self.used.saturating_add(more);
        if wanted > self.limit {
            self.refused.get_or_insert(wanted);
            return false;
        }
        self.used = wanted;
        self.peak = self.peak.max(wanted);
        true
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.memory.grow(current, desired, maximum))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.elements.grow(current, desired, maximum))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!("memory did not grow: {error:#}");
        Ok(())
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growths_are_summed_and_the_first_refusal_is_remembered() {
        let mut sum = Sum::new(100);
        assert!(sum.grow(0, 60, None));
        assert!(sum.grow(0, 40, None));
        assert!(!sum.grow(40, 41, None));
        assert!(!sum.grow(60, 1000, None));
        assert_eq!((sum.used, sum.peak, sum.refused), (100, 100, Some(101)));
    }

    #[test]
    fn what_the_guests_own_maximum_forbids_is_not_counted() {
        let mut sum = Sum::new(100);
        assert!(sum.grow(0, 50, Some(10)));
        assert_eq!((sum.used, sum.refused), (0, None));
    }
}
