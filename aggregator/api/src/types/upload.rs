//! How far an upload is.

use jobs::digest::BlobRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::openapi::schema;

/// An upload of a job's blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UploadView {
    /// Which blob.
    #[schemars(with = "schema::BlobRef")]
    pub blob: BlobRef,
    /// Bytes of it that are here: go on from there.
    pub received: u64,
    /// Whether it is here, and is what it should be.
    pub complete: bool,
}
