//! What a node is told when it starts. Consumed by the constructor; nothing changes afterwards.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::blobs::BlobSource;

/// Events waiting for the daemon before requests are answered "busy".
pub const EVENT_QUEUE: usize = 256;

/// Commands waiting for the event loop before a caller waits.
pub(crate) const COMMAND_QUEUE: usize = 128;

/// Requests of one protocol this node waits on at the same time; one more is refused as busy.
pub(crate) const OUTBOUND_MAX: usize = 1024;

/// Inbound requests waiting for the daemon's answer at the same time; one more is answered "busy".
pub(crate) const ANSWERS_MAX: usize = 1024;

/// Requests of one peer waiting for the daemon's answer at the same time; one more is answered
/// "busy", so that one peer cannot fill the queue alone.
pub const PEER_ANSWERS_MAX: usize = 64;

/// Streams of one control protocol open on one connection at the same time.
pub(crate) const CONTROL_STREAMS_MAX: usize = 32;

/// Streams of the blob protocol open on one connection at the same time.
pub(crate) const BLOB_STREAMS_MAX: usize = 16;

/// Blob chunks read from disk for others at the same time; one more is answered "busy".
pub(crate) const BLOB_READS_MAX: usize = 16;

/// Providers remembered for one role's key, and returned by one discovery.
pub const DISCOVERED_MAX: usize = 128;

/// Largest Kademlia message in bytes: room for [`DISCOVERED_MAX`] peers and their addresses.
pub(crate) const KAD_PACKET_MAX: usize = 128 * 1024;

/// Kademlia value records kept. We store none: roles are provider records.
pub(crate) const KAD_RECORDS_MAX: usize = 0;

/// Discoveries and dials this node waits on at the same time; one more is refused as busy.
pub(crate) const QUERIES_MAX: usize = 64;

/// Peers whose addresses are remembered.
pub(crate) const KNOWN_PEERS_MAX: usize = 4096;

/// Addresses remembered of one peer.
pub(crate) const ADDRESSES_PER_PEER_MAX: usize = 8;

/// Addresses a node listens on, bootstraps from or announces, each.
pub const CONFIG_ADDRESSES_MAX: usize = 64;

/// Idle time after which a connection is closed. Long on purpose: an open connection is how a lost
/// peer is noticed.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a shutdown waits for connections to say good-bye.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// What a node is to others. It announces itself under its role's key and accepts its role's
/// requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Executes shards: accepts assignments, reveal requests and cancellations.
    Provider,
    /// Decides: accepts offers and commitments.
    Aggregator,
}

impl Role {
    /// The Kademlia key under which nodes of this role announce themselves.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Provider => "/assay/role/provider/v1",
            Self::Aggregator => "/assay/role/aggregator/v1",
        }
    }
}

/// Most connections of each kind. One more is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionCaps {
    /// Established with one peer.
    pub per_peer: u32,
    /// Established in all.
    pub total: u32,
    /// Established that others opened. Less than `total`, so that strangers cannot shut us in.
    pub incoming: u32,
    /// Being opened by others.
    pub pending_incoming: u32,
    /// Being opened by us.
    pub pending_outgoing: u32,
}

impl Default for ConnectionCaps {
    fn default() -> Self {
        Self {
            per_peer: 4,
            total: 1024,
            incoming: 896,
            pending_incoming: 128,
            pending_outgoing: 128,
        }
    }
}

/// Everything a node needs to start.
#[derive(Clone)]
pub struct NetworkConfig {
    /// Ed25519 secret seed. Its public key is the node's `ProviderId`.
    pub identity: [u8; 32],
    /// What the node is.
    pub role: Role,
    /// Multiaddresses to listen on, for example `/ip4/0.0.0.0/udp/7700/quic-v1` or
    /// `/ip4/127.0.0.1/tcp/0`.
    pub listen: Vec<String>,
    /// Multiaddresses of nodes to join the network through, redialed while not connected.
    pub bootstrap: Vec<String>,
    /// Multiaddresses others can reach this node at. Empty: those it listens on.
    pub external: Vec<String>,
    /// Where blobs others ask for come from; `None` answers "not found".
    pub blobs: Option<Arc<dyn BlobSource>>,
    /// Caps on connections.
    pub connections: ConnectionCaps,
    /// Events queued for the daemon before requests are answered "busy". At least 1.
    pub event_queue: usize,
    /// Time between pings. Two in a row that fail close the connection.
    pub ping_interval: Duration,
    /// Time within which a ping must be answered.
    pub ping_timeout: Duration,
    /// Time within which a request of a control protocol must be answered, on both sides.
    pub request_timeout: Duration,
    /// Time within which one blob chunk must arrive.
    pub chunk_timeout: Duration,
    /// Time between announcements under the role's key.
    pub announce_interval: Duration,
    /// Time between attempts to reach bootstrap nodes that are not connected.
    pub bootstrap_interval: Duration,
}

impl NetworkConfig {
    /// A configuration with every default: listens nowhere, knows nobody, serves no blobs.
    pub fn new(identity: [u8; 32], role: Role) -> Self {
        Self {
            identity,
            role,
            listen: Vec::new(),
            bootstrap: Vec::new(),
            external: Vec::new(),
            blobs: None,
            connections: ConnectionCaps::default(),
            event_queue: EVENT_QUEUE,
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(20),
            chunk_timeout: Duration::from_secs(30),
            announce_interval: Duration::from_secs(120),
            bootstrap_interval: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for NetworkConfig {
    /// Everything but the secret seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkConfig")
            .field("role", &self.role)
            .field("listen", &self.listen)
            .field("bootstrap", &self.bootstrap)
            .field("external", &self.external)
            .field("serves_blobs", &self.blobs.is_some())
            .field("connections", &self.connections)
            .field("event_queue", &self.event_queue)
            .finish_non_exhaustive()
    }
}
