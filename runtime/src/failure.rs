//! Why a shard produced no outcome, and whose fault it was.
//!
//! The distinction pays: what the guest caused happens on every replica and ends the job; what the
//! host caused says nothing about the job, and another provider may do better.

use serde::{Deserialize, Serialize};

use crate::limits::LimitHit;
use crate::log::{LogLine, printable};

/// Longest reason that a failure carries, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The job's: deterministic, equal on every replica.
    Guest,
    /// This machine's, or the clock's: another replica may succeed.
    Host,
}

/// A shard that ended without an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{kind}")]
pub struct Failure {
    /// What happened.
    pub kind: FailureKind,
    /// Fuel burnt until then; zero if the guest was never entered or its worker was lost.
    pub fuel: u64,
    /// What the guest had logged until then.
    pub log: Vec<LogLine>,
}

/// What happened. Limits name the value and the bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum FailureKind {
    /// The guest answered with an error of its own.
    #[error("the job answered {kind}: {message}")]
    Guest {
        /// Which case of `job-error`.
        kind: GuestError,
        /// The guest's text, printable and cut.
        message: String,
    },
    /// The component is not a job.
    #[error("the component is refused: {reason}")]
    Component {
        /// Why.
        reason: String,
    },
    /// A trap that is not one of the limits below.
    #[error("the guest trapped: {what}")]
    Trap {
        /// Which.
        what: String,
    },
    /// All fuel burnt.
    #[error("the guest burnt all of its {limit} units of fuel")]
    FuelExhausted {
        /// The job's limit.
        limit: u64,
    },
    /// Linear memory, all memories together.
    #[error("the guest wanted {wanted} bytes of memory, the limit is {limit}")]
    MemoryLimit {
        /// Bytes it asked for, in all.
        wanted: u64,
        /// The job's limit.
        limit: u64,
    },
    /// Table elements, all tables together.
    #[error("the guest wanted {wanted} table elements, the limit is {limit}")]
    TableLimit {
        /// Elements it asked for, in all.
        wanted: u64,
        /// The bound.
        limit: u64,
    },
    /// Core instances, memories or tables in one component.
    #[error("the component has too many parts: {reason}")]
    InstanceLimit {
        /// Which, as the engine counts.
        reason: String,
    },
    /// The guest's call stack.
    #[error("the guest's calls nest deeper than {limit} bytes of stack")]
    StackLimit {
        /// The bound in bytes.
        limit: u64,
    },
    /// Bytes that crossed between guest and host in one call.
    #[error("one call moved more than {limit} bytes between guest and host")]
    HostcallLimit {
        /// The bound in bytes.
        limit: u64,
    },
    /// Component-model handles held at once.
    #[error("the guest holds more than {limit} handles")]
    HandleLimit {
        /// The bound.
        limit: u64,
    },
    /// Tensors, graphs, contexts and errors held at once.
    #[error("the guest holds more than {limit} tensors, graphs, contexts and errors")]
    ResourceLimit {
        /// The bound.
        limit: u64,
    },
    /// One output is too long.
    #[error("the output of item {item} has {bytes} bytes, the limit is {limit}")]
    OutputLimit {
        /// Position in the shard.
        item: u32,
        /// Its length.
        bytes: u64,
        /// The job's limit.
        limit: u64,
    },
    /// There must be exactly one output per item.
    #[error("the guest gave {outputs} outputs for {items} items")]
    OutputCount {
        /// Outputs.
        outputs: u64,
        /// Items.
        items: u64,
    },
    /// Bytes logged.
    #[error("the guest logged {wanted} bytes, the limit is {limit}")]
    LogLimit {
        /// Bytes with the line that was refused.
        wanted: u64,
        /// The bound.
        limit: u64,
    },
    /// Lines logged.
    #[error("the guest logged more than {limit} lines")]
    LogLines {
        /// The bound.
        limit: u32,
    },
    /// Values of a tensor that the job has noted.
    #[error("the job has {wanted} bytes of values noted, the limit is {limit}: cut smaller shards")]
    NotesLimit {
        /// What there would be.
        wanted: u64,
        /// The bound.
        limit: u64,
    },
    /// The model is not one that the library can load.
    #[error("model {name} is refused: {reason}")]
    ModelRefused {
        /// Its name in the manifest.
        name: String,
        /// Why.
        reason: String,
    },
    /// The task contradicts itself, or breaks a bound of the protocol.
    #[error("the task is refused: {reason}")]
    Task {
        /// Why.
        reason: String,
    },

    /// The wall clock: a kill switch that says nothing about the job.
    #[error("{what} took longer than {limit_ms} ms")]
    Deadline {
        /// Preparing or running.
        what: String,
        /// The bound in milliseconds.
        limit_ms: u64,
    },
    /// The device or its library failed, or is not there.
    #[error("models cannot be used here: {reason}")]
    Device {
        /// Why.
        reason: String,
    },
    /// A blob is missing here, or is not the one that its digest names.
    #[error("{what}: {reason}")]
    Blob {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
    /// The engine failed for a reason that is not in the component.
    #[error("the engine failed: {reason}")]
    Engine {
        /// Why.
        reason: String,
    },
    /// The worker process died, could not start, or broke the protocol.
    #[error("the worker was lost: {reason}")]
    WorkerLost {
        /// Why.
        reason: String,
    },
    /// Every worker is busy and the queue is full.
    #[error("{waiting} tasks already wait for a worker, the bound is {limit}")]
    Busy {
        /// Tasks that wait.
        waiting: u64,
        /// The bound.
        limit: u64,
    },
}

