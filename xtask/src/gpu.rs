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
use crate::run::{self, cargo, check, program};
use crate::setup::{self, Wanted};
use crate::stages::Stages;

/// What the other machine is asked to run.
const RUN: &str = include_str!("gpu/run.sh");

/// The tests that a GPU is wanted for, in host-gpu's test program.
const TESTS: &str = "gpu::";

pub(crate) fn test(stages: &mut Stages) -> Result<ExitCode> {
    stages.run("set-up", || setup::run(Wanted::default()))?;
    let suite = stages.run("build the GPU tests", test_program)?;
    stages.run("GPU tests", || {
        has_tests(&suite)?;
        let mut tests = program(&suite)?;
        // Where cargo runs the tests of a crate, which look for their data beside it.
        tests.current_dir(run::root()?.join("host-gpu"));
        tests.args([TESTS, "--nocapture"]);
        check(tests.stdout(Stdio::inherit()))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Fails if the program has no test of that name: to the program itself that is a success.
fn has_tests(suite: &Path) -> Result<()> {
    let listed = run::text(program(suite)?.args([TESTS, "--list"]));
    let listed = listed.with_context(|| format!("{} lists no tests", suite.display()))?;
    ensure!(
        count(&listed) > 0,
        "{} has no test whose name has {TESTS:?}",
        suite.display()
    );
    Ok(())
}

/// How many tests there are in what a test program lists.
fn count(listed: &str) -> usize {
    let tests = listed.lines().filter(|line| line.ends_with(": test"));
    tests.count()
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
    let suite = stages.run("build the GPU tests", || {
        let suite = test_program()?;
        has_tests(&suite)?;
        Ok(suite)
    })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_test_is_not_taken_for_a_success() {
        for (listed, tests) in [
            (
                "gpu::one: test\ngpu::two: test\n\n2 tests, 0 benchmarks\n",
                2,
            ),
            ("\n0 tests, 0 benchmarks\n", 0),
            ("gpu::one: benchmark\n\n0 tests, 1 benchmark\n", 0),
            ("", 0),
        ] {
            assert_eq!(count(listed), tests, "{listed:?}");
        }
    }

    /// Run as it is on the other machine, with programs that list tests, or none.
    #[test]
    fn the_script_of_a_bundle_fails_where_there_is_no_gpu_test() {
        for (listed, code) in [("gpu::one: test", 0), ("0 tests, 0 benchmarks", 1)] {
            let dir = tempfile::tempdir().unwrap();
            let write = |path: &str, text: &str| {
                let path = dir.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, text).unwrap();
                path
            };
            write("bin/gpu-tests", &format!("#!/bin/sh\necho '{listed}'\n"));
            let script = write("run.sh", RUN);
            for path in [&script, &dir.path().join("bin/gpu-tests")] {
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            let mut command = std::process::Command::new("sh");
            let output = command.arg(&script).arg("test").output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{listed}: {output:?}");
        }
    }
}
