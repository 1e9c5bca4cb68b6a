//! Why a job could not answer.

use std::fmt::Display;

/// Why a job could not answer. One error fails the whole shard, and alike on every honest replica, so its text should
/// name the item and the value at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An item is not what this job expects.
    #[error("bad input: {0}")]
    BadInput(String),
    /// A model could not be reached, or refused the tensors it was given.
    #[error("model: {0}")]
    Model(String),
    /// Anything else that kept the job from answering.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// An item is not what this job expects: `.map_err(Error::bad_input)?`.
    pub fn bad_input(reason: impl Display) -> Self {
        Self::BadInput(reason.to_string())
    }

    /// A model could not be reached, or refused its tensors.
    pub fn model(reason: impl Display) -> Self {
        Self::Model(reason.to_string())
    }

    /// Anything else.
    pub fn failed(reason: impl Display) -> Self {
        Self::Failed(reason.to_string())
    }
}

impl From<Error> for crate::bindings::JobError {
    fn from(error: Error) -> Self {
        match error {
            Error::BadInput(reason) => Self::BadInput(reason),
            Error::Model(reason) => Self::Model(reason),
            Error::Failed(reason) => Self::Failed(reason),
        }
    }
}
