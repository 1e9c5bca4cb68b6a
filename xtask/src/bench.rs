//! `cargo xtask bench`: builds what is measured and what it is measured against, then runs it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::BenchArgs;
use crate::chores::{assay_binary, guests_with};
use crate::run::{self, cargo, check, program};
use crate::setup::{self, Wanted, interpreters_ready};
use crate::stages::Stages;

/// Programs that are measured against, each in a workspace of its own.
const BASELINES: &str = "benches/baseline";

/// Guests of the benchmarks' own, beside those of the examples.
const GUESTS: &str = "benches/guests";

pub(crate) fn host(stages: &mut Stages, args: &BenchArgs) -> Result<ExitCode> {
    stages.run("set-up", || {
        setup::run(Wanted {
            reference: true,
            ..Wanted::default()
        })
    })?;
    guests_with(stages)?;
    let guests = stages.run("gather the guests", gather)?;
    let target = target()?;
    eprintln!(
        "xtask: the first release build takes ten minutes and more; later ones seconds to minutes"
    );
    let bench = stages.run("build the benchmark", || build(&target))?;
    let wasi_nn = stages.run("build the baseline wasi-nn", || {
        baseline(&target, "wasi-nn")
    })?;
    let native = stages.run("build the baseline native", || baseline(&target, "native"))?;
    let took = if args.quick {
        "about two minutes"
    } else {
        "about six minutes"
    };
    eprintln!("xtask: measuring takes {took}; leave the machine alone meanwhile");
    stages.run("measure", || {
        let python = run::assay_home()?.join("venv").join("bin").join("python");
        let mut command = program(&bench)?;
        command
            .arg("--guests")
            .arg(&guests)
            .arg("--wasi-nn")
            .arg(&wasi_nn);
        command
            .arg("--native")
            .arg(&native)
            .arg("--python")
            .arg(python);
        // The JSON is wanted for the folder whether or not it is wanted on standard output.
        command.args((args.json || args.save.is_some()).then_some("--json"));
        // Not built unless somebody asks: the rows about them say how.
        let named = args
            .rest
            .iter()
            .any(|arg| arg.starts_with("--interpreters"));
        if let Some(folder) = interpreters_ready(&run::assay_home()?)?.filter(|_| !named) {
            command.arg("--interpreters").arg(folder);
        }
        command.args(args.quick.then_some("--quick"));
        args.only.iter().for_each(|only| {
            command.args(["--only", only]);
        });
        command
            .args(&args.rest)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        measure(&mut command, args)
    })
}

/// The one group that needs neither guests nor baselines; models that are not there are named.
pub(crate) fn dispute(stages: &mut Stages, args: &BenchArgs) -> Result<ExitCode> {
    stages.run("set-up", || setup::run(Wanted::default()))?;
    let target = target()?;
    let bench = stages.run("build the benchmark", || build(&target))?;
    stages.run("measure", || {
        let mut command = program(&bench)?;
        command.args(["--only", "dispute"]);
        command.args((args.json || args.save.is_some()).then_some("--json"));
        command.args(args.quick.then_some("--quick"));
        command.args(&args.rest).stdout(Stdio::piped());
        measure(command.stderr(Stdio::inherit()), args)
    })
}

/// Where release builds go: a folder of their own, so that one package may be selected without
/// disturbing the workspace's builds.
pub(crate) fn target() -> Result<PathBuf> {
    match std::env::var_os("ASSAY_BENCH_TARGET").filter(|dir| !dir.is_empty()) {
        Some(dir) => Ok(std::path::absolute(dir)?),
        None => Ok(run::assay_home()?.join("target-bench")),
    }
}

/// Builds the benchmark in the release profile.
pub(crate) fn build(target: &Path) -> Result<PathBuf> {
    let mut build = cargo()?;
    build.args(["build", "--release", "--package", "benches"]);
    check(build.env("CARGO_TARGET_DIR", target))?;
    Ok(target.join("release").join("host"))
}

/// Builds a baseline in the release profile.
fn baseline(target: &Path, name: &str) -> Result<PathBuf> {
    let own = target.join(name);
    let mut build = cargo()?;
    build.args(["build", "--release", "--locked", "--manifest-path"]);
    build.arg(format!("{BASELINES}/{name}/Cargo.toml"));
    check(build.env("CARGO_TARGET_DIR", &own))?;
    Ok(own.join("release").join(format!("baseline-{name}")))
}

/// All built guests in one folder: those of the examples and those of the benchmarks.
pub(crate) fn gather() -> Result<PathBuf> {
    let folder = run::assay_home()?.join("bench").join("guests");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let assay = assay_binary()?;
    let root = run::root()?;
    for crate_folder in crates_in(&root.join(GUESTS))? {
        check(program(&assay)?.args([
            OsStr::new("component"),
            OsStr::new("build"),
            crate_folder.as_os_str(),
        ]))?;
        copy_components(&crate_folder.join("target"), &folder)?;
    }
    for example in crates_in(&root.join("examples"))? {
        copy_components(&example.join("target"), &folder)?;
    }
    Ok(folder)
}

/// Folders in a folder that hold a crate.
fn crates_in(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("Cargo.toml").is_file())
        .collect();
    found.sort();
    Ok(found)
}

fn copy_components(from: &Path, to: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(from) else {
        return Ok(());
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().unwrap_or_default();
        if name.to_string_lossy().ends_with(".component.wasm") {
            fs::copy(&path, to.join(name)).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// Runs the benchmark, shows what it prints and keeps it where that was asked for.
fn measure(command: &mut std::process::Command, args: &BenchArgs) -> Result<ExitCode> {
    eprintln!("  $ {}", run::describe(command));
    let output = command.output().context("could not start the benchmark")?;
    let text = String::from_utf8(output.stdout)?;
    let (table, json) = match text.rfind("{\"bench\":") {
        Some(at) => text.split_at(at),
        None => (text.as_str(), ""),
    };
    let mut out = std::io::stdout().lock();
    write!(out, "{table}")?;
    if args.json {
        write!(out, "{json}")?;
    }
    if let Some(folder) = &args.save {
        if json.is_empty() {
            bail!("the benchmark printed no JSON");
        }
        save(folder, table, json)?;
    }
    Ok(run::exit_code(output.status))
}

/// `<date>-<machine>.json` and `.md`.
fn save(folder: &Path, table: &str, json: &str) -> Result<()> {
    let value: serde_json::Value = serde_json::from_str(json)?;
    let fact = |key: &str| {
        value
            .pointer(&format!("/machine/{key}"))
            .and_then(|v| v.as_str())
            .unwrap_or("unknown")
    };
    let day: String = fact("date").chars().take(10).collect();
    let cpu: String = fact("cpu")
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let words: Vec<&str> = cpu
        .split('-')
        .filter(|word| !word.is_empty() && *word != "r")
        .take(4)
        .collect();
    let cores = value
        .pointer("/machine/cores")
        .map_or_else(String::new, |cores| format!("-{cores}-cores"));
    let name = format!("{day}-{}{cores}", words.join("-"));
    fs::create_dir_all(folder)?;
    fs::write(
        folder.join(format!("{name}.json")),
        serde_json::to_string_pretty(&value)? + "\n",
    )?;
    let page = format!(
        "# `cargo xtask bench host`, {day}\n\n```\n{}\n```\n",
        table.trim()
    );
    fs::write(folder.join(format!("{name}.md")), page)?;
    eprintln!("  wrote {}", folder.join(name).display());
    Ok(())
}
