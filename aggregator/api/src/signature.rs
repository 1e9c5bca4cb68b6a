//! Signed requests: HTTP message signatures (RFC 9421) in one strict profile.
//!
//! A client signs `"@method" "@path" "@query"`, `"content-digest"` (RFC 9530, SHA-256) where the request has a JSON
//! body, and `"idempotency-key"` where it sends one, with its ECDSA P-256 key (`ecdsa-p256-sha256`). A blob's digest is
//! in its path, so uploads need no content digest. `keyid` is the client's id, which is the digest of its public key,
//! and `Assay-Key` carries that key, so that whoever checks needs nothing else. `created` and `nonce` make a signature
//! count once. Anything outside of the profile is refused by name.

mod parse;

use axum::http::{HeaderMap, Method};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jobs::envelope::{ClientKey, FIXED_SIGNATURE_BYTES, PublicKey};
use jobs::ids::ClientId;
use sha2::{Digest as _, Sha256};

use crate::problem::{Code, Problem};
use parse::Claims;

/// The signature algorithm's registered name.
pub const ALGORITHM: &str = "ecdsa-p256-sha256";
/// What signatures of this profile are tagged with.
pub const TAG: &str = "assay";
/// Header with the client's public key: SPKI DER in base64.
pub const KEY_HEADER: &str = "assay-key";
/// Header with what is signed.
pub const INPUT_HEADER: &str = "signature-input";
/// Header with the signature.
pub const SIGNATURE_HEADER: &str = "signature";
/// Header with the digest of the body.
pub const DIGEST_HEADER: &str = "content-digest";
/// Header that makes a request repeatable.
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// Shortest nonce in bytes.
pub const NONCE_BYTES_MIN: usize = 8;
/// Longest nonce in bytes.
pub const NONCE_BYTES_MAX: usize = 64;
/// Seconds by which a signature's time and the aggregator's clock may differ.
pub const WINDOW_S: u64 = 300;

/// A checked signature: who asks, and what makes the request itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Who signed.
    pub client: ClientId,
    /// Never the same twice.
    pub nonce: String,
    /// When it was signed, in seconds since 1970, by the client's clock.
    pub created: u64,
}

/// The parts of a request that a signature covers.
#[derive(Clone, Copy, Debug)]
pub struct Covered<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path, as it is sent.
    pub path: &'a str,
    /// The query, without its question mark.
    pub query: Option<&'a str>,
    /// The `Content-Digest` header.
    pub content_digest: Option<&'a str>,
    /// The `Idempotency-Key` header.
    pub idempotency_key: Option<&'a str>,
}

impl Covered<'_> {
    /// The value of a component, if the request has it.
    fn value(&self, component: &str) -> Option<String> {
        match component {
            "@method" => Some(self.method.to_owned()),
            "@path" => Some(self.path.to_owned()),
            "@query" => Some(format!("?{}", self.query.unwrap_or_default())),
            DIGEST_HEADER => self.content_digest.map(ToOwned::to_owned),
            IDEMPOTENCY_HEADER => self.idempotency_key.map(ToOwned::to_owned),
            _ => None,
        }
    }

    /// What a signature must cover, neither less nor more.
    fn components(&self) -> Vec<&'static str> {
        let mut components = vec!["@method", "@path", "@query"];
        components.extend(self.content_digest.map(|_| DIGEST_HEADER));
        components.extend(self.idempotency_key.map(|_| IDEMPOTENCY_HEADER));
        components
    }

    /// The text that is signed.
    pub(crate) fn base(&self, components: &[&str], params: &str) -> Option<String> {
        let mut base = String::new();
        for component in components {
            let value = self.value(component)?;
            base.push_str(&format!("\"{component}\": {value}\n"));
        }
        base.push_str(&format!("\"@signature-params\": {params}"));
        Some(base)
    }
}

/// The `Content-Digest` of a body.
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

