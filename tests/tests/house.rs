//! The house rules, as tests. Each rule is a function from text to findings; one test applies it to
//! the repository and one shows, on made-up input, that it can fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers included"
)]

#[path = "house/crates.rs"]
mod crates;
#[path = "house/docs.rs"]
mod docs;
#[path = "house/licences.rs"]
mod licences;
#[path = "house/repo.rs"]
mod repo;
#[path = "house/source.rs"]
mod source;
#[path = "house/words.rs"]
mod words;
