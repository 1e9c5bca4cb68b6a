//! What the daemon hears: peers that come and go, and requests with the handle to answer them.

use std::fmt;
use std::net::IpAddr;

use jobs::ids::ProviderId;
use tokio::sync::{mpsc, oneshot};

use crate::protocol::{
    AssignReply, AssignRequest, CancelReply, CancelRequest, CommitReply, CommitRequest, OfferReply,
    OfferRequest, OpenReply, OpenRequest, RevealReply, RevealRequest,
};

/// Something the daemon must know or answer. `from` is authenticated: it is the key that the
/// connection was secured with.
#[derive(Debug)]
pub enum Event {
    /// A first connection to this peer was established.
    Connected(ProviderId),
    /// The last connection to this peer closed, or its pings failed.
    Lost(ProviderId),
    /// A provider offers (aggregators only).
    OfferRequest {
        /// Who.
        from: ProviderId,
        /// The far end of the connection that it came over; `None` if that has no address.
        address: Option<IpAddr>,
        /// What.
        request: OfferRequest,
        /// Where the answer goes.
        reply: ReplyHandle<OfferReply>,
    },
    /// An aggregator assigns (providers only).
    AssignRequest {
        /// Who.
        from: ProviderId,
        /// What.
        request: AssignRequest,
        /// Where the answer goes.
        reply: ReplyHandle<AssignReply>,
    },
    /// A provider commits or failed (aggregators only).
    CommitRequest {
        /// Who.
        from: ProviderId,
        /// What.
        request: CommitRequest,
        /// Where the answer goes.
        reply: ReplyHandle<CommitReply>,
    },
    /// An aggregator asks to reveal (providers only).
    RevealRequest {
        /// Who.
        from: ProviderId,
        /// What.
        request: RevealRequest,
        /// Where the answer goes.
        reply: ReplyHandle<RevealReply>,
    },
    /// An aggregator asks for values that were noted (providers only).
    OpenRequest {
        /// Who.
        from: ProviderId,
        /// What.
        request: OpenRequest,
        /// Where the answer goes.
        reply: ReplyHandle<OpenReply>,
    },
    /// An aggregator cancels (providers only).
    Cancel {
        /// Who.
        from: ProviderId,
        /// What.
        request: CancelRequest,
        /// Where the answer goes.
        reply: ReplyHandle<CancelReply>,
    },
}

/// The one answer to one request. Dropped without an answer, the peer is told "unanswered"; kept
/// longer than the request's timeout, the peer has stopped listening.
pub struct ReplyHandle<R>(oneshot::Sender<R>);

impl<R> ReplyHandle<R> {
    /// Answers. Returns whether the peer may still be listening.
    pub fn send(self, reply: R) -> bool {
        self.0.send(reply).is_ok()
    }

    /// Whether the peer may still be listening. A daemon can skip a request nobody waits for.
    pub fn is_awaited(&self) -> bool {
        !self.0.is_closed()
    }

    /// A handle and where its answer arrives.
    pub(crate) fn channel() -> (Self, oneshot::Receiver<R>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }
}

impl<R> fmt::Debug for ReplyHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyHandle")
    }
}

/// The daemon's end of the event queue. Bounded: while it is full, requests are answered "busy" and
/// peers that come and go are remembered until there is room.
#[derive(Debug)]
pub struct EventReceiver(pub(crate) mpsc::Receiver<Event>);

impl EventReceiver {
    /// The next event; `None` once the event loop has stopped and the queue is drained.
    pub async fn recv(&mut self) -> Option<Event> {
        self.0.recv().await
    }

    /// The next event if one waits already.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.0.try_recv().ok()
    }
}
