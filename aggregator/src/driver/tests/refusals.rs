//! What is turned down, by status and stable code, and that nothing is left behind.

use api::types::DepositRequest;
use jobs::digest::BlobRef;
use jobs::envelope::{ClientKey, SignerPolicy};
use jobs::money::Amount;

use super::provider::{Manner, Scripted};
use super::rig::{DEPOSIT, MAX_PRICE, Rig, TestJob, component, config, signed_headers};
use crate::start;

fn check(answer: (u16, serde_json::Value), status: u16, code: &str) {
    assert_eq!(answer.0, status, "{answer:?}");
    assert_eq!(answer.1["code"], code, "{answer:?}");
}

async fn with_providers() -> (Rig, Vec<Scripted>) {
    let rig = Rig::new().await;
    let mut providers = Vec::new();
    for seed in [1, 2] {
        providers.push(Scripted::join(seed, Manner::Silent, &rig.running).await);
    }
    (rig, providers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn submissions_are_refused_by_name() {
    let rig = Rig::new().await;
    let job = TestJob::new();
    let signed = job.signed(&rig.key);
    check(rig.submit_raw(&signed, "a").await, 409, "nobody-serves");
    let _first = Scripted::join(1, Manner::Silent, &rig.running).await;
    let _second = Scripted::join(2, Manner::Silent, &rig.running).await;
    check(
        rig.submit_raw(&signed, "a").await,
        402,
        "insufficient-funds",
    );
    rig.fund().await;
    let mut dear = TestJob::new();
    dear.package.max_price = Amount(1);
    let dear = dear.signed(&rig.key);
    check(rig.submit_raw(&dear, "a").await, 422, "price-too-low");
    let mut forged = signed.clone();
    forged.package = forged.package.replace("shout", "shoot");
    check(rig.submit_raw(&forged, "a").await, 401, "signature");
    let mut foreign = signed.clone();
    foreign.bundle = dear.bundle.clone();
    check(rig.submit_raw(&foreign, "a").await, 401, "signature");
    let other = ClientKey::generate().unwrap();
    check(
        rig.submit_raw(&job.signed(&other), "a").await,
        403,
        "not-yours",
    );
    let mut stolen = signed.clone();
    stolen.public_key = other.public_key_pem();
    let answer = rig.submit_raw(&stolen, "a").await;
    assert!([400, 401].contains(&answer.0), "{answer:?}");
    let post = async |body: &[u8]| rig.signed(&rig.key, ("POST", "/jobs"), None, body).await;
    check(post(&vec![b' '; 300 * 1024]).await, 413, "too-large");
    check(post(b"{}").await, 400, "invalid-request");
    assert_eq!(rig.balance(&rig.account()).await, DEPOSIT);
    assert!(rig.http.jobs().await.unwrap().is_empty());
    // Nothing of the refused requests stuck to the key.
    assert_eq!(rig.submit_raw(&signed, "a").await.0, 202);
    assert_eq!(rig.http.audit().await.unwrap()["clean"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signers_that_are_not_trusted_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = ClientKey::generate().unwrap();
    let mut config = config(dir.path());
    config.signers = SignerPolicy::Trusted([trusted.client_id()].into());
    let rig = Rig::of(dir, start(config).await.unwrap());
    let job = TestJob::new();
    let answer = rig.submit_raw(&job.signed(&rig.key), "a").await;
    check(answer, 403, "unknown-signer");
    let mut rig = rig;
    rig.key = trusted.clone();
    let answer = rig.submit_raw(&job.signed(&trusted), "a").await;
    check(answer, 409, "nobody-serves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_stands_for_one_package_and_a_package_for_one_job() {
    let (rig, _providers) = with_providers().await;
    rig.fund().await;
    let (job, other) = (TestJob::new(), TestJob::new().again('9'));
    let signed = job.signed(&rig.key);
    let first = rig.submit_raw(&signed, "key").await;
    assert_eq!(first.0, 202, "{first:?}");
    let again = rig.submit_raw(&signed, "key").await;
    assert_eq!(first, again);
    let answer = rig.submit_raw(&other.signed(&rig.key), "key").await;
    check(answer, 422, "idempotency-mismatch");
    // The same package under another key and another signature is the same job, funded once.
    let resigned = job.signed(&rig.key);
    let third = rig.submit_raw(&resigned, "another").await;
    assert_eq!(third.1["job"], first.1["job"]);
    let left = DEPOSIT.checked_sub(MAX_PRICE).unwrap();
    assert_eq!(rig.balance(&rig.account()).await, left);
    // That holds after a restart too.
    let rig = rig.restarted(true).await;
    let answer = rig.submit_raw(&other.signed(&rig.key), "key").await;
    check(answer, 422, "idempotency-mismatch");
    // Word for word, although something was uploaded since.
    let (blob, bytes) = &job.blobs[0];
    let id = serde_json::from_value(first.1["job"].clone()).unwrap();
    rig.upload(id, *blob, bytes).await.unwrap();
    assert_eq!(rig.submit_raw(&signed, "key").await, first);
    let now = rig.http.submit(&signed).await.unwrap().missing;
    assert_eq!(now, [job.blobs[1].0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_submissions_under_one_key_are_one_job() {
    let (rig, _providers) = with_providers().await;
    rig.fund().await;
    let packages: Vec<_> = "1234"
        .chars()
        .map(|nonce| TestJob::new().again(nonce).signed(&rig.key))
        .collect();
    let answers = packages
        .iter()
        .map(|package| rig.submit_raw(package, "key"));
    let answers = futures::future::join_all(answers).await;
    let taken = answers.iter().filter(|answer| answer.0 == 202).count();
    assert_eq!(taken, 1, "{answers:?}");
    // Whether the first was still being decided when they came, or had been.
    let refused = answers.iter().filter(|answer| {
        let code = answer.1["code"].as_str().unwrap_or_default();
        [
            (409, "idempotency-in-flight"),
            (422, "idempotency-mismatch"),
        ]
        .contains(&(answer.0, code))
    });
    assert_eq!(refused.count(), 3, "{answers:?}");
    let left = DEPOSIT.checked_sub(MAX_PRICE).unwrap();
    assert_eq!(rig.balance(&rig.account()).await, left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_declared_blobs_of_the_declared_content_are_taken() {
    let (rig, _providers) = with_providers().await;
    rig.fund().await;
    let job = TestJob::new();
    let signed = job.signed(&rig.key);
    let id = rig.http.submit(&signed).await.unwrap().job;
    let (blob, bytes) = &job.blobs[1];
    let foreign = BlobRef::of(b"undeclared");
    let mut flipped = bytes.clone();
    flipped[0] ^= 1;
    let cases: [(BlobRef, &[u8], u16); 4] = [
        (foreign, b"undeclared", 404),
        (*blob, &bytes[1..], 400),
        (*blob, &[bytes.as_slice(), b"x"].concat(), 400),
        (*blob, &flipped, 400),
    ];
    for (blob, bytes, status) in cases {
        let route = format!("/jobs/{id}/blobs/{}", blob.digest);
        let answer = rig.signed(&rig.key, ("PUT", &route), None, bytes).await;
        assert_eq!(answer.0, status, "{answer:?}");
        assert!(!rig.blob_path(&blob).exists());
    }
    let unknown = format!("/jobs/{}/blobs/{}", foreign.digest, blob.digest);
    let answer = rig.signed(&rig.key, ("PUT", &unknown), None, bytes).await;
    check(answer, 404, "not-found");
    let route = format!("/jobs/{id}/blobs/{}", blob.digest);
    check(rig.raw("PUT", &route, &[], bytes).await, 401, "unsigned");
    let stranger = ClientKey::generate().unwrap();
    let answer = rig.signed(&stranger, ("PUT", &route), None, bytes).await;
    check(answer, 403, "not-yours");
    let missing = rig.http.submit(&signed).await.unwrap().missing;
    assert_eq!(missing.len(), 2);
    rig.upload(id, *blob, bytes).await.unwrap();
    rig.upload(id, *blob, bytes).await.unwrap();
    let missing = rig.http.submit(&signed).await.unwrap().missing;
    assert_eq!(missing, [job.package.component]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_cannot_run_fails_with_its_reason_and_gives_the_money_back() {
    let (rig, _providers) = with_providers().await;
    rig.fund().await;
    let foreign = component(r#"(import "wasi:http/types@0.2.6" (instance))"#);
    let bad_component = TestJob::with(&foreign, &["1"]);
    let mut bad_root = TestJob::new();
    bad_root.package.input.root = jobs::digest::Digest::of(b"another");
    let mut no_items = TestJob::new();
    let bytes = b"no item list".to_vec();
    no_items.package.input.blob = BlobRef::of(&bytes);
    no_items.blobs[1] = (BlobRef::of(&bytes), bytes);
    for (job, reason) in [
        (bad_component, "component_refused"),
        (bad_root, "input_differs_from_package"),
        (no_items, "input_malformed"),
    ] {
        let id = rig.run(&job).await.job;
        let view = rig.ended(id).await;
        let said = view.reason.unwrap_or_default();
        assert!(said.contains(reason), "{said}");
        assert_eq!(rig.balance(&rig.account()).await, DEPOSIT);
        let route = format!("/jobs/{id}/record");
        check(rig.raw("GET", &route, &[], b"").await, 409, "conflict");
    }
    rig.check_money().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_declares_another_size_of_a_known_blob_fails_by_name() {
    let (rig, _providers) = with_providers().await;
    rig.fund().await;
    let first = TestJob::new();
    rig.run(&first).await;
    let model = jobs::package::ModelRef {
        name: "model".into(),
        blob: first.package.component,
    };
    for (nonce, reason) in [
        ('1', "component_size_differs"),
        ('2', "input_size_differs"),
        ('3', "model_size_differs"),
    ] {
        let mut job = TestJob::new().again(nonce);
        match reason {
            "component_size_differs" => job.package.component.size += 1,
            "input_size_differs" => job.package.input.blob.size += 1,
            _ => {
                job.package.models = vec![model.clone()];
                job.package.models[0].blob.size += 1;
            }
        }
        let id = rig.http.submit(&job.signed(&rig.key)).await.unwrap().job;
        let said = rig.ended(id).await.reason.unwrap_or_default();
        assert!(said.contains(reason), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_record_could_not_be_fetched_is_refused_by_name() {
    let (rig, _providers) = with_providers().await;
    rig.fund().await;
    let mut job = TestJob::new();
    job.package.items_per_shard = 1;
    job.package.replication.max_replicas = 12;
    // Admission looks at the package alone; fuel so small that the price serves every shard.
    job.package.input.items = 4096;
    job.package.limits.fuel = 1000;
    let answer = rig.submit_raw(&job.signed(&rig.key), "a").await;
    check(answer, 422, "record-too-large");
    job.package.replication.max_replicas = 5;
    let answer = rig.submit_raw(&job.signed(&rig.key), "a").await;
    assert_eq!(answer.0, 202, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_arrives_although_the_body_was_not_read() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let rig = Rig::new().await;
    let body = vec![0; 16 << 20];
    let digest = jobs::digest::Digest::of(b"none");
    // Only what may be that large is looked at further.
    for (route, status) in [
        (format!("/jobs/{digest}/blobs/{digest}"), 404),
        ("/nowhere".into(), 413),
    ] {
        let mut stream = tokio::net::TcpStream::connect(rig.running.http)
            .await
            .unwrap();
        let mut head = format!(
            "PUT /api/v1{route} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in signed_headers(&rig.key, ("PUT", &route), None, &body) {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let refused = answer.starts_with(&format!("HTTP/1.1 {status} "));
        assert!(refused && answer.ends_with('}'), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_operator_deposits_and_a_reference_counts_once() {
    let rig = Rig::new().await;
    let deposit = DepositRequest {
        account: rig.account(),
        amount: Amount(7),
        reference: "once".into(),
    };
    let body = serde_json::to_vec(&deposit).unwrap();
    for token in ["Bearer wrong", "Bearer ", "operator", "Bearer operatorx"] {
        let headers = [
            ("content-type", "application/json"),
            ("authorization", token),
        ];
        let answer = rig.raw("POST", "/ledger/deposits", &headers, &body).await;
        check(answer, 401, "unauthorized");
    }
    assert!(rig.deposit(&rig.account(), Amount(7), "once").await);
    assert!(!rig.deposit(&rig.account(), Amount(7), "once").await);
    assert_eq!(rig.balance(&rig.account()).await, Amount(7));
    let authorized = [
        ("content-type", "application/json"),
        ("authorization", "Bearer operator"),
    ];
    for (account, amount, reference, status) in [
        (rig.account(), "0.000008", "once", 409),
        (rig.account(), "0", "zero", 400),
        (rig.account(), "1", "", 400),
        ("fee".into(), "1", "fee", 400),
        ("nonsense".into(), "1", "nonsense", 400),
    ] {
        let body = serde_json::json!({
            "account": account, "amount": amount, "reference": reference,
        });
        let body = serde_json::to_vec(&body).unwrap();
        let answer = rig
            .raw("POST", "/ledger/deposits", &authorized, &body)
            .await;
        assert_eq!(answer.0, status, "{reference}: {answer:?}");
    }
    assert_eq!(rig.balance(&rig.account()).await, Amount(7));
}
