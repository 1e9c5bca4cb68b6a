//! Worker processes: where guests and ONNX Runtime really run.
//!
//! A worker is this same program, started with a hidden command that calls [`main`]. It gets
//! tasks over a pipe and answers over a pipe; blobs it reads by path. It has no network,
//! no inherited files and only the variables of [`WORKER_ENVIRONMENT`] and [`WORKER_HOMES`], because a guest that breaks
//! out of wasm, or a model that breaks ONNX Runtime, owns the process it is in. Whatever a guest did,
//! its worker is replaced.
//!
//! Two things a broken worker still has: it runs as the parent's user, so it can open what that user
//! can open by path, and it shares the compile cache and its key with its siblings. Where tenants
//! must not share even that, run a provider under a user of its own whose files hold nothing else.
//!
//! [`frame`] is the envelope and [`protocol`] the words; [`child`](main) and `harden` are the
//! worker's side, [`WorkerHandle`] and [`WorkerPool`] the parent's.

pub mod frame;
pub mod protocol;

mod child;
mod harden;

mod handle;
mod pool;
mod spawner;

pub use child::main;
pub use handle::{
    GRACE_MS, PREPARE_WALL_MS, PROBE_WALL_MS, START_WALL_MS, WorkerConfig, WorkerHandle,
};
pub use harden::{WORKER_ENVIRONMENT, WORKER_HOMES};
pub use pool::{WAITING_MAX, WORKERS_MAX, WorkerPool};
