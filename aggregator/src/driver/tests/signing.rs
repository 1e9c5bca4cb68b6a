//! Requests that clients sign: each counts once, and says what it says.

use api::signature::{Covered, content_digest, sign};
use jobs::envelope::ClientKey;

use super::provider::{Manner, Scripted};
use super::rig::{DEPOSIT, MAX_PRICE, Rig, TestJob, signed_headers};

const SUBMIT: (&str, &str) = ("POST", "/jobs");

/// A request as it was once sent.
#[derive(Clone)]
struct Sent {
    method: String,
    route: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Sent {
    fn submit(rig: &Rig, job: &TestJob) -> Self {
        let body = serde_json::to_vec(&job.signed(&rig.key)).unwrap();
        Self {
            method: SUBMIT.0.into(),
            route: SUBMIT.1.into(),
            headers: signed_headers(&rig.key, SUBMIT, None, &body),
            body,
        }
    }

    /// Signed so many seconds from now.
    fn at(rig: &Rig, job: &TestJob, seconds: i64) -> Self {
        let mut sent = Self::submit(rig, job);
        let digest = content_digest(&sent.body);
        let covered = Covered {
            method: SUBMIT.0,
            path: "/api/v1/jobs",
            query: None,
            content_digest: Some(&digest),
            idempotency_key: None,
        };
        let now = crate::driver::clock().0 / 1000;
        let created = now.checked_add_signed(seconds).unwrap();
        let signature = sign(&rig.key, &covered, created, "nonce-of-another-time").unwrap();
        sent.headers.splice(0..3, signature);
        sent
    }

    /// Status and code.
    async fn send(&self, rig: &Rig) -> (u16, String) {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let answer = rig
            .raw(&self.method, &self.route, &headers, &self.body)
            .await;
        let code = answer.1["code"].as_str().unwrap_or_default();
        (answer.0, code.to_owned())
    }
}

fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

async fn funded() -> (Rig, [Scripted; 2]) {
    let rig = Rig::new().await;
    let first = Scripted::join(1, Manner::Silent, &rig.running).await;
    let second = Scripted::join(2, Manner::Silent, &rig.running).await;
    rig.fund().await;
    (rig, [first, second])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_request_counts_once_also_after_a_restart() {
    let (rig, _providers) = funded().await;
    let first = Sent::submit(&rig, &TestJob::new());
    assert_eq!(first.send(&rig).await, code(202, ""));
    assert_eq!(first.send(&rig).await, code(409, "replayed"));
    // What was refused is used up too: it must not come to pass when nobody expects it any more.
    let mut dear = TestJob::new().again('1');
    dear.package.max_price = DEPOSIT;
    let refused = Sent::submit(&rig, &dear);
    assert_eq!(refused.send(&rig).await, code(402, "insufficient-funds"));
    let rig = rig.restarted(true).await;
    assert_eq!(first.send(&rig).await, code(409, "replayed"));
    assert_eq!(refused.send(&rig).await, code(409, "replayed"));
    let rig = rig.restarted(false).await;
    assert_eq!(first.send(&rig).await, code(409, "replayed"));
    let left = DEPOSIT.checked_sub(MAX_PRICE).unwrap();
    assert_eq!(rig.balance(&rig.account()).await, left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_copies_at_once_one_counts() {
    let (rig, _providers) = funded().await;
    let copies = Sent::submit(&rig, &TestJob::new());
    let answers = (0..8).map(|_| copies.send(&rig));
    let answers = futures::future::join_all(answers).await;
    let taken = answers.iter().filter(|answer| answer.0 == 202).count();
    assert_eq!(taken, 1, "{answers:?}");
    let refused = |answer: &&(u16, String)| **answer == code(409, "replayed");
    assert_eq!(answers.iter().filter(refused).count(), 7, "{answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_changed_on_its_way_is_refused() {
    type Change = fn(&mut Sent, &Rig);
    let cases: &[(u16, &str, Change)] = &[
        (401, "request-signature", |sent, _| {
            sent.method = "PUT".into()
        }),
        (401, "request-signature", |sent, _| {
            sent.route = "/liquidations".into()
        }),
        (401, "request-signature", |sent, _| {
            sent.route = "/jobs?limit=1".into()
        }),
        (400, "digest-mismatch", |sent, _| sent.body.push(b' ')),
        (401, "unsigned", |sent, _| drop(sent.headers.drain(0..3))),
        (401, "request-signature", |sent, _| {
            sent.headers.retain(|(name, _)| *name != "content-digest");
        }),
        (401, "request-signature", |sent, _| {
            sent.headers.push(("idempotency-key", "added".into()));
        }),
        (415, "unsupported-media-type", |sent, _| {
            sent.headers.retain(|(name, _)| *name != "content-type");
        }),
        (401, "signature-expired", |sent, rig| {
            *sent = Sent::at(rig, &TestJob::new(), -400);
        }),
        (401, "signature-expired", |sent, rig| {
            *sent = Sent::at(rig, &TestJob::new(), 400);
        }),
        (403, "not-yours", |sent, _| {
            let stranger = ClientKey::generate().unwrap();
            sent.headers = signed_headers(&stranger, SUBMIT, None, &sent.body);
        }),
    ];
    let (rig, _providers) = funded().await;
    for (at, (status, due, change)) in cases.iter().enumerate() {
        let mut sent = Sent::submit(&rig, &TestJob::new());
        change(&mut sent, &rig);
        let answer = sent.send(&rig).await;
        if sent.method == "PUT" {
            // There is no such method, which is found out first.
            assert_eq!(answer, code(405, "method-not-allowed"));
            continue;
        }
        assert_eq!(answer, code(*status, due), "case {at}");
    }
    assert_eq!(rig.balance(&rig.account()).await, DEPOSIT);
    assert_eq!(Sent::at(&rig, &TestJob::new(), 200).send(&rig).await.0, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_need_no_signature_and_one_that_is_there_must_be_good() {
    let rig = Rig::new().await;
    let read = ("GET", "/jobs?limit=3");
    assert_eq!(rig.raw(read.0, read.1, &[], b"").await.0, 200);
    assert_eq!(rig.signed(&rig.key, read, None, b"").await.0, 200);
    let headers = signed_headers(&rig.key, ("GET", "/jobs?limit=4"), None, b"");
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let answer = rig.raw(read.0, read.1, &headers, b"").await;
    assert_eq!(
        (answer.0, &answer.1["code"]),
        (401, &"request-signature".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_change_answers_its_idempotency_key_word_for_word() {
    let (rig, _providers) = funded().await;
    let job = TestJob::new();
    let submit = serde_json::to_vec(&job.signed(&rig.key)).unwrap();
    let deposit = serde_json::json!({
        "account": rig.account(), "amount": "1", "reference": "again",
    });
    let deposit = serde_json::to_vec(&deposit).unwrap();
    let token = [
        ("content-type", "application/json"),
        ("authorization", "Bearer operator"),
        ("idempotency-key", "one"),
    ];
    let first = rig.raw("POST", "/ledger/deposits", &token, &deposit).await;
    assert_eq!(first, (201, serde_json::json!({ "new": true })));
    let taken = rig.signed(&rig.key, SUBMIT, Some("one"), &submit).await;
    assert_eq!(taken.0, 202, "the operator's keys are not the client's");
    let again = rig.raw("POST", "/ledger/deposits", &token, &deposit).await;
    assert_eq!(again, first, "not `new: false`");
    let again = rig.signed(&rig.key, SUBMIT, Some("one"), &submit).await;
    assert_eq!(again, taken);
    let rig = rig.restarted(true).await;
    let again = rig.raw("POST", "/ledger/deposits", &token, &deposit).await;
    assert_eq!(again, first);
    let other = deposit.to_ascii_uppercase();
    let answer = rig.raw("POST", "/ledger/deposits", &token, &other).await;
    assert_eq!(
        answer.0, 400,
        "not JSON of ours, whatever its key: {answer:?}"
    );
    let other = [&deposit[..], b" "].concat();
    let answer = rig.raw("POST", "/ledger/deposits", &token, &other).await;
    assert_eq!(
        (answer.0, &answer.1["code"]),
        (422, &"idempotency-mismatch".into())
    );
}
