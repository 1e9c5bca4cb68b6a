//! The harness of whole-system tests: a market of real processes, started through the `assay` binary.
//!
//! It knows the system only from outside: the command line, HTTP, files and `/proc`. Nothing here
//! links the aggregator, the runtime or the provider; [`jobs`] is used to read and to forge what
//! travels. Whatever is started is stopped when its handle is dropped.
//!
//! Start with [`Market`]; a test is `Market::up`, a [`Job`], and questions.
#![expect(
    clippy::indexing_slicing,
    reason = "a harness that misses what it looks for has found a bug, and says so by panicking"
)]

mod clock;

mod binary;
mod component;
mod http;

mod daemon;
mod job;
mod money;

mod books;
mod market;

mod process;

pub mod flood;
pub mod machine;
pub mod matrix;
pub mod transcript;

pub use binary::{Output, assay, assay_binary, assay_with, repository, target_dir};
pub use books::Claim;
pub use clock::{Deadline, Stopwatch};
pub use component::{
    echo_component, embed_component, example_component, foreign_component, tensors_component,
};
pub use daemon::{Daemon, Ready, free_port};
pub use http::{Response, get, post, put, request, signed};
pub use job::{Job, Signed};
pub use market::{Market, Plan, submitted};
pub use money::{Balance, amount};
pub use process::{children, status_field};
