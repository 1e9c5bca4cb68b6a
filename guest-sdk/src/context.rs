//! What a replica may know about its place in the job. Every replica of a shard is told the same.

#[cfg(target_arch = "wasm32")]
use crate::bindings::assay::job::context as host;

/// 128 bits drawn from the job and the shard: the only randomness there is. [`random_bytes`](crate::random_bytes) and
/// the `getrandom` crate grow theirs from it.
pub fn seed() -> (u64, u64) {
    host::seed()
}

/// The names of the models in the job's manifest, in its order.
pub fn models() -> Vec<String> {
    host::models()
}

/// The index of this shard in the job, from 0.
pub fn shard_index() -> u32 {
    host::shard_index()
}

/// The job-wide index of the first item of this shard, from 0.
pub fn item_offset() -> u64 {
    host::item_offset()
}

/// Outside a guest: the first shard of a job without models.
#[cfg(not(target_arch = "wasm32"))]
mod host {
    pub(super) fn seed() -> (u64, u64) {
        (0, 0)
    }

    pub(super) fn models() -> Vec<String> {
        Vec::new()
    }

    pub(super) fn shard_index() -> u32 {
        0
    }

    pub(super) fn item_offset() -> u64 {
        0
    }
}
