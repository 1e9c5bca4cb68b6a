//! The escape drill. Somebody broke out of wasm, or out of ONNX Runtime, and runs native code in a
//! worker: what can they do? Each attempt is made for real, by a worker that has given everything up,
//! and the kernel must refuse each.
//!
//! [`attack`] is for [`super::main_with`], which calls it when the filter on system calls is in place: without it, some
//! attempts would do what they try.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::handle::{WorkerConfig, WorkerHandle};
use crate::failure::FailureKind;
use crate::sandbox::{Backend, SandboxConfig};

mod attempts;

use attempts::{FILES, KERNEL, NETWORK, OTHERWISE, PROCESSES, Target};

/// As many as the specification says.
pub const ATTEMPTS: usize = if cfg!(target_arch = "x86_64") { 73 } else { 71 };

/// Where the attacker writes what it achieved: in its scratch, which is all it may write to.
const REPORT: &str = "report";

/// The parent's file that nobody may read, and the folder that may only be read.
const SECRET: &str = "secret.key";
const BLOBS: &str = "blobs";

/// Another worker's file.
const SIBLING: &str = "scratch/sibling/secret";

/// Where the parent listens: a local socket, and a file that says at which port.
const SOCKET: &str = "blobs/socket";
const PORT: &str = "blobs/port";

/// More memory in bytes than a test's parent allows, and less than any machine has.
const TOO_MUCH: usize = 600 << 20;

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// What was tried.
    pub what: String,
    /// Whether it was refused for want of permission.
    pub blocked: bool,
    /// The kernel's word.
    pub how: String,
}

/// What an attacker achieved.
#[derive(Clone, Debug, Serialize)]
pub struct Drilled {
    /// Protections that this machine does not have, in words.
    pub missing: Vec<String>,
    /// Every attempt, [`ATTEMPTS`] of them unless the attacker was stopped on its way.
    pub attempts: Vec<Attempt>,
    /// Whether it was given more memory than an ordinary worker may take.
    pub memory_granted: bool,
    /// Whether what it attacked is as it was.
    pub unharmed: bool,
}

impl Drilled {
    /// Whether every attempt was made and refused.
    pub fn is_held(&self) -> bool {
        let refused = self.attempts.iter().all(|attempt| attempt.blocked);
        refused && self.attempts.len() == ATTEMPTS && self.unharmed
    }
}

/// Starts a worker that attacks: `exe` with `args` must call [`super::main_with`] with [`attack`]. Everything that it
/// may reach or must not reach lies in `dir`, which should be empty and of nobody's.
///
/// # Errors
/// If the worker does not start, or the folder cannot be used.
pub async fn drill(
    exe: PathBuf,
    args: Vec<OsString>,
    dir: &Path,
    memory_bytes_max: Option<u64>,
) -> Result<Drilled, FailureKind> {
    let (_tcp, _local) = prepare(dir).map_err(FailureKind::lost)?;
    let mut sandbox = SandboxConfig::new(dir.join("cache"));
    // No graph is run: the attacker has native code already.
    sandbox.backend = Backend::Reference;
    let blobs = dir.join(BLOBS);
    let mut config =
        WorkerConfig::new(exe, args, dir.join("scratch"), sandbox, vec![blobs.clone()]);
    config.memory_bytes_max = memory_bytes_max;
    let worker = WorkerHandle::spawn(&config).await?;
    let report = fs::read_to_string(worker.scratch().join(REPORT)).map_err(FailureKind::lost)?;
    let whole = |path: PathBuf| fs::read(path).is_ok_and(|bytes| bytes == b"secret");
    let memory = report
        .lines()
        .find_map(|line| line.strip_prefix("memory: "));
    Ok(Drilled {
        missing: worker.missing().to_vec(),
        attempts: report.lines().filter_map(read).collect(),
        memory_granted: memory == Some("granted"),
        unharmed: whole(dir.join(SECRET)) && whole(blobs.join("blob")),
    })
}

