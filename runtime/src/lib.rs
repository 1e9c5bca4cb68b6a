//! How a shard **runs**.
//!
//! A shard of a job is one component, its models, its items and its limits: a [`ShardTask`]. This
//! crate executes it in a sandbox and answers with a [`ShardOutcome`] or a [`Failure`] that names
//! the limit that was hit and says whose fault it was. Wasm is bit-exact here: equal tasks give
//! equal outputs and equal fuel on every machine.
//!
//! It refuses to know who sent the task, who pays, how bytes arrived and how replicas are compared:
//! no network, no keys, no money. Blobs are read by path, and checked against their digests.
//!
//! There are two ways in:
//!
//! * [`Sandbox::execute`] runs a task in this process. Good for tests and for a machine whose owner
//!   wrote the component.
//! * [`WorkerPool::execute`] runs it in a worker process without keys, network or ambient files,
//!   which is thrown away after a trap, a kill or a deadline. A provider uses this one. The program
//!   that spawns workers must offer a hidden command that returns [`worker::main`] before it
//!   starts threads:
//!
//! ```no_run
//! # async fn run(task: runtime::ShardTask, items: Vec<u8>) -> Result<(), runtime::Failure> {
//! use runtime::{SandboxConfig, WorkerConfig, WorkerPool};
//!
//! let exe = std::env::current_exe().expect("a path to this program");
//! let sandbox = SandboxConfig::new("/var/cache/assay/compiled".into());
//! let blobs = vec!["/var/cache/assay/blobs".into()]; // all that tasks may name
//! let config = WorkerConfig::new(exe, vec!["worker".into()], "/var/cache/assay/scratch".into(), sandbox, blobs);
//! let pool = WorkerPool::new(config, 2);
//! let report = pool.probe().await?; // devices and fingerprints, for the offer
//! let done = pool.execute(task, items).await?; // outcome, encoded outputs, log
//! # let _ = (report, done);
//! # Ok(())
//! # }
//! ```
//!
//! [`run_local`] cuts a whole input into shards and runs them through a pool: `assay job run --local`.
//!
//! Start at [`engine`] (what makes wasm deterministic), then [`linker`] (everything a guest can
//! see), then [`sandbox`] (one store per shard).
#![warn(missing_docs)]

mod bindings;

pub mod engine;
pub mod linker;

mod context;
pub mod log;
mod wasi;

pub mod limits;
mod meters;
mod notes;

pub mod failure;
pub mod task;

pub mod cache;
pub mod sandbox;
pub mod worker;

pub mod local;
pub mod model;

pub use host_gpu::gpu_processes;

pub use failure::{Cause, Failure, FailureKind};
pub use limits::ShardLimits;
pub use local::{LocalJob, LocalResult, run_local};
pub use log::{LogLevel, LogLine};
pub use notes::{Trace, TraceError, TraceWriter};
pub use sandbox::{Backend, Sandbox, SandboxConfig};
pub use task::{DeviceReport, LocalBlob, LocalModel, Noting, ProbeReport, ShardOutcome, ShardTask};
pub use worker::{Emulator, ModelWorker, WorkerConfig, WorkerHandle, WorkerPool};

#[cfg(test)]
#[path = "../tests/support/guests.rs"]
mod guests;
#[cfg(test)]
#[path = "../tests/support/wasi_guests.rs"]
mod wasi_guests;
