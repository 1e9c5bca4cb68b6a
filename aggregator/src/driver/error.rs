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
    /// An idempotency key stands for another request already: the client's fault.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// Another request under the same idempotency key is not answered yet.
    #[error("a request under this idempotency key is being decided")]
    InFlight,
    /// Too many answers are kept under idempotency keys.
    #[error(
        "{max} answers are kept under this client's idempotency keys already, the most there may be"
    )]
    KeysFull {
        /// The bound.
        max: u32,
    },
    /// A signed request was taken before.
    #[error("a request with the nonce {nonce:?} was taken before: sign each request anew")]
    Replayed {
        /// Its nonce.
        nonce: String,
    },
    /// A signature is too old or too new.
    #[error(
        "the request was signed at {created} and the aggregator's clock says {now} (seconds since 1970), \
         a difference of {} s: they may differ by {window} s", created.abs_diff(*now)
    )]
    SignatureTime {
        /// When it was made, by the client's clock.
        created: u64,
        /// Our time.
        now: u64,
        /// By how much they may differ.
        window: u64,
    },
    /// Too many nonces are remembered.
    #[error("{held} signed requests were taken lately, the bound is {max}")]
    NoncesFull {
        /// How many.
        held: usize,
        /// The bound.
        max: usize,
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
    /// Whether a request was refused by name, so that nothing is wrong with us.
    pub(crate) const fn is_a_refusal(&self) -> bool {
        matches!(
            self,
            Self::KeyReused
                | Self::InFlight
                | Self::KeysFull { .. }
                | Self::Replayed { .. }
                | Self::SignatureTime { .. }
                | Self::NoncesFull { .. }
                | Self::NotStored(_)
        )
    }

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
