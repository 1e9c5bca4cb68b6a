//! One process of a market, which can be killed and started again.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{Deadline, assay_binary, repository};

/// Time within which a daemon must serve. A loaded machine compiles and starts slowly.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// Time a daemon gets to end by itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Pause between two looks at a process.
const POLL: Duration = Duration::from_millis(20);

/// Lines of a log that a failure shows.
const TAIL_LINES: usize = 40;

/// What a daemon writes to `ready.json` once it serves.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Ready {
    /// The daemon's key.
    pub id: String,
    /// Base of its HTTP interface; empty for a provider.
    #[serde(default)]
    pub http: String,
    /// Where peers reach it.
    #[serde(default)]
    pub p2p: Vec<String>,
}

/// A daemon and how to start it again.
#[derive(Debug)]
pub struct Daemon {
    /// `aggregator` or `provider-3`.
    pub name: String,
    /// Its data directory.
    pub data: PathBuf,
    /// What it said when it was ready.
    pub ready: Ready,
    log: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(String, OsString)>,
    child: Child,
}

impl Daemon {
    /// Starts `assay` with these arguments and waits until it serves. Its log lies beside `data`.
    ///
    /// # Errors
    /// With the end of its log if it does not serve in time.
    pub fn start(name: &str, data: &Path, arguments: Vec<OsString>) -> Result<Self> {
        Self::start_with(name, data, arguments, Vec::new())
    }

    /// The same, in an environment with more variables.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_with(
        name: &str,
        data: &Path,
        arguments: Vec<OsString>,
        variables: Vec<(String, OsString)>,
    ) -> Result<Self> {
        fs::create_dir_all(data)?;
        let log = data.with_extension("log");
        let child = spawn(data, &log, &arguments, &variables)?;
        let mut daemon = Self {
            name: name.to_owned(),
            data: data.to_owned(),
            ready: Ready::default(),
            log,
            arguments,
            variables,
            child,
        };
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process with SIGKILL, as a power failure would.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again on the same data directory, with the same arguments.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn restart(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            self.kill()?;
        }
        self.child = spawn(&self.data, &self.log, &self.arguments, &self.variables)?;
        self.wait_ready()
    }

    /// Whether the process has ended, and how.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks the process to end, as a service manager does.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn terminate(&self) -> Result<()> {
        Command::new("kill").arg(self.pid().to_string()).status()?;
        Ok(())
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Errors
    /// With the end of its log if it does not.
    pub fn wait_ended(&mut self) -> Result<ExitStatus> {
        let deadline = Deadline::after(READY_TIMEOUT);
        while !deadline.over() {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
        bail!("{} does not end:\n{}", self.name, self.log_tail())
    }

    /// Asks the process to end and waits for it; a process that does not is killed.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn stop(&mut self) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        self.terminate()?;
        let deadline = Deadline::after(STOP_TIMEOUT);
        while !deadline.over() {
            if self.ended()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        self.kill()
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(TAIL_LINES));
        tail.copied().collect::<Vec<_>>().join("\n")
    }

    fn wait_ready(&mut self) -> Result<()> {
        let file = self.data.join("ready.json");
        let deadline = Deadline::after(READY_TIMEOUT);
        loop {
            if let Ok(bytes) = fs::read(&file) {
                self.ready = serde_json::from_slice(&bytes).context("ready.json is malformed")?;
                return Ok(());
            }
            if let Some(status) = self.ended()? {
                bail!(
                    "{} ended with {status} before it served:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            if deadline.over() {
                bail!(
                    "{} does not serve after {READY_TIMEOUT:?}:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Nothing is lost by a kill, which other tests show; waiting would only take time.
        let _ = self.kill();
    }
}

fn spawn(
    data: &Path,
    log: &Path,
    arguments: &[OsString],
    variables: &[(String, OsString)],
) -> Result<Child> {
    match fs::remove_file(data.join("ready.json")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(assay_binary()?);
    command
        .args(arguments)
        .envs(variables.iter().cloned())
        .current_dir(repository())
        .stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    command.spawn().context("cannot start a daemon")
}

/// A port of the loopback interface that nobody listens on now.
///
/// # Errors
/// If there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
