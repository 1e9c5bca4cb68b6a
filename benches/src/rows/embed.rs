//! Sentence embeddings: the `embed` example against people who do without a sandbox.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use host_gpu::{
    CacheLimits, Device, Graph, GraphCache, ModelDigest, NnLimits, NnState, OrtBackend,
};
use ort::session::Session;
use ort::value::Tensor;
use runtime::Backend;
use tokenizers::pipeline::{EncodeOptions, Override, PipelineTokenizer};
use tokenizers::utils::truncation::TruncationParams;

use super::{Bench, read};
use crate::bare::{Fuelled, plain};
use crate::measure::{Clock, Contestant, Samples, interleave};
use crate::onnx;
use crate::ours::{Ours, executor, items, outputs};
use crate::raw::{self, On};
use crate::table::{Row, Target};

/// As in the guest.
const MAX_TOKENS: usize = 128;
const WIDTH: usize = 384;

const TOKENIZER: &str = include_str!("../../../examples/embed/tokenizer.json");
const LINES: &str = include_str!("../../../examples/embed/data/lines.txt");
const PYTHON: &str = include_str!("../../baseline/embed.py");

/// The model's file, as set-up names it.
const MODEL: &str = "all-minilm-l6-v2-int8.onnx";

/// The same work in Rust, without a guest.
struct Native {
    tokenizer: PipelineTokenizer,
    options: EncodeOptions,
    session: Session,
}

impl Native {
    fn new(model: &[u8]) -> Result<Self> {
        Ok(Self {
            tokenizer: tokenizer()?,
            options: EncodeOptions {
                padding: Override::Off,
                truncation: Override::With(TruncationParams {
                    max_length: MAX_TOKENS,
                    ..TruncationParams::default()
                }),
                ..EncodeOptions::default()
            },
            session: raw::session(model, On::Cpu)?,
        })
    }

    fn ids(&self, line: &str) -> Result<Vec<i64>> {
        let encodings = self.tokenizer.encode(line, &self.options).wait();
        let encodings = encodings.map_err(|error| anyhow!("{error}"))?;
        let encoding = encodings
            .first()
            .context("the tokenizer returned nothing")?;
        Ok(encoding
            .ids()
            .iter()
            .map(|token| i64::from(token.id()))
            .collect())
    }

    /// The embeddings of lines that go into one run, padded to the longest.
    fn embed(&mut self, lines: &[&str]) -> Result<Vec<u8>> {
        let rows: Vec<Vec<i64>> = lines
            .iter()
            .map(|line| self.ids(line))
            .collect::<Result<_>>()?;
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let dims = [i64::try_from(rows.len())?, i64::try_from(longest)?];
        let padded = |filled: fn(&i64) -> i64| -> Vec<i64> {
            let row = |row: &Vec<i64>| {
                let missing = longest - row.len();
                row.iter()
                    .map(filled)
                    .chain(std::iter::repeat_n(0, missing))
                    .collect::<Vec<_>>()
            };
            rows.iter().flat_map(row).collect()
        };
        let ids = Tensor::from_array((dims, padded(|id| *id)))?;
        let mask = Tensor::from_array((dims, padded(|_| 1)))?;
        let types = Tensor::from_array((dims, padded(|_| 0)))?;
        let outputs = self.session.run(ort::inputs![
            "input_ids" => ids, "attention_mask" => mask, "token_type_ids" => types,
        ])?;
        let states = outputs.get("last_hidden_state").context("no output")?;
        let (_, states) = states.try_extract_tensor::<f32>()?;
        let mut out = Vec::with_capacity(rows.len() * WIDTH * 4);
        for (row, states) in rows.iter().zip(states.chunks_exact(longest * WIDTH)) {
            let own = states.get(..row.len() * WIDTH).context("too few states")?;
            out.extend(
                unit(&mean(own))
                    .iter()
                    .flat_map(|value| value.to_le_bytes()),
            );
        }
        Ok(out)
    }
}

/// The tokenizer in the form its reader takes.
fn tokenizer() -> Result<PipelineTokenizer> {
    let mut value = serde_json::from_str(TOKENIZER)?;
    tk_convert::canonicalize_value(&mut value).map_err(|error| anyhow!("{error}"))?;
    tokenizers::from_json(&value.to_string()).map_err(|error| anyhow!("{error}"))
}

fn mean(states: &[f32]) -> Vec<f64> {
    let mut sums = vec![0.0; WIDTH];
    for state in states.chunks_exact(WIDTH) {
        for (sum, value) in sums.iter_mut().zip(state) {
            *sum += f64::from(*value);
        }
    }
    let tokens = (states.len() / WIDTH).max(1) as f64;
    sums.iter_mut().for_each(|sum| *sum /= tokens);
    sums
}

fn unit(vector: &[f64]) -> Vec<f32> {
    let length = vector
        .iter()
        .map(|value| value * value)
        .sum::<f64>()
        .sqrt()
        .max(1e-12);
    vector.iter().map(|value| (value / length) as f32).collect()
}

