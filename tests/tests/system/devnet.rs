//! A market in one command leaves no process behind, however it ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tests::{Deadline, assay_binary, children, repository, status_field};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// `assay devnet up`, killed when it is dropped.
struct Devnet {
    child: Child,
    log: PathBuf,
    dir: PathBuf,
}

impl Devnet {
    fn up(dir: &Path) -> Result<Self> {
        let log = dir.join("log");
        let output = File::create(&log)?;
        let market = dir.join("market");
        let child = Command::new(assay_binary()?)
            .args(["devnet", "up", "--providers", "2", "--dir"])
            .arg(&market)
            .current_dir(repository())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let dir = market;
        Ok(Self { child, log, dir })
    }

    /// Waits until so many daemons run, and names them.
    fn daemons(&self, count: usize) -> Result<Vec<u32>> {
        self.wait("its daemons do not start", || {
            let daemons = children(self.child.id())?;
            let daemons = daemons.iter().filter(|(_, line)| line.contains(" start "));
            let pids: Vec<u32> = daemons.map(|(pid, _)| *pid).collect();
            Ok((pids.len() >= count).then_some(pids))
        })
    }

    fn wait_ready(&self, daemon: &str) -> Result<()> {
        let ready = self.dir.join(daemon).join("ready.json");
        self.wait("a daemon is not ready", || Ok(ready.exists().then_some(())))
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let deadline = Deadline::after(PATIENCE);
        while !deadline.over() {
            if let Some(seen) = look()? {
                return Ok(seen);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        bail!("{what} after {PATIENCE:?}:\n{log}")
    }

    fn ended(&mut self) -> Result<ExitStatus> {
        let deadline = Deadline::after(PATIENCE);
        while !deadline.over() {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("it does not end")
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()?;
        ensure!(status.success(), "kill {signal}: {status}");
        Ok(())
    }

    /// Waits until none of the processes runs.
    fn gone(&self, pids: &[u32]) -> Result<()> {
        ensure!(!pids.is_empty(), "no daemon was seen");
        // One that nobody has waited for yet is a zombie.
        let runs =
            |pid: &u32| status_field(*pid, "State").is_ok_and(|state| !state.starts_with('Z'));
        self.wait("daemons are left behind", || {
            Ok((!pids.iter().any(runs)).then_some(()))
        })
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_market_that_is_stopped_while_it_starts_leaves_nothing_behind() -> Result<()> {
    for signal in ["-TERM", "-INT"] {
        let folder = tempfile::tempdir()?;
        let mut devnet = Devnet::up(folder.path())?;
        // The aggregator serves; a provider is being started.
        devnet.wait_ready("aggregator")?;
        let daemons = devnet.daemons(2)?;
        devnet.signal(signal)?;
        let status = devnet.ended().context(signal)?;
        ensure!(status.code() == Some(1), "{signal}: {status}");
        devnet.gone(&daemons)?;
    }
    Ok(())
}

#[test]
fn a_market_whose_parent_is_killed_leaves_nothing_behind() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut devnet = Devnet::up(folder.path())?;
    devnet.wait_ready("provider-2")?;
    let daemons = devnet.daemons(3)?;
    devnet.signal("-KILL")?;
    devnet.ended()?;
    devnet.gone(&daemons)
}
