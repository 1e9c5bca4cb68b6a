//! Signatures over packages: key-based, in a Sigstore bundle (v0.3).
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::ids::{ClientId, JobId};
use crate::package::Package;

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
        todo!("helper")
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
