//! `job.toml`: what a person writes.
//!
//! Parsing is the first of two steps: a [`Manifest`] is checked in itself but still names files;
//! [`Manifest::lock`] replaces every name by a digest and yields a [`Package`]. The files are read
//! by the caller, this crate never sees a path that it would open.

use serde::Serialize;

use crate::Error;
use crate::compare::Comparator;
use crate::digest::{BlobRef, Digest};
use crate::money::Amount;
use crate::offer::DeviceKind;
use crate::openings::OpeningsRule;
use crate::package::{Dtype, Replication};
use crate::package::{InputRef, Limits, ModelRef, OutputFormat, PACKAGE_SCHEMA, Package};
use crate::policy::Policy;
use crate::profile::VerifiedProfile;

mod bounds;
mod tolerances;
mod toml_text;
mod verify_text;

pub use bounds::{
    ATOL_MAX, DEADLINE_MS_MAX, DEADLINE_MS_MIN, FUEL_MAX, INPUT_BYTES_MAX, ITEMS_PER_SHARD_MAX,
    MEMORY_BYTES_MAX, MEMORY_BYTES_MIN, MODEL_BYTES_MAX, MODELS_BYTES_MAX, MODELS_MAX, NAME_MAX,
    NONCE_DIGITS, RANK_MAX, RESULT_BYTES_MAX, RTOL_MAX, SHARD_OUTPUT_BYTES_MAX, SHARDS_MAX,
    WALL_MS_MAX, WALL_MS_MIN, check_bounds,
};
pub(crate) use bounds::{row_bytes, within};

/// Largest manifest in bytes.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024;

/// Longest path in a manifest, in bytes.
pub const PATH_MAX: usize = 4096;

/// A parsed manifest: every value is within its bounds, every default is filled in, and files are
/// still names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Manifest {
    /// Name of the job.
    pub name: String,
    /// Path of the component. Paths are the client's own: relative to the manifest, or absolute.
    pub component: String,
    /// Models the guest may load.
    pub models: Vec<ModelSource>,
    /// What the job works on.
    pub input: InputSource,
    /// What comes out.
    pub output: OutputFormat,
    /// How often each shard is executed.
    pub replication: Replication,
    /// Who may execute shards.
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
    /// Whether nodes for which that device has no kernel may run on the processor.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cpu_nodes: bool,
    /// The tolerance profile that the comparator keeps to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileSource>,
    /// Values within a model that every replica opens, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openings: Option<OpeningsRule>,
}

/// A tolerance profile as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProfileSource {
    /// Path of the file: relative to the manifest or to the user's store, or absolute.
    pub path: String,
    /// What was read there: [`crate::profile::VerifiedProfile::digest`].
    pub digest: Digest,
}

/// A model as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelSource {
    /// Name the guest loads it by.
    pub name: String,
    /// Path of the file: relative to the manifest or to the user's store, or absolute.
    pub source: String,
    /// What the file must hash to.
    pub digest: Digest,
}

/// A job's input as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputSource {
    /// Path of a file, or of a folder if it splits into files.
    pub path: String,
    /// How it becomes items.
    pub split: Split,
    /// Items in each shard but the last.
    pub items_per_shard: u32,
}

/// How an input becomes items; [`crate::input`] does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Each line of a text is an item.
    Lines,
    /// Each file of a folder is an item.
    Files,
    /// Each row of a NumPy array is an item.
    NpyRows,
}

/// What the caller found behind a manifest's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The component.
    pub component: BlobRef,
    /// The models, in the manifest's order.
    pub models: Vec<BlobRef>,
    /// The encoded input, from [`InputRef::of`].
    pub input: InputRef,
    /// Random bytes that make this run another job than the last one.
    pub nonce: [u8; 16],
}

