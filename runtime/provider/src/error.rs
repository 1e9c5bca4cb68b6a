use std::io;
use std::path::{Path, PathBuf};

/// Why the daemon does not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration value out of bounds. Yours.
    #[error("provider configuration: {key} = {value}: {bound}")]
    Config {
        /// Which field.
        key: &'static str,
        /// Its value.
        value: String,
        /// The bound it breaks.
        bound: String,
    },
    /// Another daemon works in the data directory. Yours.
    #[error(
        "{} is in use by another provider (process {holder}): stop it, or choose another --data",
        path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Its process id, as far as it says.
        holder: String,
    },
    /// What was changed while a provider ran cannot be read. Yours.
    #[error(
        "{} does not hold changes of a provider: {reason}; remove it to go back to the configuration",
        path.display()
    )]
    Changes {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The key file is not one of ours. Yours.
    #[error("{} is not an identity key: {reason}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The journal is damaged before its end. Signing on could contradict what was signed before.
    #[error(
        "{} is damaged at byte {offset}: {reason}; what was signed can no longer be known, so nothing \
         is signed: restore the file or start with a new --data directory and identity",
        path.display()
    )]
    JournalCorrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// How.
        reason: String,
    },
    /// The journal could not be written once; whether the record is on the disk is unknown.
    #[error("the journal failed earlier and is closed until the next start")]
    JournalClosed,
    /// One record is larger than a record may be.
    #[error("a journal record has {size} bytes, at most {max} are allowed")]
    RecordTooLarge {
        /// Its size in bytes.
        size: usize,
        /// The bound in bytes.
        max: usize,
    },
    /// What was noted of open assignments fills its place.
    #[error("noted values of {needed} bytes do not fit: {used} of {max} bytes are used")]
    TracesFull {
        /// What there should be room for, in bytes.
        needed: u64,
        /// Used, in bytes.
        used: u64,
        /// The bound in bytes.
        max: u64,
    },
    /// The assignment has ended another way.
    #[error("the assignment has already ended: {how}")]
    Ended {
        /// How.
        how: &'static str,
    },
    /// The device asked for is not there. Nothing else is used in its place.
    #[error("this machine has no usable {kind} device: {reason}")]
    NoDevice {
        /// The kind.
        kind: String,
        /// What there is instead, or why not.
        reason: String,
    },
    /// No worker could be started.
    #[error("workers do not start: {0}")]
    Worker(runtime::FailureKind),
    /// The network does not start, or failed.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// A statement could not be made.
    #[error("could not make a statement: {0}")]
    Statement(#[from] jobs::Error),
    /// The system has no randomness.
    #[error("no randomness: {0}")]
    Random(getrandom::Error),
    /// The file system failed.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A task of ours died.
    #[error("a task of the daemon died: {0}")]
    Task(String),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// Whether the operator must change something, so that no retry can help.
    pub const fn is_callers_fault(&self) -> bool {
        if let Self::Network(error) = self {
            return error.is_callers_fault();
        }
        matches!(
            self,
            Self::Config { .. }
                | Self::Identity { .. }
                | Self::NoDevice { .. }
                | Self::Changes { .. }
        )
    }
}

/// Runs what blocks on the disk where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::Task(error.to_string())))
}
