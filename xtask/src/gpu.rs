//! `cargo xtask gpu`: the tests and benchmarks that want a GPU, here or on another machine.
//!
//! The bundle is a folder: programs, ONNX Runtime for CUDA with NVIDIA's libraries, models, and
//! `run.sh`. It is copied to a machine with a driver and run there; nothing is fetched or built.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::BundleArgs;
use crate::bench;
use crate::chores::guests_with;
use crate::run::{self, cargo, check};
use crate::setup::{self, Wanted};
use crate::stages::Stages;

/// What the other machine is asked to run.
const RUN: &str = include_str!("gpu/run.sh");

/// The tests that a GPU is wanted for, in host-gpu's test program.
const TESTS: &str = "gpu::";

pub(crate) fn test(stages: &mut Stages) -> Result<ExitCode> {
    stages.run("set-up", || setup::run(Wanted::default()))?;
    stages.run("GPU tests", || {
        let mut tests = cargo()?;
        tests.args([
            "test",
            "--workspace",
            "--test",
            "suite",
            "--",
            TESTS,
            "--nocapture",
        ]);
        check(tests.stdout(Stdio::inherit()))
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn bundle(stages: &mut Stages, args: &BundleArgs) -> Result<ExitCode> {
    let out = std::path::absolute(&args.out)?;
    ensure!(!out.exists(), "{} is there already", out.display());
    let home = run::assay_home()?;
    stages.run("set-up", || setup::run(Wanted::default()))?;
    guests_with(stages)?;
    let guests = stages.run("gather the guests", bench::gather)?;
    let target = bench::target()?;
    let host = stages.run("build the benchmark", || bench::build(&target))?;
    let suite = stages.run("build the GPU tests", test_program)?;
    stages.run("gather the bundle", || {
        fs::create_dir_all(out.join("bin"))?;
        fs::copy(&host, out.join("bin").join("host"))?;
        fs::copy(&suite, out.join("bin").join("gpu-tests"))?;
        copy_files(&run::root()?.join("host-gpu/tests/data"), &out.join("data"))?;
        copy_files(&guests, &out.join("guests"))?;
        copy_files(&home.join("models"), &out.join("models"))?;
        if args.without_cuda {
            copy_files(&home.join("ort"), &out.join("ort"))?;
        } else {
            setup::cuda_into(&out)?;
        }
        let script = out.join("run.sh");
        fs::write(&script, RUN)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        eprintln!(
            "  {} is ready: copy it, then ./run.sh test and ./run.sh bench",
            out.display()
        );
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Builds host-gpu's tests and says where the program is.
fn test_program() -> Result<PathBuf> {
    let mut build = cargo()?;
    build.args([
        "test",
        "--workspace",
        "--test",
        "suite",
        "--no-run",
        "--message-format",
        "json",
    ]);
    let messages = run::text(&mut build).context("host-gpu's tests do not build")?;
    let program = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| {
            message
                .pointer("/target/name")
                .is_some_and(|name| name == "suite")
        })
        .filter(|message| {
            message
                .pointer("/manifest_path")
                .and_then(|p| p.as_str())
                .is_some_and(|p| p.contains("host-gpu"))
        })
        .find_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)));
    match program {
        Some(program) => Ok(program),
        None => bail!("cargo names no test program of host-gpu"),
    }
}

/// Copies the files of a folder, and of no folder below it.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            fs::copy(&path, to.join(name)).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}
