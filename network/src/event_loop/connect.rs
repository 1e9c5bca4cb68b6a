//! Listening, dialing, and staying in touch with the bootstrap nodes.

use std::collections::HashMap;

use jobs::ids::ProviderId;
use libp2p::core::transport::ListenerId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm};
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use crate::Error;
use crate::addresses::{parse, peer_in};
use crate::behaviour::{Behaviour, BehaviourEvent};
use crate::config::{NetworkConfig, QUERIES_MAX};
use crate::identity::provider_id_of;

type DialAnswer = oneshot::Sender<Result<ProviderId, Error>>;
type ListenersAnswer = oneshot::Sender<Result<Vec<Multiaddr>, Error>>;

pub(super) struct Connector {
    /// Listeners that have not said yet which address they got.
    unsettled: Vec<ListenerId>,
    /// Callers that wait until every listener has.
    waiting: Vec<ListenersAnswer>,
    bootstrap: Vec<Bootstrap>,
    /// Callers that wait for a dial, at most [`QUERIES_MAX`].
    dials: HashMap<ConnectionId, (Multiaddr, DialAnswer)>,
    /// Whether listening addresses are what others should know.
    announce_listeners: bool,
}

/// A node to stay in touch with.
struct Bootstrap {
    address: Multiaddr,
    /// Who is there: named in the address, or found by dialing it.
    peer: Option<PeerId>,
    dialing: Option<ConnectionId>,
}

impl Connector {
    /// Starts to listen. Bootstrap nodes are dialed at the first tick.
    pub(super) fn start(
        swarm: &mut Swarm<Behaviour>,
        config: &NetworkConfig,
    ) -> Result<Self, Error> {
        let mut unsettled = Vec::new();
        for text in &config.listen {
            let listener = swarm.listen_on(parse(text)?);
            unsettled.push(listener.map_err(|error| Error::Listen {
                address: text.chars().take(200).collect(),
                reason: error.to_string(),
            })?);
        }
        for text in &config.external {
            swarm.add_external_address(parse(text)?);
        }
        let mut bootstrap = Vec::new();
        for text in &config.bootstrap {
            let address = parse(text)?;
            let peer = peer_in(&address);
            if peer.as_ref() != Some(swarm.local_peer_id()) {
                bootstrap.push(Bootstrap {
                    address,
                    peer,
                    dialing: None,
                });
            }
        }
        Ok(Self {
            unsettled,
            waiting: Vec::new(),
            bootstrap,
            dials: HashMap::new(),
            announce_listeners: config.external.is_empty(),
        })
    }

    /// Dials every bootstrap node that is neither connected nor being dialed.
    pub(super) fn redial(&mut self, swarm: &mut Swarm<Behaviour>) {
        for node in &mut self.bootstrap {
            let connected = node.peer.is_some_and(|peer| swarm.is_connected(&peer));
            if connected || node.dialing.is_some() {
                continue;
            }
            let opts = dial_opts(node.peer, node.address.clone());
            let id = opts.connection_id();
            match swarm.dial(opts) {
                Ok(()) => node.dialing = Some(id),
                Err(error) => debug!(address = %node.address, %error, "could not dial"),
            }
        }
    }

    /// Dials an address; the answer is who is there.
    pub(super) fn dial(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        address: Multiaddr,
        answer: DialAnswer,
    ) {
        if let Some(peer) = peer_in(&address).filter(|peer| swarm.is_connected(peer)) {
            return drop(answer.send(identified(&peer)));
        }
        if self.dials.len() >= QUERIES_MAX {
            let (what, max) = ("dials", QUERIES_MAX);
            return drop(answer.send(Err(Error::Busy { what, max })));
        }
        let opts = dial_opts(peer_in(&address), address.clone());
        let id = opts.connection_id();
        match swarm.dial(opts) {
            Ok(()) => drop(self.dials.insert(id, (address, answer))),
            Err(error) => drop(answer.send(Err(unreachable(&address, error)))),
        }
    }

    /// Answers with the addresses listened on, once every listener has got one.
    pub(super) fn listeners(&mut self, swarm: &Swarm<Behaviour>, answer: ListenersAnswer) {
        if self.waiting.len() >= QUERIES_MAX {
            let (what, max) = ("listener questions", QUERIES_MAX);
            return drop(answer.send(Err(Error::Busy { what, max })));
        }
        self.waiting.push(answer);
        self.answer_listeners(swarm);
    }

    fn answer_listeners(&mut self, swarm: &Swarm<Behaviour>) {
        if !self.unsettled.is_empty() {
            return;
        }
        let local = *swarm.local_peer_id();
        let named = |address: &Multiaddr| address.clone().with_p2p(local).ok();
        for answer in self.waiting.drain(..) {
            drop(answer.send(Ok(swarm.listeners().filter_map(named).collect())));
        }
    }

    /// Whoever dialed this connection learns who is there.
    pub(super) fn on_connected(&mut self, connection: ConnectionId, peer: PeerId) {
        for node in &mut self.bootstrap {
            if node.dialing == Some(connection) {
                node.dialing = None;
                node.peer = Some(peer);
            }
        }
        if let Some((_, answer)) = self.dials.remove(&connection) {
            drop(answer.send(identified(&peer)));
        }
    }

    pub(super) fn on_swarm(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        event: SwarmEvent<BehaviourEvent>,
    ) {
        match event {
            SwarmEvent::NewListenAddr {
                listener_id,
                address,
            } => {
                info!(%address, "listening");
                if self.announce_listeners {
                    swarm.add_external_address(address);
                }
                self.settle(swarm, listener_id);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } if self.announce_listeners => {
                swarm.remove_external_address(&address);
            }
            SwarmEvent::ListenerClosed {
                listener_id,
                reason,
                ..
            } => {
                warn!(?reason, "a listener closed");
                self.settle(swarm, listener_id);
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => {
                for node in &mut self.bootstrap {
                    if node.dialing == Some(connection_id) {
                        node.dialing = None;
                        debug!(address = %node.address, %error, "bootstrap node not reached");
                    }
                }
                if let Some((address, answer)) = self.dials.remove(&connection_id) {
                    drop(answer.send(Err(unreachable(&address, error))));
                }
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                debug!(%error, "an incoming connection was refused");
            }
            _ => {}
        }
    }

    fn settle(&mut self, swarm: &Swarm<Behaviour>, listener: ListenerId) {
        self.unsettled.retain(|id| *id != listener);
        self.answer_listeners(swarm);
    }
}

/// A connection comes from a port of its own. From the one that is listened on, two peers that dial one another at the
/// same moment would meet in one connection that both hold to be their own, and whose handshake fails.
fn dial_opts(peer: Option<PeerId>, address: Multiaddr) -> DialOpts {
    match peer {
        Some(peer) => DialOpts::peer_id(peer)
            .condition(PeerCondition::Disconnected)
            .addresses(vec![address])
            .allocate_new_port()
            .build(),
        None => DialOpts::unknown_peer_id()
            .address(address)
            .allocate_new_port()
            .build(),
    }
}

fn identified(peer: &PeerId) -> Result<ProviderId, Error> {
    provider_id_of(peer).ok_or_else(|| Error::Identity {
        id: peer.to_string(),
    })
}

fn unreachable(address: &Multiaddr, error: impl ToString) -> Error {
    Error::Unreachable {
        target: address.to_string(),
        reason: error.to_string(),
    }
}
