//! An aggregator in a directory of its own, a client of it, and jobs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::client::Client;
use api::signature::{Covered, content_digest, sign};
use api::types::{BalanceView, DepositRequest, JobView, Problem, SubmitReply};
use ed25519_dalek::SigningKey;
use jobs::compare::Comparator;
use jobs::digest::BlobRef;
use jobs::envelope::{ClientKey, SignedPackage, SignerPolicy};
use jobs::ids::{JobId, ProviderId};
use jobs::money::Amount;
use jobs::openings::OpeningsRule;
use jobs::package::{
    InputRef, Limits, ModelRef, OutputFormat, PACKAGE_SCHEMA, Package, Replication,
};
use ledger::FeeBps;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::core::Config;
use crate::driver::GameConfig;
use crate::driver::{Shared, open_store, start_with};
use crate::{AggregatorConfig, Auditing, Running, start};

pub(super) const TOKEN: &str = "operator";
pub(super) const FEE_BPS: u16 = 100;
pub(super) const DEPOSIT: Amount = Amount(5_000_000);
pub(super) const MAX_PRICE: Amount = Amount(1_000_000);

/// How long a job may take to get anywhere.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn config(data: &Path) -> AggregatorConfig {
    AggregatorConfig {
        data: data.to_owned(),
        seed: [200; 32],
        http: "127.0.0.1:0".parse().unwrap(),
        p2p: vec!["/ip4/127.0.0.1/tcp/0".into()],
        p2p_external: Vec::new(),
        fee_bps: FEE_BPS,
        signers: SignerPolicy::Any,
        operator_token: TOKEN.into(),
        http_names: Vec::new(),
        http_origins: Vec::new(),
        trusted_proxies: Vec::new(),
        blob_quota: 64 << 20,
        keep_days: 30,
        auditing: Auditing::default(),
        // They all live on one machine.
        prefix_diversity: false,
        game: GameConfig::default(),
    }
}

/// A running aggregator and its client.
pub(super) struct Rig {
    pub(super) dir: TempDir,
    pub(super) running: Running,
    pub(super) http: Client,
    pub(super) key: ClientKey,
}

