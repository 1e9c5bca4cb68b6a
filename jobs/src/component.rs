//! Whether a WebAssembly component is a job: its imports and exports.
use crate::Error;

/// Every interface a job may import, at exactly these versions. The runtime's linker defines these
/// and no others.
pub const ALLOWED_IMPORTS: &[&str] = &[
    "assay:job/context@0.1.0",
    "assay:job/log@0.1.0",
    "assay:job/types@0.1.0",
    "wasi:nn/errors@0.2.0-rc-2024-10-28",
    "wasi:nn/graph@0.2.0-rc-2024-10-28",
    "wasi:nn/inference@0.2.0-rc-2024-10-28",
    "wasi:nn/tensor@0.2.0-rc-2024-10-28",
];

/// What a component says about itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Imported interfaces, sorted.
    pub imports: Vec<String>,
    /// Exported functions and interfaces, sorted.
    pub exports: Vec<String>,
}

/// Checks that `bytes` is a component which imports only [`ALLOWED_IMPORTS`] and exports `run`.
///
/// # Errors
/// [`Error::Component`] naming the first offending import, or what is malformed.
pub fn check(bytes: &[u8]) -> Result<Summary, Error> {
    let _ = bytes;
    todo!("helper")
}
