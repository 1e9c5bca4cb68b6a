//! The command line as strangers meet it: the real binary, no market. Mistakes and what is said about them, exit codes,
//! and a client's day with configuration, keys and models.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers included"
)]

#[path = "cli/day.rs"]
mod day;
#[path = "cli/desk.rs"]
mod desk;
#[path = "cli/exits.rs"]
mod exits;
#[path = "cli/mistakes.rs"]
mod mistakes;
