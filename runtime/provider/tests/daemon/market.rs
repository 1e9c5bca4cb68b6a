//! The scripted aggregator, and providers in this process or in one of their own.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use jobs::assignment::Assignment;
use jobs::commitment::{Commitment, Reveal};
use jobs::digest::{BlobRef, Digest};
use jobs::ids::{AssignmentId, ProviderId};
use jobs::items;
use jobs::offer::Offer;
use jobs::statement::Signed;
use network::blobs::{BlobSource, BlobStore, OpenBlob};
use network::protocol::{
    AssignReply, AssignRequest, CommitReply, CommitRequest, FailureCode, OfferReply, Refusal,
    RefusalCode, RevealReply, RevealRequest,
};
use network::{Client, Event, EventReceiver, Network, NetworkConfig, Role};
use provider::{ProviderConfig, Running};
use runtime::Backend;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::fixture::{Job, id};

/// The longest any test waits for anything.
const WAIT: Duration = Duration::from_secs(60);

/// How long the aggregator's leases are.
const LEASE_MS: u64 = 1000;

/// What the aggregator hears, in order.
const HEARD_MAX: usize = 256;

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// Waits for what must come.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(WAIT, future)
        .await
        .expect("nothing happened in time")
}

/// Asks again and again until the answer is yes.
pub(crate) async fn until(what: &str, mut yes: impl FnMut() -> bool) {
    let looks = async {
        while !yes() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(WAIT, looks).await.is_ok(), "{what}");
}

/// An aggregator that does as it is told.
pub(crate) struct Aggregator {
    pub(crate) key: SigningKey,
    pub(crate) client: Client,
    pub(crate) store: BlobStore,
    /// Where it is reached.
    pub(crate) address: String,
    /// While set, commitments are heard but not answered.
    pub(crate) deaf: Arc<AtomicBool>,
    /// While set, offers are heard and refused.
    pub(crate) unwilling: Arc<AtomicBool>,
    pub(crate) offers: mpsc::Receiver<Offer>,
    pub(crate) commits: mpsc::Receiver<CommitRequest>,
}

/// Serves what the store has, with one blob replaced by other bytes.
struct Tampered {
    store: BlobStore,
    victim: Option<Digest>,
}

impl BlobSource for Tampered {
    fn open(&self, from: ProviderId, digest: &Digest) -> Option<OpenBlob> {
        if self.victim == Some(*digest) {
            let mut bytes = std::fs::read(self.store.get(digest)?).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            return Some(OpenBlob::bytes(bytes));
        }
        self.store.open(from, digest)
    }
}

impl Aggregator {
    pub(crate) async fn start(dir: &Path) -> Self {
        Self::start_at(dir, "/ip4/127.0.0.1/tcp/0", None).await
    }

    /// On a given address, which a restarted one takes again; sends false bytes for `victim`.
    pub(crate) async fn start_at(dir: &Path, listen: &str, victim: Option<Digest>) -> Self {
        Self::start_as([7; 32], dir, listen, victim).await
    }

    /// Another one, with a folder of its own.
    pub(crate) async fn rival(dir: &Path) -> Self {
        let dir = dir.join("rival");
        Self::start_as([6; 32], &dir, "/ip4/127.0.0.1/tcp/0", None).await
    }

    async fn start_as(seed: [u8; 32], dir: &Path, listen: &str, victim: Option<Digest>) -> Self {
        let store = BlobStore::open(dir.join("aggregator"), 1 << 30).unwrap();
        let mut config = NetworkConfig::new(seed, Role::Aggregator);
        config.listen = vec![listen.to_owned()];
        config.blobs = Some(Arc::new(Tampered {
            store: store.clone(),
            victim,
        }));
        let (client, events, event_loop) = Network::new(config).unwrap();
        tokio::spawn(event_loop.run());
        let address = client.listeners().await.unwrap()[0].to_string();
        let deaf = Arc::new(AtomicBool::new(false));
        let unwilling = Arc::new(AtomicBool::new(false));
        let (offer_sender, offers) = mpsc::channel(HEARD_MAX);
        let (commit_sender, commits) = mpsc::channel(HEARD_MAX);
        let ears = (Arc::clone(&deaf), Arc::clone(&unwilling));
        tokio::spawn(hear(events, ears, offer_sender, commit_sender));
        Self {
            key: SigningKey::from_bytes(&seed),
            client,
            store,
            address,
            deaf,
            unwilling,
            offers,
            commits,
        }
    }

    /// Where it listens, without its identity.
    pub(crate) fn listen(&self) -> String {
        self.address.split("/p2p/").next().unwrap().to_owned()
    }

    /// Puts everything where providers fetch it.
    pub(crate) fn hold(&self, job: &Job) {
        self.store.put_bytes(&job.component).unwrap();
        for shard in 0..3 {
            self.store.put_bytes(&job.input(shard)).unwrap();
        }
    }

    pub(crate) async fn assign(&self, request: &AssignRequest, to: ProviderId) -> AssignReply {
        soon(self.client.assign(to, request.clone())).await.unwrap()
    }

    /// Assigns a shard that must be accepted.
    pub(crate) async fn give(&self, job: &Job, shard: u32, to: ProviderId) -> Assignment {
        let assignment = job.assignment(shard, &self.key, to);
        let reply = self.assign(&job.request(&assignment, &self.key), to).await;
        let id = assignment.id;
        assert_eq!(reply, AssignReply::Accepted { assignment: id });
        assignment
    }

    /// Assigns what must be refused.
    pub(crate) async fn refusal(&self, request: &AssignRequest, to: ProviderId) -> Refusal {
        match self.assign(request, to).await {
            AssignReply::Refused { refusal, .. } => refusal,
            accepted => panic!("{accepted:?}"),
        }
    }

