//! The handle everyone but the event loop holds. Cheap to clone; every call waits for its answer.

use std::time::Duration;

use jobs::ids::ProviderId;
use libp2p::Multiaddr;
use tokio::sync::{mpsc, oneshot};

use crate::addresses::parse;
use crate::event_loop::command::{Command, Found, Routed};
use crate::lane::Ask;
use crate::protocol::assign::AssignWire;
use crate::protocol::blob::BlobWire;
use crate::protocol::cancel::CancelWire;
use crate::protocol::codec::encoded_size;
use crate::protocol::commit::CommitWire;
use crate::protocol::offer::OfferWire;
use crate::protocol::open::OpenWire;
use crate::protocol::reveal::RevealWire;
use crate::protocol::{
    AssignReply, AssignRequest, BlobReply, BlobRequest, CancelReply, CancelRequest, CommitReply,
    CommitRequest, OfferReply, OfferRequest, OpenReply, OpenRequest, RevealReply, RevealRequest,
};
use crate::{Error, Role};

mod fetch;

/// Asks the event loop to do things. A call that is dropped stops waiting; whether its request was
/// sent is then unknown.
#[derive(Clone, Debug)]
pub struct Client {
    local: ProviderId,
    commands: mpsc::Sender<Command>,
    chunk_timeout: Duration,
}

impl Client {
    pub(crate) fn new(
        local: ProviderId,
        commands: mpsc::Sender<Command>,
        chunk_timeout: Duration,
    ) -> Self {
        Self {
            local,
            commands,
            chunk_timeout,
        }
    }

    /// This node's own id.
    pub const fn local(&self) -> ProviderId {
        self.local
    }

    /// Offers to an aggregator.
    ///
    /// # Errors
    /// If the request is too large, the peer is unreachable, of another role, silent, or its answer
    /// breaks the protocol. The same holds for every request below.
    pub async fn send_offer(
        &self,
        aggregator: ProviderId,
        request: OfferRequest,
    ) -> Result<OfferReply, Error> {
        self.ask::<OfferWire>(aggregator, request).await
    }

    /// Assigns a shard to a provider.
    ///
    /// # Errors
    /// As [`Client::send_offer`].
    pub async fn assign(
        &self,
        provider: ProviderId,
        request: AssignRequest,
    ) -> Result<AssignReply, Error> {
        self.ask::<AssignWire>(provider, request).await
    }

    /// Commits to an outcome, or reports a failure, to an aggregator.
    ///
    /// # Errors
    /// As [`Client::send_offer`].
    pub async fn commit(
        &self,
        aggregator: ProviderId,
        request: CommitRequest,
    ) -> Result<CommitReply, Error> {
        self.ask::<CommitWire>(aggregator, request).await
    }

    /// Asks a provider to open its commitment.
    ///
    /// # Errors
    /// As [`Client::send_offer`].
    pub async fn reveal(
        &self,
        provider: ProviderId,
        request: RevealRequest,
    ) -> Result<RevealReply, Error> {
        self.ask::<RevealWire>(provider, request).await
    }

    /// Asks a provider to open values that it noted.
    ///
    /// # Errors
    /// As [`Client::send_offer`].
    pub async fn open(
        &self,
        provider: ProviderId,
        request: OpenRequest,
    ) -> Result<OpenReply, Error> {
        self.ask::<OpenWire>(provider, request).await
    }

    /// Tells a provider that an assignment is no longer needed.
    ///
    /// # Errors
    /// As [`Client::send_offer`].
    pub async fn cancel(
        &self,
        provider: ProviderId,
        request: CancelRequest,
    ) -> Result<CancelReply, Error> {
        self.ask::<CancelWire>(provider, request).await
    }

    /// Connects to an address, for example `/ip4/127.0.0.1/udp/7700/quic-v1`, and says who is there.
    /// A peer named in the address must be the one found.
    ///
    /// # Errors
    /// If the text is not a multiaddress or nobody (or somebody else) answers there.
    pub async fn dial(&self, address: &str) -> Result<ProviderId, Error> {
        let address = parse(address)?;
        self.command(|answer| Command::Dial { address, answer })
            .await?
    }

    /// The addresses this node listens on, each ending in `/p2p/<this node>`, once every listener
    /// has got its port.
    ///
    /// # Errors
    /// If the network is shut down or too many callers wait already.
    pub async fn listeners(&self) -> Result<Vec<Multiaddr>, Error> {
        self.command(|answer| Command::Listeners { answer }).await?
    }

    /// The peers connected now.
    ///
    /// # Errors
    /// If the network is shut down.
    pub async fn peers(&self) -> Result<Vec<ProviderId>, Error> {
        self.command(|answer| Command::Peers { answer }).await
    }

    /// Nodes that announced themselves under a role, without this one, each with the addresses it
    /// may be reached at; there may be none for a node that could not be reached. At most 128. A
    /// request to a discovered node dials it by itself.
    ///
    /// # Errors
    /// If the network is shut down or too many discoveries are under way.
    pub async fn discover(&self, role: Role) -> Result<Found, Error> {
        self.command(|answer| Command::Discover { role, answer })
            .await?
    }

    /// Stops the event loop after it said good-bye to every peer. Idempotent.
    pub async fn shutdown(&self) {
        let (done, stopped) = oneshot::channel();
        if self.commands.send(Command::Shutdown { done }).await.is_ok() {
            // An error means that somebody else's shutdown came first.
            let _ = stopped.await;
        }
    }

    /// Asks for one part of a blob.
    pub(crate) async fn chunk(
        &self,
        peer: ProviderId,
        request: BlobRequest,
    ) -> Result<BlobReply, Error> {
        self.ask::<BlobWire>(peer, request).await
    }

    async fn ask<P: Routed>(
        &self,
        peer: ProviderId,
        request: P::Request,
    ) -> Result<P::Reply, Error> {
        let protocol = P::NAME;
        let size = encoded_size(&request).map_err(|error| Error::Encode {
            protocol,
            reason: error.to_string(),
        })?;
        if size > P::REQUEST_MAX {
            return Err(Error::TooLarge {
                protocol,
                size: size as u64,
                max: P::REQUEST_MAX as u64,
            });
        }
        self.command(|answer| {
            P::command(Ask {
                peer,
                request,
                answer,
            })
        })
        .await?
    }

    async fn command<A>(
        &self,
        command: impl FnOnce(oneshot::Sender<A>) -> Command,
    ) -> Result<A, Error> {
        let (sender, answer) = oneshot::channel();
        let sent = self.commands.send(command(sender)).await;
        sent.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)
    }
}
