//! `cargo xtask bench`: builds what is measured and what it is measured against, then runs it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::chores::{assay_binary, guests_with};
use crate::run::{self, cargo, check, program};
use crate::setup::{self, Wanted, interpreters_ready};
use crate::stages::Stages;
use crate::{BenchArgs, MatrixArgs, VerifyArgs};

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
        measure(&mut command, args.json, args.save.as_deref(), "host")
    })
}

/// Needs no guests, models or baselines: the simulator is a program of one small crate.
pub(crate) fn verify(stages: &mut Stages, args: &VerifyArgs) -> Result<ExitCode> {
    let target = target()?;
    let bench = stages.run("build the simulator", || {
        let mut build = cargo()?;
        build.args([
            "build",
            "--release",
            "--package",
            "policy",
            "--bin",
            "verify",
        ]);
        check(build.env("CARGO_TARGET_DIR", &target))?;
        Ok(target.join("release").join("verify"))
    })?;
    stages.run("simulate", || {
        let mut command = program(&bench)?;
        command.args((args.json || args.save.is_some()).then_some("--json"));
        command.args(args.quick.then_some("--quick"));
        if let Some(seed) = args.seed {
            command.args(["--seed", &seed.to_string()]);
        }
        if let Some(folder) = &args.save {
            command.arg("--plots").arg(folder);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        measure(&mut command, args.json, args.save.as_deref(), "verify")
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
        command.stderr(Stdio::inherit());
        measure(&mut command, args.json, args.save.as_deref(), "dispute")
    })
}

/// Real processes and models, and nothing that is timed: the build that tests use will do.
pub(crate) fn matrix(stages: &mut Stages, args: &MatrixArgs) -> Result<ExitCode> {
    stages.run("set-up", || setup::run(Wanted::default()))?;
    let assay = stages.run("build assay and the matrix", || {
        let mut build = cargo()?;
        check(build.args(["build", "--workspace", "--bin", "assay", "--bin", "matrix"]))?;
        assay_binary()
    })?;
    eprintln!(
        "xtask: all adversaries take about a quarter of an hour on two cores, with --quick half of that"
    );
    stages.run("run", || {
        let mut command = program(assay.with_file_name("matrix"))?;
        command
            .env("ASSAY_BIN", &assay)
            .args(["--policy", &args.policy]);
        command.args((args.json || args.save.is_some()).then_some("--json"));
        command.args(args.quick.then_some("--quick"));
        command.args(args.openings.then_some("--openings"));
        for only in &args.only {
            command.args(["--only", only]);
        }
        command.args(&args.rest).stdout(Stdio::piped());
        command.stderr(Stdio::inherit());
        let openings = if args.openings { "-openings" } else { "" };
        let bench = format!("matrix-{}{openings}", args.policy);
        measure(&mut command, args.json, args.save.as_deref(), &bench)
    })
}

/// Real processes, and ratios within one run: the build that tests use will do.
pub(crate) fn api(stages: &mut Stages, args: &BenchArgs) -> Result<ExitCode> {
    stages.run("set-up", || setup::run(Wanted::default()))?;
    let assay = stages.run("build assay and the flood", || {
        let mut build = cargo()?;
        check(build.args(["build", "--workspace", "--bin", "assay", "--bin", "flood"]))?;
        assay_binary()
    })?;
    eprintln!("xtask: all attacks take about four minutes, with --quick half a minute");
    stages.run("flood", || {
        let mut command = program(assay.with_file_name("flood"))?;
        command.env("ASSAY_BIN", &assay);
        command.args((args.json || args.save.is_some()).then_some("--json"));
        command.args(args.quick.then_some("--quick"));
        for only in &args.only {
            command.args(["--only", only]);
        }
        command.args(&args.rest).stdout(Stdio::piped());
        command.stderr(Stdio::inherit());
        measure(&mut command, args.json, args.save.as_deref(), "api")
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
fn measure(
    command: &mut std::process::Command,
    wants_json: bool,
    save_in: Option<&Path>,
    bench: &str,
) -> Result<ExitCode> {
    eprintln!("  $ {}", run::describe(command));
    let output = command.output().context("could not start the benchmark")?;
    let text = String::from_utf8(output.stdout)?;
    let (table, json) = match text.rfind("{\"bench\":") {
        Some(at) => text.split_at(at),
        None => (text.as_str(), ""),
    };
    let mut out = std::io::stdout().lock();
    write!(out, "{table}")?;
    if wants_json {
        write!(out, "{json}")?;
    }
    if let Some(folder) = save_in {
        if json.is_empty() {
            bail!("the benchmark printed no JSON");
        }
        save(folder, table, json, bench)?;
    }
    Ok(run::exit_code(output.status))
}

/// Why figures of this machine are not to be quoted: it was at work when measuring began.
fn under_load(value: &serde_json::Value) -> Option<String> {
    let load = value.pointer("/machine/load")?.as_str()?;
    let load: f64 = load.split_whitespace().next()?.parse().ok()?;
    let cores = value.pointer("/machine/cores")?.as_u64()?;
    (load > cores as f64 / 2.0).then(|| {
        format!("the load average was {load} on {cores} cores as measuring began, more than half of them")
    })
}

/// A result of many small rows: one a line, for people and for version control.
fn one_row_a_line(mut value: serde_json::Value) -> Result<String> {
    let rows = value.get_mut("rows").map(serde_json::Value::take);
    let rows = rows.as_ref().and_then(|rows| rows.as_array());
    let rows = rows.context("the benchmark gave no rows")?;
    let rows: Vec<String> = rows.iter().map(|row| format!("    {row}")).collect();
    let head = serde_json::to_string_pretty(&value)?;
    let place = "\"rows\": null";
    Ok(head.replace(place, &format!("\"rows\": [\n{}\n  ]", rows.join(",\n"))) + "\n")
}

/// `<date>-<machine>.json` and `.md`, with the benchmark's name in front unless it is the first; marked in their names if
/// times were measured on a machine under load.
fn save(folder: &Path, table: &str, json: &str, bench: &str) -> Result<()> {
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
    let front = if bench == "host" {
        String::new()
    } else {
        format!("{bench}-")
    };
    // A simulation comes to the same however busy the machine is, and so does who was caught.
    let timed = bench != "verify" && !bench.starts_with("matrix-");
    let busy = under_load(&value).filter(|_| timed);
    let mark = if busy.is_some() { "-under-load" } else { "" };
    let name = format!("{front}{day}-{}{cores}{mark}", words.join("-"));
    fs::create_dir_all(folder)?;
    let pretty = match bench {
        _ if !timed => one_row_a_line(value)?,
        _ => serde_json::to_string_pretty(&value)? + "\n",
    };
    fs::write(folder.join(format!("{name}.json")), pretty)?;
    let busy = busy.map_or_else(String::new, |busy| {
        eprintln!("xtask: {busy}: the results are marked");
        format!("**Not to be quoted:** {busy}.\n\n")
    });
    let command = bench.replacen("matrix-", "matrix --policy ", 1);
    let table = match table.trim() {
        page if page.starts_with('|') => page.to_owned(),
        text => format!("```\n{text}\n```"),
    };
    let page = format!("# `cargo xtask bench {command}`, {day}\n\n{busy}{table}\n");
    fs::write(folder.join(format!("{name}.md")), page)?;
    eprintln!("  wrote {}", folder.join(name).display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_a_machine_at_work_are_marked_in_name_and_page() {
        for (load, cores, marked) in [
            ("1.00 9.00 9.00 1/83 20938", 2, false),
            ("1.01 0.00 0.00 1/83 20938", 2, true),
            ("2.03 1.46 1.65 1/83 20938", 64, false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let machine = serde_json::json!({
                "date": "2026-11-22T05:01:14Z", "cpu": "AMD EPYC", "cores": cores, "load": load,
            });
            let value = serde_json::json!({ "bench": "host", "machine": machine, "rows": [] });
            save(dir.path(), "a table", &value.to_string(), "host").unwrap();
            let mark = if marked { "-under-load" } else { "" };
            let page = dir
                .path()
                .join(format!("2026-11-22-amd-epyc-{cores}-cores{mark}.md"));
            let page = fs::read_to_string(page).unwrap();
            assert_eq!(page.contains("Not to be quoted"), marked, "{page}");
        }
    }

    #[test]
    fn a_saved_result_has_one_row_a_line_and_is_the_same() {
        let value = serde_json::json!({"bench": "verify", "rows": [{"a": 1}, {"a": 2}], "seed": 1});
        let text = one_row_a_line(value.clone()).unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
        assert!(
            text.lines().any(|line| line.trim() == "{\"a\":1},"),
            "{text}"
        );
    }
}
