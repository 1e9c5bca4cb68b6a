//! How jobs **travel**: the only crate that names libp2p.
//!
//! One task owns the swarm ([`EventLoop::run`]); everyone else holds a cloneable [`Client`], and the
//! daemon drains one bounded [`EventReceiver`]. Every wire protocol is one file under [`protocol`],
//! with its messages and its size caps. Components, models, inputs and outputs move as blobs, in
//! chunks that are each verified against the blob's BLAKE3 digest before they are stored
//! ([`blobs`]).
//!
//! It refuses to know what a message means: it authenticates who sent it and bounds how large it
//! is, but never verifies a signature, admits a job, or decides anything about money.
//!
//! Start at [`NetworkConfig`], then [`Network::new`], then [`Client`] and [`Event`].
#![warn(missing_docs)]

pub mod blobs;
pub mod protocol;
pub mod trace;

mod addresses;
mod behaviour;
mod client;
mod config;
mod error;
mod event;
mod event_loop;
mod identity;
mod lane;
mod presence;

pub use client::Client;
pub use config::{
    CONFIG_ADDRESSES_MAX, ConnectionCaps, DISCOVERED_MAX, EVENT_QUEUE, NetworkConfig,
    PEER_ANSWERS_MAX, Role,
};
pub use error::Error;
pub use event::{Event, EventReceiver, ReplyHandle};
pub use event_loop::{EventLoop, Network};
pub use identity::{peer_id_of, provider_id_of, public_key_of};
pub use libp2p::{Multiaddr, PeerId};
