//! A market on one machine: an aggregator and providers as separate processes on loopback, each with
//! a data directory of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

/// Time within which a daemon must be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Time a daemon gets to end after a request to stop, before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause between two looks at a process.
const POLL: Duration = Duration::from_millis(20);

/// Daemons that wait to be started at most.
const SPAWNS_MAX: usize = 4;

/// What a daemon writes to `ready.json` once it serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// The daemon's key.
    pub(crate) id: String,
    /// Base of its HTTP interface; empty for a provider.
    #[serde(default)]
    pub(crate) http: String,
    /// Where peers reach it.
    #[serde(default)]
    pub(crate) p2p: Vec<String>,
}

impl Ready {
    /// The file's name in a data directory.
    pub(crate) const FILE: &'static str = "ready.json";

    /// Writes the file whole or not at all.
    pub(crate) fn write(&self, data: &Path) -> Result<()> {
        let (part, whole) = (data.join("ready.json.part"), data.join(Self::FILE));
        std::fs::write(&part, serde_json::to_vec_pretty(self)?)?;
        Ok(std::fs::rename(part, whole)?)
    }
}

/// One daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// `aggregator` or `provider-3`.
    pub(crate) name: String,
    /// Its data directory.
    pub(crate) data: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts `assay` with these arguments and waits until it serves. If nobody waits any more, it is
    /// stopped.
    pub(crate) async fn start(
        name: &str,
        data: &Path,
        arguments: Vec<String>,
    ) -> Result<(Self, Ready)> {
        std::fs::create_dir_all(data)?;
        let child = spawn(name, data, &arguments)?;
        let mut daemon = Self {
            name: name.to_owned(),
            data: data.to_owned(),
            child,
        };
        let ready = daemon.wait_ready().await?;
        Ok((daemon, ready))
    }

    /// Kills the process with SIGKILL, as a power failure would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process has ended, and how.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks the process to end.
    fn ask_to_stop(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            Command::new("kill").arg(self.pid().to_string()).status()?;
        }
        Ok(())
    }

    /// Asks the process to end, and kills it if it does not.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let asked = self.ask_to_stop();
        let deadline = now() + STOP_TIMEOUT;
        while asked.is_ok() && now() < deadline {
            if self.ended()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        self.kill()
    }

    async fn wait_ready(&mut self) -> Result<Ready> {
        let file = self.data.join(Ready::FILE);
        let deadline = now() + READY_TIMEOUT;
        loop {
            if let Ok(bytes) = std::fs::read(&file) {
                return serde_json::from_slice(&bytes).context("ready.json is malformed");
            }
            if let Some(status) = self.ended()? {
                bail!(
                    "{} ended with {status} before it was ready:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            if now() > deadline {
                bail!(
                    "{} is not ready after {READY_TIMEOUT:?}:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.data.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(15));
        tail.copied().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A process that already ended is what we want; nothing else can be done here.
        let _ = self.stop();
    }
}

fn spawn(name: &str, data: &Path, arguments: &[String]) -> Result<Child> {
    let ready = data.join(Ready::FILE);
    if ready.exists() {
        std::fs::remove_file(&ready)?;
    }
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(data.join("log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(arguments)
        .arg(format!("--with-parent={}", std::process::id()))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    spawn_from_lasting_thread(command).with_context(|| format!("cannot start {name}"))
}

type Spawn = (Command, SyncSender<io::Result<Child>>);

/// Starts a command on a thread that lasts as long as this process: the kernel sends a child its
/// parent's death signal when the *thread* that started it ends.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Option<SyncSender<Spawn>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, inbox) = sync_channel::<Spawn>(SPAWNS_MAX);
        let thread = std::thread::Builder::new().name("daemon-spawner".into());
        let body = move || {
            for (mut command, reply) in inbox {
                // Whoever asked waits for the answer.
                let _ = reply.send(command.spawn());
            }
        };
        thread.spawn(body).is_ok().then_some(sender)
    });
    let gone = || io::Error::other("the thread that starts daemons is not there");
    let (reply, answer) = sync_channel(1);
    let spawner = spawner.as_ref().ok_or_else(gone)?;
    spawner.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// Whose end is a daemon's own.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Parent {
    /// The process that started this one and without which it shall not go on.
    #[arg(long, hide = true)]
    with_parent: Option<u32>,
}

impl Parent {
    /// Has the system kill this process when its parent ends, however that ends. A daemon survives a
    /// kill without loss, which tests show.
    pub(crate) fn bind(self) -> Result<()> {
        let Some(parent) = self.with_parent else {
            return Ok(());
        };
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have ended before the system knew.
        ensure!(
            std::os::unix::process::parent_id() == parent,
            "the process {parent} that started this one has ended"
        );
        Ok(())
    }
}

/// How many of what to start.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where every data directory lies.
    pub(crate) dir: PathBuf,
    /// Providers in all.
    pub(crate) providers: u16,
    /// Of these, how many misbehave.
    pub(crate) cheating: u16,
    /// How they misbehave.
    pub(crate) misbehave: String,
    /// The aggregator's fee in basis points.
    pub(crate) fee_bps: u16,
}

/// A running market.
#[derive(Debug)]
pub(crate) struct Devnet {
    /// The aggregator.
    pub(crate) aggregator: Daemon,
    /// Its HTTP interface and addresses.
    pub(crate) ready: Ready,
    /// Providers, the cheating ones first, with their ids.
    pub(crate) providers: Vec<(Daemon, String)>,
}

impl Devnet {
    /// Starts every process and waits until each serves. If nobody waits any more, those that run are
    /// stopped.
    pub(crate) async fn up(plan: &Plan) -> Result<Self> {
        if plan.cheating > plan.providers {
            bail!(
                "--cheating {} is more than --providers {}",
                plan.cheating,
                plan.providers
            );
        }
        let data = plan.dir.join("aggregator");
        // Fixed by the first start, so that a restarted aggregator is found where it was.
        let (http, p2p) = (free_port()?, free_port()?);
        let arguments = [
            "aggregator".to_owned(),
            "start".to_owned(),
            format!("--data={}", data.display()),
            format!("--http=127.0.0.1:{http}"),
            format!("--p2p=/ip4/127.0.0.1/tcp/{p2p}"),
            format!("--fee-bps={}", plan.fee_bps),
            "--one-network".to_owned(),
        ];
        let (aggregator, ready) = Daemon::start("aggregator", &data, arguments.to_vec()).await?;
        let mut devnet = Self {
            aggregator,
            ready,
            providers: Vec::new(),
        };
        for index in 0..plan.providers {
            devnet.add_provider(plan, index).await?;
        }
        Ok(devnet)
    }

    async fn add_provider(&mut self, plan: &Plan, index: u16) -> Result<()> {
        let name = format!("provider-{}", index + 1);
        let data = plan.dir.join(&name);
        let mut arguments = vec![
            "provider".to_owned(),
            "start".to_owned(),
            format!("--data={}", data.display()),
            // Less than we wait for a daemon to end.
            "--drain-seconds=5".to_owned(),
        ];
        arguments.extend(
            self.ready
                .p2p
                .iter()
                .map(|address| format!("--aggregator={address}")),
        );
        if index < plan.cheating {
            arguments.push(format!("--misbehave={}", plan.misbehave));
        }
        let (daemon, ready) = Daemon::start(&name, &data, arguments).await?;
        self.providers.push((daemon, ready.id));
        Ok(())
    }

    /// The operator's token, which lets deposits in.
    pub(crate) fn operator_token(&self) -> Result<String> {
        let path = self.aggregator.data.join("operator.token");
        let token = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(token.trim().to_owned())
    }

    /// Stops every process, providers first.
    pub(crate) fn down(mut self) -> Result<()> {
        self.stop()
    }

    fn stop(&mut self) -> Result<()> {
        for (provider, _) in &mut self.providers {
            provider.ask_to_stop()?;
        }
        for (provider, _) in &mut self.providers {
            provider.stop()?;
        }
        self.aggregator.stop()
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        // Each daemon that is still there is stopped again, by itself, when it is dropped.
        let _ = self.stop();
    }
}

/// A port of the loopback interface that nobody listens on. Another process may take it before we
/// do; the daemon then says that the port is in use.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}

#[expect(clippy::disallowed_methods, reason = "how long to wait for a process")]
fn now() -> Instant {
    Instant::now()
}
