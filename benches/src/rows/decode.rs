//! Text, token by token: a cache that a guest passes on without looking into it, against a loop
//! around bare ONNX Runtime.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use jobs::offer::DeviceKind;
use runtime::{Backend, ShardTask};

use super::{Bench, read};
use crate::guests::{self, Decoder};
use crate::measure::{Clock, duel};
use crate::ours::{Ours, items, outputs};
use crate::raw::{Loop, On};
use crate::table::{Row, Target};

const TINY: &[u8] = include_bytes!("../../../host-gpu/tests/data/tinylm.onnx");
const PROMPT: &[u8] = b"And God said, ";

/// A decoder and how far to run it.
struct Case {
    name: &'static str,
    path: PathBuf,
    prompt: Vec<u32>,
    /// A shard of so many new tokens, less a shard of so few.
    long: usize,
    short: usize,
    rounds: usize,
}

/// The fixture, and the model of the `generate` example where it is set up.
fn cases(bench: &Bench, folder: &Path) -> Result<(Vec<Case>, Vec<Row>)> {
    let tiny = folder.join("tinylm.onnx");
    std::fs::write(&tiny, TINY)?;
    let mut cases = vec![Case {
        name: "tinylm (3 layers)",
        path: tiny,
        prompt: PROMPT.iter().map(|byte| u32::from(*byte)).collect(),
        long: 256,
        short: 16,
        rounds: bench.pick(21, 7),
    }];
    let mut rows = Vec::new();
    let smol = "SmolLM2-135M, fp32";
    match large(&bench.models) {
        Some(path) => cases.push(Case {
            name: smol,
            path,
            // `<|im_start|>user\nWhat` and so on would do as well: the work is the same for any tokens.
            prompt: (1000..1032).collect(),
            long: bench.pick(40, 12),
            short: 4,
            rounds: bench.pick(11, 2),
        }),
        None => rows.push(Row::skipped(
            format!("decode with a cache, {smol}"),
            format!(
                "no smollm2 model in {}: set-up of examples/generate makes it",
                bench.models.display()
            ),
        )),
    }
    Ok((cases, rows))
}

/// A file of SmolLM2 below the models' folder, whatever its place and variant are called.
fn large(models: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(models).ok()?.flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .flat_map(|path| match path.is_dir() {
            true => std::fs::read_dir(&path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|e| e.path())
                .collect(),
            false => vec![path],
        })
        .filter(|path| path.to_string_lossy().to_lowercase().contains("smol"))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "onnx")
        })
        .collect();
    found.sort();
    found.into_iter().next()
}

/// A guest that writes, and the loop that writes the same.
struct Writers {
    ours: Ours,
    task: ShardTask,
    bare: Loop,
    prompt: Vec<u32>,
}

impl Writers {
    fn new(case: &Case, on: On) -> Result<Self> {
        let bare = Loop::new(&read(&case.path)?, on)?;
        let model = bare.model();
        ensure!(
            case.prompt.len() <= Decoder::PROMPT_MAX as usize,
            "the prompt is too long"
        );
        ensure!(
            case.prompt.len() + case.long <= Decoder::TOKENS_MAX as usize,
            "too many tokens"
        );
        let ours = Ours::new(Backend::Onnx)?;
        let mut task = ours.task(&guests::decode(&model)?, &[("g", &case.path)])?;
        if on == On::Cuda {
            task.device = DeviceKind::Gpu;
        }
        Ok(Self {
            ours,
            task,
            bare,
            prompt: case.prompt.clone(),
        })
    }

    /// Seconds of a shard of so many tokens, the tokens and the bytes that crossed into or out of the guest.
    fn shard(&self, count: usize) -> Result<(f64, Vec<u32>, u64)> {
        let words = std::iter::once(u32::try_from(count)?).chain(self.prompt.iter().copied());
        let item: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        let (seconds, done) = self.ours.timed(&self.task, &items(&[item])?)?;
        let bytes = outputs(&done)?;
        let words = bytes.first().context("no output")?.chunks_exact(4);
        let tokens = words
            .map(|word| word.try_into().map(u32::from_le_bytes))
            .collect::<Result<_, _>>()?;
        Ok((seconds, tokens, done.outcome.meters.tensor_bytes))
    }
}

fn measure(case: &Case, on: On, at_least: f64) -> Result<Vec<Row>> {
    let writers = Writers::new(case, on)?;
    let model = writers.bare.model();
    let (_, tokens, bytes) = writers.shard(case.long)?;
    let Writers {
        ours,
        task,
        mut bare,
        prompt,
    } = writers;
    let reference = bare.write(&prompt, case.long)?;
    ensure!(
        tokens == reference,
        "the guest writes {tokens:?}, the bare loop {reference:?}"
    );
    let writers = Writers {
        ours,
        task,
        bare: Loop::new(&read(&case.path)?, on)?,
        prompt: prompt.clone(),
    };
    let more = (case.long - case.short) as f64;
    let (mine, theirs) = duel(
        case.rounds,
        || Ok(more / (writers.shard(case.long)?.0 - writers.shard(case.short)?.0)),
        || {
            let clock = Clock::start();
            bare.write(&prompt, case.short)?;
            let short = clock.seconds();
            bare.write(&prompt, case.long)?;
            Ok(more / (clock.seconds() - short - short))
        },
    )?;
    let logits = u64::from(model.vocabulary) * 4;
    let each = (bytes - writers.shard(case.short)?.2) as f64 / more;
    let what = format!("decode with a cache, {}, {on:?}", case.name);
    Ok(vec![
        Row::new(what, "tokens/s", &mine)
            .against(&mine, &theirs)
            .target(Target::RatioAtLeast(at_least))
            .note(format!(
                "{} tokens equal to the bare loop's; {each:.0} bytes of tensors and the 4 of its choice cross the \
                 guest's border for a token; its logits, which do not, are {logits}",
                tokens.len()
            )),
    ])
}

/// On the processor.
pub(crate) fn cpu(bench: &Bench) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let (cases, skipped) = cases(bench, folder.path())?;
    let mut rows = Vec::new();
    for case in &cases {
        rows.extend(measure(case, On::Cpu, 0.97)?);
    }
    rows.extend(skipped);
    Ok(rows)
}

/// On a GPU, where there is one.
pub(crate) fn gpu(bench: &Bench) -> Result<Vec<Row>> {
    let what = "decode with a cache, Cuda";
    let ours = Ours::new(Backend::Onnx)?;
    let report = ours.sandbox.probe();
    let Some(device) = report.device(DeviceKind::Gpu) else {
        let why = ours.sandbox.fingerprint(DeviceKind::Gpu).err();
        let why = why.map_or_else(String::new, |kind| format!(": {kind}"));
        let reason = format!("no CUDA device that ONNX Runtime can use here{why}");
        if std::env::var_os("ASSAY_REQUIRE_GPU").is_some_and(|value| value == "1") {
            bail!("ASSAY_REQUIRE_GPU=1 and {reason}");
        }
        return Ok(vec![Row::skipped(what, reason)]);
    };
    let name = device.name.clone();
    let folder = tempfile::tempdir()?;
    let (cases, skipped) = cases(bench, folder.path())?;
    let mut rows = Vec::new();
    for case in &cases {
        rows.extend(
            measure(case, On::Cuda, 0.95)?
                .into_iter()
                .map(|row| row.on(&name)),
        );
    }
    rows.extend(skipped);
    Ok(rows)
}
