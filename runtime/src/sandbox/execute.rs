//! A store's life: made, limited, run, read, dropped.

use std::sync::Arc;
use std::time::Duration;

use jobs::digest::BlobRef;
use jobs::outcome::{Fingerprint, Meters, Outcome, Placement};
use wasmtime::{Engine, Store};

use super::state::State;
use crate::bindings::{InferencePre, JobError};
use crate::failure::{Failure, FailureKind, GuestError};
use crate::limits::{FUEL_YIELD_INTERVAL, ShardLimits};
use crate::notes::Recorder;
use crate::task::{SHARD_BYTES_MAX, ShardOutcome};

/// A shard whose component is compiled and whose graphs are loaded.
pub struct Prepared<'a> {
    pub(super) engine: &'a Engine,
    pub(super) component: InferencePre<State>,
    pub(super) state: State,
    pub(super) recorder: Option<Arc<Recorder>>,
    pub(super) limits: ShardLimits,
    pub(super) fingerprint: Fingerprint,
    pub(super) placement: Vec<Placement>,
}

impl std::fmt::Debug for Prepared<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("limits", &self.limits)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl Prepared<'_> {
    /// Runs the guest on an encoded item list. Dropping the future stops it.
    ///
    /// Graphs run on the thread that polls: give each shard an executor of its own, as a worker does.
    ///
    /// # Errors
    /// See [`FailureKind`]. Fuel and log are reported for failures too.
    pub async fn run(self, items: &[u8]) -> Result<ShardOutcome, Failure> {
        let items = decode(items)?;
        let count = items.len();
        let mut store = Store::new(self.engine, self.state);
        restrict(&mut store, &self.limits)?;
        let wall = Duration::from_millis(self.limits.job.wall_ms);
        store.data_mut().nn.end_after(wall);
        let answer = tokio::time::timeout(wall, call(&mut store, &self.component, &items)).await;
        let left = store.get_fuel().unwrap_or(0);
        let fuel = spent(left, store.data(), &self.limits);
        let mut state = store.into_data();
        let printed = state.wasi.finish(&mut state.log);
        let paid = state.wasi.check_paid(left);
        let result = match answer {
            Err(_) => Err(FailureKind::Deadline {
                what: "the guest".into(),
                limit_ms: self.limits.job.wall_ms,
            }),
            Ok(Err(error)) => Err(explain(&error, &state, &self.limits)),
            Ok(Ok(Err(error))) => Err(guest_error(&error)),
            Ok(Ok(Ok(outputs))) => paid
                .and(printed)
                .and_then(|()| check(&outputs, count, &self.limits))
                .map(|()| outputs),
        };
        let peak = state.limiter.peak_memory_bytes();
        let meters = crate::meters::meters(fuel, peak, state.nn.meters());
        let log = state.log.into_lines();
        let finished = result.and_then(|outputs| {
            let noted = self
                .recorder
                .map(|recorder| recorder.finish())
                .transpose()?;
            let (mut outcome, outputs) =
                finish(&outputs, meters, self.fingerprint, self.placement)?;
            let (noted, trace) = noted.unzip();
            outcome.noted = noted;
            Ok((outcome, outputs, trace))
        });
        match finished {
            Ok((outcome, outputs, trace)) => Ok(ShardOutcome {
                outcome,
                outputs,
                log,
                trace,
            }),
            Err(kind) => Err(Failure { kind, fuel, log }),
        }
    }
}

type Answer = Result<Vec<Vec<u8>>, JobError>;

async fn call(
    store: &mut Store<State>,
    component: &InferencePre<State>,
    items: &[Vec<u8>],
) -> wasmtime::Result<Answer> {
    let instance = component.instantiate_async(&mut *store).await?;
    instance.call_run(store, items).await
}

fn decode(items: &[u8]) -> Result<Vec<Vec<u8>>, FailureKind> {
    if items.len() > SHARD_BYTES_MAX {
        let size = items.len();
        let reason = format!("{size} bytes of items, the bound is {SHARD_BYTES_MAX}");
        return Err(FailureKind::task(reason));
    }
    let items = jobs::items::decode(items).map_err(FailureKind::task)?;
    Ok(items.into_iter().map(<[u8]>::to_vec).collect())
}

fn restrict(store: &mut Store<State>, limits: &ShardLimits) -> Result<(), FailureKind> {
    store.limiter(|state| &mut state.limiter);
    let bytes = usize::try_from(limits.hostcall_bytes).unwrap_or(usize::MAX);
    store.set_hostcall_fuel(bytes);
    store.set_max_component_handles(limits.handles as usize);
    store
        .set_fuel(limits.job.fuel)
        .and_then(|()| store.fuel_async_yield_interval(Some(FUEL_YIELD_INTERVAL)))
        .map_err(FailureKind::engine)
}

/// What the guest burnt, and what was charged for the host's work.
fn spent(left: u64, state: &State, limits: &ShardLimits) -> u64 {
    let left = left.saturating_sub(state.wasi.charged());
    limits.job.fuel.saturating_sub(left)
}

/// A guest that was refused memory usually traps soon after, and the refusal says more than the trap.
fn explain(error: &wasmtime::Error, state: &State, limits: &ShardLimits) -> FailureKind {
    tracing::debug!("guest stopped: {error:?}");
    match FailureKind::execution(error, limits) {
        trap @ FailureKind::Trap { .. } => state.limiter.refusal().unwrap_or(trap),
        other => other,
    }
}

fn guest_error(error: &JobError) -> FailureKind {
    let (kind, message) = match error {
        JobError::BadInput(message) => (GuestError::BadInput, message),
        JobError::Model(message) => (GuestError::Model, message),
        JobError::Failed(message) => (GuestError::Failed, message),
    };
    FailureKind::guest(kind, message)
}

/// Exactly one output per item, each within the job's bound.
fn check(outputs: &[Vec<u8>], items: usize, limits: &ShardLimits) -> Result<(), FailureKind> {
    if outputs.len() != items {
        return Err(FailureKind::OutputCount {
            outputs: outputs.len() as u64,
            items: items as u64,
        });
    }
    let limit = u64::from(limits.job.output_bytes_per_item);
    for (output, item) in outputs.iter().zip(0_u32..) {
        let bytes = output.len() as u64;
        if bytes > limit {
            return Err(FailureKind::OutputLimit { item, bytes, limit });
        }
    }
    Ok(())
}

fn finish(
    outputs: &[Vec<u8>],
    meters: Meters,
    fingerprint: Fingerprint,
    placement: Vec<Placement>,
) -> Result<(Outcome, Vec<u8>), FailureKind> {
    let encoded = jobs::items::encode(outputs).map_err(FailureKind::task)?;
    let outcome = Outcome {
        placement,
        noted: None,
        root: jobs::merkle::root(outputs),
        outputs: BlobRef::of(&encoded),
        items: u32::try_from(outputs.len()).map_err(FailureKind::task)?,
        meters,
        fingerprint,
    };
    Ok((outcome, encoded))
}
