//! What one instance holds: the graphs it may name, its resources, its budget and its meters.

use crate::budget::{Budget, MeterCells, NnMeters};
use crate::error::{GuestFault, NnError};
use crate::graph::Graph;
use crate::notes::Notes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};

/// Bounds on what one instance may do with models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NnLimits {
    /// Tensors, graphs, contexts and errors that it may hold at once.
    pub max_resources: usize,
    /// One tensor, in bytes.
    pub max_tensor_bytes: u64,
    /// All its tensors in host memory together, in bytes.
    pub max_host_bytes: u64,
    /// Inputs of one compute.
    pub max_inputs: usize,
    /// The longest that one compute may take, its wait for the session included.
    pub compute_wall: Duration,
}

impl Default for NnLimits {
    fn default() -> Self {
        Self {
            max_resources: 4096,
            max_tensor_bytes: 64 << 20,
            max_host_bytes: 256 << 20,
            max_inputs: 256,
            compute_wall: Duration::from_secs(60),
        }
    }
}

/// The state of one instance. Dropped with its store; the graphs stay.
#[derive(Debug)]
pub struct NnState {
    pub(crate) table: ResourceTable,
    pub(crate) graphs: BTreeMap<String, Arc<Graph>>,
    pub(crate) limits: NnLimits,
    pub(crate) budget: Arc<Budget>,
    pub(crate) meters: Arc<MeterCells>,
    pub(crate) tenant: u64,
    pub(crate) own_thread: bool,
    pub(crate) notes: Option<Notes>,
    ends: Option<Instant>,
}

/// Tenants of instances that name none: each is its own.
static TENANTS: AtomicU64 = AtomicU64::new(1);

impl NnState {
    /// The state of an instance that may name these graphs, under these limits.
    pub fn new(graphs: BTreeMap<String, Arc<Graph>>, limits: NnLimits) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.max_resources);
        let budget = Budget::new(limits.max_host_bytes);
        Self {
            table,
            graphs,
            limits,
            budget,
            meters: Arc::default(),
            tenant: TENANTS.fetch_add(1, Ordering::Relaxed),
            own_thread: false,
            notes: None,
            ends: None,
        }
    }

    /// Makes the instance one of a tenant's: where several wait for a graph, tenants take turns, and
    /// the instances of one wait for one another.
    #[must_use]
    pub fn for_tenant(mut self, tenant: u64) -> Self {
        self.tenant = tenant;
        self
    }

    /// Says that the thread which drives the instance drives nothing else. Where no session is wanted
    /// by anyone else, graphs are then run on that thread, which saves two switches of threads a run.
    #[must_use]
    pub fn on_its_own_thread(mut self) -> Self {
        self.own_thread = true;
        self
    }

    /// Has what a graph gives noted.
    #[must_use]
    pub fn noting(mut self, notes: Option<Notes>) -> Self {
        self.notes = notes;
        self
    }

    /// Bounds everything that follows by a wall clock that starts now: a run takes no longer than what
    /// is left of it.
    #[allow(
        clippy::disallowed_methods,
        reason = "wall clock is a kill switch, here at its source"
    )]
    pub fn end_after(&mut self, wall: Duration) {
        self.ends = Instant::now().checked_add(wall);
    }

    /// The longest that a run which starts now may take.
    #[allow(
        clippy::disallowed_methods,
        reason = "wall clock is a kill switch, here at its source"
    )]
    pub(crate) fn compute_wall(&self) -> Duration {
        let most = self.limits.compute_wall;
        self.ends.map_or(most, |ends| {
            most.min(ends.saturating_duration_since(Instant::now()))
        })
    }

    /// What the instance has used so far, cancelled runs included.
    pub fn meters(&self) -> NnMeters {
        self.meters.read(&self.budget)
    }

    /// Bytes of host memory that its tensors hold now.
    pub fn host_bytes_in_use(&self) -> u64 {
        self.budget.used()
    }

    /// The graphs it may name.
    pub fn graphs(&self) -> &BTreeMap<String, Arc<Graph>> {
        &self.graphs
    }

    pub(crate) fn push<T: Send + 'static>(&mut self, entry: T) -> wasmtime::Result<Resource<T>> {
        self.table.push(entry).map_err(|error| match error {
            ResourceTableError::Full => NnError::TableFull {
                bound: self.limits.max_resources,
            }
            .into(),
            other => other.into(),
        })
    }

    pub(crate) fn fault(&mut self, fault: GuestFault) -> wasmtime::Result<Resource<GuestFault>> {
        tracing::debug!(code = ?fault.code, text = fault.text(), "guest fault");
        self.push(fault)
    }
}

/// The state, as the linker's functions see it.
#[derive(Debug)]
pub struct NnCtxView<'a> {
    /// The instance's state.
    pub state: &'a mut NnState,
}

/// Implemented by a store's data, so that the linker's functions find the instance's state.
pub trait NnView: Send + 'static {
    /// The instance's state.
    fn nn(&mut self) -> NnCtxView<'_>;
}
