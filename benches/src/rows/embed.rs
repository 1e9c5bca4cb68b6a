//! Sentence embeddings: the `embed` example against people who do without a sandbox.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use host_gpu::{
    CacheLimits, Device, Graph, GraphCache, ModelDigest, NnLimits, NnState, OrtBackend,
};
use runtime::{Backend, ShardTask};

use super::Bench;
use crate::bare::{Fuelled, plain};
use crate::child::{Baseline, checksum};
use crate::measure::{Clock, Contestant, Samples, interleave};
use crate::onnx;
use crate::ours::{Ours, executor, items, outputs};
use crate::raw;
use crate::table::{Row, Target};

const TOKENIZER: &str = include_str!("../../../examples/embed/tokenizer.json");
const LINES: &str = include_str!("../../../examples/embed/data/lines.txt");
const PYTHON: &str = include_str!("../../baseline/embed.py");

/// The model's file, as set-up names it.
const MODEL: &str = "all-minilm-l6-v2-int8.onnx";

/// What the baselines read.
struct Data {
    folder: tempfile::TempDir,
    model: PathBuf,
}

impl Data {
    fn new(model: PathBuf) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for (name, text) in [
            ("embed.py", PYTHON),
            ("tokenizer.json", TOKENIZER),
            ("lines.txt", LINES),
        ] {
            std::fs::write(folder.path().join(name), text)?;
        }
        Ok(Self { folder, model })
    }

    /// Rust without a guest; it says first how long its tokenizer took.
    fn native(&self, program: &Path) -> Result<(Baseline, f64)> {
        let mut command = Command::new(program);
        command.args([&self.model, self.folder.path()]);
        command.env("ORT_DYLIB_PATH", raw::library()?.path());
        let mut started = Baseline::start(&mut command)?;
        let tokenizer = started.answer()?.seconds;
        Ok((started, tokenizer))
    }

    fn python(&self, program: &Path) -> Result<Baseline> {
        let mut command = Command::new(program);
        command
            .arg(self.folder.path().join("embed.py"))
            .arg(&self.model);
        Baseline::start(command.env("TOKENIZERS_PARALLELISM", "false"))
    }
}

/// One size of batch.
struct Case {
    batch: usize,
    /// Built from the example, or the benchmark's own guest, whose item is a batch of lines.
    guest: &'static str,
}

/// Lines a second, tokenising included, the tokenizer's own start left out on every side.
pub(crate) fn sentences(bench: &Bench) -> Result<Vec<Row>> {
    let data = Data::new(bench.models.join(MODEL))?;
    let mut rows = Vec::new();
    for case in [
        Case {
            batch: 1,
            guest: "embed",
        },
        Case {
            batch: 32,
            guest: "batch",
        },
    ] {
        let what = format!("MiniLM embedding, batch {}", case.batch);
        let native = bench.native.as_ref().filter(|path| path.is_file());
        match (bench.guest(case.guest)?, native) {
            _ if !data.model.is_file() => {
                rows.push(Row::skipped(
                    what,
                    format!("{MODEL} is missing: cargo xtask setup"),
                ));
            }
            (Err(reason), _) => rows.push(Row::skipped(what, reason)),
            (_, None) => rows.push(Row::skipped(
                what,
                "the baseline is not built: cargo xtask bench host builds it (--native)",
            )),
            (Ok(component), Some(native)) => {
                let ours = Ours::new(Backend::Onnx)?;
                let task = ours.task(&component, &[("minilm", &data.model)])?;
                rows.extend(
                    Lines::new(bench, ours, task, &case)?.measure(bench, &what, &data, native)?,
                );
            }
        }
    }
    Ok(rows)
}

/// Two shards of one guest: one batch, and many.
struct Lines {
    ours: Ours,
    task: ShardTask,
    batch: usize,
    /// Lines that the long shard has more than the short one.
    more: usize,
    short: Vec<u8>,
    long: Vec<u8>,
}

impl Lines {
    fn new(bench: &Bench, ours: Ours, task: ShardTask, case: &Case) -> Result<Self> {
        let more = bench.pick(128, 64);
        let lines: Vec<&str> = LINES.lines().take(more + case.batch).collect();
        let groups: Vec<String> = lines
            .chunks(case.batch)
            .map(|group| group.join("\n"))
            .collect();
        Ok(Self {
            ours,
            task,
            batch: case.batch,
            more,
            short: items(groups.get(..1).unwrap_or_default())?,
            long: items(&groups)?,
        })
    }

    /// Seconds of the short shard and of the lines that the long one has more.
    fn run(&self) -> Result<(f64, f64)> {
        let one = self.ours.timed(&self.task, &self.short)?.0;
        let all = self.ours.timed(&self.task, &self.long)?.0;
        Ok((one, all - one))
    }

