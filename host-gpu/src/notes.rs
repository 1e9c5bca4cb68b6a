//! Noting what a graph gives: every value of one of its outputs, in the order of inferences, for whoever has to show
//! later that the graph was really run.

use crate::error::NnError;
use crate::graph::Graph;
use crate::models::ModelDigest;
use crate::tensor::TensorValue;
use std::fmt;
use std::sync::Arc;

/// Where noted values go.
pub trait NoteSink: Send + Sync {
    /// Takes the bytes of the output of one more inference: row-major, little-endian.
    ///
    /// # Errors
    /// If they cannot be kept, or there are too many; the guest is then stopped.
    fn note(&self, values: &[u8]) -> Result<(), NnError>;
}

/// What is noted while an instance runs.
#[derive(Clone)]
pub struct Notes {
    model: ModelDigest,
    output: String,
    sink: Arc<dyn NoteSink>,
}

impl Notes {
    /// Has every inference of the model noted, under whichever name a guest runs it.
    pub fn new(model: ModelDigest, output: String, sink: Arc<dyn NoteSink>) -> Self {
        Self {
            model,
            output,
            sink,
        }
    }

    /// Notes an output, if it is the one. One that is on a device is copied for it.
    pub(crate) fn take(&self, of: &Graph, name: &str, value: &TensorValue) -> Result<(), NnError> {
        if *of.digest() != self.model || name != self.output {
            return Ok(());
        }
        self.sink.note(value.host_bytes()?)
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Notes({} of {})", self.output, self.model)
    }
}
