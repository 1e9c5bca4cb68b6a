//! Worker processes: where guests and ONNX Runtime really run.
//!
//! A worker is this same program, started with a hidden command that calls [`main`]. It gets
//! tasks over a pipe and answers over a pipe; blobs it reads by path. It has no keys, no network and
//! an empty environment, because a guest that breaks out of wasm, or a model that breaks ONNX
//! Runtime, owns the process it is in. Whatever a guest did, its worker is replaced.
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
pub use handle::{WorkerConfig, WorkerHandle};
pub use harden::WORKER_ENVIRONMENT;
pub use pool::{WAITING_MAX, WorkerPool};
