//! What the way to a model and back costs, beside a bare run of the model.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail, ensure};
use runtime::{Backend, ShardTask};

use super::Bench;
use crate::child::{Baseline, checksum};
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

/// A tensor made, a graph run, its output read and dropped; against the same without a guest.
pub(crate) fn overhead(bench: &Bench) -> Result<Vec<Row>> {
    let model = include_bytes!("../../../host-gpu/tests/data/double.onnx");
    let (x, dims) = (numbers(2), [1_i64, 2]);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("double.onnx");
    std::fs::write(&path, model)?;
    let repeat = Repeat::new(&guests::repeat(&[1, 2], true)?, &path, bytes(&x))?;
    let mut session = raw::session(model, On::Cpu)?;
    let mut y = Vec::new();
    raw::once(&mut session, &dims, &x, &mut y)?;
    let answer = repeat.shard(1)?.1;
    ensure!(answer == bytes(&y), "the guest and the bare run differ");
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
            "with tensor constructor, compute, data and drop {:.2} us a run, bare {:.2} us, both read the output",
            ours.median(),
            bare.median()
        )),
    ])
}

/// The image's model, guest and bytes, in a folder from which a baseline can read them.
struct Image {
    folder: tempfile::TempDir,
    model: Vec<u8>,
    component: Vec<u8>,
    x: Vec<f32>,
}

impl Image {
    fn new() -> Result<Self> {
        let image = Self {
            folder: tempfile::tempdir()?,
            model: onnx::head(u64::from(IMAGE), u64::from(SCORES)),
            component: guests::repeat(&[1, IMAGE], true)?,
            x: numbers(IMAGE),
        };
        std::fs::create_dir(image.graph())?;
        std::fs::write(image.graph().join("model.onnx"), &image.model)?;
        std::fs::write(image.folder.path().join("repeat.wasm"), &image.component)?;
        std::fs::write(image.folder.path().join("image"), bytes(&image.x))?;
        Ok(image)
    }

    /// The baseline takes a graph's name from its folder.
    fn graph(&self) -> PathBuf {
        self.folder.path().join("g")
    }

    /// wasmtime's own wasi-nn, or why there is none.
    fn wasi_nn(&self, bench: &Bench) -> Result<Result<Baseline, String>> {
        let Some(program) = bench.wasi_nn.as_ref().filter(|path| path.is_file()) else {
            let reason = "the baseline is not built: cargo xtask bench host builds it (--wasi-nn)";
            return Ok(Err(reason.to_owned()));
        };
        let folder = self.folder.path();
        let mut command = Command::new(program);
        command.args([
            folder.join("repeat.wasm"),
            self.graph(),
            folder.join("image"),
        ]);
        command.env("ORT_DYLIB_PATH", raw::library()?.path());
        Baseline::start(&mut command).map(Ok)
    }
}

/// A large tensor in, a small one out, against wasmtime's own wasi-nn.
pub(crate) fn image(bench: &Bench) -> Result<Vec<Row>> {
    let what = "600 kB image in, 4 kB out: what it costs beside a bare run";
    let image = Image::new()?;
    let mut other = match image.wasi_nn(bench)? {
        Ok(other) => other,
        Err(reason) => return Ok(vec![Row::skipped(what, reason)]),
    };
    let model = image.graph().join("model.onnx");
    let repeat = Repeat::new(&image.component, &model, bytes(&image.x))?;
    let mut session = raw::session(&image.model, On::Cpu)?;
    let (dims, mut y) = ([1, i64::from(IMAGE)], Vec::new());
    raw::once(&mut session, &dims, &image.x, &mut y)?;
    let answer = repeat.shard(1)?.1;
    ensure!(answer == bytes(&y), "the guest and the bare run differ");
    ensure!(
        other.ask("1")?.sum == Some(checksum(answer)),
        "wasi-nn answers something else"
    );

    let runs: u32 = bench.pick(200, 50);
    let mut contestants: [Contestant<'_>; 3] = [
        Box::new(|| repeat.each(runs)),
        Box::new(|| {
            let run = |_| raw::once(&mut session, &dims, &image.x, &mut y);
            Ok(seconds(|| (0..runs).try_for_each(run))? / f64::from(runs) * 1e6)
        }),
        Box::new(|| {
            let one = other.ask("1")?.seconds;
            let all = other.ask(&runs.to_string())?.seconds;
            Ok((all - one) / f64::from(runs.saturating_sub(1)) * 1e6)
        }),
    ];
    let all = interleave(bench.pick(15, 5), &mut contestants)?;
    let [ours, bare, theirs] = &all[..] else {
        bail!("three contestants, {} results", all.len());
    };
    let (mine, their) = (ours.zip(bare, |a, b| a - b), theirs.zip(bare, |a, b| a - b));
    Ok(vec![
        Row::new(what, "us", &mine)
            .against(&mine, &their)
            .target(Target::RatioAtMost(0.2))
            .note(format!(
                "a round {:.1} us, bare {:.1} us, wasmtime-wasi-nn 48 with ort 2.0.0-rc.10 {:.1} us",
                ours.median(),
                bare.median(),
                theirs.median()
            )),
    ])
}
