//! What a store holds for its guest. It lives and dies with the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use host_gpu::{Graph, NnCtxView, NnState, NnView};

use crate::context::Context;
use crate::limits::{Limiter, ShardLimits};
use crate::log::Log;

/// One field per capability, and the limiter.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) context: Context,
    pub(crate) log: Log,
    pub(crate) nn: NnState,
    pub(crate) limiter: Limiter,
}

impl State {
    pub(crate) fn new(
        limits: &ShardLimits,
        context: Context,
        graphs: BTreeMap<String, Arc<Graph>>,
    ) -> Self {
        Self {
            context,
            log: Log::new(limits.log_bytes),
            nn: NnState::new(graphs, limits.nn()),
            limiter: Limiter::new(limits),
        }
    }
}

impl NnView for State {
    fn nn(&mut self) -> NnCtxView<'_> {
        NnCtxView {
            state: &mut self.nn,
        }
    }
}
