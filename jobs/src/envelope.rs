//! Signatures over packages: key-based, in a Sigstore bundle (v0.3).
//!
//! A client signs with ECDSA P-256 over SHA-256, cosign's default, so that other Sigstore tools can
//! check what we sign. What we accept is narrower than what Sigstore allows: a bundle with
//! certificates, log entries or timestamps is refused whole, because nothing here checks a
//! certificate chain, an inclusion proof or a log's promise, and an unchecked proof is worse than
//! none.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::ids::{ClientId, JobId};
use crate::package::Package;

mod bundle;
mod key;

pub use bundle::{BUNDLE_BYTES_MAX, BUNDLE_MEDIA_TYPE};
pub use key::{ClientKey, FIXED_SIGNATURE_BYTES, PUBLIC_KEY_BYTES_MAX, PublicKey};

/// A package as it travels: canonical bytes and the client's Sigstore bundle. Not yet believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedPackage {
    /// Canonical package (RFC 8785 JSON text).
    pub package: String,
    /// Sigstore bundle v0.3 (JSON text).
    pub bundle: String,
    /// The client's public key, PEM (SPKI). The bundle's hint names it.
    pub public_key: String,
}

/// A package whose signature was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedPackage {
    /// The job's id.
    pub id: JobId,
    /// Who signed.
    pub client: ClientId,
    /// What was signed.
    pub package: Package,
    /// The bytes that prove it.
    pub signed: SignedPackage,
}

impl SignedPackage {
    /// Checks sizes, the bundle, the signature, canonical form and every bound of the package.
    ///
    /// # Errors
    /// If any check fails.
    pub fn verify(&self) -> Result<VerifiedPackage, Error> {
        // Sizes and signature first: nothing unsigned reaches the package's parser.
        if self.package.len() > crate::package::PACKAGE_MAX {
            return Err(Error::TooLarge {
                what: "package",
                size: self.package.len() as u64,
                max: crate::package::PACKAGE_MAX as u64,
            });
        }
        let client = verify_blob(self.package.as_bytes(), &self.bundle, &self.public_key)?;
        let package = Package::from_canonical(self.package.as_bytes())?;
        Ok(VerifiedPackage {
            id: package.id()?,
            client,
            package,
            signed: self.clone(),
        })
    }
}

/// Checks that `bundle` is a signature over `bytes` by the owner of `public_key` (PEM), and says
/// who that is. Components are signed this way, and packages too.
///
/// # Errors
/// If key or bundle are malformed or of a kind that is not accepted, or the signature is not over
/// these bytes.
pub fn verify_blob(bytes: &[u8], bundle: &str, public_key: &str) -> Result<ClientId, Error> {
    let key = PublicKey::from_pem(public_key)?;
    bundle::verify(bytes, bundle, &key)?;
    Ok(key.client_id())
}

impl ClientKey {
    /// Signs a package.
    ///
    /// # Errors
    /// If the package is out of bounds or cannot be encoded, so that nobody signs what nobody would
    /// accept.
    pub fn sign_package(&self, package: &Package) -> Result<SignedPackage, Error> {
        crate::manifest::check_bounds(package)?;
        let bytes = package.to_canonical()?;
        let bundle = self.sign_blob(&bytes)?;
        let package = String::from_utf8(bytes).map_err(|error| Error::Encode {
            what: "package",
            reason: error.to_string(),
        })?;
        Ok(SignedPackage {
            package,
            bundle,
            public_key: self.public_key_pem(),
        })
    }

    /// Signs any bytes; returns the bundle as JSON text.
    ///
    /// # Errors
    /// If the cryptographic library fails.
    pub fn sign_blob(&self, bytes: &[u8]) -> Result<String, Error> {
        bundle::sign(bytes, self)
    }
}

/// Which signers are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignerPolicy {
    /// Anyone with a valid signature.
    Any,
    /// Only these.
    Trusted(std::collections::BTreeSet<ClientId>),
}

impl SignerPolicy {
    /// Whether `client` is accepted.
    ///
    /// # Errors
    /// [`Error::UnknownSigner`] if not.
    pub fn check(&self, client: ClientId) -> Result<(), Error> {
        match self {
            Self::Any => Ok(()),
            Self::Trusted(set) if set.contains(&client) => Ok(()),
            Self::Trusted(set) => Err(Error::UnknownSigner {
                signer: client.to_string(),
                trusted: set.len(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