/// A case of the WIT's `job-error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestError {
    /// An item is not what the job expects.
    BadInput,
    /// A model refused what it was given.
    Model,
    /// Anything else.
    Failed,
}

impl std::fmt::Display for GuestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BadInput => "bad-input",
            Self::Model => "model",
            Self::Failed => "failed",
        })
    }
}

impl FailureKind {
    /// Whose fault it is.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Deadline { .. }
            | Self::Device { .. }
            | Self::Blob { .. }
            | Self::Engine { .. }
            | Self::WorkerLost { .. }
            | Self::Busy { .. } => Cause::Host,
            Self::Guest { .. }
            | Self::Component { .. }
            | Self::Trap { .. }
            | Self::FuelExhausted { .. }
            | Self::MemoryLimit { .. }
            | Self::TableLimit { .. }
            | Self::InstanceLimit { .. }
            | Self::StackLimit { .. }
            | Self::HostcallLimit { .. }
            | Self::HandleLimit { .. }
            | Self::ResourceLimit { .. }
            | Self::OutputLimit { .. }
            | Self::OutputCount { .. }
            | Self::LogLimit { .. }
            | Self::LogLines { .. }
            | Self::NotesLimit { .. }
            | Self::ModelRefused { .. }
            | Self::Task { .. } => Cause::Guest,
        }
    }

    /// Whether the process that ran the guest may run another. Only after a guest that returned, or
    /// was never entered.
    pub fn leaves_worker_clean(&self) -> bool {
        matches!(
            self,
            Self::Guest { .. }
                | Self::Component { .. }
                | Self::OutputLimit { .. }
                | Self::OutputCount { .. }
                | Self::ModelRefused { .. }
                | Self::Task { .. }
                | Self::Blob { .. }
        )
    }

    pub(crate) fn component(reason: impl std::fmt::Display) -> Self {
        Self::Component {
            reason: cut(reason),
        }
    }

    pub(crate) fn engine(reason: impl std::fmt::Display) -> Self {
        Self::Engine {
            reason: cut(reason),
        }
    }

    pub(crate) fn task(reason: impl std::fmt::Display) -> Self {
        Self::Task {
            reason: cut(reason),
        }
    }

    pub(crate) fn lost(reason: impl std::fmt::Display) -> Self {
        Self::WorkerLost {
            reason: cut(reason),
        }
    }

    pub(crate) fn blob(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Blob {
            what: what.into(),
            reason: cut(reason),
        }
    }

    pub(crate) fn guest(kind: GuestError, message: &str) -> Self {
        Self::Guest {
            kind,
            message: cut(message),
        }
    }

    /// What loading a model failed with.
    pub(crate) fn model(name: &str, error: &host_gpu::NnError) -> Self {
        use host_gpu::NnError;
        match error {
            NnError::GraphRejected { .. } | NnError::Misplaced { .. } | NnError::Guest(_) => {
                Self::ModelRefused {
                    name: name.to_owned(),
                    reason: cut(error),
                }
            }
            NnError::DigestMismatch { .. } | NnError::ModelMissing { .. } | NnError::Io { .. } => {
                Self::blob(format!("model {name}"), error)
            }
            NnError::Timeout { what, limit } => Self::Deadline {
                what: (*what).to_owned(),
                limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            },
            _ => Self::Device { reason: cut(error) },
        }
    }

    /// What a call into the guest, or its instantiation, failed with.
    ///
    /// Some of the engine's errors have no type of their own; their text is pinned by the tests of
    /// [`crate::limits`].
    pub(crate) fn execution(error: &wasmtime::Error, limits: &crate::ShardLimits) -> Self {
        use wasmtime::Trap;
        if let Some(LimitHit(kind)) = error.downcast_ref::<LimitHit>() {
            return kind.clone();
        }
        if let Some(error) = error.downcast_ref::<host_gpu::NnError>() {
            return match error {
                host_gpu::NnError::TableFull { bound } => Self::ResourceLimit {
                    limit: *bound as u64,
                },
                host_gpu::NnError::NotesFull { wanted, limit } => Self::NotesLimit {
                    wanted: *wanted,
                    limit: *limit,
                },
                // A run may take what is left of the shard's time; what the job allows is the bound.
                host_gpu::NnError::Timeout { what, .. } => Self::Deadline {
                    what: (*what).to_owned(),
                    limit_ms: limits.job.wall_ms,
                },
                other => Self::model("of the job", other),
            };
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => {
                return Self::FuelExhausted {
                    limit: limits.job.fuel,
                };
            }
            Some(Trap::StackOverflow) => {
                return Self::StackLimit {
                    limit: crate::limits::WASM_STACK_BYTES_MAX as u64,
                };
            }
            Some(trap) => {
                return Self::Trap {
                    what: trap.to_string(),
                };
            }
            None => {}
        }
        // Only the innermost error: the backtrace around it spells names that the guest gave its
        // functions, and it is long.
        Self::by_text(&error.root_cause().to_string(), limits)
    }

    fn by_text(text: &str, limits: &crate::ShardLimits) -> Self {
        if text.contains("fuel allocated for hostcalls has been exhausted") {
            let limit = limits.hostcall_bytes;
            return Self::HostcallLimit { limit };
        }
        if text.contains("store handle limit exceeded") {
            let limit = u64::from(limits.handles);
            return Self::HandleLimit { limit };
        }
        if text.contains("resource limit exceeded") {
            return Self::InstanceLimit { reason: cut(text) };
        }
        if text.contains("maximum concurrent") {
            return Self::engine(text); // the pool is full: ours
        }
        Self::Trap { what: cut(text) }
    }
}

