//! Measuring a model: in which ways it runs, what each answers, and what cheap models made of it answer.
//!
//! The model is read by workers alone. What comes back are numbers, and [`jobs::profile`] makes a
//! tolerance of them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use jobs::digest::{BlobRef, Digest};
use jobs::manifest::MODEL_BYTES_MAX;
use jobs::offer::DeviceKind;
use jobs::package::Dtype;
use jobs::profile::{Cheating, Measured, Run, Signature, Skipped, Subject, elements};
use runtime::model::{Edit, ModelPort, ModelPorts, ModelRan, ModelRun};
use runtime::{FailureKind, LocalBlob, ModelWorker, WorkerConfig};

use crate::commands::provider::{local_pool, local_workers};
use crate::exit::{Coded, Exit, fail};
use crate::output::Output;
use crate::{machine, read};

pub(crate) mod samples;
mod ways;

use samples::Source;
use ways::Way;

/// What to measure.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The model.
    pub(crate) model: PathBuf,
    /// A model that somebody might run in its place.
    pub(crate) rival: Option<PathBuf>,
    /// Where samples come from.
    pub(crate) source: Source,
    /// The output to compare; the first of floats if none is named.
    pub(crate) output: Option<String>,
    /// Whether to compare the last position only.
    pub(crate) last_position: bool,
    /// Whether the tolerance is to hold in batches of other sizes.
    pub(crate) any_batch: bool,
    /// Processors to emulate.
    pub(crate) emulate: Vec<String>,
}

/// The edits, and what they are called.
const EDITS: [(Edit, &str); 4] = [
    (Edit::Fp16Weights, "fp16 weights"),
    (Edit::Int8Weights, "int8 weights"),
    (Edit::Int4Weights, "int4 weights"),
    (Edit::SkippedLayer, "skipped layer"),
];

/// A measurement under way.
struct Bench {
    workers: WorkerConfig,
    worker: ModelWorker,
    samples: Vec<u8>,
    output: String,
    last_position: bool,
    dtype: Dtype,
    skipped: Vec<Skipped>,
    bar: ProgressBar,
    talk: Output,
}

/// Runs everything.
pub(crate) async fn measure(plan: Plan, talk: Output) -> Result<Measured> {
    let model = local(&plan.model)?;
    let rival = plan.rival.as_deref().map(local).transpose()?;
    let files = [Some(&model), rival.as_ref()].into_iter().flatten();
    let workers = local_workers(1, files.map(|file| file.path.clone()).collect())?;
    let mut worker = ModelWorker::spawn(&workers, None).await?;
    for protection in worker.missing() {
        talk.say(format_args!("the worker goes without {protection}"));
    }
    let ports = worker.ports(model.clone()).await.code(Exit::Usage)?;
    let (output, dtype) = output_of(&ports, plan.output.as_deref())?;
    let made = samples::make(&plan.source, &ports.inputs)?;
    let (count, samples) = (made.len(), samples::encode(&made)?);
    drop(made);
    let (ways, skipped) = ways::of(&ports, &plan.emulate, has_gpu().await?);
    let runs = ways.len() + EDITS.len() + usize::from(rival.is_some());
    let mut bench = Bench {
        workers,
        worker,
        samples,
        output: output.clone(),
        last_position: plan.last_position,
        dtype,
        skipped,
        bar: talk.bar(runs as u64, "runs"),
        talk,
    };
    let runs = bench.honest(&model, ways, plan.any_batch).await?;
    let cheats = bench.cheats(&model, rival.as_ref(), &runs).await?;
    bench.bar.finish_and_clear();
    Ok(Measured {
        model: model.blob,
        signature: Signature {
            inputs: ports.inputs.iter().map(ToString::to_string).collect(),
            outputs: ports.outputs.iter().map(ToString::to_string).collect(),
        },
        subject: Subject {
            output,
            dtype,
            last_position: plan.last_position,
            any_batch: plan.any_batch,
            samples: u32::try_from(count).unwrap_or(u32::MAX),
            inputs: plan.source.describe(),
            inputs_digest: Digest::of(&bench.samples),
        },
        runs,
        cheats,
        skipped: bench.skipped,
        machine: machine::describe(),
    })
}

/// A model file, hashed.
fn local(path: &Path) -> Result<LocalBlob> {
    let blob: BlobRef = read::blob(path, "a model", MODEL_BYTES_MAX)?;
    let path = std::path::absolute(path).with_context(|| path.display().to_string())?;
    // A worker may read the file that a link leads to, and is told where that is.
    let path = path
        .canonicalize()
        .with_context(|| path.display().to_string())?;
    Ok(LocalBlob { path, blob })
}

async fn has_gpu() -> Result<bool> {
    let report = local_pool(1, Vec::new())?.probe().await?;
    Ok(report.device(DeviceKind::Gpu).is_some())
}

