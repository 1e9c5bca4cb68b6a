//! Receipts: in-toto statements in DSSE envelopes, signed by the provider with Ed25519.
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::assignment::Assignment;
use crate::commitment::{Commitment, Opening};
use crate::ids::ProviderId;
use crate::package::Package;
use crate::statement::Verified;

/// A DSSE envelope, as JSON text. Not yet believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Envelope(pub String);

/// What a receipt says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// What was executed.
    pub assignment: Assignment,
    /// The package's component digest and models, repeated so that the receipt stands alone.
    pub package: Package,
    /// What the provider had committed to.
    pub commitment: Commitment,
    /// What the commitment hid.
    pub opening: Opening,
}

impl Receipt {
    /// Wraps the receipt in an in-toto statement and signs it.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn sign(&self, key: &SigningKey) -> Result<Envelope, Error> {
        let _ = key;
        todo!("helper")
    }
}

impl Envelope {
    /// Checks the signature, that the signer is `provider`, and that assignment, package,
    /// commitment and opening hash together.
    ///
    /// # Errors
    /// If any check fails.
    pub fn verify(&self, provider: ProviderId) -> Result<Verified<Receipt>, Error> {
        let _ = provider;
        todo!("helper")
    }
}
