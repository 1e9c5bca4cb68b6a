//! Everything that is tested through the crate's public face: both backends under one suite, the
//! stores and caches, real models on ONNX Runtime, and a real component.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests"
)]

#[path = "suite/backends.rs"]
mod backends;
#[path = "suite/component.rs"]
mod component;
#[path = "suite/gpu.rs"]
mod gpu;
#[path = "suite/stores.rs"]
mod stores;
#[path = "suite/support.rs"]
mod support;
#[path = "suite/tinylm.rs"]
mod tinylm;
#[path = "suite/trace.rs"]
mod trace;
