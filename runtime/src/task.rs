//! What goes into an execution and what comes out.

use std::path::PathBuf;

use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use jobs::offer::DeviceKind;
use jobs::outcome::{Fingerprint, Outcome};
use jobs::package::{Limits, Package};
use serde::{Deserialize, Serialize};

use crate::log::LogLine;
use crate::notes::Trace;

/// Most models in one task.
pub const MODELS_MAX: usize = 64;

/// Most bytes of encoded items that go into one execution, and of encoded outputs that come out.
pub const SHARD_BYTES_MAX: usize = 256 << 20;

/// A blob on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalBlob {
    /// Where it lies; absolute, because a worker has a directory of its own. Only read.
    pub path: PathBuf,
    /// Its digest and size. Checked before it is used.
    pub blob: BlobRef,
}

/// A model of the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalModel {
    /// The name in the manifest, by which the guest loads it.
    pub name: String,
    /// The file.
    pub file: LocalBlob,
}

/// A tensor whose values are noted, inference by inference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noting {
    /// A graph of the job.
    pub graph: String,
    /// An output of it, of 32-bit floats.
    pub tensor: String,
}

impl Noting {
    /// What a package has noted.
    pub fn of(package: &Package) -> Option<Self> {
        package.openings.as_ref().map(|rule| Self {
            graph: rule.graph.clone(),
            tensor: rule.tensor.clone(),
        })
    }
}

/// One execution of one shard. The encoded items ([`jobs::items::encode`]) travel beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardTask {
    /// The job; seeds the guest's randomness.
    pub job: JobId,
    /// The shard's index in the job.
    pub shard: u32,
    /// The job-wide index of its first item.
    pub first_item: u64,
    /// The guest.
    pub component: LocalBlob,
    /// The graphs it may load, in the manifest's order.
    pub models: Vec<LocalModel>,
    /// Where graphs run. Never replaced by another.
    pub device: DeviceKind,
    /// Whether nodes for which the device has no kernel may run on the processor.
    pub cpu_nodes: bool,
    /// What is noted meanwhile, if anything.
    pub noting: Option<Noting>,
    /// The job's limits.
    pub limits: Limits,
}

/// What an execution produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardOutcome {
    /// What is committed to, revealed and paid for.
    pub outcome: Outcome,
    /// The encoded outputs that `outcome.outputs` names.
    pub outputs: Vec<u8>,
    /// What the guest logged.
    pub log: Vec<LogLine>,
    /// The values that `outcome.noted` names, if any were to be noted.
    pub trace: Option<Trace>,
}

/// A device that tasks can run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// Its kind.
    pub kind: DeviceKind,
    /// The maker's name of it.
    pub name: String,
    /// Its memory in bytes; 0 if the machine does not say.
    pub memory_bytes: u64,
    /// The execution class of what runs on it.
    pub fingerprint: Fingerprint,
}

/// What a sandbox can do on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Usable devices; the processor is always the first.
    pub devices: Vec<DeviceReport>,
    /// Why models cannot be used, if they cannot. Jobs without models run all the same.
    pub no_models: Option<String>,
}

impl ProbeReport {
    /// The first device of a kind.
    pub fn device(&self, kind: DeviceKind) -> Option<&DeviceReport> {
        self.devices.iter().find(|device| device.kind == kind)
    }
}

/// The digest as `host-gpu` writes it: the same 32 bytes.
pub(crate) fn model_digest(digest: &Digest) -> host_gpu::ModelDigest {
    host_gpu::ModelDigest(*digest.as_bytes())
}