/// Signs a request; answers the headers to send with it.
///
/// # Errors
/// If the cryptographic library fails.
pub fn sign(
    key: &ClientKey,
    covered: &Covered<'_>,
    created: u64,
    nonce: &str,
) -> Result<[(&'static str, String); 3], jobs::Error> {
    let components = covered.components();
    let listed: Vec<String> = components.iter().map(|one| format!("\"{one}\"")).collect();
    let keyid = key.client_id().0.to_hex();
    let params = format!(
        "({});created={created};keyid=\"{keyid}\";nonce=\"{nonce}\";alg=\"{ALGORITHM}\";tag=\"{TAG}\"",
        listed.join(" ")
    );
    let base = covered
        .base(&components, &params)
        .ok_or_else(|| jobs::Error::Encode {
            what: "signature base",
            reason: "a covered part is missing".into(),
        })?;
    let signature = STANDARD.encode(key.sign_fixed(base.as_bytes())?);
    Ok([
        (INPUT_HEADER, format!("assay={params}")),
        (SIGNATURE_HEADER, format!("assay=:{signature}:")),
        (KEY_HEADER, STANDARD.encode(key.public_key().as_der())),
    ])
}

/// Checks the signature of a request, if it has one. Whether its time and nonce are good is decided where they are
/// remembered.
///
/// # Errors
/// If there is one and it is outside of the profile, covers too little or too much, or does not verify.
pub fn verify(
    method: &Method,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Option<Stamp>, Problem> {
    let one = |name: &'static str| one_header(headers, name);
    let (input, signature) = (one(INPUT_HEADER)?, one(SIGNATURE_HEADER)?);
    let key = one(KEY_HEADER)?;
    let (input, signature, key) = match (input, signature, key) {
        (None, None, None) => return Ok(None),
        (Some(input), Some(signature), Some(key)) => (input, signature, key),
        _ => {
            return Err(bad(
                "Signature-Input, Signature and Assay-Key belong together",
            ));
        }
    };
    let covered = Covered {
        method: method.as_str(),
        path,
        query,
        content_digest: one(DIGEST_HEADER)?,
        idempotency_key: one(IDEMPOTENCY_HEADER)?,
    };
    let claims = Claims::parse(input)?;
    check_coverage(&claims, &covered)?;
    let key = STANDARD
        .decode(key)
        .map_err(|error| bad(format!("Assay-Key is not base64: {error}")))?;
    let key = PublicKey::from_der(key).map_err(|error| bad(error.to_string()))?;
    let client = key.client_id();
    if client.0.to_hex() != claims.keyid {
        let reason = format!(
            "keyid = {:?}: the key in Assay-Key is {client}",
            claims.keyid
        );
        return Err(bad(reason));
    }
    let signature = parse::signature(signature, &claims.label)?;
    let base = covered.base(&claims.components, claims.params);
    let base = base.ok_or_else(|| bad("a covered part is missing"))?;
    check(&key, &base, &signature)?;
    Ok(Some(Stamp {
        client,
        nonce: claims.nonce.to_owned(),
        created: claims.created,
    }))
}

fn check(
    key: &PublicKey,
    base: &str,
    signature: &[u8; FIXED_SIGNATURE_BYTES],
) -> Result<(), Problem> {
    key.verify_fixed(base.as_bytes(), signature).map_err(|_| {
        bad(format!(
            "the signature is not {}'s over this method, path, query and body",
            key.client_id()
        ))
    })
}

/// A signature that left something out would say nothing about it.
fn check_coverage(claims: &Claims<'_>, covered: &Covered<'_>) -> Result<(), Problem> {
    let due = covered.components();
    for component in &due {
        match claims
            .components
            .iter()
            .filter(|one| one == &component)
            .count()
        {
            1 => {}
            0 => return Err(bad(format!("\"{component}\" is not covered"))),
            _ => return Err(bad(format!("\"{component}\" is covered twice"))),
        }
    }
    match claims.components.iter().find(|one| !due.contains(one)) {
        Some(other) => Err(bad(format!(
            "{other:?} is covered: this request must cover {} and nothing else",
            due.join(" ")
        ))),
        None => Ok(()),
    }
}

/// The value of a header that may come once.
fn one_header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(bad(format!("{name} came more than once")));
    }
    let text = first.map(|value| value.to_str());
    let text = text.transpose();
    let text = text.map_err(|_| bad(format!("{name} is not printable ASCII")))?;
    Ok(text.map(str::trim))
}

pub(crate) fn bad(reason: impl Into<String>) -> Problem {
    Problem::of(Code::RequestSignature, reason)
}

#[cfg(test)]
mod tests;