/// Python's process: a line with a number of lines and a batch in, a line with nanoseconds out.
struct Python {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Python {
    fn start(python: &Path, model: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for (name, text) in [
            ("embed.py", PYTHON),
            ("tokenizer.json", TOKENIZER),
            ("lines.txt", LINES),
        ] {
            std::fs::write(folder.path().join(name), text)?;
        }
        let mut child = Command::new(python)
            .arg(folder.path().join("embed.py"))
            .arg(model)
            .env("TOKENIZERS_PARALLELISM", "false")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| python.display().to_string())?;
        let input = child.stdin.take().context("no standard input")?;
        let output = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self {
            child,
            input,
            output,
            _folder: folder,
        })
    }

    /// Seconds for so many lines.
    fn run(&mut self, lines: usize, batch: usize) -> Result<f64> {
        writeln!(self.input, "{lines} {batch}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        match line.trim().parse::<f64>() {
            Ok(ns) => Ok(ns / 1e9),
            Err(_) => bail!("Python answered {line:?}"),
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One size of batch.
struct Case {
    batch: usize,
    /// Built from the example, or from the benchmark's own guest, whose item is a batch of lines.
    guest: &'static str,
}

/// Lines a second, tokenising included, the tokenizer's own start left out on every side.
pub(crate) fn sentences(bench: &Bench) -> Result<Vec<Row>> {
    let path = bench.models.join(MODEL);
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
        let guest = match bench.guest(case.guest)? {
            Ok(_) if !path.is_file() => Err(format!("{MODEL} is missing: cargo xtask setup")),
            other => other,
        };
        match guest {
            Ok(component) => rows.extend(one_batch(bench, &what, &case, &component, &path)?),
            Err(reason) => rows.push(Row::skipped(what, reason)),
        }
    }
    Ok(rows)
}

fn one_batch(
    bench: &Bench,
    what: &str,
    case: &Case,
    component: &[u8],
    path: &Path,
) -> Result<Vec<Row>> {
    let batches = bench.pick(128, 64) / case.batch;
    let lines: Vec<&str> = LINES.lines().take((batches + 1) * case.batch).collect();
    let groups: Vec<String> = lines
        .chunks(case.batch)
        .map(|group| group.join("\n"))
        .collect();
    let ours = Ours::new(Backend::Onnx)?;
    let task = ours.task(component, &[("minilm", path)])?;
    let (short, long) = (items(groups.get(..1).unwrap_or_default())?, items(&groups)?);
    let mut native = Native::new(&read(path)?)?;
    let reference: Vec<Vec<u8>> = lines
        .chunks(case.batch)
        .map(|group| native.embed(group))
        .collect::<Result<_>>()?;
    let (_, done) = ours.timed(&task, &long)?;
    ensure!(
        outputs(&done)? == reference,
        "the guest and the native twin differ"
    );

    let rest = lines.get(case.batch..).unwrap_or_default();
    let per_second = rest.len() as f64;
    let mut python = match bench.python.as_ref().filter(|path| path.is_file()) {
        Some(program) => Some(Python::start(program, path)?),
        None => None,
    };
    let fixed = std::cell::RefCell::new(Samples::default());
    let mut contestants: Vec<Contestant<'_>> = vec![
        Box::new(|| {
            let one = ours.timed(&task, &short)?.0;
            let all = ours.timed(&task, &long)?.0;
            fixed.borrow_mut().push(one * 1e3);
            Ok(per_second / (all - one))
        }),
        Box::new(|| {
            let clock = Clock::start();
            rest.chunks(case.batch)
                .try_for_each(|group| native.embed(group).map(drop))?;
            Ok(per_second / clock.seconds())
        }),
    ];
    if let Some(python) = &mut python {
        contestants.push(Box::new(|| {
            Ok(per_second / python.run(rest.len(), case.batch)?)
        }));
    }
    let all = interleave(bench.pick(9, 3), &mut contestants)?;
    drop(contestants);
    let mut all = all.into_iter();
    let (mine, bare) = (
        all.next().unwrap_or_default(),
        all.next().unwrap_or_default(),
    );
    let mut rows = vec![
        Row::new(format!("{what}, against bare ort"), "lines/s", &mine)
            .against(&mine, &bare)
            .target(Target::RatioAtLeast(0.97))
            .note("outputs equal byte for byte; one thread each; of a shard's time the part that grows with its lines"),
    ];
    let ahead = format!("{what}, against Python");
    rows.push(match all.next() {
        Some(python) => Row::new(ahead, "lines/s", &mine)
            .against(&mine, &python)
            .target(Target::RatioAtLeast(1.0)),
        None => Row::skipped(
            ahead,
            "no Python with onnxruntime: cargo xtask setup --reference (--python)",
        ),
    });
    if case.batch == 1 {
        let native = Samples::of(
            (0..3)
                .map(|_| {
                    let clock = Clock::start();
                    tokenizer().map(|_| clock.seconds() * 1e3)
                })
                .collect::<Result<_>>()?,
        );
        rows.push(
            Row::new("a shard of one line: what each shard pays once, its tokenizer above all", "ms", &fixed.into_inner())
                .against_figure(native.median())
                .note("baseline: building the tokenizer natively; a job spreads this over the lines of a shard"),
        );
    }
    Ok(rows)
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
