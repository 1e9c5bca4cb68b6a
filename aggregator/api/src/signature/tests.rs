use axum::http::{HeaderName, HeaderValue};

use super::*;

const PATH: &str = "/api/v1/jobs";
const BODY: &[u8] = br#"{"hello": "world"}"#;
const NONCE: &str = "0123456789abcdef";

struct Message {
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

impl Message {
    fn signed(key: &ClientKey) -> Self {
        let digest = content_digest(BODY);
        let covered = Covered {
            method: "POST",
            path: PATH,
            query: Some("a=1"),
            content_digest: Some(&digest),
            idempotency_key: Some("key"),
        };
        let mut message = Self {
            method: Method::POST,
            path: PATH.into(),
            query: Some("a=1".into()),
            headers: HeaderMap::new(),
        };
        for (name, value) in sign(key, &covered, 1_700_000_000, NONCE).unwrap() {
            message.set(name, &value);
        }
        message.set(DIGEST_HEADER, &digest);
        message.set(IDEMPOTENCY_HEADER, "key");
        message
    }

    fn set(&mut self, name: &'static str, value: &str) {
        let value = HeaderValue::from_str(value).unwrap();
        self.headers.insert(HeaderName::from_static(name), value);
    }

    fn replace(&mut self, name: &'static str, from: &str, to: &str) {
        let value = self.headers[name].to_str().unwrap().to_owned();
        assert!(value.contains(from), "{name}: {value}");
        self.set(name, &value.replace(from, to));
    }

