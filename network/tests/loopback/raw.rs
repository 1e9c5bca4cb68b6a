//! A peer that speaks raw bytes on one protocol, to send what no client of ours would.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::request_response::{self, Codec, Event, Message, ProtocolSupport};
use libp2p::swarm::SwarmEvent;
use libp2p::{PeerId, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};

use crate::harness::within;

/// A frame of any version and kind.
pub(crate) fn frame(version: u16, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = (3 + body.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(&version.to_le_bytes());
    frame.push(kind);
    frame.extend_from_slice(body);
    frame
}

/// Writes bytes and reads to the end.
#[derive(Clone, Default)]
struct Bytes;

impl Codec for Bytes {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await
    }
}

pub(crate) struct Raw {
    swarm: Swarm<request_response::Behaviour<Bytes>>,
    peer: PeerId,
}

fn swarm(protocol: &'static str) -> Swarm<request_response::Behaviour<Bytes>> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_quic()
        .with_behaviour(|_| {
            let protocol = (StreamProtocol::new(protocol), ProtocolSupport::Full);
            request_response::Behaviour::new([protocol], request_response::Config::default())
        })
        .unwrap()
        .build()
}

impl Raw {
    /// Connects to a node.
    pub(crate) async fn dial(protocol: &'static str, address: &str) -> Self {
        let mut swarm = swarm(protocol);
        let address: libp2p::Multiaddr = address.parse().unwrap();
        swarm.dial(address).unwrap();
        loop {
            match within(swarm.select_next_some()).await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                    return Self {
                        swarm,
                        peer: peer_id,
                    };
                }
                SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    }

    /// Sends bytes; the bytes that come back.
    pub(crate) async fn ask(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        self.swarm.behaviour_mut().send_request(&self.peer, bytes);
        loop {
            match within(self.swarm.select_next_some()).await {
                SwarmEvent::Behaviour(Event::Message {
                    message: Message::Response { response, .. },
                    ..
                }) => return response,
                SwarmEvent::Behaviour(Event::OutboundFailure { error, .. }) => panic!("{error}"),
                _ => {}
            }
        }
    }
}

/// A peer that answers every request on `protocol` with what `answer` makes of it. Returns its
/// address.
pub(crate) async fn serve(
    protocol: &'static str,
    answer: impl Fn(Vec<u8>) -> Vec<u8> + Send + 'static,
) -> String {
    let mut swarm = swarm(protocol);
    swarm
        .listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap())
        .unwrap();
    let local = *swarm.local_peer_id();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = within(swarm.select_next_some()).await {
            break format!("{address}/p2p/{local}");
        }
    };
    tokio::spawn(async move {
        loop {
            if let SwarmEvent::Behaviour(Event::Message {
                message:
                    Message::Request {
                        request, channel, ..
                    },
                ..
            }) = swarm.select_next_some().await
            {
                let reply = answer(request);
                let _ = swarm.behaviour_mut().send_response(channel, reply);
            }
        }
    });
    address
}
