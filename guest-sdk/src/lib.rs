//! What a job author imports. A whole job is one function over items; models are asked by name, and there is nothing
//! else to touch: no clock, no files, no network, and no randomness but a seed that every replica is given alike.
//!
//! This crate refuses to know how a job is packaged, sent, priced or judged.
//!
//! A complete job, which answers each line with the dot product a model gives for its bytes:
//!
//! ```
//! use guest_sdk::{Error, Tensor, log, model};
//!
//! fn score(items: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
//!     let scorer = model("scorer")?; // a name from the job's manifest
//!     log::info!("{} items", items.len());
//!     let mut outputs = Vec::with_capacity(items.len());
//!     for item in items {
//!         let text = std::str::from_utf8(&item).map_err(Error::bad_input)?;
//!         let codes: Vec<i64> = text.bytes().map(i64::from).collect();
//!         let codes = Tensor::from_slice(&codes, &[1, codes.len()])?;
//!         let answer = scorer.run([("codes", &codes)])?;
//!         let score: Vec<f32> = answer.values("score")?;
//!         outputs.push(score.iter().flat_map(|value| value.to_le_bytes()).collect());
//!     }
//!     Ok(outputs)
//! }
//!
//! guest_sdk::job!(score);
//! ```
//!
//! Build it as a `cdylib` with `assay component build`. A job that treats each item alone is shorter still:
//!
//! ```
//! fn shout(item: &[u8]) -> Result<Vec<u8>, guest_sdk::Error> {
//!     Ok(item.to_ascii_uppercase())
//! }
//!
//! guest_sdk::job!(each shout);
//! ```
//!
//! Outside a guest the crate compiles too, so that a job's own functions can be tested with `cargo test`: the log goes
//! to stderr, the context is that of an empty job, and asking for a model is an error.
//!
//! Start at [`job!`], then [`Tensor`] and [`model`](fn@model). The contract itself is `wit/world.wit`, with what
//! a decoder of text needs beside it in `wit/nn-ext.wit`: [`Resident`] and [`Model::signature`].

pub mod context;
mod error;
mod job;
pub mod log;
mod model;
mod random;
mod resident;
mod tensor;
pub mod tokens;

#[doc(hidden)]
pub mod bindings;

pub use error::Error;
#[doc(hidden)]
pub use job::{each, whole};
pub use model::{Input, Model, Outputs, model};
pub use random::fill as random_bytes;
pub use resident::{Port, Resident, Sampling, Signature};
pub use tensor::{Bf16, Dtype, Element, F16, Tensor};
