//! The package: a manifest with every name resolved to a digest. Its canonical bytes (RFC 8785 JSON)
//! are what a client signs, and their digest is the job's id.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::compare::Comparator;
use crate::digest::{BlobRef, Digest};
use crate::ids::JobId;
use crate::money::Amount;
use crate::offer::DeviceKind;

/// The only package schema there is.
pub const PACKAGE_SCHEMA: u32 = 1;

/// Largest canonical package in bytes.
pub const PACKAGE_MAX: usize = 64 * 1024;

/// Everything that defines a job. Nothing in it is optional: what the manifest left out was resolved
/// when the package was made.
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
        let bytes = serde_json_canonicalizer::to_vec(self).map_err(|error| Error::Encode {
            what: "package",
            reason: error.to_string(),
        })?;
        check_size(bytes.len())?;
        Ok(bytes)
    }

    /// Parses canonical bytes; any other spelling of the same package is refused, so that a job has
    /// one id. Values are checked against the bounds of [`crate::manifest`].
    ///
    /// # Errors
    /// If the bytes are too large, not a package, not canonical, or out of bounds.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, Error> {
        check_size(bytes.len())?;
        let package: Self = serde_json::from_slice(bytes).map_err(|error| Error::Decode {
            what: "package",
            reason: error.to_string(),
        })?;
        if package.to_canonical()? != bytes {
            return Err(Error::Decode {
                what: "package",
                reason: "not in canonical form".into(),
            });
        }
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

fn check_size(size: usize) -> Result<(), Error> {
    if size > PACKAGE_MAX {
        return Err(Error::TooLarge {
            what: "package",
            size: size as u64,
            max: PACKAGE_MAX as u64,
        });
    }
    Ok(())
}
