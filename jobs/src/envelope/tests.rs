use serde_json::{Value, json};

use super::*;
use crate::package::tests::package;

fn key() -> ClientKey {
    ClientKey::generate().unwrap()
}

/// The bundle as a JSON value, changed, as text again.
fn changed(bundle: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut value = serde_json::from_str(bundle).unwrap();
    change(&mut value);
    value.to_string()
}

#[test]
fn a_signed_package_verifies_and_names_its_client() {
    let key = key();
    let signed = key.sign_package(&package()).unwrap();
    let verified = signed.verify().unwrap();
    assert_eq!(verified.client, key.client_id());
    assert_eq!(verified.package, package());
    assert_eq!(verified.id, package().id().unwrap());
    assert_eq!(verified.signed, signed);
}

#[test]
fn a_package_out_of_bounds_is_not_signed() {
    let mut bad = package();
    bad.limits.fuel = 0;
    let error = key().sign_package(&bad).unwrap_err().to_string();
    assert!(error.contains("limits.fuel = 0"), "{error}");
}

#[test]
fn keys_survive_their_files() {
    let key = key();
    let again = ClientKey::from_pem(&key.to_pem().unwrap()).unwrap();
    assert_eq!(again.client_id(), key.client_id());
    let sealed = key.to_encrypted_pem(b"correct horse").unwrap();
    let opened = ClientKey::from_encrypted_pem(&sealed, b"correct horse").unwrap();
    assert_eq!(opened.client_id(), key.client_id());
    let error = ClientKey::from_encrypted_pem(&sealed, b"wrong").unwrap_err();
    assert!(error.to_string().contains("private key"), "{error}");
    assert!(ClientKey::from_pem(&sealed).is_err());
    assert!(ClientKey::from_pem("").is_err());
    let public = PublicKey::from_pem(&key.public_key_pem()).unwrap();
    assert_eq!(&public, key.public_key());
    let windows = key.public_key_pem().replace('\n', "\r\n");
    assert_eq!(PublicKey::from_pem(&windows).unwrap(), public);
    let shown = format!("{key:?}");
    assert!(shown.len() < 40, "{shown}");
}

#[test]
fn the_curve_is_p256_and_the_point_uncompressed() {
    use sigstore::crypto::SigningScheme;
    let schemes = [
        SigningScheme::ECDSA_P384_SHA384_ASN1,
        SigningScheme::ED25519,
    ];
    for scheme in schemes {
        let signer = scheme.create_signer().unwrap();
        let pair = signer.to_sigstore_keypair().unwrap();
        let public = PublicKey::from_pem(&pair.public_key_to_pem().unwrap());
        assert!(public.is_err(), "{scheme}");
        let private = ClientKey::from_pem(&pair.private_key_to_pem().unwrap());
        assert!(private.is_err(), "{scheme}");
    }
    let good = key().public_key_pem();
    for bad in [
        String::new(),
        "x".repeat(PUBLIC_KEY_BYTES_MAX + 1),
        format!("{good}{good}"),
        good.replace("PUBLIC KEY", "PRIVATE KEY"),
        good.replacen("MFk", "MFl", 1),
        good.replacen("MFk", "M!k", 1),
    ] {
        assert!(PublicKey::from_pem(&bad).is_err(), "{bad}");
    }
}

type Spoil = fn(&mut Value);

/// Every way to spoil a bundle, and the words by which each is refused.
const SPOILINGS: &[(&str, Spoil)] = &[
    ("media type", |b| {
        b["mediaType"] = json!("application/vnd.dev.sigstore.bundle+json;version=0.2");
    }),
    ("missing field", |b| {
        b.as_object_mut().unwrap().remove("mediaType");
    }),
    ("unknown field", |b| b["extra"] = json!(1)),
    ("unknown field", |b| {
        b["messageSignature"]["extra"] = json!(1);
    }),
    ("unknown field", |b| {
        b["verificationMaterial"]["extra"] = json!(1);
    }),
    ("certificates are not accepted yet", |b| {
        b["verificationMaterial"]["certificate"] = json!({"rawBytes": "AAAA"});
    }),
    ("certificate chains are not accepted yet", |b| {
        b["verificationMaterial"]["x509CertificateChain"] = json!({"certificates": []});
    }),
    ("log entries are not accepted yet", |b| {
        b["verificationMaterial"]["tlogEntries"] = json!([{"logIndex": "1"}]);
    }),
    ("timestamps are not accepted yet", |b| {
        b["verificationMaterial"]["timestampVerificationData"] = json!({});
    }),
    ("names no public key", |b| {
        let material = b["verificationMaterial"].as_object_mut().unwrap();
        material.remove("publicKey");
    }),
    ("it names the key", |b| {
        b["verificationMaterial"]["publicKey"]["hint"] = json!("");
    }),
    ("DSSE", |b| b["dsseEnvelope"] = json!({"payload": ""})),
    ("no message signature", |b| {
        b.as_object_mut().unwrap().remove("messageSignature");
    }),
    ("digest algorithm", |b| {
        b["messageSignature"]["messageDigest"]["algorithm"] = json!("SHA2_512");
    }),
    ("signed content has digest", |b| {
        b["messageSignature"]["messageDigest"]["digest"] = json!("AAAA");
    }),
    ("missing field", |b| {
        let signature = b["messageSignature"].as_object_mut().unwrap();
        signature.remove("messageDigest");
    }),
    ("not base64", |b| {
        b["messageSignature"]["signature"] = json!("????");
    }),
    ("does not verify", |b| {
        b["messageSignature"]["signature"] = json!("");
    }),
    ("does not verify", |b| {
        let text = b["messageSignature"]["signature"].as_str().unwrap();
        let mut raw = base64_decode(text);
        *raw.last_mut().unwrap() ^= 1;
        b["messageSignature"]["signature"] = json!(base64_encode(&raw));
    }),
    ("does not verify", |b| {
        let text = b["messageSignature"]["signature"].as_str().unwrap();
        let mut raw = base64_decode(text);
        raw.push(0);
        b["messageSignature"]["signature"] = json!(base64_encode(&raw));
    }),
];