    fn verify(&self) -> Result<Option<Stamp>, Problem> {
        let query = self.query.as_deref();
        verify(&self.method, &self.path, query, &self.headers)
    }
}

#[test]
fn a_signed_request_verifies_and_names_who_asks() {
    let key = ClientKey::generate().unwrap();
    let stamp = Message::signed(&key).verify().unwrap().unwrap();
    assert_eq!(stamp.client, key.client_id());
    assert_eq!(
        (stamp.nonce.as_str(), stamp.created),
        (NONCE, 1_700_000_000)
    );
    let unsigned = Message {
        headers: HeaderMap::new(),
        ..Message::signed(&key)
    };
    assert_eq!(unsigned.verify().unwrap(), None);
}

type Change = fn(&mut Message);

/// What the refusal says, and what was done to the request.
const CHANGES: &[(&str, Change)] = &[
    ("the signature is not", |m| m.method = Method::PUT),
    ("the signature is not", |m| m.path = "/api/v1/job".into()),
    ("the signature is not", |m| m.query = None),
    ("the signature is not", |m| {
        m.set(DIGEST_HEADER, &content_digest(b"{}"))
    }),
    ("the signature is not", |m| {
        m.set(IDEMPOTENCY_HEADER, "other")
    }),
    ("the signature is not", |m| {
        m.replace(INPUT_HEADER, "created=17", "created=18")
    }),
    ("the signature is not", |m| {
        m.replace(INPUT_HEADER, NONCE, "fedcba9876543210")
    }),
    ("\"@query\" is not covered", |m| {
        m.replace(INPUT_HEADER, " \"@query\"", "")
    }),
    ("\"content-digest\" is not covered", |m| {
        m.replace(INPUT_HEADER, " \"content-digest\"", "");
    }),
    ("covered twice", |m| {
        m.replace(INPUT_HEADER, "\"@path\"", "\"@path\" \"@path\"")
    }),
    ("and nothing else", |m| {
        m.replace(INPUT_HEADER, "\"@path\"", "\"@path\" \"date\"")
    }),
    ("is not covered", |m| {
        m.replace(INPUT_HEADER, " \"idempotency-key\"", "")
    }),
    ("and nothing else", |m| {
        drop(m.headers.remove(IDEMPOTENCY_HEADER))
    }),
    ("belong together", |m| drop(m.headers.remove(KEY_HEADER))),
    ("belong together", |m| {
        drop(m.headers.remove(SIGNATURE_HEADER))
    }),
    ("must be \"ecdsa-p256-sha256\"", |m| {
        m.replace(INPUT_HEADER, ALGORITHM, "ed25519")
    }),
    ("must be \"assay\"", |m| {
        m.replace(INPUT_HEADER, "tag=\"assay\"", "tag=\"other\"")
    }),
    ("parameter nonce is missing", |m| {
        m.replace(INPUT_HEADER, &format!("nonce=\"{NONCE}\";"), "");
    }),
    ("nonce has 3 bytes", |m| {
        m.replace(INPUT_HEADER, NONCE, "abc")
    }),
    ("came twice", |m| {
        m.replace(INPUT_HEADER, ";alg", ";created=1;alg")
    }),
    ("not of this profile", |m| {
        m.replace(INPUT_HEADER, ";alg", ";expires=1;alg")
    }),
    ("must be seconds", |m| {
        m.replace(INPUT_HEADER, "created=", "created=-")
    }),
    ("no plain text", |m| {
        m.replace(INPUT_HEADER, NONCE, "0123\\\"5678")
    }),
    ("is labelled", |m| {
        m.replace(SIGNATURE_HEADER, "assay=", "other=")
    }),
    ("not base64", |m| {
        m.replace(SIGNATURE_HEADER, "assay=:", "assay=:!")
    }),
    ("must be 64", |m| m.set(SIGNATURE_HEADER, "assay=:AAAA:")),
    ("the key in Assay-Key is", |m| {
        let other = ClientKey::generate().unwrap();
        m.set(KEY_HEADER, &STANDARD.encode(other.public_key().as_der()));
    }),
    ("P-256", |m| m.set(KEY_HEADER, "AAAA")),
    ("more than once", |m| {
        let again = m.headers[SIGNATURE_HEADER].clone();
        m.headers.append(SIGNATURE_HEADER, again);
    }),
];

#[test]
fn whatever_is_changed_or_outside_of_the_profile_is_refused_by_name() {
    let key = ClientKey::generate().unwrap();
    for (at, (reason, change)) in CHANGES.iter().enumerate() {
        let mut message = Message::signed(&key);
        change(&mut message);
        let problem = message.verify().unwrap_err();
        assert_eq!(problem.code, "request-signature", "case {at}");
        assert!(
            problem.detail.contains(reason),
            "case {at}: {}",
            problem.detail
        );
    }
}

#[derive(serde::Deserialize)]
struct Vector {
    name: String,
    public_key: String,
    client: String,
    method: String,
    path: String,
    query: Option<String>,
    body: Option<String>,
    headers: std::collections::BTreeMap<String, String>,
    base: String,
}

/// Made once by `tests/conformance/http_signatures.py` with another implementation of everything.
#[test]
fn what_another_implementation_signed_verifies() {
    let text = include_str!("../../../../tests/conformance/http_signatures.json");
    let vectors: Vec<Vector> = serde_json::from_str(text).unwrap();
    assert!(vectors.len() >= 4);
    for vector in vectors {
        let mut headers = HeaderMap::new();
        for (name, value) in &vector.headers {
            let name: HeaderName = name.parse().unwrap();
            headers.insert(name, value.parse().unwrap());
        }
        let (method, query) = (vector.method.parse().unwrap(), vector.query.as_deref());
        let stamp = verify(&method, &vector.path, query, &headers);
        let stamp = stamp.unwrap_or_else(|problem| panic!("{}: {problem}", vector.name));
        let key = PublicKey::from_pem(&vector.public_key).unwrap();
        assert_eq!(stamp.unwrap().client, key.client_id(), "{}", vector.name);
        assert_eq!(
            key.client_id().to_string(),
            vector.client,
            "{}",
            vector.name
        );
        let digest = vector.body.map(|body| content_digest(body.as_bytes()));
        let sent = headers
            .get(DIGEST_HEADER)
            .map(|value| value.to_str().unwrap());
        assert_eq!(digest.as_deref(), sent, "{}", vector.name);
        let covered = Covered {
            method: &vector.method,
            path: &vector.path,
            query,
            content_digest: sent,
            idempotency_key: vector.headers.get(IDEMPOTENCY_HEADER).map(String::as_str),
        };
        let input = &vector.headers[INPUT_HEADER];
        let claims = Claims::parse(input).unwrap();
        let base = covered.base(&claims.components, claims.params);
        assert_eq!(base.unwrap(), vector.base, "{}", vector.name);
        // The smallest change anywhere in what is covered spoils it.
        assert!(verify(&method, &format!("{}x", vector.path), query, &headers).is_err());
    }
}
