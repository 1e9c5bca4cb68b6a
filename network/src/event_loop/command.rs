//! What clients ask of the loop, and which protocol goes through which lane.

use std::net::IpAddr;

use jobs::ids::ProviderId;
use libp2p::Multiaddr;
use tokio::sync::oneshot;

use super::EventLoop;
use crate::behaviour::{Behaviour, Requests};
use crate::lane::{Ask, Lane};
use crate::protocol::Wire;
use crate::protocol::assign::AssignWire;
use crate::protocol::blob::BlobWire;
use crate::protocol::cancel::CancelWire;
use crate::protocol::commit::CommitWire;
use crate::protocol::offer::OfferWire;
use crate::protocol::open::OpenWire;
use crate::protocol::reveal::RevealWire;
use crate::{Error, Event, ReplyHandle, Role};

/// What a discovery finds: who, and where.
pub(crate) type Found = Vec<(ProviderId, Vec<Multiaddr>)>;

/// One thing asked of the loop. Each carries where its answer goes.
pub(crate) enum Command {
    Offer(Ask<OfferWire>),
    Assign(Ask<AssignWire>),
    Commit(Ask<CommitWire>),
    Reveal(Ask<RevealWire>),
    Open(Ask<OpenWire>),
    Cancel(Ask<CancelWire>),
    Blob(Ask<BlobWire>),
    Dial {
        address: Multiaddr,
        answer: oneshot::Sender<Result<ProviderId, Error>>,
    },
    Discover {
        role: Role,
        answer: oneshot::Sender<Result<Found, Error>>,
    },
    Listeners {
        answer: oneshot::Sender<Result<Vec<Multiaddr>, Error>>,
    },
    Peers {
        answer: oneshot::Sender<Vec<ProviderId>>,
    },
    Shutdown {
        done: oneshot::Sender<()>,
    },
}

/// One lane a protocol.
#[derive(Default)]
pub(crate) struct Lanes {
    offer: Lane<OfferWire>,
    assign: Lane<AssignWire>,
    commit: Lane<CommitWire>,
    reveal: Lane<RevealWire>,
    open: Lane<OpenWire>,
    cancel: Lane<CancelWire>,
    blob: Lane<BlobWire>,
}

/// A protocol with its place in the loop.
pub(crate) trait Routed: Wire {
    fn command(ask: Ask<Self>) -> Command;
    fn lane(lanes: &mut Lanes) -> &mut Lane<Self>;
    fn requests(behaviour: &mut Behaviour) -> &mut Requests<Self>;
}

/// A protocol whose requests the daemon answers.
pub(crate) trait Control: Routed {
    /// `address` is the far end of the connection that the request came over.
    fn event(
        from: ProviderId,
        address: Option<IpAddr>,
        request: Self::Request,
        reply: ReplyHandle<Self::Reply>,
    ) -> Event;
}

macro_rules! route {
    ($wire:ty, $command:ident, $field:ident) => {
        impl Routed for $wire {
            fn command(ask: Ask<Self>) -> Command {
                Command::$command(ask)
            }

            fn lane(lanes: &mut Lanes) -> &mut Lane<Self> {
                &mut lanes.$field
            }

            fn requests(behaviour: &mut Behaviour) -> &mut Requests<Self> {
                &mut behaviour.$field
            }
        }
    };
    ($wire:ty, $command:ident, $field:ident, $event:ident $(, $address:ident)?) => {
        route!($wire, $command, $field);

        impl Control for $wire {
            fn event(
                from: ProviderId,
                _address: Option<IpAddr>,
                request: Self::Request,
                reply: ReplyHandle<Self::Reply>,
            ) -> Event {
                Event::$event {
                    from,
                    $($address: _address,)?
                    request,
                    reply,
                }
            }
        }
    };
}

route!(OfferWire, Offer, offer, OfferRequest, address);
route!(AssignWire, Assign, assign, AssignRequest);
route!(CommitWire, Commit, commit, CommitRequest);
route!(RevealWire, Reveal, reveal, RevealRequest);
route!(OpenWire, Open, open, OpenRequest);
route!(CancelWire, Cancel, cancel, Cancel);
route!(BlobWire, Blob, blob);

impl EventLoop {
    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Offer(ask) => self.ask(ask),
            Command::Assign(ask) => self.ask(ask),
            Command::Commit(ask) => self.ask(ask),
            Command::Reveal(ask) => self.ask(ask),
            Command::Open(ask) => self.ask(ask),
            Command::Cancel(ask) => self.ask(ask),
            Command::Blob(ask) => self.ask(ask),
            Command::Dial { address, answer } => {
                self.connector.dial(&mut self.swarm, address, answer);
            }
            Command::Discover { role, answer } => {
                self.discovery.discover(&mut self.swarm, role, answer);
            }
            Command::Listeners { answer } => self.connector.listeners(&self.swarm, answer),
            Command::Peers { answer } => drop(answer.send(self.presence.here())),
            Command::Shutdown { done } => drop(done), // Taken by the loop itself.
        }
    }

    fn ask<P: Routed>(&mut self, ask: Ask<P>) {
        let requests = P::requests(self.swarm.behaviour_mut());
        P::lane(&mut self.lanes).send(requests, &self.book, ask);
    }
}