#[test]
fn spoilt_bundles_are_refused() {
    let key = key();
    let bundle = key.sign_blob(b"content").unwrap();
    let pem = key.public_key_pem();
    verify_blob(b"content", &bundle, &pem).unwrap();
    // Written with an empty list of log entries, as some tools do, it is the same bundle.
    let empty = changed(&bundle, |b| {
        b["verificationMaterial"]["tlogEntries"] = json!([]);
    });
    verify_blob(b"content", &empty, &pem).unwrap();
    for (words, spoil) in SPOILINGS {
        let error = verify_blob(b"content", &changed(&bundle, spoil), &pem).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    for text in ["", "[]", "null", &bundle[1..], &format!("{bundle}{bundle}")] {
        assert!(verify_blob(b"content", text, &pem).is_err(), "{text}");
    }
    let twice = bundle.replacen('{', "{\"mediaType\":\"x\",", 1);
    let error = verify_blob(b"content", &twice, &pem).unwrap_err();
    assert!(error.to_string().contains("duplicate"), "{error}");
    let padded = format!("{bundle}{}", " ".repeat(BUNDLE_BYTES_MAX));
    let error = verify_blob(b"content", &padded, &pem).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

fn base64_decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    engine.decode(text).unwrap()
}

fn base64_encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn another_key_or_another_package_is_refused() {
    let (ours, theirs) = (key(), key());
    let signed = ours.sign_package(&package()).unwrap();
    let mut stolen = signed.clone();
    stolen.public_key = theirs.public_key_pem();
    let error = stolen.verify().unwrap_err().to_string();
    assert!(error.contains("it names the key"), "{error}");
    // The same with the hint rewritten: now only the signature can tell.
    let hint = theirs.public_key().hint();
    stolen.bundle = changed(&signed.bundle, |b| {
        b["verificationMaterial"]["publicKey"]["hint"] = json!(hint);
    });
    assert!(matches!(stolen.verify(), Err(Error::Signature { .. })));
    let mut dearer = signed.clone();
    dearer.package = signed.package.replace("\"1.000000\"", "\"9.000000\"");
    assert_ne!(dearer.package, signed.package);
    assert!(matches!(dearer.verify(), Err(Error::DigestMismatch { .. })));
}

#[test]
fn a_signature_over_another_spelling_is_no_job() {
    let key = key();
    let spelt = serde_json::to_string_pretty(&package()).unwrap();
    let signed = SignedPackage {
        bundle: key.sign_blob(spelt.as_bytes()).unwrap(),
        package: spelt,
        public_key: key.public_key_pem(),
    };
    let error = signed.verify().unwrap_err().to_string();
    assert!(error.contains("canonical"), "{error}");
}

#[test]
fn the_official_types_read_our_bundles() {
    use sigstore_protobuf_specs::dev::sigstore::bundle::v1 as official;
    let key = key();
    let text = key.sign_blob(b"content").unwrap();
    let bundle: official::Bundle = serde_json::from_str(&text).unwrap();
    assert_eq!(bundle.media_type, BUNDLE_MEDIA_TYPE);
    let material = bundle.verification_material.clone().unwrap();
    let Some(official::verification_material::Content::PublicKey(id)) = material.content else {
        panic!("no public key in {text}");
    };
    assert_eq!(id.hint, key.public_key().hint());
    let Some(official::bundle::Content::MessageSignature(ref signature)) = bundle.content else {
        panic!("no message signature in {text}");
    };
    let digest = signature.message_digest.as_ref().unwrap();
    assert_eq!(digest.algorithm().as_str_name(), "SHA2_256");
    // And we read what they write.
    let theirs = serde_json::to_string(&bundle).unwrap();
    verify_blob(b"content", &theirs, &key.public_key_pem()).unwrap();
}

#[test]
fn policies() {
    let (friend, stranger) = (key().client_id(), key().client_id());
    let trusted = SignerPolicy::Trusted([friend].into());
    assert_eq!(trusted.check(friend), Ok(()));
    let error = trusted.check(stranger).unwrap_err().to_string();
    assert!(error.contains(&stranger.to_string()), "{error}");
    assert_eq!(SignerPolicy::Any.check(stranger), Ok(()));
}
