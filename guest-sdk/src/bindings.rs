//! What `wit-bindgen` makes of `wit/`. Job authors never name it; the [`job!`](crate::job!) macro does.
// Generated code: raw pointers across the component boundary are its business, and its style is not ours.
#![allow(
    clippy::all,
    clippy::indexing_slicing,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    unsafe_code
)]

wit_bindgen::generate!({
    path: "wit",
    world: "inference",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_inference",
    default_bindings_module: "guest_sdk::bindings",
});
