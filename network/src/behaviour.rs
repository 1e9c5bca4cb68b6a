//! The swarm's parts and how they are bounded.

use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::kad::{self, StoreInserts};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{StreamProtocol, Swarm, SwarmBuilder, identify, noise, ping, tcp, yamux};

use crate::Error;
use crate::config::{
    ConnectionCaps, DISCOVERED_MAX, IDLE_TIMEOUT, KAD_PACKET_MAX, KAD_RECORDS_MAX, KNOWN_PEERS_MAX,
    NetworkConfig, Role,
};
use crate::protocol::Wire;
use crate::protocol::assign::AssignWire;
use crate::protocol::blob::BlobWire;
use crate::protocol::cancel::CancelWire;
use crate::protocol::codec::Codec;
use crate::protocol::commit::CommitWire;
use crate::protocol::offer::OfferWire;
use crate::protocol::open::OpenWire;
use crate::protocol::reveal::RevealWire;

/// Name of our Kademlia network, apart from every other.
const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/assay/kad/1");

/// Name by which nodes of this network identify one another.
const IDENTIFY_PROTOCOL: &str = "/assay/1";

/// Agent told to peers.
const AGENT: &str = concat!("assay/", env!("CARGO_PKG_VERSION"));

/// How long a Kademlia query may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(15);

/// How many announcements a role record outlives.
const RECORD_TTL_ANNOUNCEMENTS: u32 = 5;

/// Handshakes of one stream negotiated at the same time on one connection.
const NEGOTIATING_MAX: usize = 64;

/// One request-response behaviour a protocol.
pub(crate) type Requests<P> = request_response::Behaviour<Codec<P>>;

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // First, so that a connection over a cap is refused before anyone else sees it.
    limits: connection_limits::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) identify: identify::Behaviour,
    pub(crate) kad: kad::Behaviour<MemoryStore>,
    pub(crate) offer: Requests<OfferWire>,
    pub(crate) assign: Requests<AssignWire>,
    pub(crate) commit: Requests<CommitWire>,
    pub(crate) reveal: Requests<RevealWire>,
    pub(crate) open: Requests<OpenWire>,
    pub(crate) cancel: Requests<CancelWire>,
    pub(crate) blob: Requests<BlobWire>,
}

/// Builds the swarm: QUIC and TCP (noise, yamux), and the behaviour above.
pub(crate) fn build_swarm(
    keypair: Keypair,
    config: &NetworkConfig,
) -> Result<Swarm<Behaviour>, Error> {
    let transport = |error: &dyn std::fmt::Display| Error::Transport {
        reason: error.to_string(),
    };
    // QUIC notices silence by itself; twice the ping's patience, so that pings speak first.
    let idle_ms = (config.ping_interval + config.ping_timeout).as_millis() * 2;
    let idle_ms = u32::try_from(idle_ms.max(1000)).unwrap_or(u32::MAX);
    let keep_alive = config.ping_interval;
    let swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )
        .map_err(|error| transport(&error))?
        .with_quic_config(|mut quic| {
            quic.max_idle_timeout = idle_ms;
            quic.keep_alive_interval = keep_alive;
            quic
        })
        .with_behaviour(|keypair| Behaviour::new(keypair, config))
        .map_err(|error| transport(&error))?
        .with_swarm_config(|swarm| {
            swarm
                .with_idle_connection_timeout(IDLE_TIMEOUT)
                .with_max_negotiating_inbound_streams(NEGOTIATING_MAX)
        })
        .build();
    Ok(swarm)
}

impl Behaviour {
    fn new(keypair: &Keypair, config: &NetworkConfig) -> Self {
        use ProtocolSupport::{Full, Inbound, Outbound};
        // A node accepts only its role's requests, so that a misdirected one fails by name.
        let (provider, aggregator) = match config.role {
            Role::Provider => (Inbound, Outbound),
            Role::Aggregator => (Outbound, Inbound),
        };
        Self {
            limits: limits(config.connections),
            ping: ping::Behaviour::new(
                ping::Config::new()
                    .with_interval(config.ping_interval)
                    .with_timeout(config.ping_timeout),
            ),
            identify: identify::Behaviour::new(
                identify::Config::new(IDENTIFY_PROTOCOL.into(), keypair.public())
                    .with_agent_version(AGENT.into())
                    .with_push_listen_addr_updates(true)
                    .with_cache_size(KNOWN_PEERS_MAX),
            ),
            kad: kademlia(keypair, config.announce_interval),
            offer: control(aggregator.clone(), config),
            assign: control(provider.clone(), config),
            commit: control(aggregator, config),
            reveal: control(provider.clone(), config),
            open: control(provider.clone(), config),
            cancel: control(provider, config),
            blob: requests(Full, config.chunk_timeout),
        }
    }
}

fn limits(caps: ConnectionCaps) -> connection_limits::Behaviour {
    connection_limits::Behaviour::new(
        ConnectionLimits::default()
            .with_max_pending_incoming(Some(caps.pending_incoming))
            .with_max_pending_outgoing(Some(caps.pending_outgoing))
            .with_max_established_incoming(Some(caps.incoming))
            .with_max_established_per_peer(Some(caps.per_peer))
            .with_max_established(Some(caps.total)),
    )
}

fn control<P: Wire>(support: ProtocolSupport, config: &NetworkConfig) -> Requests<P> {
    requests(support, config.request_timeout)
}

fn requests<P: Wire>(support: ProtocolSupport, timeout: Duration) -> Requests<P> {
    let config = request_response::Config::default()
        .with_request_timeout(timeout)
        .with_max_concurrent_streams(P::STREAMS_MAX);
    Requests::<P>::with_codec(
        Codec::default(),
        [(StreamProtocol::new(P::NAME), support)],
        config,
    )
}

fn kademlia(keypair: &Keypair, announce_interval: Duration) -> kad::Behaviour<MemoryStore> {
    let local = keypair.public().to_peer_id();
    let store = MemoryStoreConfig {
        max_records: KAD_RECORDS_MAX,
        max_value_bytes: 0,
        max_providers_per_key: DISCOVERED_MAX,
        // The two roles' keys, of which we provide one.
        max_provided_keys: 2,
    };
    let mut config = kad::Config::new(KAD_PROTOCOL);
    config
        .set_query_timeout(QUERY_TIMEOUT)
        // Only records under a role's key are let in, by the event loop.
        .set_record_filtering(StoreInserts::FilterBoth)
        .set_max_packet_size(KAD_PACKET_MAX)
        .set_provider_record_ttl(Some(announce_interval * RECORD_TTL_ANNOUNCEMENTS))
        .set_provider_publication_interval(Some(announce_interval));
    let store = MemoryStore::with_config(local, store);
    let mut kad = kad::Behaviour::with_config(local, store, config);
    // By default a node is a server only once someone confirmed an outside address, which never
    // happens on loopback or in a private network.
    kad.set_mode(Some(kad::Mode::Server));
    kad
}
