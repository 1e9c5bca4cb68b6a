//! One function per command.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};

use crate::run::{self, cargo, check, program};
use crate::setup::{self, Wanted};
use crate::stages::Stages;
use crate::{CleanArgs, DemoArgs, SetupArgs, TestArgs};

/// Folders below Assay's own that set-up, the book and builds of guests fill, beside the Python environments.
const FETCHED: [&str; 7] = [
    "ort",
    "models",
    "conformance",
    "interpreters",
    "guest-tools",
    "guest-builds",
    TOOLS,
];

/// The folder of tools that are installed from their sources.
const TOOLS: &str = "tools";

/// By which file the folder of a guest is known, whatever its language.
const GUESTS: [&str; 3] = ["Cargo.toml", "job.js", "job.py"];

/// The mdbook that builds the book.
const MDBOOK: &str = "0.5.4";

pub(crate) fn setup(stages: &mut Stages, args: &SetupArgs) -> Result<ExitCode> {
    let wanted = Wanted {
        gpu: args.gpu,
        reference: args.reference,
        interface: args.interface,
        networks: false,
        generate: args.generate,
        interpreters: args.interpreters,
        ocr: args.ocr,
        calibrate: args.calibrate,
    };
    stages.run("set-up", || setup::run(wanted))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn demo(stages: &mut Stages, args: &DemoArgs) -> Result<ExitCode> {
    let run_one = |command: &mut Command| {
        if args.quiet {
            run::check_quietly(command)
        } else {
            check(command)
        }
    };
    stages.run("set-up", || setup::run(Wanted::default()))?;
    let assay = stages.run("build assay", || {
        run_one(build_assay()?.args(args.quiet.then_some("--quiet")))?;
        assay_binary()
    })?;
    stages.run("build the guest of examples/embed", || {
        run_one(program(&assay)?.args(["component", "build", "examples/embed"]))
    })?;
    let status = stages.run("demo", || {
        let mut demo = program(&assay)?;
        demo.args(["devnet", "demo", "--job", "examples/embed/job.toml"]);
        // Ended by a signal, we leave no market behind.
        demo.arg(format!("--with-parent={}", std::process::id()));
        demo.arg("--providers").arg(args.providers.to_string());
        demo.arg("--cheating").arg(args.cheating.to_string());
        demo.args(args.json.then_some("--json"))
            .args(args.quiet.then_some("--quiet"));
        demo.args(&args.rest);
        // The only program whose standard output is ours.
        run::status(demo.stdout(Stdio::inherit()))
    })?;
    Ok(run::exit_code(status))
}

pub(crate) fn test(stages: &mut Stages, args: &TestArgs) -> Result<ExitCode> {
    stages.run("set-up", || {
        setup::run(Wanted {
            reference: !args.quick,
            interface: !args.quick,
            networks: !args.quick,
            generate: !args.quick,
            ocr: !args.quick,
            ..Wanted::default()
        })
    })?;
    if args.quick {
        return quick_test(stages);
    }
    guests_with(stages)?;
    let assay = assay_binary()?;
    let nextest = run::on_path("cargo-nextest");
    // Building apart from running tells a slow compiler from a slow test.
    stages.run("build tests", || {
        check(cargo()?.args(["test", "--workspace", "--no-run"]))
    })?;
    let name = if nextest { "tests (nextest)" } else { "tests" };
    stages.run(name, || {
        let mut tests = cargo()?;
        tests.env("ASSAY_BIN", &assay).stdout(Stdio::inherit());
        tests.args(if nextest {
            &["nextest", "run"][..]
        } else {
            &["test", "--lib", "--bins", "--tests"]
        });
        check(tests.args(["--workspace", "--no-fail-fast"]))
    })?;
    for guests in ["examples", "tests/guests"] {
        stages.run(&format!("tests of the guests in {guests}"), || {
            let manifest = format!("{guests}/Cargo.toml");
            let mut tests = cargo()?;
            tests.args(["test", "--manifest-path", &manifest, "--lib", "--tests"]);
            check(tests.stdout(Stdio::inherit()))
        })?;
    }
    stages.run("doc tests", || {
        let mut docs = cargo()?;
        check(
            // The whole workspace again: a selection of crates would be another set of features, for
            // which cargo compiles every dependency anew.
            docs.args(["test", "--doc", "--workspace"])
                .stdout(Stdio::inherit()),
        )
    })?;
    if run::on_path("cargo-deny") {
        stages.run("cargo deny", || check(cargo()?.args(["deny", "check"])))?;
    } else {
        eprintln!(
            "xtask: `cargo deny check` was skipped: cargo-deny is not installed \
             (`cargo install --locked cargo-deny`, some minutes). The house tests check licences \
             and sources all the same; advisories are checked by cargo-deny alone."
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn quick_test(stages: &mut Stages) -> Result<ExitCode> {
    let plan: [(&str, &[&str]); 2] = [
        (
            "unit tests",
            &["--workspace", "--exclude", "tests", "--lib", "--bins"],
        ),
        ("house rules", &["--package", "tests", "--test", "house"]),
    ];
    for (name, args) in plan {
        stages.run(name, || {
            check(cargo()?.arg("test").args(args).stdout(Stdio::inherit()))
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn guests(stages: &mut Stages) -> Result<ExitCode> {
    guests_with(stages)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn guests_with(stages: &mut Stages) -> Result<()> {
    stages.run("build assay", || check(&mut build_assay()?))?;
    let assay = assay_binary()?;
    stages.run("tools for guests in JavaScript and Python", || {
        check(program(&assay)?.args(["component", "setup"]))
    })?;
    for example in examples()? {
        stages.run(&format!("build the guest of {example}"), || {
            check(program(&assay)?.args(["component", "build", &example]))
        })?;
    }
    Ok(())
}

pub(crate) fn lint(stages: &mut Stages) -> Result<ExitCode> {
    stages.run("formatting", || {
        check(cargo()?.args(["fmt", "--all", "--check"]))
    })?;
    stages.run("clippy", || {
        check(cargo()?.args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn clean(stages: &mut Stages, args: &CleanArgs) -> Result<ExitCode> {
    stages.run("remove build output", || {
        check(cargo()?.arg("clean"))?;
        for example in examples()? {
            remove(run::root()?.join(example).join("target"))?;
        }
        remove(run::root()?.join("examples").join("target"))
    })?;
    if args.all {
        stages.run("remove what set-up fetched", || {
            let home = run::assay_home()?;
            fetched().try_for_each(|dir| remove(home.join(dir)))
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every folder below Assay's own that can be fetched or built again.
fn fetched() -> impl Iterator<Item = &'static str> {
    FETCHED.into_iter().chain(setup::environments())
}

fn remove(dir: PathBuf) -> Result<()> {
    if dir.exists() {
        eprintln!("  removing {}", dir.display());
        fs::remove_dir_all(&dir).with_context(|| format!("could not remove {}", dir.display()))?;
    }
    Ok(())
}

/// Builds the `assay` binary with the features the whole workspace resolves to. `--package cli`
/// would resolve them for that crate alone, and the tests would then compile every dependency a
/// second time.
fn build_assay() -> Result<Command> {
    let mut build = cargo()?;
    build.args(["build", "--workspace", "--bin", "assay"]);
    Ok(build)
}

pub(crate) fn assay_binary() -> Result<PathBuf> {
    Ok(target_directory()?.join("debug").join("assay"))
}

/// Where cargo builds to.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let metadata = run::text(cargo()?.args(["metadata", "--no-deps", "--format-version", "1"]));
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata.context("`cargo metadata` failed")?)?;
    let target = metadata.get("target_directory").and_then(|t| t.as_str());
    Ok(PathBuf::from(
        target.context("`cargo metadata` names no target directory")?,
    ))
}

/// Builds the book with the pinned mdbook, which is installed beside what set-up fetches.
pub(crate) fn book(stages: &mut Stages) -> Result<ExitCode> {
    let tools = run::assay_home()?.join(TOOLS);
    let mdbook = tools.join("bin").join("mdbook");
    let wanted = format!("mdbook v{MDBOOK}");
    if run::text(Command::new(&mdbook).arg("--version")).is_none_or(|has| has.trim() != wanted) {
        stages.run("install mdbook", || {
            let mut install = cargo()?;
            install.args([
                "install",
                "mdbook",
                "--locked",
                "--no-default-features",
                "--features",
                "search",
            ]);
            check(
                install
                    .args(["--version", &format!("={MDBOOK}"), "--root"])
                    .arg(&tools),
            )
        })?;
    }
    stages.run("build the book", || {
        check(
            program(&mdbook)?
                .arg("build")
                .arg(run::root()?.join("docs")),
        )
    })?;
    eprintln!("  docs/book/index.html");
    Ok(ExitCode::SUCCESS)
}

/// The examples that have a guest, as paths from the root, in order.
fn examples() -> Result<Vec<String>> {
    let dir = run::root()?.join("examples");
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("could not list {}", dir.display()))? {
        let path = entry?.path();
        if let Some(name) = path
            .file_name()
            .filter(|_| GUESTS.iter().any(|known| path.join(known).is_file()))
        {
            found.push(format!("examples/{}", name.to_string_lossy()));
        }
    }
    found.sort();
    Ok(found)
}
