//! A small job of our own, run as a stranger's would be: to measure the sandbox, and to see that it agrees with itself.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use jobs::manifest::MEMORY_BYTES_MIN;
use jobs::offer::DeviceKind;
use jobs::outcome::Outcome;
use jobs::package::Limits;
use runtime::{LocalBlob, ModelWorker, ShardTask, WorkerPool};
use serde::Serialize;
use tokio::time::Instant;

use super::{local_pool, local_workers};
use crate::calibrate::samples::{self, Source};
use crate::{home, read};

/// Turns of the loop that is measured: about a second on one core.
const TURNS: u32 = 400_000_000;

/// Turns of the loop before it, which has the component compiled.
const TURNS_FIRST: u32 = 1;

/// Turns of the loop whose outcomes are compared.
const TURNS_COMPARED: u32 = 10_000_000;

/// Fuel beyond what any of these takes.
const FUEL: u64 = 1 << 40;

/// Wall clock of one of these, in milliseconds.
const WALL_MS: u64 = 120_000;

/// A model that set-up may have fetched, in the home directory.
const MODEL: &str = "models/all-minilm-l6-v2-int8.onnx";

/// Largest model that is measured, in bytes.
const MODEL_BYTES_MAX: u64 = 256 << 20;

/// Items of the measured run of a model, and their length.
const ITEMS: usize = 64;
const LENGTH: u32 = 64;

/// A guest that turns a loop of integers and floating-point numbers, and answers with what came of it. It takes the
/// number of turns as the first four bytes of its first item.
const GUEST: &str = r#"(component
  (import "assay:job/types@0.1.0" (instance $types
    (type $e (variant (case "bad-input" string) (case "model" string) (case "failed" string)))
    (export "job-error" (type (eq $e)))))
  (alias export $types "job-error" (type $job-error))
  (core module $spin
    (memory (export "memory") 2)
    (global $top (mut i32) (i32.const 65536))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $top)
      (global.set $top (i32.and (i32.add (i32.add (global.get $top) (local.get 3)) (i32.const 7))
        (i32.const -8))))
    (func (export "run") (param $items i32) (param $count i32) (result i32)
      (local $turns i32) (local $state i64) (local $sum f64)
      (local.set $turns (i32.load (i32.load (local.get $items))))
      (local.set $state (i64.const 88172645463325252))
      (block $done
        (loop $again
          (br_if $done (i32.eqz (local.get $turns)))
          (local.set $state (i64.xor (local.get $state) (i64.shl (local.get $state) (i64.const 13))))
          (local.set $state (i64.xor (local.get $state) (i64.shr_u (local.get $state) (i64.const 7))))
          (local.set $sum (f64.add (local.get $sum) (f64.div
            (f64.convert_i64_s (local.get $state)) (f64.convert_i32_u (local.get $turns)))))
          (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
          (br $again)))
      (i64.store (i32.const 2048) (local.get $state))
      (f64.store (i32.const 2056) (local.get $sum))
      (i32.store (i32.const 1040) (i32.const 2048))
      (i32.store (i32.const 1044) (i32.const 16))
      (i32.store8 (i32.const 1024) (i32.const 0))
      (i32.store (i32.const 1028) (i32.const 1040))
      (i32.store (i32.const 1032) (i32.const 1))
      (i32.const 1024)))
  (core instance $main (instantiate $spin))
  (alias core export $main "memory" (core memory $memory))
  (alias core export $main "cabi_realloc" (core func $realloc))
  (alias core export $main "run" (core func $core-run))
  (type $run (func (param "items" (list (list u8)))
    (result (result (list (list u8)) (error $job-error)))))
  (func $run (type $run)
    (canon lift (core func $core-run) (memory $memory) (realloc $realloc)))
  (export "run" (func $run)))"#;

/// The job, its component on disk.
struct Trial {
    component: LocalBlob,
}

impl Trial {
    fn write(dir: &Path) -> Result<Self> {
        let bytes = wat::parse_str(GUEST).context("the trial's component")?;
        let dir = dir
            .canonicalize()
            .with_context(|| dir.display().to_string())?;
        let path = dir.join("trial.wasm");
        std::fs::write(&path, &bytes).with_context(|| path.display().to_string())?;
        Ok(Self {
            component: LocalBlob {
                blob: BlobRef::of(&bytes),
                path,
            },
        })
    }

