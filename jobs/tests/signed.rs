//! Our signatures as others see them: a golden signed package that must verify for ever, and
//! OpenSSL as a second opinion. `ASSAY_BLESS=1` signs the golden package anew, with a new key.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failure with a line number"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use jobs::digest::{BlobRef, Digest};
use jobs::envelope::{ClientKey, SignedPackage};
use jobs::manifest::{Manifest, Resolved};
use jobs::package::{InputRef, Package};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signed")
}

/// The package of the golden manifest, with made-up blobs.
fn package() -> Package {
    let manifest = folder().with_file_name("manifest").join("embed.toml");
    let manifest = Manifest::parse(&fs::read_to_string(manifest).unwrap()).unwrap();
    let model = BlobRef {
        digest: Digest::from_bytes([0x17; 32]),
        size: 22_972_370,
    };
    let resolved = Resolved {
        component: BlobRef::of(b"component"),
        models: vec![model],
        input: InputRef::of(&["one", "two", "three"]).unwrap().0,
        nonce: *b"sixteen letters!",
    };
    manifest.lock(resolved).unwrap()
}

/// Reads the golden files, or writes them if they are to be blessed.
fn golden() -> SignedPackage {
    let names = ["package.json", "bundle.sigstore.json", "public.pem"];
    if std::env::var_os("ASSAY_BLESS").is_some() {
        let signed = ClientKey::generate()
            .unwrap()
            .sign_package(&package())
            .unwrap();
        fs::create_dir_all(folder()).unwrap();
        for (name, text) in names
            .iter()
            .zip([&signed.package, &signed.bundle, &signed.public_key])
        {
            fs::write(folder().join(name), text).unwrap();
        }
    }
    let [package, bundle, public_key] =
        names.map(|name| fs::read_to_string(folder().join(name)).unwrap());
    SignedPackage {
        package,
        bundle,
        public_key,
    }
}

#[test]
fn the_golden_package_verifies() {
    let verified = golden().verify().unwrap();
    assert_eq!(verified.package, package());
    // The id is pinned: a change here makes every job ever signed another job.
    let expected = "blake3:3317b7abf1041fa0b3edc8031fc6469fecec384afae0edf0b265bd84e2ae323c";
    assert_eq!(verified.id.to_string(), expected);
}

/// Runs `openssl dgst -verify` over the package and returns whether it is convinced.
fn openssl_agrees(signed: &SignedPackage) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bundle: serde_json::Value = serde_json::from_str(&signed.bundle).unwrap();
    let signature = bundle["messageSignature"]["signature"].as_str().unwrap();
    let signature = base64::engine::general_purpose::STANDARD
        .decode(signature)
        .unwrap();
    fs::write(at("signature"), signature).unwrap();
    fs::write(at("package.json"), &signed.package).unwrap();
    fs::write(at("public.pem"), &signed.public_key).unwrap();
    let output = Command::new("openssl")
        .args(["dgst", "-sha256", "-verify"])
        .arg(at("public.pem"))
        .arg("-signature")
        .arg(at("signature"))
        .arg(at("package.json"))
        .output()
        .expect("this test needs the openssl command (Debian: apt-get install openssl)");
    output.status.success()
}

#[test]
fn openssl_agrees_with_us() {
    assert!(openssl_agrees(&golden()));
    let fresh = ClientKey::generate().unwrap();
    let mut signed = fresh.sign_package(&package()).unwrap();
    assert!(openssl_agrees(&signed));
    signed.package.push(' ');
    assert!(!openssl_agrees(&signed));
    assert!(signed.verify().is_err());
}

#[test]
fn openssl_reads_our_private_keys() {
    let key = ClientKey::generate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    fs::write(&path, key.to_pem().unwrap()).unwrap();
    let output = Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(&path)
        .output()
        .expect("this test needs the openssl command (Debian: apt-get install openssl)");
    let public = String::from_utf8(output.stdout).unwrap();
    assert_eq!(public, key.public_key_pem());
}
