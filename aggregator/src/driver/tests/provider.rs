//! A provider that follows a script instead of executing anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use jobs::assignment::Assignment;
use jobs::commitment::{Commitment, Opening, Reveal};
use jobs::digest::BlobRef;
use jobs::ids::{AggregatorId, AssignmentId, ProviderId};
use jobs::merkle::Tree;
use jobs::money::Amount;
use jobs::offer::{DeviceKind, DeviceSpec, Offer, Price};
use jobs::openings::{CHUNK_BYTES, Noted, Noter, Opened, chunks_of, places};
use jobs::outcome::{Fingerprint, Meters, Outcome, Placement};
use jobs::package::Package;
use jobs::receipt::Receipt;
use jobs::statement::Signed;
use jobs::time::Timestamp;
use jobs::{items, merkle};
use network::blobs::BlobStore;
use network::protocol::{
    AssignReply, AssignRequest, CancelReply, CommitReply, CommitRequest, OfferReply, OfferRequest,
    OpenReply, OpenRequest, Refusal, RefusalCode, RevealReply,
};
use network::{Event, EventReceiver, Network, NetworkConfig, Role};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Running;

/// Fuel that every scripted execution claims.
pub(super) const FUEL: u64 = 500_000;

/// What that earns: half a thousandth of [`PRICE_PER_GFUEL`].
pub(super) const EARNED: Amount = Amount(1_000);

const PRICE_PER_GFUEL: Amount = Amount(2_000_000);

/// What a provider does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// What it should.
    Honest,
    /// Commits to other outputs, and reveals them.
    Wrong,
    /// Commits to outputs of another format than the package's.
    Misshapen,
    /// Commits twice, to different things.
    Equivocating,
    /// Commits to what is no number.
    NotANumber,
    /// Has the outputs from somebody, and makes up what it noted.
    MadeUp,
    /// Opens other chunks than it is asked for.
    Misopening,
    /// Does not open what it noted.
    Closed,
    /// Accepts and is never heard of again.
    Silent,
    /// Does not even answer an assignment.
    Mute,
}

/// Encoded chunks of one execution.
type Chunks = Vec<[u8; CHUNK_BYTES]>;

struct Script {
    key: SigningKey,
    manner: Manner,
    network: network::Client,
    blobs: BlobStore,
    reveals: Mutex<BTreeMap<AssignmentId, Reveal>>,
    noted: Mutex<BTreeMap<AssignmentId, Chunks>>,
    /// Reveals wait until this is true.
    open: watch::Receiver<bool>,
    committed: watch::Sender<u32>,
}

