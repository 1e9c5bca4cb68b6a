//! The Sigstore bundle: its JSON form, written as `protojson` writes it and read strictly.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{ClientKey, PublicKey};
use crate::Error;

/// Largest bundle text in bytes; one with a key hint and a signature has a twentieth of that.
pub const BUNDLE_BYTES_MAX: usize = 16 * 1024;

/// The only media type that is accepted.
pub const BUNDLE_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

const SHA256: &str = "SHA2_256";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bundle {
    media_type: String,
    verification_material: Material,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_signature: Option<MessageSignature>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dsse_envelope: Option<Value>,
}

/// Everything Sigstore can put here is named, so that what we do not accept is refused by name.
#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<KeyHint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x509_certificate_chain: Option<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tlog_entries: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_verification_data: Option<Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyHint {
    hint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MessageSignature {
    message_digest: MessageDigest,
    signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageDigest {
    algorithm: String,
    digest: String,
}

pub(super) fn sign(bytes: &[u8], key: &ClientKey) -> Result<String, Error> {
    let bundle = Bundle {
        media_type: BUNDLE_MEDIA_TYPE.to_owned(),
        verification_material: Material {
            public_key: Some(KeyHint {
                hint: key.public_key().hint(),
            }),
            ..Material::default()
        },
        message_signature: Some(MessageSignature {
            message_digest: MessageDigest {
                algorithm: SHA256.to_owned(),
                digest: STANDARD.encode(Sha256::digest(bytes)),
            },
            signature: STANDARD.encode(key.sign(bytes)?),
        }),
        dsse_envelope: None,
    };
    serde_json::to_string(&bundle).map_err(|error| Error::Encode {
        what: "bundle",
        reason: error.to_string(),
    })
}

pub(super) fn verify(bytes: &[u8], bundle: &str, key: &PublicKey) -> Result<(), Error> {
    if bundle.len() > BUNDLE_BYTES_MAX {
        return Err(Error::TooLarge {
            what: "bundle",
            size: bundle.len() as u64,
            max: BUNDLE_BYTES_MAX as u64,
        });
    }
    let bundle: Bundle = serde_json::from_str(bundle).map_err(|error| bad(error.to_string()))?;
    if bundle.media_type != BUNDLE_MEDIA_TYPE {
        let other: String = bundle.media_type.chars().take(80).collect();
        return Err(bad(format!(
            "media type {other:?} is not {BUNDLE_MEDIA_TYPE}"
        )));
    }
    let hint = key_hint(bundle.verification_material)?;
    if hint != key.hint() {
        let hint: String = hint.chars().take(80).collect();
        return Err(bad(format!(
            "it names the key {hint:?}, the key given is {:?}",
            key.hint()
        )));
    }
    if bundle.dsse_envelope.is_some() {
        return Err(bad("DSSE envelopes are not accepted in a bundle"));
    }
    let signature = bundle.message_signature;
    let signature = signature.ok_or_else(|| bad("it has no message signature"))?;
    let digest = &signature.message_digest;
    if digest.algorithm != SHA256 {
        let other: String = digest.algorithm.chars().take(80).collect();
        return Err(bad(format!("digest algorithm {other:?} is not {SHA256}")));
    }
    let actual = STANDARD.encode(Sha256::digest(bytes));
    if digest.digest != actual {
        return Err(Error::DigestMismatch {
            what: "signed content".into(),
            actual: format!("sha256 {actual}"),
            expected: digest.digest.chars().take(80).collect(),
        });
    }
    let signature = STANDARD
        .decode(&signature.signature)
        .map_err(|error| bad(format!("its signature is not base64: {error}")))?;
    key.verify(bytes, &signature)
}

/// The key hint, if that is all the material there is.
fn key_hint(material: Material) -> Result<String, Error> {
    for (present, what) in [
        (material.certificate.is_some(), "certificates"),
        (
            material.x509_certificate_chain.is_some(),
            "certificate chains",
        ),
        (
            !material.tlog_entries.is_empty(),
            "transparency log entries",
        ),
        (
            material.timestamp_verification_data.is_some(),
            "signed timestamps",
        ),
    ] {
        if present {
            return Err(bad(format!(
                "{what} are not accepted yet: sign with a key, without a log"
            )));
        }
    }
    let key = material.public_key;
    let key = key.ok_or_else(|| bad("its verification material names no public key"))?;
    Ok(key.hint)
}

fn bad(reason: impl Into<String>) -> Error {
    Error::Decode {
        what: "bundle",
        reason: reason.into(),
    }
}
