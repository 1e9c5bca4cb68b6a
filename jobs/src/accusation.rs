//! An accusation: a client says which answer it holds to be wrong, and asks that its provider's stake be taken.
//!
//! It is signed as packages are, by the key that pays for the executions that are to bear it out, and its digest
//! names the case. A number that nobody can guess is part of it: whoever does not know it cannot ask for the case
//! while it is open, and so cannot tell its jobs from others.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::canonical;
use crate::digest::Digest;
use crate::envelope::{ClientKey, verify_blob};
use crate::ids::{AggregatorId, AssignmentId, CaseId, ClientId, JobId, ProviderId};

/// The only schema of an accusation that there is. A package has none of this form, so a signature over one never
/// passes for one over the other.
pub const ACCUSATION_SCHEMA: &str = "assay/accusation/v1";

/// Largest canonical accusation in bytes.
pub const ACCUSATION_MAX: usize = 4 * 1024;

/// Shortest time that a case may be given, in milliseconds.
pub const WINDOW_MS_MIN: u64 = 1_000;

/// Longest time that a case may be given, one day in milliseconds: for as long the accused cannot withdraw its stake.
pub const WINDOW_MS_MAX: u64 = 24 * 3600 * 1000;

/// Hexadecimal digits of an accusation's nonce.
pub const NONCE_DIGITS: usize = 32;

/// Which answer is accused, by whom, and for how long the case is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accusation {
    /// [`ACCUSATION_SCHEMA`].
    pub schema: String,
    /// Where the answer was judged.
    pub aggregator: AggregatorId,
    /// Who accuses, and pays for what bears it out.
    pub client: ClientId,
    /// Which answer.
    pub answer: Answer,
    /// Milliseconds from the opening in which jobs may be tied to the case, [`WINDOW_MS_MIN`] to [`WINDOW_MS_MAX`].
    pub window_ms: u64,
    /// [`NONCE_DIGITS`] hexadecimal digits that nobody can guess.
    pub nonce: String,
}

/// An answer, as a record names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Of which job.
    pub job: JobId,
    /// Of which of its shards.
    pub shard: u32,
    /// Whose.
    pub provider: ProviderId,
    /// To which assignment.
    pub assignment: AssignmentId,
    /// Root of the outputs.
    pub root: Digest,
}

/// An accusation as it travels. Not yet believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedAccusation {
    /// Canonical accusation (RFC 8785 JSON text).
    pub accusation: String,
    /// Sigstore bundle v0.3 (JSON text).
    pub bundle: String,
    /// The accuser's public key, PEM (SPKI).
    pub public_key: String,
}

/// An accusation whose signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedAccusation {
    /// The case.
    pub id: CaseId,
    /// What was signed.
    pub accusation: Accusation,
}

impl Accusation {
    /// The canonical bytes: RFC 8785 JSON.
    ///
    /// # Errors
    /// If it cannot be encoded or is larger than [`ACCUSATION_MAX`].
    pub fn to_canonical(&self) -> Result<Vec<u8>, Error> {
        canonical::encode(self, "accusation", ACCUSATION_MAX)
    }

    /// Parses canonical bytes; any other spelling of the same accusation is refused, so that a case has one id.
    ///
    /// # Errors
    /// If the bytes are too large, not an accusation, not canonical, or out of bounds.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, Error> {
        let accusation: Self = canonical::decode(bytes, "accusation", ACCUSATION_MAX)?;
        accusation.check()?;
        Ok(accusation)
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// [`Error::Field`] naming the first field that is out of bounds.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |key: &str, value: String, bound: String| {
            let key = format!("accusation.{key}");
            Err(Error::Field { key, value, bound })
        };
        if self.schema != ACCUSATION_SCHEMA {
            let value = self.schema.chars().take(80).collect();
            return refuse("schema", value, format!("must be {ACCUSATION_SCHEMA:?}"));
        }
        if !(WINDOW_MS_MIN..=WINDOW_MS_MAX).contains(&self.window_ms) {
            let bound = format!("must be {WINDOW_MS_MIN} to {WINDOW_MS_MAX}");
            return refuse("window_ms", self.window_ms.to_string(), bound);
        }
        let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if self.nonce.len() != NONCE_DIGITS || !self.nonce.chars().all(is_digit) {
            let value = self.nonce.chars().take(80).collect();
            let bound = format!("must be {NONCE_DIGITS} hexadecimal digits");
            return refuse("nonce", value, bound);
        }
        Ok(())
    }
}

