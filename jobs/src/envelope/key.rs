//! A client's key pair, and the one form in which a public key is accepted.

mod fixed;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use sigstore::crypto::signing_key::SigStoreSigner;
use sigstore::crypto::signing_key::ecdsa::{ECDSAKeys, EllipticCurve};
use sigstore::crypto::{CosignVerificationKey, Signature, SigningScheme};

use crate::Error;
use crate::digest::Digest;
use crate::ids::ClientId;

/// Longest public key text in bytes.
pub const PUBLIC_KEY_BYTES_MAX: usize = 1024;

/// Bytes of a signature in its fixed form.
pub const FIXED_SIGNATURE_BYTES: usize = 64;

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";
/// Characters in a line of PEM.
const PEM_LINE: usize = 64;

/// What comes before the point in the SPKI of an uncompressed P-256 key: the sequence, the two
/// object identifiers and the bit string's head. The 64 bytes of the point follow.
const SPKI_PREFIX: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// A client's public key. There is exactly one encoding of each key (SPKI DER, uncompressed point),
/// so that one key can never appear as two clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    der: Vec<u8>,
}

impl PublicKey {
    /// Reads a PEM-encoded P-256 key.
    ///
    /// # Errors
    /// If the text is not exactly one such key.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        if pem.len() > PUBLIC_KEY_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "public key",
                size: pem.len() as u64,
                max: PUBLIC_KEY_BYTES_MAX as u64,
            });
        }
        let body = pem
            .trim()
            .strip_prefix(BEGIN)
            .and_then(|pem| pem.strip_suffix(END))
            .ok_or_else(|| bad("it is not one PEM block of a PUBLIC KEY"))?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = STANDARD
            .decode(body)
            .map_err(|error| bad(format!("its PEM block is not base64: {error}")))?;
        Self::from_der(der)
    }

    /// Reads the one accepted encoding of a P-256 key: SPKI DER with an uncompressed point.
    ///
    /// # Errors
    /// If the bytes are not exactly one such key.
    pub fn from_der(der: Vec<u8>) -> Result<Self, Error> {
        match der.strip_prefix(&SPKI_PREFIX) {
            Some(point) if point.len() == 64 => Ok(Self { der }),
            _ => Err(bad("it is not an uncompressed ECDSA P-256 key")),
        }
    }

    /// The key as PEM text.
    pub fn to_pem(&self) -> String {
        let mut pem = format!("{BEGIN}\n");
        for (character, index) in STANDARD.encode(&self.der).chars().zip(1_usize..) {
            pem.push(character);
            if index.is_multiple_of(PEM_LINE) {
                pem.push('\n');
            }
        }
        // 91 bytes are 124 characters, so the last line is never a full one.
        pem.push('\n');
        pem.push_str(END);
        pem.push('\n');
        pem
    }

    /// The key as SPKI DER.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// Whose key this is.
    pub fn client_id(&self) -> ClientId {
        ClientId(Digest::of(&self.der))
    }

    /// Checks a signature over `bytes` in the fixed form of [`ClientKey::sign_fixed`].
    ///
    /// # Errors
    /// If it is not this key's signature over these bytes.
    pub fn verify_fixed(
        &self,
        bytes: &[u8],
        signature: &[u8; FIXED_SIGNATURE_BYTES],
    ) -> Result<(), Error> {
        self.verify(bytes, &fixed::to_der(signature))
    }

    /// What a bundle calls this key: the SHA-256 of its DER form in base64, as cosign does.
    pub fn hint(&self) -> String {
        STANDARD.encode(Sha256::digest(&self.der))
    }

    /// Checks a DER-encoded signature over `bytes`.
    pub(super) fn verify(&self, bytes: &[u8], signature: &[u8]) -> Result<(), Error> {
        let forged = || Error::Signature {
            what: "bundle",
            signer: self.client_id().to_string(),
        };
        CosignVerificationKey::from_der(&self.der, &SigningScheme::ECDSA_P256_SHA256_ASN1)
            .and_then(|key| key.verify_signature(Signature::Raw(signature), bytes))
            .map_err(|_| forged())
    }
}

