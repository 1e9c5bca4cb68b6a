//! The words between a parent and its worker. The parent asks one thing at a time.
//!
//! ```text
//! parent                         worker
//! Hello(settings)          ->
//!                          <-    Hello { engine }        hardened, ready for tasks
//! Probe                    ->
//!                          <-    Probe(report)
//! Execute(task) + items    ->
//!                          <-    Prepared                compiled, models loaded; the wall clock starts
//!                          <-    Done(outcome) + outputs
//!                          <-    Trace + chunks          as often as it takes, where values were noted
//!                                or Failed(failure), also in place of Prepared
//! ```
//!
//! A parent that calibrates wants models and no guests:
//!
//! ```text
//! HelloModels(confinement) ->
//!                          <-    Hello { engine }
//! Ports(model)             ->
//!                          <-    Ports(ports)            or Failed(failure)
//! RunModel(run) + samples  ->
//!                          <-    Ran(what) + answers     or Failed(failure)
//! ```

use jobs::outcome::Outcome;
use serde::{Deserialize, Serialize};

use super::confine::Confinement;
use crate::failure::Failure;
use crate::log::LogLine;
use crate::model::{ModelPorts, ModelRan, ModelRun};
use crate::sandbox::SandboxConfig;
use crate::task::{LocalBlob, ProbeReport, ShardTask};

/// What a parent asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The first word: what to give up, and how to make the sandbox.
    Hello(Confinement, SandboxConfig),
    /// What can this machine do?
    Probe,
    /// Execute a shard; its items are the frame's body.
    Execute(ShardTask),
    /// The first word to a worker that runs models and no guests: what to give up.
    HelloModels(Confinement),
    /// What does a model take and give?
    Ports(LocalBlob),
    /// Run a model over samples; they are the frame's body.
    RunModel(ModelRun),
}

/// What a worker answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// Hardened and ready.
    Hello {
        /// The worker's [`crate::engine::engine_id`], which must equal the parent's.
        engine: String,
        /// What this machine would not let it give up.
        missing: Vec<String>,
    },
    /// Devices and fingerprints.
    Probe(ProbeReport),
    /// The guest is entered now.
    Prepared,
    /// An outcome; its outputs are the frame's body.
    Done {
        /// What is committed to.
        outcome: Outcome,
        /// What the guest logged.
        log: Vec<LogLine>,
    },
    /// The next of the chunks that the outcome before notes; they are the frame's body.
    Trace,
    /// No outcome.
    Failed(Failure),
    /// What a model takes and gives.
    Ports(ModelPorts),
    /// A model ran; its answers are the frame's body.
    Ran(ModelRan),
}
