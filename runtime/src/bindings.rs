//! Generated from the WIT that guests are built against. `wasi:nn` is served by `host-gpu`; its
//! traits are generated here too and left alone.
#![allow(
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::all,
    reason = "generated code"
)]

wasmtime::component::bindgen!({
    path: "../guest-sdk/wit",
    world: "inference",
    imports: { default: trappable },
    exports: { default: async },
});
