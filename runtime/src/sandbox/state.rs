//! What a store holds for its guest. It lives and dies with the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use host_gpu::{Graph, NnCtxView, NnState, NnView, Notes};
use jobs::ids::JobId;

use crate::context::Context;
use crate::limits::{Limiter, ShardLimits};
use crate::log::Log;
use crate::wasi::Wasi;

/// One field per capability, and the limiter.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) context: Context,
    pub(crate) log: Log,
    pub(crate) wasi: Wasi,
    pub(crate) nn: NnState,
    pub(crate) limiter: Limiter,
}

impl State {
    pub(crate) fn new(
        limits: &ShardLimits,
        job: JobId,
        context: Context,
        graphs: BTreeMap<String, Arc<Graph>>,
        notes: Option<Notes>,
    ) -> Self {
        Self {
            wasi: Wasi::new(context.wasi_seed(), limits.job.fuel),
            context,
            log: Log::new(limits.log_bytes),
            nn: NnState::new(graphs, limits.nn())
                .for_tenant(tenant(job))
                .on_its_own_thread()
                .noting(notes),
            limiter: Limiter::new(limits),
        }
    }
}

/// Shards of one job wait for one another; jobs take turns.
fn tenant(job: JobId) -> u64 {
    let bytes = job.0.as_bytes().first_chunk();
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl NnView for State {
    fn nn(&mut self) -> NnCtxView<'_> {
        NnCtxView {
            state: &mut self.nn,
        }
    }
}
