//! `assay:job/context`: what a replica may know about its place in the job.

use jobs::digest::{Digest, Domain};
use jobs::ids::JobId;

use crate::bindings::assay::job;

/// Equal on every replica of a shard.
#[derive(Debug)]
pub(crate) struct Context {
    seed: (u64, u64),
    models: Vec<String>,
    shard: u32,
    first_item: u64,
}

impl Context {
    pub(crate) fn new(job: JobId, shard: u32, first_item: u64, models: Vec<String>) -> Self {
        Self {
            seed: seed(job, shard),
            models,
            shard,
            first_item,
        }
    }
}

/// 128 bits from the job's digest and the shard's index.
fn seed(job: JobId, shard: u32) -> (u64, u64) {
    let digest = Digest::bind(Domain::Seed, &[job.0.as_bytes(), &shard.to_le_bytes()]);
    let [a, b, ..] = digest.as_bytes().as_chunks::<8>().0 else {
        return (0, 0); // not reached: a digest has four chunks
    };
    (u64::from_le_bytes(*a), u64::from_le_bytes(*b))
}

impl Context {
    /// What `wasi:random` grows from.
    pub(crate) fn wasi_seed(&self) -> (u64, u64) {
        self.seed
    }
}

impl job::context::Host for Context {
    fn seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok(self.seed)
    }

    fn models(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(self.models.clone())
    }

    fn shard_index(&mut self) -> wasmtime::Result<u32> {
        Ok(self.shard)
    }

    fn item_offset(&mut self) -> wasmtime::Result<u64> {
        Ok(self.first_item)
    }
}

impl job::types::Host for Context {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_depends_on_job_and_shard_and_on_nothing_else() {
        let job = |text: &str| JobId(Digest::of(text.as_bytes()));
        assert_eq!(seed(job("a"), 0), seed(job("a"), 0));
        assert_ne!(seed(job("a"), 0), seed(job("a"), 1));
        assert_ne!(seed(job("a"), 0), seed(job("b"), 0));
        assert_ne!(seed(job("a"), 0).0, seed(job("a"), 0).1);
    }
}