fn bad(reason: impl Into<String>) -> Error {
    Error::Decode {
        what: "public key",
        reason: reason.into(),
    }
}

/// A client's key pair: ECDSA P-256. Its `Debug` form shows only who it is. Cheap to clone.
#[derive(Clone)]
pub struct ClientKey {
    keys: Arc<ECDSAKeys>,
    signer: Arc<SigStoreSigner>,
    public: PublicKey,
}

impl std::fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientKey({:?})", self.client_id())
    }
}

impl ClientKey {
    /// Makes a new key. Keys and signatures draw on the cryptographic library's own randomness, the
    /// one exception to this crate's having none.
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn generate() -> Result<Self, Error> {
        ECDSAKeys::new(EllipticCurve::P256)
            .map_err(failed)
            .and_then(Self::from_keys)
    }

    /// Reads an unencrypted private key, PKCS #8 in PEM.
    ///
    /// # Errors
    /// If the text is not such a key, or the key is not on P-256.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        ECDSAKeys::from_pem(pem.as_bytes())
            .map_err(unreadable)
            .and_then(Self::from_keys)
    }

    /// Reads a private key that [`ClientKey::to_encrypted_pem`] or cosign wrote.
    ///
    /// # Errors
    /// If the text is not such a key, the password is wrong, or the key is not on P-256.
    pub fn from_encrypted_pem(pem: &str, password: &[u8]) -> Result<Self, Error> {
        ECDSAKeys::from_encrypted_pem(pem.as_bytes(), password)
            .map_err(unreadable)
            .and_then(Self::from_keys)
    }

    /// The private key in clear, PKCS #8 in PEM. Whoever writes it to a file keeps the file private.
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn to_pem(&self) -> Result<String, Error> {
        let pem = self.keys.as_inner().private_key_to_pem();
        Ok(pem.map_err(failed)?.replace("\r\n", "\n"))
    }

    /// The private key encrypted under a password, in the form that cosign reads.
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn to_encrypted_pem(&self, password: &[u8]) -> Result<String, Error> {
        let pem = self.keys.as_inner().private_key_to_encrypted_pem(password);
        Ok(pem.map_err(failed)?.replace("\r\n", "\n"))
    }

    /// The public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The public key as PEM text.
    pub fn public_key_pem(&self) -> String {
        self.public.to_pem()
    }

    /// Whose key this is.
    pub fn client_id(&self) -> ClientId {
        self.public.client_id()
    }

    /// Signs any bytes; answers the two numbers of the signature, 32 bytes each, as HTTP message signatures
    /// carry them (`ecdsa-p256-sha256`).
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn sign_fixed(&self, bytes: &[u8]) -> Result<[u8; FIXED_SIGNATURE_BYTES], Error> {
        fixed::from_der(&self.sign(bytes)?).ok_or_else(|| Error::Encode {
            what: "signature",
            reason: "the library's signature is not DER".into(),
        })
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        self.signer.sign(bytes).map_err(failed)
    }

    fn from_keys(keys: ECDSAKeys) -> Result<Self, Error> {
        let der = keys.as_inner().public_key_to_der().map_err(failed)?;
        // This refuses the other curves, too.
        let public = PublicKey::from_der(der)?;
        let signer = keys.to_sigstore_signer().map_err(failed)?;
        Ok(Self {
            keys: Arc::new(keys),
            signer: Arc::new(signer),
            public,
        })
    }
}

fn failed(error: sigstore::errors::SigstoreError) -> Error {
    Error::Encode {
        what: "signature",
        reason: error.to_string(),
    }
}

fn unreadable(error: sigstore::errors::SigstoreError) -> Error {
    Error::Decode {
        what: "private key",
        reason: error.to_string(),
    }
}
