//! How a guest reaches a model: our own host for `wasi:nn@0.2.0-rc-2024-10-28` on ONNX Runtime.
//!
//! A job's graphs are loaded once per process into a [`GraphCache`], checked against the digest in
//! the job's manifest, and shared by every instance. Each instance holds an [`NnState`]: the names
//! it may load, its resource table, its byte budget and its meters. [`add_to_linker`] gives a guest
//! the four interfaces `tensor`, `graph`, `inference` and `errors`, and nothing else;
//! [`add_extension_to_linker`] adds `assay:job/nn-ext`, by which tokens are chosen on the host.
//!
//! What this crate refuses to know: jobs, manifests, signatures, networks, money. It is handed
//! names, digests, paths and limits as plain values. It is the only crate that names `ort`, and
//! hardware hides behind [`NnBackend`]: [`OrtBackend`] runs ONNX on CPU or CUDA, and
//! [`ReferenceBackend`] is its pure-Rust twin, which passes the same suite and needs no library.
//!
//! A guest's mistakes come back to it as `wasi:nn` errors. What is our fault (a time limit, a lost
//! device, a full table) stops the guest with an [`NnError`] in the trap, so that a provider never
//! signs an outcome that its own trouble produced.
//!
//! ```
//! use std::{collections::BTreeMap, sync::Arc};
//! use host_gpu::{Device, GraphCache, CacheLimits, NnCtxView, NnLimits, NnState, NnView, ReferenceBackend};
//!
//! // Process: a backend and a cache.
//! let cache = GraphCache::new(Arc::new(ReferenceBackend::new()), CacheLimits::default());
//!
//! // Job: its graphs, by name, each verified against its digest.
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("double.graph");
//! let text = "assay-reference-graph 1\ninput x f32 -1\noutput y = add x x\n";
//! std::fs::write(&path, text)?;
//! let digest = host_gpu::ModelDigest::of(text.as_bytes());
//! let graph = cache.load("double", digest, &path, Device::Cpu)?;
//! let graphs = BTreeMap::from([("double".to_owned(), graph)]);
//!
//! // Instance: the store's data offers its state to the linker's functions.
//! struct Data { nn: NnState }
//! impl NnView for Data {
//!     fn nn(&mut self) -> NnCtxView<'_> { NnCtxView { state: &mut self.nn } }
//! }
//! let engine = wasmtime::Engine::default();
//! let mut linker = wasmtime::component::Linker::<Data>::new(&engine);
//! host_gpu::add_to_linker(&mut linker)?;
//! let store = wasmtime::Store::new(&engine, Data { nn: NnState::new(graphs, NnLimits::default()) });
//! assert_eq!(store.data().nn.meters().computes, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Start reading at `backend.rs` (the trait), then `graph.rs` (who owns a session), then `wasi_nn.rs`.

// In reading order; the blank lines keep the formatter from sorting them.
mod error;

mod tensor;

mod budget;

mod backend;

mod reference_backend;

mod onnx;

mod ort_backend;

mod models;

mod fair;

mod watch;

mod graph;

mod notes;

mod state;

mod wasi_nn;

mod pick;

mod nn_ext;

mod trace;

pub use backend::{
    Device, DeviceInfo, DeviceKind, FingerprintParts, GraphIo, GraphOptions, NnBackend, NnSession,
    NodesOn, Optimisation, Port, StopFlag,
};
pub use budget::{Budget, Charge, NnMeters};
pub use error::{FaultCode, GuestFault, MAX_ERROR_TEXT_BYTES, NnError};
pub use fair::FairQueue;
pub use graph::cache::{CacheLimits, GraphCache};
pub use graph::{Graph, MAX_QUEUED_COMPUTES};
pub use models::{ModelDigest, ModelStore};
pub use nn_ext::add_extension_to_linker;
pub use notes::{NoteSink, Notes};
pub use onnx::edit::{ModelEdit, declared_inputs, edit_model};
pub use onnx::{Census as ModelCensus, DeclaredDim, DeclaredInput, inspect as inspect_model};
pub use ort_backend::OrtBackend;
pub use ort_backend::devices::{gpu_processes, host_memory_bytes};
pub use ort_backend::library::{OrtLibrary, discover};
pub use pick::{Pick, Sampling, TOP_K_MAX};
pub use reference_backend::ReferenceBackend;
pub use state::{NnCtxView, NnLimits, NnState, NnView};
pub use tensor::{
    BackendTensor, BoundInput, ElementType, HostBytes, MAX_RANK, NamedOutput, ReadBack, TensorValue,
};
pub use trace::{Expected, Frontier, LeafFinding, Means, NodeInfo, Trace, TracedTensor, Tracer};
pub use wasi_nn::{NnContext, NnGraph, NnTensor, add_to_linker};
