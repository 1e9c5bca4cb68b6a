use std::net::SocketAddr;
use std::path::PathBuf;

use ledger::LedgerError;
use store::StoreError;

/// Why an aggregator cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of bounds: the operator's fault.
    #[error("{0}")]
    Config(String),
    /// The data directory cannot be used.
    #[error("data directory {path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What failed.
        source: std::io::Error,
    },
    /// The HTTP address cannot be used.
    #[error("cannot listen on {address}: {source}")]
    Http {
        /// Which.
        address: SocketAddr,
        /// What failed.
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger does not add up.
    #[error(transparent)]
    Ledger(Box<LedgerError>),
    /// The event log does not add up. Nothing is repaired silently.
    #[error("refusing to serve: {0}")]
    Log(String),
    /// The network failed. Boxed, because it names much.
    #[error(transparent)]
    Network(Box<network::Error>),
    /// A type of the protocol could not be made or checked.
    #[error(transparent)]
    Jobs(#[from] jobs::Error),
    /// An event was not stored, and so did not happen.
    #[error("not stored: {0}")]
    NotStored(String),
    /// An idempotency key stands for another package already: the client's fault.
    #[error("this idempotency key was used for another package")]
    KeyReused,
    /// A job was submitted under too many idempotency keys.
    #[error("this job was submitted under {max} idempotency keys already")]
    KeysFull {
        /// The bound.
        max: u32,
    },
    /// Too much waits already.
    #[error("{waiting} events wait already, the bound is {max}")]
    Busy {
        /// How many.
        waiting: usize,
        /// The bound.
        max: usize,
    },
    /// The aggregator is stopping.
    #[error("the aggregator is stopping")]
    Stopping,
}

impl Error {
    /// Whether the operator must change a setting, so that no retry can help.
    pub const fn is_callers_fault(&self) -> bool {
        matches!(self, Self::Config(_))
    }
}

impl From<network::Error> for Error {
    fn from(error: network::Error) -> Self {
        Self::Network(Box::new(error))
    }
}

impl From<LedgerError> for Error {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(Box::new(error))
    }
}