    pub(crate) async fn commit(&mut self) -> CommitRequest {
        soon(self.commits.recv()).await.unwrap()
    }

    /// The next commitment, whose signer is `from`.
    pub(crate) async fn commitment(&mut self, from: ProviderId) -> Commitment {
        match self.commit().await {
            CommitRequest::Committed { commitment, .. } => {
                let verified = commitment.verify().unwrap();
                assert_eq!(verified.signer, from);
                verified.statement
            }
            failed => panic!("{failed:?}"),
        }
    }

    /// The next failure.
    pub(crate) async fn failure(&mut self) -> (AssignmentId, FailureCode, String) {
        match self.commit().await {
            CommitRequest::Failed {
                assignment,
                code,
                reason,
                ..
            } => (assignment, code, reason),
            committed => panic!("{committed:?}"),
        }
    }

    pub(crate) async fn reveal(&self, assignment: AssignmentId, from: ProviderId) -> RevealReply {
        let request = RevealRequest {
            assignment,
            trace: None,
        };
        soon(self.client.reveal(from, request)).await.unwrap()
    }

    /// What must be revealed.
    pub(crate) async fn revealed(&self, assignment: AssignmentId, from: ProviderId) -> Reveal {
        match self.reveal(assignment, from).await {
            RevealReply::Revealed(reveal) => *reveal,
            refused => panic!("{refused:?}"),
        }
    }

    /// The outputs of a reveal.
    pub(crate) async fn outputs(&self, outputs: BlobRef, from: ProviderId) -> Vec<Vec<u8>> {
        let peers = [from];
        let fetched = self.client.fetch_blob(&peers, outputs, &self.store);
        soon(fetched).await.unwrap();
        let bytes = self.store.read(&outputs).unwrap();
        let outputs = items::decode(&bytes).unwrap();
        outputs.into_iter().map(<[u8]>::to_vec).collect()
    }
}

async fn hear(
    mut events: EventReceiver,
    (deaf, unwilling): (Arc<AtomicBool>, Arc<AtomicBool>),
    offers: mpsc::Sender<Offer>,
    commits: mpsc::Sender<CommitRequest>,
) {
    while let Some(event) = events.recv().await {
        match event {
            Event::OfferRequest {
                from,
                request,
                reply,
                ..
            } => {
                let verified = Signed::verify(&request.offer).unwrap();
                assert_eq!((verified.signer, verified.statement.provider), (from, from));
                reply.send(if unwilling.load(Ordering::SeqCst) {
                    OfferReply::Refused(Refusal::new(RefusalCode::Policy, "unwilling"))
                } else {
                    OfferReply::Accepted { lease_ms: LEASE_MS }
                });
                // A test that does not look at offers does not stop them.
                let _ = offers.try_send(verified.statement);
            }
            Event::CommitRequest { request, reply, .. } => {
                let assignment = request.assignment();
                commits.try_send(request).unwrap();
                if !deaf.load(Ordering::SeqCst) {
                    reply.send(CommitReply::Ack { assignment });
                }
            }
            _ => {}
        }
    }
}

/// A provider's configuration: its own data directory under `dir`.
pub(crate) fn config(dir: &Path, address: &str) -> ProviderConfig {
    let exe = std::env::current_exe().unwrap();
    let worker = vec![crate::WORKER_ARGUMENT.into()];
    let mut config = ProviderConfig::new(dir.join("provider"), exe, worker);
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".into()];
    config.backend = Backend::Reference;
    config.aggregators = vec![address.to_owned()];
    config.stop_grace = Duration::from_secs(1);
    config
}

/// An aggregator that holds a job, and a provider whose offer it has.
pub(crate) struct Market {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) aggregator: Aggregator,
    pub(crate) provider: Running,
    pub(crate) job: Job,
}

impl Market {
    pub(crate) async fn open(job: Job, change: impl FnOnce(&mut ProviderConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let aggregator = Aggregator::start(dir.path()).await;
        aggregator.hold(&job);
        let mut config = config(dir.path(), &aggregator.address);
        change(&mut config);
        let provider = provider::start(config).await.unwrap();
        soon(provider.offered()).await;
        Self {
            dir,
            aggregator,
            provider,
            job,
        }
    }

    /// Assigns a shard that must be accepted.
    pub(crate) async fn give(&self, shard: u32) -> Assignment {
        self.aggregator
            .give(&self.job, shard, self.provider.id)
            .await
    }

    pub(crate) async fn close(self) {
        soon(self.provider.stop()).await;
        soon(self.aggregator.client.shutdown()).await;
    }
}

/// The whole life of a provider process.
pub(crate) fn be_a_provider(data: &Path, address: &str, misbehave: &str) -> std::process::ExitCode {
    block_on(async {
        let mut config = config(data, address);
        config.misbehave = misbehave.parse().ok();
        let running = provider::start(config).await.unwrap();
        std::fs::write(data.join("id"), running.id.to_string()).unwrap();
        std::future::pending::<()>().await;
        drop(running);
    });
    std::process::ExitCode::SUCCESS
}

/// A provider in a process of its own, killed when it is dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) id: ProviderId,
}

impl Process {
    pub(crate) async fn start(dir: &Path, aggregator: &mut Aggregator, misbehave: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(crate::PROVIDER_ARGUMENT).arg(dir);
        let child = command
            .args([&aggregator.address, misbehave])
            .spawn()
            .unwrap();
        let mut process = Self {
            child,
            id: id(&aggregator.key),
        };
        // Whoever offers is there.
        process.id = soon(aggregator.offers.recv()).await.unwrap().provider;
        process
    }

    /// As a power failure would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
