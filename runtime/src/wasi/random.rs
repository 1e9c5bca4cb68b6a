//! Random bytes that every replica of a shard draws alike.
//!
//! They grow from the seed of `assay:job/context`, in streams of their own: what a guest draws from
//! one does not move another. Whoever knows the job knows them, so they are no secrets.

use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use super::{Wasi, charge};
use crate::failure::FailureKind;
use crate::limits::LimitHit;
use crate::sandbox::state::State;

/// Most bytes that one call draws.
pub(super) const BYTES_MAX: u64 = 1 << 20;

/// Binds the streams to what they are for.
const CONTEXT: &str = "assay 2026-11 wasi:random of a shard";

/// A stream of bytes.
pub(super) struct Bytes(blake3::OutputReader);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Bytes").field(&self.0.position()).finish()
    }
}

impl Bytes {
    pub(super) fn new(seed: (u64, u64), stream: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&seed.0.to_le_bytes());
        hasher.update(&seed.1.to_le_bytes());
        hasher.update(stream.as_bytes());
        Self(hasher.finalize_xof())
    }

    pub(super) fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// Draws from one of the streams.
fn draw(
    mut store: StoreContextMut<'_, State>,
    length: u64,
    stream: fn(&mut Wasi) -> &mut Bytes,
) -> wasmtime::Result<(Vec<u8>,)> {
    if length > BYTES_MAX {
        return Err(LimitHit(FailureKind::HostcallLimit { limit: BYTES_MAX }).into());
    }
    charge(&mut store, length)?;
    let mut bytes = vec![0; usize::try_from(length)?];
    stream(&mut store.data_mut().wasi).0.fill(&mut bytes);
    Ok((bytes,))
}

fn number(
    mut store: StoreContextMut<'_, State>,
    stream: fn(&mut Wasi) -> &mut Bytes,
) -> wasmtime::Result<(u64,)> {
    charge(&mut store, 0)?;
    Ok((stream(&mut store.data_mut().wasi).number(),))
}

pub(super) fn random(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    instance.func_wrap("get-random-bytes", |store, (length,): (u64,)| {
        draw(store, length, |wasi| &mut wasi.secure)
    })?;
    instance.func_wrap("get-random-u64", |store, (): ()| {
        number(store, |wasi| &mut wasi.secure)
    })
}

pub(super) fn insecure(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    instance.func_wrap("get-insecure-random-bytes", |store, (length,): (u64,)| {
        draw(store, length, |wasi| &mut wasi.insecure)
    })?;
    instance.func_wrap("get-insecure-random-u64", |store, (): ()| {
        number(store, |wasi| &mut wasi.insecure)
    })
}

pub(super) fn insecure_seed(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    instance.func_wrap(
        "insecure-seed",
        |mut store: StoreContextMut<'_, State>, (): ()| {
            charge(&mut store, 0)?;
            Ok((store.data().wasi.insecure_seed,))
        },
    )
}