    async fn run(&self, pool: &WorkerPool, turns: u32) -> Result<(Outcome, Vec<u8>)> {
        let task = ShardTask {
            job: JobId(Digest::of(b"trial")),
            shard: 0,
            first_item: 0,
            component: self.component.clone(),
            models: Vec::new(),
            device: DeviceKind::Cpu,
            cpu_nodes: false,
            noting: None,
            limits: Limits {
                fuel: FUEL,
                memory_bytes: MEMORY_BYTES_MIN.max(1 << 20),
                output_bytes_per_item: 64,
                wall_ms: WALL_MS,
            },
        };
        let items = jobs::items::encode(&[turns.to_le_bytes().to_vec()])?;
        let done = pool.execute(task, items).await;
        let done = done.map_err(|failure| anyhow::anyhow!("the trial failed: {failure}"))?;
        Ok((done.outcome, done.outputs))
    }
}

/// What this machine does in a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Speed {
    /// Fuel that one worker burns in a second.
    pub(super) fuel_per_second: f64,
    /// Items of a small model that one worker takes in a second, and which model; nothing if it is not there.
    pub(super) model: Option<(String, f64)>,
}

/// Measures one worker.
pub(super) async fn measure(dir: &Path) -> Result<Speed> {
    let trial = Trial::write(dir)?;
    let pool = local_pool(1, vec![trial.component.path.clone()])?;
    trial.run(&pool, TURNS_FIRST).await?;
    let since = Instant::now();
    let (outcome, _) = trial.run(&pool, TURNS).await?;
    let seconds = since.elapsed().max(Duration::from_millis(1)).as_secs_f64();
    Ok(Speed {
        fuel_per_second: outcome.meters.fuel as f64 / seconds,
        model: measure_model().await?,
    })
}

async fn measure_model() -> Result<Option<(String, f64)>> {
    let path = home::home()?.join(MODEL);
    if !path.is_file() {
        return Ok(None);
    }
    let path = path
        .canonicalize()
        .with_context(|| path.display().to_string())?;
    let model = LocalBlob {
        blob: read::blob(&path, "a model", MODEL_BYTES_MAX)?,
        path: path.clone(),
    };
    let mut worker = ModelWorker::spawn(&local_workers(1, vec![path])?, None).await?;
    let ports = worker.ports(model.clone()).await?;
    let Some(output) = ports.outputs.first() else {
        return Ok(None);
    };
    let run = runtime::model::ModelRun {
        model,
        edit: None,
        device: DeviceKind::Cpu,
        optimisation: runtime::model::Optimisation::All,
        intra_threads: 1,
        batch: 1,
        output: output.name.clone(),
        last_position: false,
    };
    let samples = |count| {
        let source = Source::Random {
            count,
            seed: 1,
            length: LENGTH,
        };
        samples::encode(&samples::make(&source, &ports.inputs)?)
    };
    // Loading takes part in both, and drops out of the difference.
    let mut seconds = Vec::new();
    for count in [1, ITEMS + 1] {
        let samples = samples(count)?;
        let since = Instant::now();
        worker.run(run.clone(), samples).await?;
        seconds.push(since.elapsed().as_secs_f64());
    }
    let spent = seconds
        .iter()
        .rev()
        .copied()
        .reduce(|more, less| more - less);
    Ok(Some((
        MODEL.to_owned(),
        ITEMS as f64 / spent.unwrap_or(0.0).max(1e-3),
    )))
}

/// Whether two workers that share nothing agree on outputs and fuel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Agreement {
    pub(super) outputs: [String; 2],
    pub(super) fuel: [u64; 2],
    pub(super) agree: bool,
}

/// Executes one shard twice, in a worker of its own each time.
pub(super) async fn compare(dir: &Path) -> Result<Agreement> {
    let trial = Trial::write(dir)?;
    let mut found = Vec::new();
    for _ in 0..2 {
        let pool = local_pool(1, vec![trial.component.path.clone()])?;
        let (outcome, outputs) = trial.run(&pool, TURNS_COMPARED).await?;
        found.push((
            hex::encode(&outputs),
            outcome.outputs.digest,
            outcome.meters.fuel,
        ));
    }
    let [first, second] = found.as_slice() else {
        anyhow::bail!("{} executions instead of two", found.len());
    };
    Ok(Agreement {
        outputs: [first.1.to_string(), second.1.to_string()],
        fuel: [first.2, second.2],
        agree: first == second,
    })
}
