//! The aggregator's HTTP interface: the types it serves, a client for them, and the server.
//!
//! It refuses to know how an answer is found: the server asks a [`backend::Backend`], which the
//! aggregator's driver implements. The client knows nothing of storage, peers or money beyond the
//! types in [`types`], so that a program that talks to an aggregator does not drag one in.
//!
//! Start at [`types`] and [`types::Problem`]; [`server::serve`] and [`client::Client`] are the two
//! ends.

pub mod backend;
pub mod client;
pub mod feed;
pub mod network;
pub mod openapi;
pub mod problem;
pub mod server;
pub mod signature;
pub mod trace;
pub mod types;

mod dashboard;
mod gate;
mod routes;