fn cut(text: impl std::fmt::Display) -> String {
    printable(&text.to_string(), REASON_BYTES_MAX)
}

impl Failure {
    /// Whose fault it is.
    pub fn cause(&self) -> Cause {
        self.kind.cause()
    }
}

impl From<FailureKind> for Failure {
    fn from(kind: FailureKind) -> Self {
        Self {
            kind,
            fuel: 0,
            log: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_travel_and_read_well() {
        let kind = FailureKind::MemoryLimit {
            wanted: 131_072,
            limit: 65_536,
        };
        let failure = Failure::from(kind);
        let bytes = postcard::to_stdvec(&failure).unwrap();
        assert_eq!(postcard::from_bytes::<Failure>(&bytes).unwrap(), failure);
        assert_eq!(
            failure.to_string(),
            "the guest wanted 131072 bytes of memory, the limit is 65536"
        );
        assert_eq!(failure.cause(), Cause::Guest);
    }

    #[test]
    fn a_run_that_is_late_names_the_jobs_bound_and_not_what_was_left_of_it() {
        let limits = crate::ShardLimits::from(jobs::package::Limits {
            fuel: 1,
            memory_bytes: 1,
            output_bytes_per_item: 1,
            wall_ms: 150,
        });
        let late = host_gpu::NnError::Timeout {
            what: "a compute",
            limit: std::time::Duration::from_millis(149),
        };
        let kind = FailureKind::execution(&late.into(), &limits);
        assert_eq!(kind.to_string(), "a compute took longer than 150 ms");
    }

    #[test]
    fn reasons_are_cut_and_printable() {
        let FailureKind::WorkerLost { reason } = FailureKind::lost("\x1b".repeat(100_000)) else {
            panic!("another kind")
        };
        assert!(reason.len() < REASON_BYTES_MAX + 20 && !reason.contains('\x1b'));
    }
}
