//! What the way to a model and back costs, beside a bare run of the model.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use runtime::{Backend, ShardTask};

use super::Bench;
use crate::measure::{Contestant, duel, interleave, seconds};
use crate::ours::{Ours, items, outputs};
use crate::raw::{self, On};
use crate::table::{Row, Target};
use crate::{guests, onnx};

/// Numbers of the image: 600 kB of f32, as 3 x 224 x 224.
const IMAGE: u32 = 3 * 224 * 224;
/// Numbers that come out: 4 kB.
const SCORES: u32 = 1000;

/// Numbers that look like a normalised image.
fn numbers(count: u32) -> Vec<f32> {
    (0..count).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A guest that repeats one run of one model, in our sandbox.
struct Repeat {
    ours: Ours,
    task: ShardTask,
    data: Vec<u8>,
}

impl Repeat {
    fn new(component: &[u8], model: &Path, data: Vec<u8>) -> Result<Self> {
        let ours = Ours::new(Backend::Onnx)?;
        let task = ours.task(component, &[("g", model)])?;
        Ok(Self { ours, task, data })
    }

    /// Seconds of a shard with so many runs, and the last output.
    fn shard(&self, runs: u32) -> Result<(f64, Vec<u8>)> {
        let encoded = items(&[runs.to_le_bytes().to_vec(), self.data.clone()])?;
        let (seconds, done) = self.ours.timed(&self.task, &encoded)?;
        let first = outputs(&done)?.first().map(|output| output.to_vec());
        Ok((seconds, first.unwrap_or_default()))
    }

    /// Microseconds of one run: what a shard with many takes longer than a shard with one.
    fn each(&self, runs: u32) -> Result<f64> {
        let one = self.shard(1)?.0;
        Ok((self.shard(runs)?.0 - one) / f64::from(runs.saturating_sub(1)) * 1e6)
    }
}

/// A tensor made, a graph run, its output dropped; against the same without a guest.
pub(crate) fn overhead(bench: &Bench) -> Result<Vec<Row>> {
    let model = include_bytes!("../../../host-gpu/tests/data/double.onnx");
    let (x, dims) = (numbers(2), [1_i64, 2]);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("double.onnx");
    std::fs::write(&path, model)?;
    let repeat = Repeat::new(&guests::repeat(&[1, 2], false)?, &path, bytes(&x))?;
    let mut session = raw::session(model, On::Cpu)?;
    let mut y = Vec::new();
    let runs: u32 = bench.pick(4000, 1000);
    let (ours, bare) = duel(
        bench.pick(25, 7),
        || repeat.each(runs),
        || {
            let all =
                seconds(|| (0..runs).try_for_each(|_| raw::once(&mut session, &dims, &x, &mut y)))?;
            Ok(all / f64::from(runs) * 1e6)
        },
    )?;
    let overhead = ours.zip(&bare, |ours, bare| ours - bare);
    Ok(vec![
        Row::new(
            "compute of a tiny model: what it costs beside a bare run",
            "us",
            &overhead,
        )
        .target(Target::AtMost(8.0))
        .note(format!(
            "with tensor constructor, compute and drop {:.2} us a run, bare {:.2} us",
            ours.median(),
            bare.median()
        )),
    ])
}

/// A large tensor in, a small one out, against wasmtime's own wasi-nn.
pub(crate) fn image(bench: &Bench) -> Result<Vec<Row>> {
    let what = "600 kB image in, 4 kB out: what it costs beside a bare run";
    let model = onnx::head(u64::from(IMAGE), u64::from(SCORES));
    let (x, dims) = (numbers(IMAGE), [1, i64::from(IMAGE)]);
    let folder = tempfile::tempdir()?;
    // The baseline takes a graph's name from its folder.
    let graph = folder.path().join("g");
    std::fs::create_dir(&graph)?;
    let path = graph.join("model.onnx");
    std::fs::write(&path, &model)?;
    let component = guests::repeat(&[1, IMAGE], true)?;
    let component_path = folder.path().join("repeat.wasm");
    std::fs::write(&component_path, &component)?;
    let data_path = folder.path().join("image");
    std::fs::write(&data_path, bytes(&x))?;

    let repeat = Repeat::new(&component, &path, bytes(&x))?;
    let mut session = raw::session(&model, On::Cpu)?;
    let mut y = Vec::new();
    raw::once(&mut session, &dims, &x, &mut y)?;
    ensure!(
        repeat.shard(1)?.1 == bytes(&y),
        "the guest and the bare run differ"
    );

    let missing =
        || "the baseline is not built: cargo xtask bench host builds it (--wasi-nn)".to_owned();
    let other = bench
        .wasi_nn
        .as_ref()
        .filter(|path| path.is_file())
        .ok_or_else(missing);
    let mut other = match other {
        Ok(program) => Ok(WasiNn::start(program, &component_path, &graph, &data_path)?),
        Err(reason) => Err(reason),
    };
    let runs: u32 = bench.pick(200, 50);
    let mut contestants: Vec<Contestant<'_>> = vec![
        Box::new(|| repeat.each(runs)),
        Box::new(|| {
            let all =
                seconds(|| (0..runs).try_for_each(|_| raw::once(&mut session, &dims, &x, &mut y)))?;
            Ok(all / f64::from(runs) * 1e6)
        }),
    ];
    if let Ok(other) = &mut other {
        ensure!(
            other.checksum()? == sum(&repeat.shard(1)?.1),
            "wasi-nn answers something else"
        );
        contestants.push(Box::new(|| {
            let one = other.run(1)?;
            Ok((other.run(runs)? - one) / f64::from(runs.saturating_sub(1)) * 1e6)
        }));
    }
    let all = interleave(bench.pick(15, 5), &mut contestants)?;
    drop(contestants);
    let mut all = all.into_iter();
    let (ours, bare) = (
        all.next().unwrap_or_default(),
        all.next().unwrap_or_default(),
    );
    let mine = ours.zip(&bare, |a, b| a - b);
    let row = Row::new(what, "us", &mine);
    let Some(theirs) = all.next() else {
        return Ok(vec![Row::skipped(what, other.err().unwrap_or_default())]);
    };
    let their = theirs.zip(&bare, |a, b| a - b);
    let said = format!(
        "a round {:.1} us, bare {:.1} us, wasmtime-wasi-nn 48 with ort 2.0.0-rc.10 {:.1} us",
        ours.median(),
        bare.median(),
        theirs.median()
    );
    Ok(vec![
        row.against(&mine, &their)
            .target(Target::RatioAtMost(0.2))
            .note(said),
    ])
}

/// A checksum that both sides can say in a line.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    })
}

/// The baseline's process: a line with a number of runs in, a line with nanoseconds and a checksum out.
struct WasiNn {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl WasiNn {
    fn start(program: &Path, component: &Path, graph: &Path, data: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .args([component, graph, data])
            .env("ORT_DYLIB_PATH", raw::library()?.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let input = child.stdin.take().context("no standard input")?;
        let output = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self {
            child,
            input,
            output,
        })
    }

    fn ask(&mut self, runs: u32) -> Result<(f64, u64)> {
        writeln!(self.input, "{runs}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let (Some(ns), Some(sum)) = (words.next(), words.next()) else {
            bail!("the baseline answered {line:?}");
        };
        Ok((ns.parse::<f64>()? / 1e9, sum.parse()?))
    }

    fn run(&mut self, runs: u32) -> Result<f64> {
        Ok(self.ask(runs)?.0)
    }

    fn checksum(&mut self) -> Result<u64> {
        Ok(self.ask(1)?.1)
    }
}

impl Drop for WasiNn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
