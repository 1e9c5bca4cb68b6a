//! Finding and calling the program under test.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::Deadline;

/// Longest that one command may run.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(600);

/// Pause between two looks at a running command.
const POLL: Duration = Duration::from_millis(5);

/// The root of the repository.
pub fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.map(Path::to_owned).unwrap_or_default()
}

/// The directory cargo builds into: that of the running test or program.
///
/// # Errors
/// If the test does not run from a target directory.
pub fn target_dir() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    // <target>/debug/deps/<test>, or <target>/debug/<program>
    let folder = test.parent().filter(|folder| !folder.ends_with("deps"));
    let target = match folder {
        Some(folder) => folder.parent(),
        None => test.ancestors().nth(3),
    };
    Ok(target
        .with_context(|| format!("{} is in no target directory", test.display()))?
        .to_owned())
}

/// The program under test: `$ASSAY_BIN`, else the one beside the running test.
///
/// # Errors
/// If there is none, saying how to get one.
pub fn assay_binary() -> Result<PathBuf> {
    let binary = match std::env::var_os("ASSAY_BIN").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => target_dir()?.join("debug").join("assay"),
    };
    ensure!(
        binary.is_file(),
        "there is no assay binary at {}: run these tests with `cargo xtask test`, or build it with \
         `cargo build --workspace --bin assay`, or name one in ASSAY_BIN",
        binary.display()
    );
    Ok(binary)
}

/// What a command did.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for failures.
    pub command: String,
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Requires this exit code.
    ///
    /// # Errors
    /// With both outputs if it was another.
    pub fn expect(self, code: i32) -> Result<Self> {
        if self.code == code {
            return Ok(self);
        }
        let Self {
            command,
            code: actual,
            stdout,
            stderr,
        } = self;
        bail!(
            "`{command}` ended with {actual}, expected {code}\nstdout: {stdout}\nstderr: {stderr}"
        )
    }

    /// Requires success.
    ///
    /// # Errors
    /// With both outputs otherwise.
    pub fn ok(self) -> Result<Self> {
        self.expect(0)
    }

    /// Requires this exit code and that standard error names `what`.
    ///
    /// # Errors
    /// With both outputs otherwise.
    pub fn refused(self, code: i32, what: &str) -> Result<Self> {
        let output = self.expect(code)?;
        ensure!(
            output.stderr.contains(what),
            "`{}` does not say {what:?}:\n{}",
            output.command,
            output.stderr
        );
        Ok(output)
    }

    /// The last line of standard output as JSON.
    ///
    /// # Errors
    /// If it is not.
    pub fn json(&self) -> Result<Value> {
        let line = self.stdout.lines().last().unwrap_or_default();
        let shown = || {
            format!(
                "`{}` printed no JSON: {}{}",
                self.command, self.stdout, self.stderr
            )
        };
        serde_json::from_str(line).with_context(shown)
    }
}

/// Runs `assay` in the repository's root.
///
/// # Errors
/// If it cannot be started or does not end.
pub fn assay<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Output> {
    assay_with(arguments, &[], &repository())
}

/// Runs `assay` with these variables in `folder`.
///
/// # Errors
/// If it cannot be started or does not end.
pub fn assay_with<S: AsRef<OsStr>>(
    arguments: &[S],
    variables: &[(&str, OsString)],
    folder: &Path,
) -> Result<Output> {
    let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let shown: Vec<_> = arguments
        .iter()
        .map(|a| a.as_ref().to_string_lossy())
        .collect();
    let command = format!("assay {}", shown.join(" "));
    let mut child = Command::new(assay_binary()?)
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot start `{command}`"))?;
    let deadline = Deadline::after(COMMAND_TIMEOUT);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if deadline.over() {
            child.kill()?;
            child.wait()?;
            bail!(
                "`{command}` did not end in {COMMAND_TIMEOUT:?}:\n{}",
                text(stderr)?
            );
        }
        std::thread::sleep(POLL);
    };
    let code = status.code().unwrap_or(-1);
    Ok(Output {
        command,
        code,
        stdout: text(stdout)?,
        stderr: text(stderr)?,
    })
}

fn text(mut file: File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