/// A scripted provider. Gone when dropped.
pub(super) struct Scripted {
    pub(super) id: ProviderId,
    key: SigningKey,
    capacity: u16,
    network: network::Client,
    open: watch::Sender<bool>,
    committed: watch::Receiver<u32>,
    task: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    /// Starts one whose reveals wait for [`Scripted::open`].
    pub(super) fn held(seed: u8, manner: Manner) -> Self {
        let seed = [seed; 32];
        let key = SigningKey::from_bytes(&seed);
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path(), 1 << 20).unwrap();
        let mut config = NetworkConfig::new(seed, Role::Provider);
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".into()];
        config.blobs = Some(Arc::new(blobs.clone()));
        let (network, events, event_loop) = Network::new(config).unwrap();
        tokio::spawn(event_loop.run());
        let (open, opened) = watch::channel(false);
        let (count, committed) = watch::channel(0);
        let script = Arc::new(Script {
            key: key.clone(),
            manner,
            network: network.clone(),
            blobs,
            reveals: Mutex::default(),
            noted: Mutex::default(),
            open: opened,
            committed: count,
        });
        Self {
            id: ProviderId(key.verifying_key().to_bytes()),
            key,
            // More than one connection carries at a time.
            capacity: if manner == Manner::Mute { 64 } else { 16 },
            network,
            open,
            committed,
            task: tokio::spawn(serve(script, events)),
            _dir: dir,
        }
    }

    /// Starts one and offers to `aggregator`.
    pub(super) async fn join(seed: u8, manner: Manner, aggregator: &Running) -> Self {
        let provider = Self::held(seed, manner);
        provider.open();
        provider.offer(aggregator).await;
        provider
    }

    pub(super) fn open(&self) {
        self.open.send_replace(true);
    }

    pub(super) async fn offer(&self, aggregator: &Running) {
        let found = self.network.dial(&aggregator.p2p[0]).await.unwrap();
        assert_eq!(found, aggregator.id);
        let reply = self.try_offer(&self.made_offer(), aggregator.id).await;
        assert!(matches!(reply, OfferReply::Accepted { .. }), "{reply:?}");
    }

    /// Offers to whoever is at this address.
    pub(super) async fn offer_at(&self, address: &str) -> JoinHandle<OfferReply> {
        let aggregator = self.network.dial(address).await.unwrap();
        let offer = Signed::sign(&self.made_offer(), &self.key).unwrap();
        let network = self.network.clone();
        let request = OfferRequest { offer };
        tokio::spawn(async move { network.send_offer(aggregator, request).await.unwrap() })
    }

    pub(super) async fn try_offer(&self, offer: &Offer, aggregator: AggregatorId) -> OfferReply {
        let offer = Signed::sign(offer, &self.key).unwrap();
        let request = OfferRequest { offer };
        self.network.send_offer(aggregator, request).await.unwrap()
    }

    pub(super) async fn commit(
        &self,
        aggregator: AggregatorId,
        commitment: Commitment,
        by: &SigningKey,
    ) -> CommitReply {
        let request = CommitRequest::Committed {
            assignment: commitment.assignment,
            commitment: Signed::sign(&commitment, by).unwrap(),
        };
        self.network.commit(aggregator, request).await.unwrap()
    }

    pub(super) fn made_offer(&self) -> Offer {
        Offer {
            provider: self.id,
            operator: None,
            device: DeviceSpec {
                kind: DeviceKind::Cpu,
                name: "script".into(),
                memory_bytes: 1 << 30,
            },
            price: Price {
                per_gfuel: PRICE_PER_GFUEL,
                per_device_second: Amount::ZERO,
            },
            fingerprint: fingerprint(),
            capacity: self.capacity,
            memory_bytes_max: 1 << 30,
            fuel_max: u64::MAX,
            model_bytes_max: 1 << 30,
            issued: Timestamp(1),
        }
    }

    /// Waits until this many commitments were acknowledged.
    pub(super) async fn committed(&mut self, count: u32) {
        let reached = self.committed.wait_for(|have| *have >= count);
        let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
        reached.expect("commitments in time").unwrap();
    }
}

fn fingerprint() -> Fingerprint {
    Fingerprint {
        engine: "script".into(),
        library: "none".into(),
        execution_provider: "cpu".into(),
        device: "cpu".into(),
        options: String::new(),
    }
}

async fn serve(script: Arc<Script>, mut events: EventReceiver) {
    let mut unanswered = Vec::new();
    while let Some(event) = events.recv().await {
        let script = Arc::clone(&script);
        match event {
            Event::AssignRequest {
                from,
                request,
                reply,
            } => {
                if script.manner == Manner::Mute {
                    unanswered.push(reply);
                    continue;
                }
                let assignment = request.id;
                reply.send(AssignReply::Accepted { assignment });
                tokio::spawn(async move { script.execute(from, request).await });
            }
            Event::RevealRequest { request, reply, .. } => {
                tokio::spawn(async move {
                    script.open.clone().wait_for(|open| *open).await.unwrap();
                    let assignment = request.assignment;
                    let reveal = script.reveals.lock().unwrap().get(&assignment).cloned();
                    reply.send(match reveal {
                        Some(reveal) => RevealReply::Revealed(Box::new(reveal)),
                        None => RevealReply::Refused {
                            assignment,
                            refusal: Refusal::new(RefusalCode::Unknown, "never committed"),
                        },
                    });
                });
            }
            Event::OpenRequest { request, reply, .. } => drop(reply.send(script.opened(request))),
            Event::Cancel { request, reply, .. } => {
                let assignment = request.assignment;
                reply.send(CancelReply::Cancelled { assignment });
            }
            _ => {}
        }
    }
}

impl Script {
    /// What it noted of these items: of each a hundred numbers that only its bytes foretell.
    fn note(&self, id: AssignmentId, inputs: &[&[u8]]) -> Noted {
        let mut noter = Noter::default();
        let mut all = Chunks::new();
        for input in inputs {
            let number = |at: u8| {
                f32::from(
                    input
                        .iter()
                        .fold(at, |sum, byte| sum.wrapping_mul(31) ^ byte),
                )
            };
            let made_up = self.manner == Manner::MadeUp;
            let values = (0..100).map(|at| if made_up { 0.0 } else { number(at) });
            let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
            let inference = noter.end_inference();
            all.extend(chunks_of(inference, &bytes));
        }
        all.iter().for_each(|chunk| noter.push(chunk).unwrap());
        self.noted.lock().unwrap().insert(id, all);
        noter.noted()
    }