/// The output to compare and its type.
fn output_of(ports: &ModelPorts, wanted: Option<&str>) -> Result<(String, Dtype)> {
    let dtype = |port: &ModelPort| match port.ty.as_str() {
        "f16" => Some(Dtype::F16),
        "f32" => Some(Dtype::F32),
        "f64" => Some(Dtype::F64),
        _ => None,
    };
    let listed = || {
        let all: Vec<String> = ports.outputs.iter().map(ToString::to_string).collect();
        all.join("; ")
    };
    let port = match wanted {
        Some(name) => ports.outputs.iter().find(|port| port.name == name),
        None => ports.outputs.iter().find(|port| dtype(port).is_some()),
    };
    match port.map(|port| (port, dtype(port))) {
        Some((port, Some(dtype))) => Ok((port.name.clone(), dtype)),
        Some((port, None)) => fail(
            Exit::Usage,
            format!("output {port} holds no f16, f32 or f64: there is no tolerance for it"),
        ),
        None => fail(
            Exit::Usage,
            format!(
                "the model has no output {}; it has {}",
                wanted.map_or("of floats".to_owned(), |name| format!("{name:?}")),
                listed()
            ),
        ),
    }
}

impl Bench {
    /// Every honest way; the first must work, the others may be skipped by name.
    async fn honest(
        &mut self,
        model: &LocalBlob,
        ways: Vec<Way>,
        any_batch: bool,
    ) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        for way in ways {
            self.bar.set_message(way.name.clone());
            let run = self.task(model, &way, None);
            let ran = match &way.emulator {
                None => self.worker.run(run, self.samples.clone()).await,
                Some(emulator) => self.emulated(emulator, run).await,
            };
            self.bar.inc(1);
            let (ran, answers) = match ran {
                Err(error) if runs.is_empty() => Err(error).code(Exit::Usage)?,
                Err(error) => {
                    self.skip(way.name, &error).await?;
                    continue;
                }
                Ok(ran) => ran,
            };
            runs.push(Run {
                counted: any_batch || way.batch == 1,
                name: way.name,
                batch: way.batch,
                answers: self.answers(&ran, &answers)?,
                fingerprint: ran.fingerprint,
            });
        }
        Ok(runs)
    }

    fn task(&self, model: &LocalBlob, way: &Way, edit: Option<Edit>) -> ModelRun {
        ModelRun {
            model: model.clone(),
            edit,
            device: way.device,
            optimisation: way.optimisation,
            intra_threads: way.threads,
            batch: way.batch,
            output: self.output.clone(),
            last_position: self.last_position,
        }
    }

    async fn emulated(
        &mut self,
        emulator: &runtime::Emulator,
        run: ModelRun,
    ) -> Result<(ModelRan, Vec<u8>), FailureKind> {
        let mut worker = ModelWorker::spawn(&self.workers, Some(emulator)).await?;
        if !worker.missing().is_empty() {
            let missing = worker.missing().join("; ");
            let talk = self.talk;
            self.bar.suspend(|| {
                talk.say(format_args!("an emulated worker goes without {missing}"));
            });
        }
        worker.run(run, self.samples.clone()).await
    }

    /// What cheats answer: the edited models, one number tampered with, and the rival.
    async fn cheats(
        &mut self,
        model: &LocalBlob,
        rival: Option<&LocalBlob>,
        runs: &[Run],
    ) -> Result<Vec<Cheating>> {
        let mut cheats = Vec::new();
        let way = Way::of_jobs();
        for (edit, name) in EDITS {
            let run = self.task(model, &way, Some(edit));
            cheats.extend(self.cheat(name.to_owned(), run).await?);
        }
        if let Some(honest) = runs.first() {
            cheats.push(Cheating::tampered(&honest.answers));
        }
        if let Some(rival) = rival {
            let run = self.task(rival, &way, None);
            let name = format!("rival {}", rival.blob.digest.short());
            cheats.extend(self.cheat(name, run).await?);
        }
        Ok(cheats)
    }

    async fn cheat(&mut self, name: String, run: ModelRun) -> Result<Option<Cheating>> {
        self.bar.set_message(name.clone());
        let rival = run.edit.is_none().then_some(run.model.blob.digest);
        let ran = self.worker.run(run, self.samples.clone()).await;
        self.bar.inc(1);
        match ran {
            // A rival was asked for by name.
            Err(error) if rival.is_some() => Err(error).code(Exit::Usage)?,
            Err(error) => {
                self.skip(name, &error).await?;
                Ok(None)
            }
            Ok((ran, answers)) => Ok(Some(Cheating {
                name,
                how: ran.edited.clone().unwrap_or_else(|| {
                    let digest = rival.map(|digest| digest.to_string());
                    format!("another model: {}", digest.unwrap_or_default())
                }),
                answers: self.answers(&ran, &answers)?,
            })),
        }
    }

    /// Notes what could not be measured. After a lost worker there is a new one.
    async fn skip(&mut self, what: String, error: &FailureKind) -> Result<()> {
        let why: String = error.to_string().chars().take(200).collect();
        self.skipped.push(Skipped { what, why });
        if !error.leaves_worker_clean() {
            self.worker = ModelWorker::spawn(&self.workers, None).await?;
        }
        Ok(())
    }

    fn answers(&self, ran: &ModelRan, encoded: &[u8]) -> Result<Vec<Vec<f64>>> {
        let named = format!("{:?}", self.dtype).to_lowercase();
        if ran.ty != named {
            let (name, found) = (&self.output, &ran.ty);
            return fail(
                Exit::Usage,
                format!("output {name:?} is {found} in one model and {named} in the other"),
            );
        }
        let items = jobs::items::decode(encoded)?;
        let decoded = items.into_iter().map(|item| elements(self.dtype, item));
        Ok(decoded.collect::<Result<_, _>>()?)
    }
}
