//! The tolerance profile of a model: how far honest answers were apart where it was measured, how far
//! those of cheats, and the tolerance between the two, with its rates of error.
//!
//! A profile is what one person measured on one machine, signed by them. It is made from numbers alone
//! ([`ToleranceProfile::measure`]); how those came about is not this crate's business. A manifest that
//! names a profile takes its tolerances from it and may only be stricter.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::digest::{BlobRef, Digest, Domain};
use crate::envelope::{ClientKey, verify_blob};
use crate::ids::ClientId;
use crate::outcome::Fingerprint;
use crate::package::Dtype;

mod bounds;
mod measure;
pub mod statistics;

pub use measure::{Cheating, Measured, Run, Settings};
use statistics::{Spread, Tail};

/// The only schema there is.
pub const PROFILE_SCHEMA: u32 = 1;
/// Largest profile as a file, in bytes.
pub const PROFILE_BYTES_MAX: usize = 256 * 1024;
/// Most variants, and most cheats, of one profile.
pub const RUNS_MAX: usize = 64;
/// Most samples of one profile.
pub const SAMPLES_MAX: usize = 4096;
/// Longest text in a profile, in bytes.
pub const TEXT_MAX: usize = 512;

/// What a profile says it is, and what is signed in front of it.
const KIND: &str = "assay/tolerance-profile/v1";

/// See the module. Every number is finite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToleranceProfile {
    /// `assay/tolerance-profile/v1`.
    pub kind: String,
    /// [`PROFILE_SCHEMA`].
    pub schema: u32,
    /// The model.
    pub model: BlobRef,
    /// Its inputs and outputs, each as `name type [dimensions]`.
    pub signature: Signature,
    /// What was measured.
    pub subject: Subject,
    /// The ways in which it ran, the first of which is how jobs run it.
    pub variants: Vec<Variant>,
    /// How far they were apart.
    pub noise: Noise,
    /// What counts as agreement.
    pub tolerance: Tolerance,
    /// How often honest answers will be taken for wrong ones.
    pub honest: HonestRate,
    /// How often wrong answers will be found.
    pub cheats: Vec<CheatRate>,
    /// What was not measured, and why.
    pub skipped: Vec<Skipped>,
    /// Where: a line on processor, system and memory.
    pub machine: String,
}

/// A model's inputs and outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// What it takes.
    pub inputs: Vec<String>,
    /// What it gives.
    pub outputs: Vec<String>,
}

/// What was compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The output, by name.
    pub output: String,
    /// Its element type.
    pub dtype: Dtype,
    /// Whether only the last position of each sample was compared.
    pub last_position: bool,
    /// Whether the tolerance holds when items share a batch with others than before.
    pub any_batch: bool,
    /// Samples, each one item.
    pub samples: u32,
    /// Where they came from.
    pub inputs: String,
    /// Digest of the encoded samples.
    pub inputs_digest: Digest,
}

/// One way in which the model ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// What is special about it.
    pub name: String,
    /// The execution class.
    pub fingerprint: Fingerprint,
    /// Rows that shared a run.
    pub batch: u32,
    /// Whether it counts for noise and tolerance.
    pub counted: bool,
    /// Samples whose answer equals the first variant's bit for bit.
    pub identical: u32,
    /// Largest distance (max-norm) from the first variant.
    pub max_norm: f64,
}

/// How far honest answers are apart, over all pairs of counted variants and all samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Pairs of answers.
    pub pairs: u64,
    /// Of these equal bit for bit.
    pub identical: u64,
    /// `max|a - b| / max(max|a|, max|b|)`.
    pub max_norm: Spread,
    /// One less the cosine similarity.
    pub cosine_gap: Spread,
    /// Pairs whose largest elements stand at different places.
    pub flips: u64,
    /// The largest margin, relative to the largest magnitude, by which such a pair disagreed.
    pub flip_margin: f64,
}

/// What counts as agreement: the numeric comparator's words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// Absolute tolerance.
    pub atol: f64,
    /// Tolerance relative to the item's largest magnitude.
    pub rtol: f64,
    /// Least cosine similarity.
    pub min_cosine: f64,
    /// The margin, relative to the largest magnitude, above which the largest element must stand at the
    /// same place: twice `rtol`, so it follows from `rtol` and costs nobody anything.
    pub top1_margin: f64,
    /// By what the largest honest distance was multiplied. The floor (eight units of the last place in half
    /// precision, 128 in others) may make it more.
    pub safety: f64,
}

/// How often an honest answer is taken for a wrong one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HonestRate {
    /// What was asked for.
    pub target: f64,
    /// Samples none of whose pairs exceeded the tolerance, which are all of them.
    pub samples: u32,
    /// What that proves at 95 % confidence, whatever the distribution, if samples are independent:
    /// about three by their number.
    pub proven: f64,
    /// The log-normal distribution fitted to each sample's largest distance.
    pub tail: Option<Tail>,
    /// What that distribution makes of the tolerance: an estimate, and no more.
    pub estimate: Option<f64>,
}