    fn opened(&self, request: OpenRequest) -> OpenReply {
        let assignment = request.assignment;
        if self.manner == Manner::Closed {
            return OpenReply::Refused {
                assignment,
                refusal: Refusal::new(RefusalCode::Policy, "none of your business"),
            };
        }
        let noted = self.noted.lock().unwrap();
        let chunks = &noted[&assignment];
        let tree = Tree::of(chunks);
        let count = chunks.len() as u32;
        let asked = request.seeds.iter();
        let asked = asked.flat_map(|seed| places(seed, request.count, count));
        let open = |place: u32| {
            let place = match self.manner {
                Manner::Misopening => (place + 1) % count,
                _ => place,
            };
            Opened {
                chunk: chunks[place as usize].to_vec(),
                proof: tree.prove(place).unwrap(),
            }
        };
        OpenReply::Opened {
            assignment,
            opened: asked.map(open).collect(),
        }
    }

    async fn execute(&self, aggregator: AggregatorId, request: AssignRequest) {
        let assignment = request.assignment.verify().unwrap();
        assert_eq!(assignment.signer, aggregator);
        let (assignment, package) = (
            assignment.statement,
            request.package.verify().unwrap().package,
        );
        if self.manner == Manner::Silent {
            return;
        }
        let sources = [aggregator];
        let fetched = self
            .network
            .fetch_blob(&sources, assignment.input, &self.blobs);
        fetched.await.unwrap();
        let input = self.blobs.read(&assignment.input).unwrap();
        let reveal = self.reveal(&assignment, package, &items::decode(&input).unwrap());
        let commitment = reveal.1;
        let known = self.reveals.lock().unwrap().insert(assignment.id, reveal.0);
        self.send(aggregator, commitment).await;
        if self.manner == Manner::Equivocating && known.is_none() {
            let mut other = commitment;
            other.hash = jobs::digest::Digest::of(b"something else");
            self.send(aggregator, other).await;
        }
        self.committed.send_modify(|count| *count += 1);
    }

    fn reveal(
        &self,
        assignment: &Assignment,
        package: Package,
        inputs: &[&[u8]],
    ) -> (Reveal, Commitment) {
        let outputs: Vec<Vec<u8>> = inputs
            .iter()
            .map(|input| match self.manner {
                Manner::Wrong => b"\"wrong\"".to_vec(),
                Manner::Misshapen => b"no json".to_vec(),
                Manner::NotANumber => f32::NAN.to_le_bytes().to_vec(),
                _ => input.to_ascii_uppercase(),
            })
            .collect();
        let bytes = items::encode(&outputs).unwrap();
        self.blobs.put_bytes(&bytes).unwrap();
        let models = package.models.iter().map(|model| Placement {
            model: model.name.clone(),
            execution_provider: "cpu".into(),
            nodes: 1,
        });
        let noted = package.openings.as_ref();
        let opening = Opening {
            nonce: [7; 32],
            outcome: Outcome {
                noted: noted.map(|_| self.note(assignment.id, inputs)),
                placement: models.collect(),
                root: merkle::root(&outputs),
                outputs: BlobRef::of(&bytes),
                items: assignment.items,
                meters: Meters {
                    fuel: FUEL,
                    ..Meters::default()
                },
                fingerprint: fingerprint(),
            },
        };
        let Assignment { id, job, shard, .. } = *assignment;
        let commitment = Commitment::bind(id, job, shard, assignment.provider, &opening);
        let receipt = Receipt {
            assignment: assignment.clone(),
            package,
            commitment,
            opening: opening.clone(),
        };
        let reveal = Reveal {
            assignment: id,
            opening,
            receipt: receipt.sign(&self.key).unwrap(),
        };
        (reveal, commitment)
    }

    /// Sends until it is acknowledged.
    async fn send(&self, aggregator: AggregatorId, commitment: Commitment) {
        let request = CommitRequest::Committed {
            assignment: commitment.assignment,
            commitment: Signed::sign(&commitment, &self.key).unwrap(),
        };
        for _ in 0..100 {
            let sent = self.network.commit(aggregator, request.clone()).await;
            if let Ok(CommitReply::Ack { .. }) = sent {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
