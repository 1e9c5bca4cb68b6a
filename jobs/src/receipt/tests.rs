use serde_json::{Value, json};

use super::*;
use crate::digest::{BlobRef, Digest};
use crate::ids::JobId;
use crate::money::Amount;
use crate::openings::{Noted, OpeningsRule};
use crate::outcome::{Fingerprint, Meters, Outcome, Placement};
use crate::package::ModelRef;
use crate::package::tests::package;
use crate::{items, merkle};

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn id(key: &SigningKey) -> ProviderId {
    ProviderId(key.verifying_key().to_bytes())
}

/// A receipt of `key` over one shard of `package`, whose outputs are `outputs`.
pub(crate) fn receipt(
    key: &SigningKey,
    package: &Package,
    shard: u32,
    input: BlobRef,
    outputs: &[Vec<u8>],
) -> Receipt {
    let (provider, job) = (id(key), package.id().unwrap());
    let span = plan::span(package.input.items, package.items_per_shard, shard).unwrap();
    let aggregator = id(&self::key(99));
    let assignment = Assignment {
        id: AssignmentId::derive(aggregator, job, shard, 0, provider),
        job,
        shard,
        attempt: 0,
        provider,
        aggregator,
        input,
        first_item: span.first_item,
        items: span.items,
        sample: Vec::new(),
        reward_max: Amount(1000),
        due_ms: 1000,
    };
    let outcome = Outcome {
        noted: package.openings.as_ref().map(|_| Noted {
            root: Digest::of(b"noted"),
            chunks: 5,
            inferences: 1,
        }),
        placement: placement(package),
        root: merkle::root(outputs),
        outputs: BlobRef::of(&items::encode(outputs).unwrap()),
        items: outputs.len() as u32,
        // Not a number that JSON readers keep exact unless they care.
        meters: Meters {
            fuel: u64::MAX,
            ..Meters::default()
        },
        fingerprint: Fingerprint {
            engine: "engine".into(),
            library: "library".into(),
            execution_provider: "cpu".into(),
            device: "device".into(),
            options: String::new(),
        },
    };
    let nonce = [7; 32];
    let opening = Opening { nonce, outcome };
    Receipt {
        commitment: Commitment::bind(assignment.id, job, shard, provider, &opening),
        assignment,
        package: package.clone(),
        opening,
    }
}

/// Every graph on the processor.
fn placement(package: &Package) -> Vec<Placement> {
    let on = |model: &ModelRef| Placement {
        model: model.name.clone(),
        execution_provider: "cpu".into(),
        nodes: 1,
    };
    package.models.iter().map(on).collect()
}

/// What a job has opened of the model of the test package.
pub(crate) fn opened() -> Package {
    let openings = OpeningsRule {
        graph: "model".into(),
        tensor: "hidden".into(),
        count: 16,
        atol: 1e-3,
        rtol: 0.0,
    };
    Package {
        openings: Some(openings),
        ..package()
    }
}

#[test]
fn a_receipt_says_what_was_noted_if_and_only_if_the_job_has_something_opened() {
    let outputs = [vec![0; 8], vec![1; 8]];
    let of = |package: &Package| receipt(&key(1), package, 0, BlobRef::of(b"input"), &outputs);
    of(&opened()).sign(&key(1)).unwrap();
    let huge = Some(Noted {
        root: Digest::default(),
        chunks: u32::MAX,
        inferences: 1,
    });
    for (package, noted) in [(opened(), None), (opened(), huge), (package(), huge)] {
        let mut receipt = of(&package);
        receipt.opening.outcome.noted = noted;
        let Assignment { id, job, shard, .. } = receipt.assignment;
        receipt.commitment = Commitment::bind(id, job, shard, self::id(&key(1)), &receipt.opening);
        let error = receipt.sign(&key(1)).unwrap_err().to_string();
        assert!(error.contains("what was noted"), "{error}");
    }
}

fn sample() -> Receipt {
    let outputs = [vec![0; 8], vec![1; 8]];
    receipt(&key(1), &package(), 0, BlobRef::of(b"input"), &outputs)
}

