//! What an operator asks about blobs that nobody needs any more.

use jobs::ids::JobId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::openapi::schema;

/// Has blobs removed, or asks which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CollectionRequest {
    /// Remove nothing, and say what would be removed.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a round removed, or would remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CollectionView {
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// Finished jobs whose results are kept no longer.
    #[schemars(with = "Vec<schema::JobId>")]
    pub jobs: Vec<JobId>,
    /// Blobs removed.
    pub blobs: u64,
    /// Bytes that they took.
    pub bytes: u64,
    /// Whether there is more for another round.
    pub more: bool,
    /// Blobs that are held now.
    pub blobs_left: u64,
    /// Bytes that they take.
    pub bytes_left: u64,
    /// The most that they may take.
    pub quota: u64,
    /// Days for which results are kept; 0: until their room is needed.
    pub keep_days: u32,
}
