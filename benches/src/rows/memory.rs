//! What a guest can make this process hold. Measured in processes of their own, whose greatest
//! resident set the kernel remembers.

use anyhow::{Context as _, Result, bail, ensure};
use runtime::{Backend, ShardLimits};
use serde_json::{Value, json};

use super::Bench;
use crate::guests;
use crate::machine::memory_kib;
use crate::measure::Samples;
use crate::ours::{Ours, items};
use crate::table::{Row, Target};

/// Linear memory that the first bomb may fill.
const LINEAR_BYTES: u64 = 256 << 20;
/// Linear memory of the second, which fills tensors.
const SMALL_BYTES: u64 = 64 << 20;
/// Looks at the resident set over a run of shards.
const LOOKS: u32 = 20;

/// Runs this program again as a probe.
fn ask(kind: &str, count: u32) -> Result<Value> {
    let output = std::process::Command::new(std::env::current_exe()?)
        .args(["--probe", kind, "--count", &count.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    ensure!(
        output.status.success(),
        "the probe {kind} ended with {}",
        output.status
    );
    serde_json::from_slice(&output.stdout).context("a probe answers with one line of JSON")
}

/// What this program does as a probe.
pub(crate) fn probe(kind: &str, count: u32) -> Result<Value> {
    match kind {
        "linear" => bomb(&guests::memory_bomb()?, LINEAR_BYTES, 0),
        "tensors" => {
            // 64 tensors of 16 MiB: twice what is allowed.
            bomb(
                &guests::tensor_bomb(64, 256)?,
                SMALL_BYTES,
                runtime::limits::NN_HOST_BYTES_MAX,
            )
        }
        "shards" => shards(count),
        other => bail!("no probe is called {other}"),
    }
}

/// The growth of the resident set through one shard, in KiB.
fn bomb(component: &[u8], memory_bytes: u64, tensor_bytes: u64) -> Result<Value> {
    let ours = Ours::new(Backend::Reference)?;
    let encoded = items(&[b"x"])?;
    let mut task = ours.task(component, &[])?;
    task.limits.memory_bytes = memory_bytes;
    // Compiled and linked before the first look.
    let prepared = ours.sandbox.prepare(&task, ShardLimits::from(task.limits));
    drop(prepared.map_err(|kind| anyhow::anyhow!("{kind}"))?);
    ours.timed(&ours.task(&guests::nop()?, &[])?, &encoded)?;
    let before = memory_kib("VmRSS");
    let outcome = ours.run(&task, &encoded);
    let growth = memory_kib("VmHWM") - before;
    let how = match outcome {
        Ok(done) => format!(
            "ran to its end, {} bytes of linear memory",
            done.outcome.meters.memory_bytes
        ),
        Err(failure) => failure.to_string(),
    };
    let budget = (memory_bytes + tensor_bytes) >> 10;
    Ok(json!({"growth": growth, "budget": budget, "how": how}))
}

/// The resident set after every twentieth of `count` shards, in KiB.
fn shards(count: u32) -> Result<Value> {
    let ours = Ours::new(Backend::None)?;
    let task = ours.task(&guests::nop()?, &[])?;
    let encoded = items(&[b"12345678"])?;
    let mut looks = Vec::new();
    for _ in 0..LOOKS {
        // Their times are thrown away at once: a list of a million would be a leak of our own.
        ours.each(&task, &encoded, (count / LOOKS) as usize)?;
        looks.push(memory_kib("VmRSS"));
    }
    Ok(json!(looks))
}

pub(crate) fn bounds(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (kind, what) in [
        (
            "linear",
            "memory bomb, linear memory: growth of the process",
        ),
        (
            "tensors",
            "memory bomb, host tensors and linear memory: growth of the process",
        ),
    ] {
        let mut growth = Samples::default();
        let (mut budget, mut how) = (f64::NAN, String::new());
        for _ in 0..bench.pick(11, 1) {
            let answer = ask(kind, 0)?;
            growth.push(
                answer
                    .get("growth")
                    .and_then(Value::as_f64)
                    .context("no growth")?
                    / 1024.0,
            );
            budget = answer
                .get("budget")
                .and_then(Value::as_f64)
                .context("no budget")?
                / 1024.0;
            how = answer
                .get("how")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
        }
        rows.push(
            Row::new(what, "MiB", &growth)
                .against_figure(budget)
                .target(Target::RatioAtMost(1.05))
                .note(format!("baseline: the budget; the guest {how}")),
        );
    }
    let count = bench.pick(1_000_000, 100_000);
    let looks = ask("shards", count)?;
    let looks: Vec<f64> = looks
        .as_array()
        .context("no looks")?
        .iter()
        .filter_map(Value::as_f64)
        .collect();
    ensure!(looks.len() == LOOKS as usize, "{} looks", looks.len());
    // The first quarter fills pools and allocators.
    let (warm, last) = (
        looks.get(4).context("a look")?,
        looks.last().context("a look")?,
    );
    let slope = (last - warm) * 1024.0 / (f64::from(count) * 0.75);
    rows.push(
        Row::new(
            format!("resident set over {count} nop shards: growth a shard"),
            "bytes",
            &Samples::of(vec![slope]),
        )
        .target(Target::AtMost(1.0))
        .note(format!(
            "{warm:.0} KiB after a quarter of them, {last:.0} KiB at the end"
        )),
    );
    Ok(rows)
}
