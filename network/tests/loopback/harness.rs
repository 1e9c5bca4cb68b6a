//! Nodes on loopback, and messages to send between them.

use std::future::Future;
use std::time::Duration;

use jobs::assignment::Assignment;
use jobs::commitment::{Commitment, Opening, Reveal};
use jobs::digest::{BlobRef, Digest};
use jobs::envelope::SignedPackage;
use jobs::ids::{AssignmentId, JobId, ProviderId};
use jobs::merkle::Proof;
use jobs::money::Amount;
use jobs::offer::{DeviceKind, DeviceSpec, Offer, Price};
use jobs::openings::{CHUNK_BYTES, Opened};
use jobs::outcome::{Fingerprint, Meters, Outcome};
use jobs::receipt::Envelope;
use jobs::time::Timestamp;
use network::protocol::{AssignRequest, CommitRequest, OfferRequest, OpenReply, OpenRequest};
use network::{Client, Event, EventReceiver, Network, NetworkConfig, Role, public_key_of};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

/// Time after which a test that waits has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub(crate) const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// A running node.
pub(crate) struct Node {
    pub(crate) client: Client,
    pub(crate) events: EventReceiver,
    pub(crate) task: JoinHandle<()>,
    pub(crate) address: String,
}

/// A configuration with timings for tests, listening on loopback.
pub(crate) fn config(seed: u8, role: Role, listen: &str) -> NetworkConfig {
    let mut config = NetworkConfig::new([seed; 32], role);
    config.listen = vec![listen.into()];
    config.ping_interval = Duration::from_millis(200);
    config.ping_timeout = Duration::from_millis(500);
    config.bootstrap_interval = Duration::from_millis(100);
    config
}

pub(crate) async fn start(config: NetworkConfig) -> Node {
    let (client, events, event_loop) = Network::new(config).unwrap();
    let task = tokio::spawn(event_loop.run());
    let listeners = client.listeners().await.unwrap();
    let address = listeners.first().map(ToString::to_string);
    Node {
        client,
        events,
        task,
        address: address.unwrap_or_default(),
    }
}

pub(crate) async fn node(seed: u8, role: Role, listen: &str) -> Node {
    start(config(seed, role, listen)).await
}

/// A provider that is connected to an aggregator.
pub(crate) async fn pair(listen: &str) -> (Node, Node) {
    let provider = node(1, Role::Provider, listen).await;
    let aggregator = node(2, Role::Aggregator, listen).await;
    let found = provider.client.dial(&aggregator.address).await.unwrap();
    assert_eq!(found, aggregator.client.local());
    // The dialer knows first.
    while aggregator.client.peers().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (provider, aggregator)
}

/// Fails the test if `future` takes too long.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

impl Node {
    /// The next event that is a request.
    pub(crate) async fn request(&mut self) -> Event {
        loop {
            match within(self.events.recv()).await.unwrap() {
                Event::Connected(_) | Event::Lost(_) => {}
                event => return event,
            }
        }
    }

    /// Waits until the daemon hears that `peer` connected.
    pub(crate) async fn hears_connected(&mut self, peer: ProviderId) {
        loop {
            if let Some(Event::Connected(id)) = within(self.events.recv()).await
                && id == peer
            {
                return;
            }
        }
    }

    /// Waits until the daemon hears that `peer` is lost.
    pub(crate) async fn hears_lost(&mut self, peer: ProviderId) {
        loop {
            if let Some(Event::Lost(id)) = within(self.events.recv()).await
                && id == peer
            {
                return;
            }
        }
    }
}

/// Bytes that are no signature of anything: the network carries statements, it does not check them.
fn unsigned<T: DeserializeOwned>(payload: usize) -> T {
    let parts = (vec![7_u8; payload], ProviderId([3; 32]), vec![9_u8; 64]);
    postcard::from_bytes(&postcard::to_stdvec(&parts).unwrap()).unwrap()
}

pub(crate) fn id(byte: u8) -> AssignmentId {
    AssignmentId(Digest::from_bytes([byte; 32]))
}

pub(crate) fn job(byte: u8) -> JobId {
    JobId(Digest::from_bytes([byte; 32]))
}

/// An offer whose statement has `payload` bytes.
pub(crate) fn offer(payload: usize) -> OfferRequest {
    let offer: jobs::statement::Signed<Offer> = unsigned(payload);
    OfferRequest { offer }
}

/// An offer that is really signed, to see that a signature survives the way.
pub(crate) fn signed_offer(seed: u8) -> OfferRequest {
    let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    let offer = Offer {
        provider: public_key_of([seed; 32]).unwrap(),
        operator: None,
        device: DeviceSpec {
            kind: DeviceKind::Cpu,
            name: "test".into(),
            memory_bytes: 1,
        },
        price: Price {
            per_gfuel: Amount::default(),
            per_device_second: Amount::default(),
        },
        fingerprint: fingerprint(),
        capacity: 1,
        memory_bytes_max: 1,
        fuel_max: 1,
        model_bytes_max: 1,
        issued: Timestamp(1),
    };
    OfferRequest {
        offer: jobs::statement::Signed::sign(&offer, &key).unwrap(),
    }
}

pub(crate) fn assign(byte: u8) -> AssignRequest {
    let assignment: jobs::statement::Signed<Assignment> = unsigned(300);
    AssignRequest {
        id: id(byte),
        assignment,
        package: SignedPackage {
            package: "{}".repeat(1000),
            bundle: "{}".into(),
            public_key: "-----".into(),
        },
        trace: None,
    }
}

pub(crate) fn commit(byte: u8) -> CommitRequest {
    let commitment: jobs::statement::Signed<Commitment> = unsigned(140);
    CommitRequest::Committed {
        assignment: id(byte),
        commitment,
    }
}

pub(crate) fn reveal(byte: u8) -> Reveal {
    Reveal {
        assignment: id(byte),
        opening: Opening {
            nonce: [5; 32],
            outcome: Outcome {
                noted: None,
                placement: Vec::new(),
                root: Digest::of(b"root"),
                outputs: BlobRef::of(b"outputs"),
                items: 3,
                meters: Meters::default(),
                fingerprint: fingerprint(),
            },
        },
        receipt: Envelope("{\"payload\":\"\"}".repeat(5000)),
    }
}

/// "Open what you noted."
pub(crate) fn open(number: u8) -> OpenRequest {
    OpenRequest {
        assignment: id(number),
        seeds: vec![Digest::of(b"one"), Digest::of(b"two")],
        count: 16,
    }
}

/// Chunks with their proofs.
pub(crate) fn opened(number: u8) -> OpenReply {
    let opened = Opened {
        chunk: vec![7; CHUNK_BYTES],
        proof: Proof {
            index: 1,
            count: 2,
            siblings: vec![Digest::of(b"sibling")],
        },
    };
    OpenReply::Opened {
        assignment: id(number),
        opened: vec![opened; 32],
    }
}

fn fingerprint() -> Fingerprint {
    Fingerprint {
        engine: "wasmtime".into(),
        library: "none".into(),
        execution_provider: "cpu".into(),
        device: "x86_64".into(),
        options: String::new(),
    }
}
