//! What the process boundary costs: the same shard in this process and in a hardened worker.

use anyhow::{Result, anyhow};
use jobs::offer::DeviceKind;
use runtime::{Backend, SandboxConfig, ShardTask, WorkerConfig, WorkerPool};

use super::Bench;
use crate::guests;
use crate::measure::{Clock, Samples, duel};
use crate::ours::{Ours, items};
use crate::table::Row;

/// Makes this program a worker.
pub(crate) const ARGUMENT: &str = "worker";

/// Shards between two looks at who is next.
const BLOCK: usize = 50;

/// A shard's kind: its component, models and items.
struct Case {
    what: &'static str,
    component: Vec<u8>,
    models: Vec<(&'static str, &'static [u8])>,
    items: Vec<Vec<u8>>,
}

const DOUBLE: &[u8] = include_bytes!("../../../host-gpu/tests/data/double.onnx");

fn cases() -> Result<Vec<Case>> {
    let nop = guests::nop()?;
    let one_run = vec![1_u32.to_le_bytes().to_vec(), vec![0; 8]];
    Ok(vec![
        Case {
            what: "nop",
            component: nop.clone(),
            models: vec![],
            items: vec![vec![0; 8]],
        },
        Case {
            what: "600 kB in and out",
            component: nop,
            models: vec![],
            items: vec![vec![7; 600_000]],
        },
        Case {
            what: "one run of a tiny model",
            component: guests::repeat(&[1, 2], false)?,
            models: vec![("g", DOUBLE)],
            items: one_run,
        },
    ])
}

pub(crate) fn process(bench: &Bench) -> Result<Vec<Row>> {
    let ours = Ours::new(Backend::Onnx)?;
    let folder = ours.folder.path();
    let mut config = SandboxConfig::new(folder.join("workers"));
    config.backend = Backend::Onnx;
    let scratch = folder.join("scratch");
    let exe = std::env::current_exe()?;
    let config = WorkerConfig::new(
        exe,
        vec![ARGUMENT.into()],
        scratch,
        config,
        vec![folder.to_owned()],
    );
    let pool = WorkerPool::new(config, 1);
    // Both sides speak of the processor.
    let report = ours
        .executor
        .block_on(pool.probe())
        .map_err(|failure| anyhow!("{failure}"))?;
    let library = report
        .device(DeviceKind::Cpu)
        .map(|device| device.fingerprint.library.clone());
    let mut rows = Vec::new();
    for case in cases()? {
        let mut paths = Vec::new();
        for (name, bytes) in &case.models {
            paths.push((*name, ours.model(bytes)?));
        }
        let models: Vec<_> = paths
            .iter()
            .map(|(name, path)| (*name, path.as_path()))
            .collect();
        let task = ours.task(&case.component, &models)?;
        let encoded = items(&case.items)?;
        let (apart, inside) = duel(
            bench.pick(40, 8),
            || through(&ours, &pool, &task, &encoded),
            || Ok(Samples::of(ours.each(&task, &encoded, BLOCK)?).median()),
        )?;
        rows.push(
            Row::new(
                format!("a shard through a worker process: {}", case.what),
                "us",
                &apart,
            )
            .against(&apart, &inside)
            .note(format!(
                "baseline: the same shard in process; the boundary costs {:.0} us",
                apart.zip(&inside, |a, b| a - b).median()
            )),
        );
    }
    rows.push(
        Row::new(
            "workers started",
            "",
            &Samples::of(vec![pool.started() as f64]),
        )
        .note(library.unwrap_or_default()),
    );
    Ok(rows)
}

/// Median microseconds of a block of shards, one after the other.
fn through(ours: &Ours, pool: &WorkerPool, task: &ShardTask, encoded: &[u8]) -> Result<f64> {
    let mut each = Samples::default();
    for _ in 0..BLOCK {
        let (task, items) = (task.clone(), encoded.to_vec());
        let clock = Clock::start();
        let done = ours.executor.block_on(pool.execute(task, items));
        each.push(clock.seconds() * 1e6);
        drop(done.map_err(|failure| anyhow!("{failure}"))?);
    }
    Ok(each.median())
}