impl Manifest {
    /// Parses and checks the text of a `job.toml`.
    ///
    /// # Errors
    /// [`Error::Decode`] with the line if the text is no manifest or has an unknown key;
    /// [`Error::Field`] with the dotted key, the value and the bound if a value is absurd.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_with(text, None)
    }

    /// The path of the tolerance profile that the text names, if it does: to be read, and handed to
    /// [`Manifest::parse_with`].
    ///
    /// # Errors
    /// [`Error::Decode`] if the text is no TOML.
    pub fn profile_path(text: &str) -> Result<Option<String>, Error> {
        check_size(text)?;
        toml_text::profile_path(text)
    }

    /// As [`Manifest::parse`], of a manifest that names this profile.
    ///
    /// # Errors
    /// As [`Manifest::parse`]; [`Error::Field`] also if the profile is for none of the job's models, or
    /// the manifest's tolerances are looser than the profile's.
    pub fn parse_with(text: &str, profile: Option<&VerifiedProfile>) -> Result<Self, Error> {
        check_size(text)?;
        toml_text::parse(text, profile)
    }

    /// Replaces every name by what was found behind it.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] if a model is not the declared one, [`Error::Field`] if anything
    /// that only the files show (sizes, counts) is out of bounds.
    pub fn lock(self, resolved: Resolved) -> Result<Package, Error> {
        if resolved.models.len() != self.models.len() {
            let bound = format!("must be the manifest's {}", self.models.len());
            return Err(bounds::field("model", resolved.models.len(), bound));
        }
        let mut models = Vec::with_capacity(self.models.len());
        for (declared, blob) in self.models.into_iter().zip(resolved.models) {
            if declared.digest != blob.digest {
                return Err(Error::DigestMismatch {
                    what: format!("model {:?} ({})", declared.name, declared.source),
                    actual: blob.digest.to_string(),
                    expected: declared.digest.to_string(),
                });
            }
            let name = declared.name;
            models.push(ModelRef { name, blob });
        }
        let package = Package {
            schema: PACKAGE_SCHEMA,
            name: self.name,
            component: resolved.component,
            models,
            input: resolved.input,
            items_per_shard: self.input.items_per_shard,
            output: self.output,
            replication: self.replication,
            policy: self.policy,
            comparator: self.comparator,
            limits: self.limits,
            max_price: self.max_price,
            deadline_ms: self.deadline_ms,
            device: self.device,
            cpu_nodes: self.cpu_nodes,
            profile: self.profile.map(|profile| profile.digest),
            openings: self.openings,
            nonce: hex::encode(resolved.nonce),
        };
        check_bounds(&package)?;
        Ok(package)
    }

    /// Checks all that can be checked before any file was read.
    fn check(&self) -> Result<(), Error> {
        bounds::name("name", &self.name)?;
        path("component", &self.component)?;
        bounds::model_names(self.models.iter().map(|model| model.name.as_str()))?;
        for (model, index) in self.models.iter().zip(0_usize..) {
            path(&format!("model[{index}].source"), &model.source)?;
        }
        path("input.path", &self.input.path)?;
        bounds::items_per_shard(self.input.items_per_shard)?;
        bounds::limits(&self.limits, self.deadline_ms)?;
        bounds::output(&self.output, &self.limits)?;
        bounds::shard_output(self.input.items_per_shard, &self.limits)?;
        bounds::replication(&self.replication)?;
        bounds::policy(&self.policy, &self.replication)?;
        bounds::comparator(&self.comparator, &self.output)?;
        let models = self.models.iter().map(|model| model.name.as_str());
        bounds::openings(self.openings.as_ref(), models)?;
        bounds::price(self.max_price)
    }
}

fn check_size(text: &str) -> Result<(), Error> {
    if text.len() <= MANIFEST_BYTES_MAX {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: "manifest",
        size: text.len() as u64,
        max: MANIFEST_BYTES_MAX as u64,
    })
}

/// A path names the client's own file, so `..` and absolute paths are fine; emptiness is not.
fn path(key: &str, path: &str) -> Result<(), Error> {
    if path.is_empty() || path.len() > PATH_MAX || path.contains('\0') {
        let bound = format!("must be a path of 1 to {PATH_MAX} bytes");
        return Err(bounds::field(key, format!("{path:?}"), bound));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
