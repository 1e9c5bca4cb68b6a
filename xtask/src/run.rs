//! Starting programs: one way to do it, so that every call is announced, checked and kept off
//! standard output.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};

/// The repository's root: the parent of this crate's folder.
pub(crate) fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here
        .parent()
        .context("xtask has no parent folder")?
        .to_owned())
}

/// Where fetched libraries, models and state live: `ASSAY_HOME`, else `.cache/assay` in the home
/// folder. Absolute, since programs are started in the repository's root.
pub(crate) fn assay_home() -> Result<PathBuf> {
    if let Some(dir) = absolute_variable("ASSAY_HOME")? {
        return Ok(dir);
    }
    let home = env::var_os("HOME").context("neither ASSAY_HOME nor HOME is set")?;
    Ok(Path::new(&home).join(".cache").join("assay"))
}

/// The path in a variable, if it holds one, as seen from where we were started.
fn absolute_variable(name: &str) -> Result<Option<PathBuf>> {
    let path = env::var_os(name).filter(|path| !path.is_empty());
    let absolute = path.map(std::path::absolute).transpose();
    absolute.with_context(|| name.to_owned())
}

/// A program to be started in the repository's root with its standard output on our standard error.
/// Paths in variables of ours are made absolute for it.
///
/// What `cargo run` put into our own environment about this package is taken out again: build
/// scripts that watch those variables would otherwise run anew whenever a build is started from
/// here.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Result<Command> {
    let mut command = Command::new(name);
    command
        .current_dir(root()?)
        .stdin(Stdio::null())
        .stdout(Stdio::from(io::stderr()));
    for (key, _) in env::vars_os() {
        let text = key.to_string_lossy();
        if [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ]
        .iter()
        .any(|p| text.starts_with(p))
        {
            command.env_remove(&key);
        }
    }
    for name in ["ASSAY_HOME", "ASSAY_ORT_DYLIB"] {
        if let Some(path) = absolute_variable(name)? {
            command.env(name, path);
        }
    }
    Ok(command)
}

/// The cargo that started us, else the one on the path.
pub(crate) fn cargo() -> Result<Command> {
    program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs to the end; a non-zero exit is an error that names the command.
pub(crate) fn check(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("{} ended with {status}", describe(command));
    }
    Ok(())
}

/// Like [`check`], but what the program says is shown only when it fails.
pub(crate) fn check_quietly(command: &mut Command) -> Result<()> {
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output();
    let output = output.with_context(|| format!("could not start {}", describe(command)))?;
    if !output.status.success() {
        eprint!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        bail!("{} ended with {}", describe(command), output.status);
    }
    Ok(())
}

/// Runs to the end and says how it ended.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    eprintln!("  $ {}", describe(command));
    command
        .status()
        .with_context(|| format!("could not start {}", describe(command)))
}

/// What the program prints on standard output, or nothing when it is missing or fails.
pub(crate) fn text(command: &mut Command) -> Option<String> {
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The child's exit status as our own; killed by a signal becomes 128 + signal, as shells have it.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s));
    ExitCode::from(code.and_then(|c| u8::try_from(c).ok()).unwrap_or(1))
}

/// Whether a program of this name is on the path.
pub(crate) fn on_path(name: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(name).is_file()))
}

pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|w| w.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
