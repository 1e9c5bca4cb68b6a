//! One protocol's way through the event loop: requests of ours that wait for an answer, and the
//! requests of others that must be answered.

use std::collections::HashMap;

use jobs::ids::ProviderId;
use libp2p::PeerId;
use libp2p::request_response::{
    Event, Message, OutboundFailure, OutboundRequestId, ResponseChannel,
};
use libp2p::swarm::ConnectionId;
use tokio::sync::oneshot;
use tracing::debug;

use crate::Error;
use crate::addresses::AddressBook;
use crate::behaviour::Requests;
use crate::config::OUTBOUND_MAX;
use crate::identity::peer_id_of;
use crate::protocol::{Fault, Wire};

/// What a request-response behaviour reports.
pub(crate) type LaneEvent<P> =
    Event<Result<<P as Wire>::Request, Fault>, Result<<P as Wire>::Reply, Fault>>;

/// Where the answer to an inbound request goes.
pub(crate) type Channel<P> = ResponseChannel<Result<<P as Wire>::Reply, Fault>>;

/// A request of ours and where its answer goes.
#[derive(Debug)]
pub(crate) struct Ask<P: Wire> {
    pub(crate) peer: ProviderId,
    pub(crate) request: P::Request,
    pub(crate) answer: oneshot::Sender<Result<P::Reply, Error>>,
}

/// A request of someone else's.
pub(crate) struct Inbound<P: Wire> {
    pub(crate) from: PeerId,
    pub(crate) connection: ConnectionId,
    pub(crate) request: Result<P::Request, Fault>,
    pub(crate) channel: Channel<P>,
}

struct Waiting<P: Wire> {
    peer: ProviderId,
    echo: P::Echo,
    answer: oneshot::Sender<Result<P::Reply, Error>>,
}

/// The requests of one protocol that wait for an answer, at most [`OUTBOUND_MAX`].
pub(crate) struct Lane<P: Wire> {
    waiting: HashMap<OutboundRequestId, Waiting<P>>,
}

impl<P: Wire> Default for Lane<P> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
        }
    }
}

impl<P: Wire> Lane<P> {
    /// Sends a request, or answers it at once if it cannot be sent. A peer that is not connected is
    /// dialed.
    pub(crate) fn send(&mut self, to: &mut Requests<P>, book: &AddressBook, ask: Ask<P>) {
        let Ask {
            peer,
            request,
            answer,
        } = ask;
        if answer.is_closed() {
            return; // The caller gave up while the command was queued.
        }
        let room = self.room_for(peer).and_then(|()| peer_id_of(peer));
        match room {
            Err(error) => drop(answer.send(Err(error))),
            Ok(id) => {
                let echo = P::echo(&request);
                let request = to.send_request_with_addresses(&id, Ok(request), book.of(&id));
                let waiting = Waiting { peer, echo, answer };
                self.waiting.insert(request, waiting);
            }
        }
    }

    /// Refuses what the connection would refuse without a name: a stream more than it may carry.
    fn room_for(&self, peer: ProviderId) -> Result<(), Error> {
        let to_peer = self.waiting.values().filter(|one| one.peer == peer);
        for (waiting, max) in [
            (to_peer.count(), P::STREAMS_MAX),
            (self.waiting.len(), OUTBOUND_MAX),
        ] {
            if waiting >= max {
                return Err(Error::Busy { what: P::NAME, max });
            }
        }
        Ok(())
    }

    /// Takes an event: hands an answer to whoever waits for it, and a request back to the loop.
    pub(crate) fn on_event(&mut self, event: LaneEvent<P>) -> Option<Inbound<P>> {
        match event {
            Event::Message {
                peer,
                connection_id,
                message,
            } => match message {
                Message::Request {
                    request, channel, ..
                } => {
                    return Some(Inbound {
                        from: peer,
                        connection: connection_id,
                        request,
                        channel,
                    });
                }
                Message::Response {
                    request_id,
                    response,
                } => self.on_reply(request_id, response),
            },
            Event::OutboundFailure {
                request_id, error, ..
            } => self.on_failure(request_id, &error),
            Event::InboundFailure { peer, error, .. } => {
                debug!(%peer, protocol = P::NAME, %error, "could not serve a request");
            }
            Event::ResponseSent { .. } => {}
        }
        None
    }

    fn on_reply(&mut self, id: OutboundRequestId, reply: Result<P::Reply, Fault>) {
        let Some(Waiting { peer, echo, answer }) = self.waiting.remove(&id) else {
            return;
        };
        let protocol = P::NAME;
        let result = match reply {
            Ok(reply) if P::echoed(&reply) == echo => Ok(reply),
            Ok(reply) => Err(Error::BadAnswer {
                peer,
                protocol,
                reason: format!("asked about {echo:?}, it spoke of {:?}", P::echoed(&reply)),
            }),
            Err(fault) => Err(Error::Fault {
                peer,
                protocol,
                fault,
            }),
        };
        // The caller may have given up; then nobody waits.
        drop(answer.send(result));
    }

    fn on_failure(&mut self, id: OutboundRequestId, failure: &OutboundFailure) {
        let Some(Waiting { peer, answer, .. }) = self.waiting.remove(&id) else {
            return;
        };
        let protocol = P::NAME;
        let reason = failure.to_string();
        let error = match failure {
            OutboundFailure::DialFailure => Error::Unreachable {
                target: peer.to_string(),
                reason,
            },
            OutboundFailure::Timeout => Error::Timeout { peer, protocol },
            OutboundFailure::UnsupportedProtocols => Error::Unsupported { peer, protocol },
            OutboundFailure::ConnectionClosed => Error::Disconnected {
                peer,
                protocol,
                reason,
            },
            OutboundFailure::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Error::BadAnswer {
                    peer,
                    protocol,
                    reason: error.to_string(),
                }
            }
            OutboundFailure::Io(error) => Error::Disconnected {
                peer,
                protocol,
                reason: error.to_string(),
            },
        };
        drop(answer.send(Err(error)));
    }
}
