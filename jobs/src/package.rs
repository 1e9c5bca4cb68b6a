//! The package: a manifest with every name resolved to a digest. Its canonical bytes (RFC 8785 JSON)
//! are what a client signs, and their digest is the job's id.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::canonical;
use crate::compare::Comparator;
use crate::digest::{BlobRef, Digest};
use crate::ids::JobId;
use crate::money::Amount;
use crate::offer::DeviceKind;
use crate::openings::OpeningsRule;
use crate::policy::Policy;
use crate::{items, merkle};

/// The only package schema there is.
pub const PACKAGE_SCHEMA: u32 = 1;

/// Largest canonical package in bytes.
pub const PACKAGE_MAX: usize = 64 * 1024;

/// Everything that defines a job. Nothing in it is optional: what the manifest left out was resolved
/// when the package was made.
///
/// A package is stored and sent as its canonical text, never in a binary encoding: its tagged enums
/// need a self-describing format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// [`PACKAGE_SCHEMA`].
    pub schema: u32,
    /// Name, for people.
    pub name: String,
    /// The guest.
    pub component: BlobRef,
    /// Graphs it may load, by name.
    pub models: Vec<ModelRef>,
    /// What it works on.
    pub input: InputRef,
    /// Items in each shard but the last.
    pub items_per_shard: u32,
    /// What comes out.
    pub output: OutputFormat,
    /// How often each shard is executed.
    pub replication: Replication,
    /// Who may execute shards.
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub policy: Policy,
    /// When two outputs agree.
    pub comparator: Comparator,
    /// Caps on one execution of one shard.
    pub limits: Limits,
    /// The most the client pays in all, fee included.
    pub max_price: Amount,
    /// Milliseconds from admission within which the job must finish.
    pub deadline_ms: u64,
    /// Device every replica must run on; `None` accepts any.
    pub device: Option<DeviceKind>,
    /// Whether nodes of a graph for which the device has no kernel may run on the processor. Without
    /// it, such a graph is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cpu_nodes: bool,
    /// Identity of the tolerance profile that the comparator keeps to
    /// ([`crate::profile::VerifiedProfile::digest`]), if the client named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Digest>,
    /// Values within a model that every replica opens, if the client wants any opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openings: Option<OpeningsRule>,
    /// 32 hexadecimal digits chosen by the client, which make two runs of one job two jobs.
    pub nonce: String,
}

/// A graph by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRef {
    /// Name the guest loads it by.
    pub name: String,
    /// The model file.
    pub blob: BlobRef,
}

/// The job's input: an encoded item list ([`crate::items`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputRef {
    /// The encoded list.
    pub blob: BlobRef,
    /// Number of items.
    pub items: u32,
    /// Root of the Merkle tree over the items.
    pub root: Digest,
}

impl InputRef {
    /// Encodes a job's items; returns what a package says about them, and the blob itself.
    ///
    /// # Errors
    /// As [`items::encode`].
    pub fn of<I: AsRef<[u8]>>(items: &[I]) -> Result<(Self, Vec<u8>), Error> {
        let bytes = items::encode(items)?;
        let reference = Self {
            blob: BlobRef::of(&bytes),
            // The encoder has checked that the count fits.
            items: items.len() as u32,
            root: merkle::root(items),
        };
        Ok((reference, bytes))
    }
}

/// How outputs are merged, in shard order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "format", deny_unknown_fields)]
pub enum OutputFormat {
    /// Each output is one JSON text; merged to JSON lines.
    Jsonl,
    /// Each output is one row; merged to a NumPy array of shape `[items, shape...]`.
    Npy {
        /// Element type of a row, little-endian.
        dtype: Dtype,
        /// Shape of a row.
        shape: Vec<u32>,
    },
    /// Merged to an encoded item list.
    Items,
}

/// Element type of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// How often each shard is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replication {
    /// Replicas dispatched at once, all of which must agree: the quorum.
    pub replicas: u8,
    /// Replicas at which an undecided shard fails.
    pub max_replicas: u8,
}

/// Caps on one execution of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Fuel, in wasmtime's units.
    pub fuel: u64,
    /// Linear memory in bytes, summed over all memories.
    pub memory_bytes: u64,
    /// Bytes of one output.
    pub output_bytes_per_item: u32,
    /// Wall clock in milliseconds: a kill switch that pays nothing.
    pub wall_ms: u64,
}

impl Package {
    /// The canonical bytes: RFC 8785 JSON.
    ///
    /// # Errors
    /// If the package cannot be encoded or is larger than [`PACKAGE_MAX`].
    pub fn to_canonical(&self) -> Result<Vec<u8>, Error> {
        canonical::encode(self, "package", PACKAGE_MAX)
    }