impl Rig {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let running = start(config(dir.path())).await.unwrap();
        Self::of(dir, running)
    }

    /// Under other settings of the core's, with the default quota of the tests.
    pub(super) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let key = SigningKey::from_bytes(&config.seed);
        let id = ProviderId(key.verifying_key().to_bytes());
        let mut settings = Config::new(id, FeeBps::new(FEE_BPS).unwrap());
        change(&mut settings);
        let store = open_store(dir.path()).unwrap();
        let running = start_with(store, config, key, settings).await.unwrap();
        Self::of(dir, running)
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.running.shared.upgrade().unwrap()
    }

    /// Fills the blob store so that this many bytes are left; the filler.
    pub(super) fn fill_blobs(&self, left: u64) -> BlobRef {
        let shared = self.shared();
        let usage = shared.blobs.usage();
        let room = usage.quota - usage.used - usage.reserved - left;
        // A blob takes a sixteenth more than its size.
        let filler = vec![0; usize::try_from(room * 16 / 17).unwrap()];
        let filler = shared.blobs.put_bytes(&filler).unwrap();
        // Nobody refers to it, and it stays all the same.
        std::mem::forget(shared.blobs.at_work_on_all());
        filler
    }

    pub(super) fn of(dir: TempDir, running: Running) -> Self {
        Self {
            dir,
            http: Client::new(&format!("http://{}", running.http)),
            running,
            key: ClientKey::generate().unwrap(),
        }
        .asking()
    }

    /// The same with a client that signs by its key.
    fn asking(mut self) -> Self {
        self.http = Client::new(&format!("http://{}", self.running.http)).with_key(&self.key);
        self
    }

    /// The same directory and client after the aggregator went down, by `stop` or by a crash.
    pub(super) async fn restarted(self, crash: bool) -> Self {
        let Self {
            dir, running, key, ..
        } = self;
        match crash {
            true => running.crash().await,
            false => running.stop().await,
        }
        let running = start(config(dir.path())).await.unwrap();
        let mut again = Self::of(dir, running);
        again.key = key;
        again.asking()
    }

    pub(super) fn account(&self) -> String {
        format!("client:{}", self.key.client_id())
    }

    pub(super) async fn deposit(&self, account: &str, amount: Amount, reference: &str) -> bool {
        let deposit = DepositRequest {
            account: account.into(),
            amount,
            reference: reference.into(),
        };
        self.http.deposit(TOKEN, &deposit).await.unwrap()
    }

    pub(super) async fn fund(&self) {
        let account = self.account();
        assert!(self.deposit(&account, DEPOSIT, "fund").await);
    }

    /// Submits a job and uploads its blobs.
    pub(super) async fn run(&self, job: &TestJob) -> SubmitReply {
        let reply = self.http.submit(&job.signed(&self.key)).await.unwrap();
        for (blob, bytes) in &job.blobs {
            self.upload(reply.job, *blob, bytes).await.unwrap();
        }
        reply
    }

    pub(super) async fn upload(
        &self,
        job: JobId,
        blob: BlobRef,
        bytes: &[u8],
    ) -> Result<(), Problem> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        match self.http.put_blob(job, blob, file.path()).await {
            Err(api::client::Error::Refused(problem)) => Err(problem),
            done => {
                done.unwrap();
                Ok(())
            }
        }
    }

    /// Waits until the job has ended.
    pub(super) async fn ended(&self, job: JobId) -> JobView {
        let ended = async {
            loop {
                let view = self.http.job(job).await.unwrap();
                if view.phase.is_terminal() {
                    return view;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("a job that ends in time")
    }

    /// What is booked as this provider's failures.
    pub(super) async fn failures(&self, provider: ProviderId) -> u64 {
        let providers = self.http.providers().await.unwrap();
        let found = providers.iter().find(|view| view.id == provider);
        found.unwrap().failures
    }

    /// Waits until `done` says so.
    pub(super) async fn until<T>(&self, mut done: impl AsyncFnMut(&Client) -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(value) = done(&self.http).await {
                    return value;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("it happens in time")
    }

    pub(super) async fn balance(&self, account: &str) -> Amount {
        let balances = self.http.balances().await.unwrap();
        let found = balances.iter().find(|balance| balance.account == account);
        found.map_or(Amount::ZERO, |balance| {
            balance.credits.checked_sub(balance.debits).unwrap()
        })
    }

    /// The ledger is clean, debits equal credits, and no escrow holds anything.
    pub(super) async fn check_money(&self) {
        let audit = self.http.audit().await.unwrap();
        assert_eq!(audit["clean"], true, "{audit}");
        let balances = self.http.balances().await.unwrap();
        let sum = |side: fn(&BalanceView) -> Amount| -> u128 {
            balances.iter().map(|balance| side(balance).0).sum()
        };
        assert_eq!(sum(|b| b.credits), sum(|b| b.debits));
        for escrow in balances.iter().filter(|b| b.account.starts_with("escrow")) {
            assert_eq!(escrow.credits, escrow.debits, "{escrow:?}");
            assert_eq!(escrow.pending, Amount::ZERO, "{escrow:?}");
        }
    }

    /// Where a blob of the aggregator's lies.
    pub(super) fn blob_path(&self, blob: &BlobRef) -> PathBuf {
        let hex = blob.digest.to_hex();
        self.dir.path().join("blobs").join(&hex[..2]).join(hex)
    }

    /// A request by hand: status and problem document.
    pub(super) async fn raw(
        &self,
        method: &str,
        route: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, serde_json::Value) {
        let mut stream = tokio::net::TcpStream::connect(self.running.http)
            .await
            .unwrap();
        let mut head = format!("{method} /api/v1{route} HTTP/1.1\r\nhost: localhost\r\n");
        head += &format!("connection: close\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        // Refused before it was read whole.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    /// A request by hand, signed by a key.
    pub(super) async fn signed(
        &self,
        by: &ClientKey,
        (method, route): (&str, &str),
        idempotency: Option<&str>,
        body: &[u8],
    ) -> (u16, serde_json::Value) {
        let headers = signed_headers(by, (method, route), idempotency, body);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        self.raw(method, route, &headers, body).await
    }

    pub(super) async fn submit_raw(
        &self,
        package: &SignedPackage,
        key: &str,
    ) -> (u16, serde_json::Value) {
        let body = serde_json::to_vec(package).unwrap();
        let by = &self.key;
        self.signed(by, ("POST", "/jobs"), Some(key), &body).await
    }
}

/// What makes a request signed now. A body that is JSON is covered, one that is a blob is not.
pub(super) fn signed_headers(
    by: &ClientKey,
    (method, route): (&str, &str),
    idempotency: Option<&str>,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NONCE: AtomicU64 = AtomicU64::new(0);
    let digest = (method == "POST").then(|| content_digest(body));
    let (path, query) = match route.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (route, None),
    };
    let covered = Covered {
        method,
        path: &format!("/api/v1{path}"),
        query,
        content_digest: digest.as_deref(),
        idempotency_key: idempotency,
    };
    let nonce = format!("nonce-{:08}", NONCE.fetch_add(1, Ordering::Relaxed));
    let now = crate::driver::clock().0 / 1000;
    let mut headers = sign(by, &covered, now, &nonce).unwrap().to_vec();
    headers.extend(digest.map(|digest| ("content-digest", digest)));
    headers.extend(idempotency.map(|key| ("idempotency-key", key.to_owned())));
    headers.push(("content-type", "application/json".into()));
    headers
}

/// A package and its blobs.
pub(super) struct TestJob {
    pub(super) package: Package,
    pub(super) blobs: Vec<(BlobRef, Vec<u8>)>,
}

impl TestJob {
    /// Four items in two shards, two replicas each, all of which must agree.
    pub(super) fn new() -> Self {
        Self::with(&component(""), &["\"a\"", "\"b\"", "\"c\"", "\"d\""])
    }

    pub(super) fn with(component: &[u8], items: &[&str]) -> Self {
        let (input, bytes) = InputRef::of(items).unwrap();
        let component = (BlobRef::of(component), component.to_vec());
        let package = Package {
            schema: PACKAGE_SCHEMA,
            name: "shout".into(),
            component: component.0,
            models: Vec::new(),
            items_per_shard: 2,
            output: OutputFormat::Jsonl,
            policy: jobs::policy::Policy::Replicate,
            replication: Replication {
                replicas: 2,
                max_replicas: 3,
            },
            comparator: Comparator::Exact,
            limits: Limits {
                fuel: 1_000_000,
                memory_bytes: 1 << 20,
                output_bytes_per_item: 64,
                wall_ms: 1000,
            },
            max_price: MAX_PRICE,
            deadline_ms: 60_000,
            device: None,
            cpu_nodes: false,
            profile: None,
            openings: None,
            nonce: "0".repeat(32),
            input: input.clone(),
        };
        Self {
            package,
            blobs: vec![component, (input.blob, bytes)],
        }
    }

    /// The same with a model, of which replicas open what they note.
    pub(super) fn opened(mut self) -> Self {
        let model = (BlobRef::of(b"model"), b"model".to_vec());
        self.package.models = vec![ModelRef {
            name: "m".into(),
            blob: model.0,
        }];
        self.package.openings = Some(OpeningsRule {
            graph: "m".into(),
            tensor: "hidden".into(),
            count: 16,
            atol: 1e-3,
            rtol: 0.0,
        });
        self.blobs.push(model);
        self
    }

    /// The same with another nonce: another job.
    pub(super) fn again(mut self, nonce: char) -> Self {
        self.package.nonce = nonce.to_string().repeat(32);
        self
    }

    pub(super) fn signed(&self, key: &ClientKey) -> SignedPackage {
        key.sign_package(&self.package).unwrap()
    }
}

/// The smallest job there is, with room for a foreign import.
pub(super) fn component(imports: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
          {imports}
          (core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
            (func (export "run") (param i32 i32) (result i32) i32.const 0))
          (core instance $i (instantiate $m))
          (type $error' (variant (case "bad-input" string) (case "model" string) (case "failed" string)))
          (export $error "job-error" (type $error'))
          (func $run (param "items" (list (list u8)))
            (result (result (list (list u8)) (error $error)))
            (canon lift (core func $i "run")
              (memory $i "memory") (realloc (func $i "realloc"))))
          (export "run" (func $run)))"#
    );
    wat::parse_str(text).unwrap()
}