/// Signs any payload, as a provider without scruples would.
fn forge(payload: &[u8]) -> Envelope {
    let sig = STANDARD.encode(key(1).sign(&pre_authentication(payload)).to_bytes());
    let envelope = json!({
        "payload": STANDARD.encode(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": id(&key(1)).to_string(), "sig": sig}],
    });
    Envelope(envelope.to_string())
}

/// The payload for a receipt, unchecked.
fn payload(receipt: &Receipt) -> String {
    let statement = InToto {
        kind: STATEMENT_TYPE.into(),
        subject: vec![receipt.subject()],
        predicate_type: PREDICATE_TYPE.into(),
        predicate: receipt.clone(),
    };
    serde_json::to_string(&statement).unwrap()
}

fn changed(envelope: &Envelope, change: impl FnOnce(&mut Value)) -> Envelope {
    let mut value = serde_json::from_str(&envelope.0).unwrap();
    change(&mut value);
    Envelope(value.to_string())
}

fn refused(envelope: &Envelope, words: &str) {
    let error = envelope.verify(id(&key(1))).unwrap_err().to_string();
    assert!(error.contains(words), "{error:?} does not say {words:?}");
}

#[test]
fn a_receipt_verifies_and_says_what_was_signed() {
    let envelope = sample().sign(&key(1)).unwrap();
    let verified = envelope.verify(id(&key(1))).unwrap();
    assert_eq!(verified.statement, sample());
    assert_eq!(verified.signer, id(&key(1)));
    let json: Value = serde_json::from_str(&envelope.0).unwrap();
    let payload = STANDARD.decode(json["payload"].as_str().unwrap()).unwrap();
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    let job = package().id().unwrap();
    let root = sample().opening.outcome.root.to_hex();
    assert_eq!(statement["_type"], STATEMENT_TYPE);
    assert_eq!(statement["predicateType"], PREDICATE_TYPE);
    assert_eq!(
        statement["subject"],
        json!([{"name": format!("job/{job}/shard/0"), "digest": {"blake3": root}}])
    );
}

#[test]
fn the_signed_bytes_are_those_of_the_dsse_specification() {
    let expected = b"DSSEv1 28 application/vnd.in-toto+json 11 hello world";
    assert_eq!(pre_authentication(b"hello world"), expected);
}

#[test]
fn tampered_envelopes_are_refused() {
    let envelope = sample().sign(&key(1)).unwrap();
    refused(&Envelope(String::new()), "receipt");
    refused(&Envelope(" ".repeat(RECEIPT_BYTES_MAX + 1)), "more than");
    refused(
        &changed(&envelope, |e| e["payloadType"] = json!("text/plain")),
        "payload type",
    );
    refused(
        &changed(&envelope, |e| e["signatures"] = json!([])),
        "0 signatures",
    );
    refused(
        &changed(&envelope, |e| {
            let one = e["signatures"][0].clone();
            e["signatures"] = json!([one, one]);
        }),
        "2 signatures",
    );
    refused(
        &changed(&envelope, |e| {
            e["signatures"][0]["keyid"] = json!(id(&key(2)).to_string());
        }),
        "not signed by",
    );
    refused(
        &changed(&envelope, |e| e["signatures"][0]["sig"] = json!("AAAA")),
        "does not verify",
    );
    refused(&changed(&envelope, |e| e["more"] = json!(1)), "unknown");
    refused(
        &changed(&envelope, |e| e["payload"] = json!("e30=")),
        "does not verify",
    );
    let error = envelope.verify(id(&key(2))).unwrap_err().to_string();
    assert!(error.contains("not signed by"), "{error}");
}

#[test]
fn a_statement_that_is_no_receipt_is_refused_though_signed() {
    let text = payload(&sample());
    let root = sample().opening.outcome.root.to_hex();
    for (from, to, words) in [
        ("Statement/v1", "Statement/v0", "another kind"),
        ("assay:receipt:v1", "assay:receipt:v2", "another kind"),
        ("/shard/0", "/shard/1", "subject"),
        (&*root, &"0".repeat(64), "subject"),
        ("\"subject\"", "\"extra\":1,\"subject\"", "unknown field"),
        (
            "\"due_ms\":1000",
            "\"due_ms\":1000,\"extra\":1",
            "canonical",
        ),
        ("\"due_ms\":1000", "\"due_ms\": 1000", "canonical"),
    ] {
        assert!(text.contains(from), "{from}");
        refused(&forge(text.replacen(from, to, 1).as_bytes()), words);
    }
    refused(&forge(b"{}"), "missing field");
}

#[test]
fn pieces_that_do_not_hash_together_are_neither_signed_nor_accepted() {
    type Spoil = fn(&mut Receipt);
    let spoilings: &[(&str, Spoil)] = &[
        ("another job", |r| r.package.nonce = "1".repeat(32)),
        ("limits.fuel", |r| r.package.limits.fuel = 0),
        ("another provider", |r| r.assignment.provider = id(&key(2))),
        ("not derived", |r| r.assignment.attempt = 1),
        ("not its shard's", |r| r.assignment.first_item = 1),
        ("not its shard's", |r| r.assignment.items = 1),
        ("another provider's", |r| {
            r.commitment.provider = id(&key(2));
        }),
        ("another assignment", |r| {
            r.commitment.assignment = AssignmentId::default();
        }),
        ("another shard", |r| r.commitment.shard = 1),
        ("another shard", |r| r.commitment.job = JobId::default()),
        ("does not open", |r| r.opening.nonce[0] ^= 1),
        ("does not open", |r| r.opening.outcome.meters.fuel = 1),
        ("does not open", |r| {
            r.opening.outcome.fingerprint.device.push('x');
        }),
        ("one output for each", |r| r.opening.outcome.items = 1),
        ("too long", |r| {
            r.opening.outcome.fingerprint.device = "x".repeat(257);
            r.commitment = Commitment::bind(
                r.assignment.id,
                r.assignment.job,
                r.assignment.shard,
                r.assignment.provider,
                &r.opening,
            );
        }),
    ];
    for (words, spoil) in spoilings {
        let mut receipt = sample();
        spoil(&mut receipt);
        let error = receipt.sign(&key(1)).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
        refused(&forge(payload(&receipt).as_bytes()), words);
    }
    let error = sample().sign(&key(2)).unwrap_err().to_string();
    assert!(error.contains("another provider"), "{error}");
}
