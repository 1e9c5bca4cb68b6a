//! Real swarms on loopback: every protocol, every refusal, discovery, lost peers and blobs.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a panic is a failure with a line number"
)]

#[path = "loopback/blobs.rs"]
mod blobs;
#[path = "loopback/harness.rs"]
mod harness;
#[path = "loopback/peers.rs"]
mod peers;
#[path = "loopback/protocols.rs"]
mod protocols;
#[path = "loopback/raw.rs"]
mod raw;