/// How often a cheat is found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheatRate {
    /// Which.
    pub name: String,
    /// What exactly was done.
    pub how: String,
    /// Items that it answered.
    pub items: u32,
    /// Of these refused by every counted variant.
    pub caught: u32,
    /// Each item's distance from the variant that it is closest to.
    pub max_norm: Spread,
    /// One less the cosine similarity, likewise.
    pub cosine_gap: Spread,
    /// Whether it is found, sometimes found or never found.
    pub verdict: Detection,
    /// The share of items caught.
    pub per_item: f64,
    /// What that proves from below at 95 % confidence.
    pub per_item_low: f64,
    /// The chance that at least one of so many items gives it away.
    pub among: Vec<Among>,
}

/// Whether a cheat is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detection {
    /// By every item.
    Detected,
    /// By some items.
    Partly,
    /// By none.
    NotDetected,
}

impl std::fmt::Display for Detection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Detected => "detected",
            Self::Partly => "in part",
            Self::NotDetected => "NOT detected",
        })
    }
}

/// A rate over several items.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Among {
    /// So many items are checked.
    pub items: u32,
    /// The chance that at least one is caught.
    pub rate: f64,
    /// The same, from [`CheatRate::per_item_low`].
    pub rate_low: f64,
}

/// Something that was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// A profile as it lies in a file: not yet believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedProfile {
    profile: ToleranceProfile,
    /// Sigstore bundle v0.3 (JSON text).
    bundle: String,
    /// The signer's public key, PEM (SPKI).
    public_key: String,
}

/// A profile whose signature was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedProfile {
    /// Its identity: of what was signed, whatever the file looks like.
    pub digest: Digest,
    /// Who signed.
    pub signer: ClientId,
    /// What was signed.
    pub profile: ToleranceProfile,
}

impl ToleranceProfile {
    /// The canonical bytes: RFC 8785 JSON.
    ///
    /// # Errors
    /// If a value is out of bounds.
    pub fn to_canonical(&self) -> Result<Vec<u8>, Error> {
        bounds::check(self)?;
        let bytes = serde_json_canonicalizer::to_vec(self).map_err(|error| Error::Encode {
            what: "tolerance profile",
            reason: error.to_string(),
        })?;
        bounds::size(bytes.len())?;
        Ok(bytes)
    }

    /// Its identity.
    ///
    /// # Errors
    /// As [`ToleranceProfile::to_canonical`].
    pub fn digest(&self) -> Result<Digest, Error> {
        Ok(Digest::bind(Domain::Profile, &[&self.to_canonical()?]))
    }

    /// Signs it: the kind, a line break and the canonical bytes, so that nothing else that the key signs
    /// is ever a profile.
    ///
    /// # Errors
    /// If a value is out of bounds or the cryptographic library fails.
    pub fn sign(self, key: &ClientKey) -> Result<SignedProfile, Error> {
        let bundle = key.sign_blob(&message(&self)?)?;
        Ok(SignedProfile {
            profile: self,
            bundle,
            public_key: key.public_key_pem(),
        })
    }
}

fn message(profile: &ToleranceProfile) -> Result<Vec<u8>, Error> {
    let mut message = format!("{KIND}\n").into_bytes();
    message.extend_from_slice(&profile.to_canonical()?);
    Ok(message)
}

impl SignedProfile {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// If it is too large or no profile.
    pub fn parse(text: &str) -> Result<Self, Error> {
        bounds::size(text.len())?;
        serde_json::from_str(text).map_err(|error| Error::Decode {
            what: "tolerance profile",
            reason: error.to_string(),
        })
    }

    /// The text of a file, for people.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn to_text(&self) -> Result<String, Error> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::Encode {
            what: "tolerance profile",
            reason: error.to_string(),
        })?;
        bounds::size(text.len())?;
        Ok(text + "\n")
    }

    /// Checks every bound and the signature.
    ///
    /// # Errors
    /// If either fails.
    pub fn verify(&self) -> Result<VerifiedProfile, Error> {
        let signer = verify_blob(&message(&self.profile)?, &self.bundle, &self.public_key)?;
        Ok(VerifiedProfile {
            digest: self.profile.digest()?,
            signer,
            profile: self.profile.clone(),
        })
    }
}

/// The elements of an answer.
///
/// # Errors
/// If the bytes are no whole number of elements.
pub fn elements(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f64>, Error> {
    if !bytes.len().is_multiple_of(dtype.size()) {
        return Err(Error::Decode {
            what: "answer",
            reason: format!("{} bytes are no whole number of {dtype:?}", bytes.len()),
        });
    }
    let value = |chunk: &[u8]| match *chunk {
        [a, b] => half::f16::from_le_bytes([a, b]).to_f64(),
        [a, b, c, d] => f64::from(f32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => f64::NAN,
    };
    Ok(bytes.chunks_exact(dtype.size()).map(value).collect())
}

#[cfg(test)]
pub(crate) mod tests;