/// What there is to attack.
fn prepare(dir: &Path) -> std::io::Result<(TcpListener, UnixListener)> {
    for file in [SECRET, SIBLING, "blobs/blob"] {
        let path = dir.join(file);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, "secret")?;
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    fs::write(dir.join(PORT), listener.local_addr()?.port().to_string())?;
    Ok((listener, UnixListener::bind(dir.join(SOCKET))?))
}

/// A line of the attacker's report: `what: refused: how`.
fn read(line: &str) -> Option<Attempt> {
    let (what, outcome) = line.split_once(": ")?;
    if what == "memory" {
        return None;
    }
    let refused = outcome.strip_prefix("refused: ");
    Some(Attempt {
        what: what.to_owned(),
        blocked: refused.is_some(),
        how: refused.unwrap_or(outcome).to_owned(),
    })
}

/// Runs in the worker, once everything is given up. What it cannot write down, the parent misses.
pub fn attack() {
    if let Err(error) = try_everything() {
        eprintln!("the attacker gives up: {error}");
    }
}

fn try_everything() -> std::io::Result<()> {
    let missing = |what: &str| std::io::Error::other(format!("no {what}"));
    let scratch = std::env::var_os("HOME").map(PathBuf::from);
    let scratch = scratch.ok_or_else(|| missing("scratch"))?;
    let dir = scratch
        .ancestors()
        .nth(2)
        .ok_or_else(|| missing("folder"))?;
    let port = fs::read_to_string(dir.join(PORT))?.parse();
    let target = Target {
        port: port.map_err(|_| missing("port"))?,
        dir: dir.to_owned(),
        parent: i64::from(std::os::unix::process::parent_id()),
    };
    let mut report = fs::File::create(scratch.join(REPORT))?;
    for (what, attempt) in [FILES, PROCESSES, KERNEL, NETWORK].into_iter().flatten() {
        let outcome = match attempt(&target) {
            Ok(()) => "SUCCEEDED".to_owned(),
            Err(error) if is_refusal(what, &error) => format!("refused: {error}"),
            Err(error) => format!("FAILED for another reason: {error}"),
        };
        writeln!(report, "{what}: {outcome}")?;
    }
    // Memory last: what is refused is an allocation, which an attacker survives.
    let mut bytes: Vec<u8> = Vec::new();
    let granted = bytes.try_reserve_exact(TOO_MUCH).is_ok();
    let word = if granted { "granted" } else { "refused" };
    writeln!(report, "memory: {word}")
}

/// Whether an attempt failed because it is not allowed. Nonsense fails, too.
fn is_refusal(what: &str, error: &std::io::Error) -> bool {
    let listed = OTHERWISE.iter().find(|(name, _)| *name == what);
    let otherwise = listed.map_or(&[][..], |(_, codes)| codes);
    error.raw_os_error().is_some_and(|code| {
        [libc::EPERM, libc::EACCES].contains(&code) || otherwise.contains(&code)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_a_refusal_is_an_escape() {
        let drilled = |attempts: Vec<Attempt>, unharmed| Drilled {
            missing: Vec::new(),
            attempts,
            memory_granted: false,
            unharmed,
        };
        let refused = read("a fork: refused: Operation not permitted (os error 1)").unwrap();
        assert!(refused.blocked && refused.what == "a fork", "{refused:?}");
        let all = vec![refused.clone(); ATTEMPTS];
        assert!(drilled(all.clone(), true).is_held());
        assert!(!drilled(all.clone(), false).is_held());
        assert!(
            !drilled(all[1..].to_vec(), true).is_held(),
            "one is missing"
        );
        for line in ["a fork: SUCCEEDED", "a fork: FAILED for another reason: x"] {
            let mut all = all.clone();
            all[0] = read(line).unwrap();
            assert!(!drilled(all, true).is_held(), "{line}");
        }
        assert_eq!(read("memory: refused"), None);
    }
}
