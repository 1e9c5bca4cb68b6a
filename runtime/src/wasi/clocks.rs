//! Clocks that show what was burnt: one unit of fuel is a nanosecond.
//!
//! Equal on every replica, and never backwards. A guest that measures itself measures its fuel; one
//! that sleeps moves the clock and does not wait.

use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower, Resource};
use wasmtime::{AsContext, StoreContextMut};

use super::{charge, io::Pollable};
use crate::sandbox::state::State;

/// Where the wall clock starts, in seconds since 1970: the beginning of 2020. Some libraries refuse
/// certificates, archives and seeds from a time before their own.
pub(super) const EPOCH_SECONDS: u64 = 1_577_836_800;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// What one unit of fuel is in nanoseconds, and so the smallest step of the clocks.
const RESOLUTION_NS: u64 = 1;

/// `wasi:clocks/wall-clock.datetime`.
#[derive(Clone, Copy, Debug, ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

impl Datetime {
    fn new(seconds: u64, ns: u64) -> Self {
        Self {
            seconds: seconds.saturating_add(ns.div_euclid(NS_PER_SECOND)),
            nanoseconds: u32::try_from(ns.rem_euclid(NS_PER_SECOND)).unwrap_or(0),
        }
    }
}

/// Nanoseconds since the guest began.
pub(super) fn now(store: &StoreContextMut<'_, State>) -> wasmtime::Result<u64> {
    let left = store.as_context().get_fuel()?;
    let wasi = &store.data().wasi;
    let burnt = wasi.fuel_limit.saturating_sub(left);
    Ok(burnt
        .saturating_add(wasi.charged)
        .saturating_add(wasi.slept_ns))
}

/// Sleeps until then, in no time.
pub(super) fn sleep_until(
    store: &mut StoreContextMut<'_, State>,
    instant: u64,
) -> wasmtime::Result<()> {
    let ahead = instant.saturating_sub(now(store)?);
    let slept = &mut store.data_mut().wasi.slept_ns;
    *slept = slept.saturating_add(ahead);
    Ok(())
}

pub(super) fn monotonic(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    instance.func_wrap("now", |mut store: StoreContextMut<'_, State>, (): ()| {
        charge(&mut store, 0)?;
        Ok((now(&store)?,))
    })?;
    instance.func_wrap(
        "resolution",
        |mut store: StoreContextMut<'_, State>, (): ()| {
            charge(&mut store, 0)?;
            Ok((RESOLUTION_NS,))
        },
    )?;
    instance.func_wrap("subscribe-instant", |store, (at,): (u64,)| {
        alarm(store, |_| at)
    })?;
    instance.func_wrap("subscribe-duration", |store, (ns,): (u64,)| {
        alarm(store, |now| now.saturating_add(ns))
    })
}

/// A pollable that is ready at a time that follows from now.
fn alarm(
    mut store: StoreContextMut<'_, State>,
    at: impl FnOnce(u64) -> u64,
) -> wasmtime::Result<(Resource<Pollable>,)> {
    charge(&mut store, 0)?;
    let at = at(now(&store)?);
    Ok((store.data_mut().wasi.pollables.push(Pollable { at })?,))
}

pub(super) fn wall(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    instance.func_wrap("now", |mut store: StoreContextMut<'_, State>, (): ()| {
        charge(&mut store, 0)?;
        Ok((Datetime::new(EPOCH_SECONDS, now(&store)?),))
    })?;
    instance.func_wrap(
        "resolution",
        |mut store: StoreContextMut<'_, State>, (): ()| {
            charge(&mut store, 0)?;
            Ok((Datetime::new(0, RESOLUTION_NS),))
        },
    )
}