impl SignedAccusation {
    /// Checks sizes, the bundle, the signature, canonical form, every bound, and that who signed is who accuses.
    ///
    /// # Errors
    /// If any check fails.
    pub fn verify(&self) -> Result<VerifiedAccusation, Error> {
        let bytes = self.accusation.as_bytes();
        canonical::check_size(bytes.len(), "accusation", ACCUSATION_MAX)?;
        let client = verify_blob(bytes, &self.bundle, &self.public_key)?;
        let accusation = Accusation::from_canonical(bytes)?;
        if accusation.client != client {
            return Err(Error::Signature {
                what: "accusation",
                signer: accusation.client.to_string(),
            });
        }
        let id = CaseId(Digest::of(bytes));
        Ok(VerifiedAccusation { id, accusation })
    }
}

impl ClientKey {
    /// Signs an accusation.
    ///
    /// # Errors
    /// If it is out of bounds or cannot be encoded.
    pub fn sign_accusation(&self, accusation: &Accusation) -> Result<SignedAccusation, Error> {
        accusation.check()?;
        let bytes = accusation.to_canonical()?;
        let bundle = self.sign_blob(&bytes)?;
        let accusation = String::from_utf8(bytes).map_err(|error| Error::Encode {
            what: "accusation",
            reason: error.to_string(),
        })?;
        Ok(SignedAccusation {
            accusation,
            bundle,
            public_key: self.public_key_pem(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accusation(key: &ClientKey) -> Accusation {
        Accusation {
            schema: ACCUSATION_SCHEMA.into(),
            aggregator: ProviderId([1; 32]),
            client: key.client_id(),
            answer: Answer {
                job: JobId(Digest::of(b"job")),
                shard: 3,
                provider: ProviderId([2; 32]),
                assignment: AssignmentId(Digest::of(b"assignment")),
                root: Digest::of(b"root"),
            },
            window_ms: 60_000,
            nonce: "0f".repeat(16),
        }
    }

    #[test]
    fn a_signed_accusation_verifies_and_names_its_case_by_its_content() {
        let key = ClientKey::generate().unwrap();
        let accusation = accusation(&key);
        let signed = key.sign_accusation(&accusation).unwrap();
        let verified = signed.verify().unwrap();
        assert_eq!(verified.accusation, accusation);
        let again = key.sign_accusation(&accusation).unwrap();
        assert_eq!(
            again.verify().unwrap().id,
            verified.id,
            "however often signed"
        );
        let other = Accusation {
            nonce: "f0".repeat(16),
            ..accusation
        };
        let other = key.sign_accusation(&other).unwrap();
        assert_ne!(other.verify().unwrap().id, verified.id);
    }

    #[test]
    fn an_accusation_out_of_bounds_is_neither_signed_nor_believed() {
        let key = ClientKey::generate().unwrap();
        for (change, field) in [
            (
                (|a| a.window_ms = WINDOW_MS_MIN - 1) as fn(&mut Accusation),
                "window_ms = 999: must be 1000 to 86400000",
            ),
            (|a| a.window_ms = WINDOW_MS_MAX + 1, "window_ms"),
            (|a| a.nonce = "0F".repeat(16), "nonce"),
            (|a| a.nonce = "00".into(), "nonce"),
            (|a| a.schema = "assay/accusation/v2".into(), "schema"),
        ] {
            let mut wrong = accusation(&key);
            change(&mut wrong);
            let error = key.sign_accusation(&wrong).unwrap_err().to_string();
            assert!(error.contains(field), "{error} does not name {field}");
            let bytes = wrong.to_canonical().unwrap();
            let signed = SignedAccusation {
                bundle: key.sign_blob(&bytes).unwrap(),
                accusation: String::from_utf8(bytes).unwrap(),
                public_key: key.public_key_pem(),
            };
            assert_eq!(signed.verify().unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn nobody_accuses_in_anothers_name_and_nothing_else_that_was_signed_is_an_accusation() {
        let (key, other) = (
            ClientKey::generate().unwrap(),
            ClientKey::generate().unwrap(),
        );
        let signed = other.sign_accusation(&accusation(&key)).unwrap();
        let error = signed.verify().unwrap_err();
        assert!(matches!(error, Error::Signature { .. }), "{error}");
        let mut touched = key.sign_accusation(&accusation(&key)).unwrap();
        touched.accusation = touched.accusation.replace("60000", "60001");
        assert!(touched.verify().is_err());
        let package = crate::package::tests::package();
        let package = key.sign_package(&package).unwrap();
        let posing = SignedAccusation {
            accusation: package.package,
            bundle: package.bundle,
            public_key: package.public_key,
        };
        assert!(posing.verify().is_err(), "a package is no accusation");
    }
}
