//! Worker processes: where guests and ONNX Runtime really run.
//!
//! A worker is this same program, started with a hidden command that calls [`main`]. It gets
//! tasks over a pipe and answers over a pipe; blobs it reads by path. It has no network,
//! no inherited files and only the variables of [`WORKER_ENVIRONMENT`] and [`WORKER_HOMES`], because a guest that breaks
//! out of wasm, or a model that breaks ONNX Runtime, owns the process it is in. Whatever a guest did,
//! its worker is replaced.
//!
//! It opens only the files that its [`Confinement`] names, where the kernel has Landlock. One thing a
//! broken worker still has: it shares the compile cache and its key with its siblings, so that it can
//! spoil what they run next. Where tenants must not share even that, run a provider for each.
//!
//! [`frame`] is the envelope and [`protocol`] the words; [`child`](main) and `harden` are the
//! worker's side, [`WorkerHandle`] and [`WorkerPool`] the parent's.

pub mod drill;
pub mod frame;
pub mod protocol;

mod calibrate;
mod child;
mod clock;
mod confine;
mod harden;
mod models;

mod handle;
mod pool;
mod relay;
mod scratch;
mod spawner;
mod turns;

pub use calibrate::{Emulator, MODEL_WALL_MS, ModelWorker};
pub use child::{main, main_with};
pub use confine::{Confinement, fair_memory_bytes};
pub use handle::{
    GRACE_MS, PREPARE_WALL_MS, PROBE_WALL_MS, START_WALL_MS, WorkerConfig, WorkerHandle,
};
pub use harden::{WORKER_ENVIRONMENT, WORKER_HOMES};
pub use pool::{WORKERS_MAX, WorkerPool};
pub use turns::WAITING_MAX;