    /// Parses canonical bytes; any other spelling of the same package is refused, so that a job has
    /// one id. Values are checked against the bounds of [`crate::manifest`].
    ///
    /// # Errors
    /// If the bytes are too large, not a package, not canonical, or out of bounds.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, Error> {
        let package: Self = canonical::decode(bytes, "package", PACKAGE_MAX)?;
        crate::manifest::check_bounds(&package)?;
        Ok(package)
    }

    /// The job's id.
    ///
    /// # Errors
    /// As [`Package::to_canonical`].
    pub fn id(&self) -> Result<JobId, Error> {
        Ok(JobId(Digest::of(&self.to_canonical()?)))
    }

    /// Every blob that must be at hand before the job can run.
    pub fn blobs(&self) -> impl Iterator<Item = BlobRef> + '_ {
        [self.component, self.input.blob]
            .into_iter()
            .chain(self.models.iter().map(|m| m.blob))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A small package in which every field is within its bounds.
    pub(crate) fn package() -> Package {
        let (input, _) = InputRef::of(&["one", "two", "three"]).unwrap();
        Package {
            schema: PACKAGE_SCHEMA,
            name: "test".into(),
            component: BlobRef::of(b"component"),
            models: vec![ModelRef {
                name: "model".into(),
                blob: BlobRef::of(b"model"),
            }],
            input,
            items_per_shard: 2,
            output: OutputFormat::Npy {
                dtype: Dtype::F32,
                shape: vec![2],
            },
            replication: Replication {
                replicas: 2,
                max_replicas: 5,
            },
            policy: Policy::Replicate,
            comparator: Comparator::Numeric {
                dtype: Dtype::F32,
                atol: 1e-4,
                rtol: 1e-3,
                min_cosine: 0.999,
                top1: None,
                rms: None,
            },
            limits: Limits {
                fuel: 1_000_000,
                memory_bytes: 1 << 20,
                output_bytes_per_item: 64,
                wall_ms: 1000,
            },
            max_price: Amount(1_000_000),
            deadline_ms: 60_000,
            device: None,
            cpu_nodes: false,
            profile: None,
            openings: None,
            nonce: "0".repeat(32),
        }
    }

    #[test]
    fn only_the_canonical_spelling_is_a_package() {
        let bytes = package().to_canonical().unwrap();
        assert_eq!(Package::from_canonical(&bytes).unwrap(), package());
        let text = String::from_utf8(bytes).unwrap();
        let pretty = serde_json::to_string_pretty(&package()).unwrap();
        for other in [
            pretty,
            format!("{text} "),
            text.replace("\"atol\":0.0001", "\"atol\":1e-4"),
            text.replace("\"schema\":1", "\"schema\":1.0"),
            text.replace("\"schema\":1", "\"extra\":0,\"schema\":1"),
            text.replace("\"schema\":1", "\"schema\":1,\"schema\":1"),
            text.replace("blake3:1", "blake3:\\u0031"),
        ] {
            if other != text {
                let error = Package::from_canonical(other.as_bytes()).unwrap_err();
                assert!(matches!(error, Error::Decode { .. }), "{other}: {error}");
            }
        }
        let error = Package::from_canonical(&vec![b' '; PACKAGE_MAX + 1]).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }

    #[test]
    fn a_nonce_makes_another_job() {
        let mut other = package();
        other.nonce = "1".repeat(32);
        assert_ne!(package().id().unwrap(), other.id().unwrap());
        assert_eq!(package().blobs().count(), 3);
    }

    #[test]
    fn every_comparator_survives_the_canonical_form() {
        use crate::compare::{json, sketch, tokens};
        let rule = |kind| json::Field {
            pointer: "/a".into(),
            rule: kind,
        };
        let (atol, rtol) = (1e-3, 0.0);
        let top = sketch::TopRule {
            chunk: 8192,
            top_k: 128,
            mismatches: 38,
            mean: 10.0,
            median: 8.0,
        };
        let (dims, distance) = (16, 0.125);
        for comparator in [
            Comparator::Exact,
            Comparator::Tokens(tokens::TokensRule {
                atol,
                draws: None,
                rms: Some(0.5),
            }),
            Comparator::Json(json::JsonRule { fields: vec![] }),
            Comparator::Json(json::JsonRule {
                fields: vec![rule(json::FieldRule::Numeric { atol, rtol })],
            }),
            Comparator::Fingerprint(sketch::SketchRule::Toploc(top)),
            Comparator::Fingerprint(sketch::SketchRule::ToplocF32(top)),
            Comparator::Fingerprint(sketch::SketchRule::Projection { dims, distance }),
        ] {
            let mut package = package();
            package.output = OutputFormat::Items;
            package.comparator = comparator;
            let bytes = package.to_canonical().unwrap();
            assert_eq!(Package::from_canonical(&bytes).unwrap(), package);
            // What is off has one spelling, which is none: so have packages of before.
            let text = String::from_utf8(bytes).unwrap();
            let other = text.replace(
                "\"atol\":0.001,\"kind\"",
                "\"atol\":0.001,\"draws\":null,\"kind\"",
            );
            assert!(other == text || Package::from_canonical(other.as_bytes()).is_err());
            let unknown = text.replace("\"kind\":\"", "\"kinds\":0,\"kind\":\"");
            assert!(
                Package::from_canonical(unknown.as_bytes()).is_err(),
                "{unknown}"
            );
        }
    }

    proptest! {
        /// Tolerances are floats, and a float that came back one bit off would break every
        /// signature over its package.
        #[test]
        fn any_tolerance_survives_the_canonical_form(
            atol in 0.0..1e6_f64, rtol in 0.0..1.0_f64, min_cosine in -1.0..1.0_f64,
        ) {
            let mut package = package();
            package.comparator = Comparator::Numeric { dtype: Dtype::F32, atol, rtol, min_cosine, top1: None, rms: None };
            let bytes = package.to_canonical().unwrap();
            prop_assert_eq!(Package::from_canonical(&bytes).unwrap(), package);
        }
    }
}
