//! How exactly and how soon a guest is stopped.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use runtime::{Backend, FailureKind};

use super::Bench;
use crate::guests;
use crate::measure::{Clock, Samples};
use crate::ours::{Ours, items};
use crate::table::{Row, Target};

/// A wall clock long enough for the guest to be well under way.
const WALL: Duration = Duration::from_millis(60);

const ENDLESS: &[u8] = include_bytes!("../../../host-gpu/tests/data/endless.onnx");

pub(crate) fn stops(bench: &Bench) -> Result<Vec<Row>> {
    Ok(vec![
        exact_fuel()?,
        endless_loop(bench)?,
        endless_graph(bench)?,
    ])
}

/// Fuel burnt by a loop without end, under several limits.
fn exact_fuel() -> Result<Row> {
    let ours = Ours::new(Backend::None)?;
    let mut task = ours.task(&guests::endless()?, &[])?;
    let encoded = items(&[b"x"])?;
    let mut off = Samples::default();
    for limit in [10_000_u64, 1_234_567, 100_000_007] {
        task.limits.fuel = limit;
        let Err(failure) = ours.run(&task, &encoded) else {
            bail!("a loop without end ended")
        };
        ensure!(
            matches!(failure.kind, FailureKind::FuelExhausted { .. }),
            "{failure}"
        );
        off.push(failure.fuel.abs_diff(limit) as f64);
    }
    Ok(Row::new(
        "endless wasm loop: burnt fuel beside the limit",
        "fuel",
        &Samples::of(vec![off.quantile(1.0)]),
    )
    .target(Target::AtMost(0.0))
    .note("the worst of three limits up to 10^8"))
}

/// Milliseconds between the wall clock's end and the answer.
fn endless_loop(bench: &Bench) -> Result<Row> {
    let ours = Ours::new(Backend::None)?;
    let mut task = ours.task(&guests::endless()?, &[])?;
    task.limits.wall_ms = u64::try_from(WALL.as_millis())?;
    let encoded = items(&[b"x"])?;
    let mut late = Samples::default();
    for _ in 0..bench.pick(30, 8) {
        let clock = Clock::start();
        let Err(failure) = ours.run(&task, &encoded) else {
            bail!("a loop without end ended")
        };
        ensure!(
            matches!(failure.kind, FailureKind::Deadline { .. }),
            "{failure}"
        );
        late.push((clock.seconds() - WALL.as_secs_f64()) * 1e3);
    }
    Ok(
        Row::new("endless wasm loop: late after its wall clock", "ms", &late)
            .target(Target::AtMost(10.0))
            .note(format!("latest {:.2} ms", late.quantile(1.0))),
    )
}

/// The same for a graph, until the thread that ran it has stopped too.
fn endless_graph(bench: &Bench) -> Result<Row> {
    let component = guests::repeat(&[1], false)?;
    let encoded = items(&[1_u32.to_le_bytes(), 1_f32.to_le_bytes()])?;
    let mut late = Samples::default();
    for _ in 0..bench.pick(20, 5) {
        // A sandbox of its own: dropping it waits for its sessions to end.
        let ours = Ours::new(Backend::Onnx)?;
        let model = ours.model(ENDLESS)?;
        let mut task = ours.task(&component, &[("g", &model)])?;
        task.limits.wall_ms = u64::try_from(WALL.as_millis())?;
        let limits = task.limits.into();
        // Loading is not what is timed.
        let prepared = ours
            .sandbox
            .prepare(&task, limits)
            .map_err(|kind| anyhow::anyhow!("{kind}"))?;
        let clock = Clock::start();
        let Err(failure) = ours.executor.block_on(prepared.run(&encoded)) else {
            bail!("an endless graph ended")
        };
        let answered = clock.seconds();
        drop(ours);
        let ended = clock.seconds();
        ensure!(
            answered <= ended && failure.kind.to_string().contains("ms"),
            "{failure}"
        );
        late.push((ended - WALL.as_secs_f64()) * 1e3);
    }
    Ok(Row::new(
        "endless ONNX Loop: late after its wall clock, its thread ended",
        "ms",
        &late,
    )
    .target(Target::AtMost(100.0))
    .note(format!("latest {:.2} ms", late.quantile(1.0))))
}