    fn measure(&self, bench: &Bench, what: &str, data: &Data, native: &Path) -> Result<Vec<Row>> {
        let (mut native, tokenizer) = data.native(native)?;
        let (_, done) = self.ours.timed(&self.task, &self.long)?;
        let ours = checksum(outputs(&done)?.into_iter().flatten().copied());
        let check = native.ask(&format!("0 {} {}", self.more + self.batch, self.batch))?;
        ensure!(
            check.sum == Some(ours),
            "the guest and its native twin differ"
        );
        let python = bench.python.as_ref().filter(|path| path.is_file());
        let mut python = python.map(|program| data.python(program)).transpose()?;

        let request = format!("{} {} {}", self.batch, self.more, self.batch);
        let lines = self.more as f64;
        let fixed = std::cell::RefCell::new(Samples::default());
        let mut contestants: Vec<Contestant<'_>> = vec![
            Box::new(|| {
                let (one, more) = self.run()?;
                fixed.borrow_mut().push(one * 1e3);
                Ok(lines / more)
            }),
            Box::new(|| Ok(lines / native.ask(&request)?.seconds)),
        ];
        if let Some(python) = &mut python {
            contestants.push(Box::new(|| Ok(lines / python.ask(&request)?.seconds)));
        }
        let all = interleave(bench.pick(11, 3), &mut contestants)?;
        drop(contestants);
        Ok(rows(
            what,
            &all,
            (self.batch == 1).then(|| (fixed.into_inner(), tokenizer * 1e3)),
        ))
    }
}

/// Rows of what was measured: ours, bare, perhaps Python; perhaps what a shard pays once.
fn rows(what: &str, all: &[Samples], once: Option<(Samples, f64)>) -> Vec<Row> {
    let none = Samples::default();
    let (ours, bare) = (all.first().unwrap_or(&none), all.get(1).unwrap_or(&none));
    let mut rows = vec![
        Row::new(format!("{what}, against bare ort"), "lines/s", ours)
            .against(ours, bare)
            .target(Target::RatioAtLeast(0.97))
            .note(
                "outputs equal byte for byte; one thread each; of a shard's time the part that grows \
                 with its lines",
            ),
    ];
    let ahead = format!("{what}, against Python");
    rows.push(match all.get(2) {
        Some(python) => Row::new(ahead, "lines/s", ours)
            .against(ours, python)
            .target(Target::RatioAtLeast(1.0)),
        None => Row::skipped(
            ahead,
            "no Python with onnxruntime: cargo xtask setup --reference (--python)",
        ),
    });
    if let Some((fixed, tokenizer)) = once {
        let what = "a shard of one line: what each shard pays once, its tokenizer above all";
        rows.push(Row::new(what, "ms", &fixed).against_figure(tokenizer).note(
            "baseline: building the tokenizer natively; a job spreads this over the lines of a shard",
        ));
    }
    rows
}

/// A graph with the interface of MiniLM and none of its work.
fn hollow() -> Result<(Arc<Graph>, GraphCache)> {
    let bytes = onnx::hollow_minilm();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("hollow.onnx");
    std::fs::write(&path, &bytes)?;
    let cache = GraphCache::new(
        Arc::new(OrtBackend::new(raw::library()?)),
        CacheLimits::default(),
    );
    let graph = cache.load("minilm", ModelDigest::of(&bytes), &path, Device::Cpu)?;
    Ok((graph, cache))
}

/// What counting fuel costs the embed guest: tokenising, pooling, normalising, without the model.
pub(crate) fn fuel(bench: &Bench) -> Result<Vec<Row>> {
    let what = "embed guest without its model, fuel counted, against not counted";
    let component = match bench.guest("embed")? {
        Ok(component) => component,
        Err(reason) => return Ok(vec![Row::skipped(what, reason)]),
    };
    let (graph, _cache) = hollow()?;
    let executor = executor()?;
    let lines: Vec<Vec<u8>> = LINES
        .lines()
        .take(64)
        .map(|line| line.as_bytes().to_vec())
        .collect();
    let (with, without) = (
        plain(Fuelled::new(&component, true))?,
        plain(Fuelled::new(&component, false))?,
    );
    let run = |guest: &Fuelled| -> Result<(f64, u64, Vec<Vec<u8>>)> {
        let graphs = BTreeMap::from([("minilm".to_owned(), Arc::clone(&graph))]);
        let nn = NnState::new(graphs, NnLimits::default());
        let clock = Clock::start();
        let (outputs, fuel, device_us) = plain(executor.block_on(guest.run(nn, &lines)))?;
        Ok((
            clock.seconds() * 1e3 - device_us as f64 / 1e3,
            fuel,
            outputs,
        ))
    };
    let (_, burnt, outputs) = run(&with)?;
    ensure!(outputs == run(&without)?.2, "fuel changes the outputs");
    let mut contestants: [Contestant<'_>; 2] = [
        Box::new(|| Ok(run(&with)?.0)),
        Box::new(|| Ok(run(&without)?.0)),
    ];
    let all = interleave(bench.pick(11, 3), &mut contestants)?;
    let [counted, free] = &all[..] else {
        bail!("two contestants, {} results", all.len())
    };
    Ok(vec![
        Row::new(what, "ms", counted)
            .against(counted, free)
            .target(Target::RatioAtMost(1.4))
            .note(format!("64 lines, {burnt} fuel; the model is replaced by one of three nodes, whose time is left out")),
    ])
}
