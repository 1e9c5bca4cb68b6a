//! Receipts: in-toto statements in DSSE envelopes, signed by the provider with Ed25519.
//!
//! A receipt stands alone: with it and nothing else one can tell which package was executed for
//! whom, what the provider had committed to, and that the commitment opens to the outcome.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::assignment::Assignment;
use crate::commitment::{Commitment, Opening};
use crate::ids::{AssignmentId, JobId, ProviderId};
use crate::outcome::Outcome;
use crate::package::Package;
use crate::plan;
use crate::statement::Verified;

/// Largest envelope in bytes: a package of the largest size, escaped and in base64.
pub const RECEIPT_BYTES_MAX: usize = 256 * 1024;

/// What the payload of an envelope is.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// What kind of in-toto statement a receipt is.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// What a receipt's predicate is.
pub const PREDICATE_TYPE: &str = "urn:assay:receipt:v1";

const KIND: &str = "receipt";

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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Dsse {
    payload: String,
    payload_type: String,
    signatures: Vec<DsseSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DsseSignature {
    keyid: String,
    sig: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InToto {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Receipt,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    digest: SubjectDigest,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectDigest {
    blake3: String,
}

impl Receipt {
    /// Wraps the receipt in an in-toto statement and signs it.
    ///
    /// # Errors
    /// If it cannot be encoded, or would not verify: a provider signs nothing that does not hash
    /// together.
    pub fn sign(&self, key: &SigningKey) -> Result<Envelope, Error> {
        let provider = ProviderId(key.verifying_key().to_bytes());
        self.check(provider)?;
        let statement = InToto {
            kind: STATEMENT_TYPE.to_owned(),
            subject: vec![self.subject()],
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: self.clone(),
        };
        // Not RFC 8785: meters are 64-bit integers, which that form would round.
        let payload = serde_json::to_vec(&statement).map_err(encode)?;
        let envelope = Dsse {
            signatures: vec![DsseSignature {
                keyid: provider.to_string(),
                sig: STANDARD.encode(key.sign(&pre_authentication(&payload)).to_bytes()),
            }],
            payload: STANDARD.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
        };
        let text = serde_json::to_string(&envelope).map_err(encode)?;
        check_size(&text)?;
        Ok(Envelope(text))
    }

    fn subject(&self) -> Subject {
        let Assignment { job, shard, .. } = &self.assignment;
        Subject {
            name: format!("job/{job}/shard/{shard}"),
            digest: SubjectDigest {
                blake3: self.opening.outcome.root.to_hex(),
            },
        }
    }

    /// Checks that everything in the receipt is about one execution by `provider`.
    fn check(&self, provider: ProviderId) -> Result<(), Error> {
        let Self {
            assignment,
            package,
            commitment,
            opening,
        } = self;
        crate::manifest::check_bounds(package)?;
        let job = package.id()?;
        let (items, step) = (package.input.items, package.items_per_shard);
        let span = plan::span(items, step, assignment.shard);
        let outcome = &opening.outcome;
        for (holds, reason) in [
            (
                assignment.job == job,
                "the assignment is of another job than the package",
            ),
            (
                assignment.provider == provider,
                "the assignment went to another provider",
            ),
            (
                assignment.id == derived(job, assignment),
                "the assignment's id is not derived from its fields",
            ),
            (
                span.is_some_and(|span| assignment.fits(span)),
                "the assignment's items are not its shard's",
            ),
            (
                commitment.provider == provider,
                "the commitment is another provider's",
            ),
            (
                commitment.assignment == assignment.id,
                "the commitment is about another assignment",
            ),
            (
                commitment.job == job && commitment.shard == assignment.shard,
                "the commitment is about another shard",
            ),
            (
                commitment.opens_with(opening),
                "the commitment does not open to the outcome",
            ),
        ] {
            if !holds {
                return Err(bad(reason));
            }
        }
        check_outcome(outcome, assignment, package)
    }
}

/// Whether an outcome can be one of this assignment.
fn check_outcome(
    outcome: &Outcome,
    assignment: &Assignment,
    package: &Package,
) -> Result<(), Error> {
    let facts = [
        (
            outcome.items == assignment.items,
            "the outcome has not one output for each item",
        ),
        (
            outcome.is_bounded(package.models.len()),
            "the fingerprint or the placement has a field that is too long",
        ),
        (
            outcome.places(package.models.iter().map(|model| model.name.as_str())),
            "the placement does not name what ran each of the job's graphs",
        ),
        (
            package.cpu_nodes || outcome.stays_on_its_device(),
            "nodes ran elsewhere than on the device, which the job does not allow",
        ),
        (
            package.openings.is_some() == outcome.noted.is_some()
                && outcome.noted.is_none_or(|noted| noted.is_bounded()),
            "what was noted is missing, too much, or not asked for by the job",
        ),
    ];
    match facts.into_iter().find(|(holds, _)| !holds) {
        Some((_, reason)) => Err(bad(reason)),
        None => Ok(()),
    }
}

/// The id that an assignment of this job must have.
fn derived(job: JobId, assignment: &Assignment) -> AssignmentId {
    let Assignment {
        aggregator,
        shard,
        attempt,
        provider,
        ..
    } = *assignment;
    AssignmentId::derive(aggregator, job, shard, attempt, provider)
}

impl Envelope {
    /// Checks the signature, that the signer is `provider`, and that assignment, package,
    /// commitment and opening hash together.
    ///
    /// # Errors
    /// If any check fails.
    pub fn verify(&self, provider: ProviderId) -> Result<Verified<Receipt>, Error> {
        check_size(&self.0)?;
        let envelope: Dsse = serde_json::from_str(&self.0).map_err(decode)?;
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(bad(format!("its payload type is not {PAYLOAD_TYPE}")));
        }
        let [signature] = &*envelope.signatures else {
            let count = envelope.signatures.len();
            return Err(bad(format!("it has {count} signatures, not one")));
        };
        if signature.keyid != provider.to_string() {
            return Err(bad(format!("it is not signed by {provider}")));
        }
        let payload = STANDARD.decode(&envelope.payload);
        let payload = payload.map_err(|error| bad(format!("its payload: {error}")))?;
        check_signature(&payload, signature, provider)?;
        let statement: InToto = serde_json::from_slice(&payload).map_err(decode)?;
        if serde_json::to_vec(&statement).map_err(encode)? != payload {
            return Err(bad("not in canonical form"));
        }
        if statement.kind != STATEMENT_TYPE || statement.predicate_type != PREDICATE_TYPE {
            return Err(bad("it is another kind of in-toto statement"));
        }
        let receipt = statement.predicate;
        if statement.subject != [receipt.subject()] {
            return Err(bad("its subject is not the outcome's root"));
        }
        receipt.check(provider)?;
        Ok(Verified {
            signer: provider,
            statement: receipt,
        })
    }
}

fn check_signature(
    payload: &[u8],
    signature: &DsseSignature,
    provider: ProviderId,
) -> Result<(), Error> {
    let forged = || Error::Signature {
        what: KIND,
        signer: provider.to_string(),
    };
    let raw = STANDARD.decode(&signature.sig).map_err(|_| forged())?;
    let raw = Signature::from_slice(&raw).map_err(|_| forged())?;
    VerifyingKey::from_bytes(&provider.0)
        .and_then(|key| key.verify_strict(&pre_authentication(payload), &raw))
        .map_err(|_| forged())
}

/// What is signed: DSSE's pre-authentication encoding, which binds the type and both lengths.
fn pre_authentication(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "DSSEv1 {} {PAYLOAD_TYPE} {} ",
        PAYLOAD_TYPE.len(),
        payload.len()
    )
    .into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

fn check_size(text: &str) -> Result<(), Error> {
    if text.len() > RECEIPT_BYTES_MAX {
        return Err(Error::TooLarge {
            what: KIND,
            size: text.len() as u64,
            max: RECEIPT_BYTES_MAX as u64,
        });
    }
    Ok(())
}

fn bad(reason: impl Into<String>) -> Error {
    Error::Decode {
        what: KIND,
        reason: reason.into(),
    }
}

fn decode(error: serde_json::Error) -> Error {
    bad(error.to_string())
}

fn encode(error: serde_json::Error) -> Error {
    Error::Encode {
        what: KIND,
        reason: error.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
