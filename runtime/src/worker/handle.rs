//! The parent's side of one worker.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use jobs::openings::CHUNK_BYTES;
use jobs::outcome::Outcome;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::confine::Confinement;
use super::frame::{Frame, FrameError};
use super::harden::{self, GPU_ORDER, NO_TELEMETRY, WORKER_ENVIRONMENT, WORKER_HOMES};
use super::protocol::{Request, Response};
use super::relay::relay;
use super::scratch::Scratch;
use super::spawner;
use crate::failure::{Failure, FailureKind};
use crate::notes::{Trace, TraceWriter};
use crate::sandbox::SandboxConfig;
use crate::task::{ProbeReport, SHARD_BYTES_MAX, ShardOutcome, ShardTask};

/// The longest a worker may take to start and harden itself, in milliseconds.
pub const START_WALL_MS: u64 = 30_000;

/// The longest compiling and loading models may take, in milliseconds.
pub const PREPARE_WALL_MS: u64 = 300_000;

/// The longest a probe may take, in milliseconds: it may initialise a GPU.
pub const PROBE_WALL_MS: u64 = 60_000;

/// What a worker gets beyond the job's wall clock to stop the guest itself, in milliseconds.
pub const GRACE_MS: u64 = 2_000;

/// The longest a killed worker may take to be gone, in milliseconds.
const REAP_WALL_MS: u64 = 5_000;

/// The longest that one part of what a worker noted may take on its way, in milliseconds.
const TRACE_WALL_MS: u64 = 10_000;

/// How workers are started.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The program, usually this one.
    pub exe: PathBuf,
    /// Its arguments: those that make it call [`super::main`].
    pub args: Vec<OsString>,
    /// Where workers have their working directories; each its own, removed with it.
    pub scratch_dir: PathBuf,
    /// The sandbox inside.
    pub sandbox: SandboxConfig,
    /// Files and folders in which tasks' components and models lie. A worker reads nothing else of
    /// this machine but libraries.
    pub readable: Vec<PathBuf>,
    /// See [`Confinement::memory_bytes_max`].
    pub memory_bytes_max: Option<u64>,
    /// The whole environment.
    pub env: BTreeMap<OsString, OsString>,
}

impl WorkerConfig {
    /// A configuration with the variables of [`WORKER_ENVIRONMENT`] that are set here, and the place
    /// of ONNX Runtime if it is found.
    pub fn new(
        exe: PathBuf,
        args: Vec<OsString>,
        scratch_dir: PathBuf,
        sandbox: SandboxConfig,
        readable: Vec<PathBuf>,
    ) -> Self {
        let mut env: BTreeMap<OsString, OsString> = WORKER_ENVIRONMENT
            .iter()
            .filter_map(|name| Some(((*name).into(), std::env::var_os(name)?)))
            .collect();
        if let Ok(library) = host_gpu::discover() {
            env.insert("ASSAY_ORT_DYLIB".into(), library.into_os_string());
        }
        Self {
            exe,
            args,
            scratch_dir,
            sandbox,
            readable,
            memory_bytes_max: None,
            env,
        }
    }
}

/// A running worker. Dropping it kills the process.
#[derive(Debug)]
pub struct WorkerHandle {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    scratch: Scratch,
    scratch_dir: PathBuf,
    clean: bool,
    missing: Vec<String>,
}

impl WorkerHandle {
    /// Starts a worker and waits until it is hardened and ready.
    ///
    /// # Errors
    /// If it does not start within [`START_WALL_MS`], or says why it cannot.
    pub async fn spawn(config: &WorkerConfig) -> Result<Self, FailureKind> {
        let sandbox = config.sandbox.clone();
        Self::start(config, |confinement| Request::Hello(confinement, sandbox)).await
    }

    /// As [`WorkerHandle::spawn`], with a first word of the caller's.
    pub(super) async fn start(
        config: &WorkerConfig,
        hello: impl FnOnce(Confinement) -> Request,
    ) -> Result<Self, FailureKind> {
        let scratch = Scratch::new(&config.scratch_dir).map_err(FailureKind::lost)?;
        let mut command = Command::new(&config.exe);
        command
            .args(&config.args)
            .env_clear()
            .envs(&config.env)
            .envs(WORKER_HOMES.iter().map(|name| (name, scratch.path())))
            .envs([NO_TELEMETRY, GPU_ORDER])
            .current_dir(scratch.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = spawner::spawn(command).await.map_err(|error| {
            FailureKind::lost(format!("cannot start {}: {error}", config.exe.display()))
        })?;
        if let Some(said) = child.stderr.take() {
            relay(child.id(), said);
        }
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or_else(|| FailureKind::lost("no pipes"))?;
        harden::widen(input.as_fd());
        harden::widen(output.as_fd());
        let mut worker = Self {
            child,
            input,
            output,
            scratch,
            scratch_dir: config.scratch_dir.clone(),
            clean: true,
            missing: Vec::new(),
        };
        let confinement = Confinement {
            readable: config.readable.clone(),
            writable: vec![
                worker.scratch.path().to_owned(),
                config.sandbox.cache_dir.clone(),
            ],
            memory_bytes_max: config.memory_bytes_max,
            emulated: false,
        };
        let hello = hello(confinement);
        match worker
            .ask(&hello, Vec::new(), START_WALL_MS, "starting a worker")
            .await?
        {
            (Response::Hello { engine, missing }, _) if engine == crate::engine::engine_id() => {
                worker.missing = missing;
                Ok(worker)
            }
            (Response::Hello { engine, .. }, _) => Err(FailureKind::lost(format!(
                "it runs another engine, {engine}"
            ))),
            (Response::Failed(failure), _) => Err(failure.kind),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// The process, for those who look at it from outside.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Protections that this machine does not have, in words.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Its working directory, gone when it is.
    pub fn scratch(&self) -> &std::path::Path {
        self.scratch.path()
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Whether it may take another task. A worker that ran a guest which trapped, was stopped or
    /// broke a limit may not, nor one that broke the protocol.
    pub fn is_clean(&self) -> bool {
        self.clean
    }

    /// Devices and fingerprints.
    ///
    /// # Errors
    /// If the worker is lost.
    pub async fn probe(&mut self) -> Result<ProbeReport, FailureKind> {
        match self
            .ask(&Request::Probe, Vec::new(), PROBE_WALL_MS, "probing")
            .await?
        {
            (Response::Probe(report), _) => Ok(report),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Executes a shard on its encoded items. Dropping the future leaves the worker unclean.
    ///
    /// # Errors
    /// See [`FailureKind`].
    pub async fn execute(
        &mut self,
        task: ShardTask,
        items: Vec<u8>,
    ) -> Result<ShardOutcome, Failure> {
        if items.len() > SHARD_BYTES_MAX {
            let size = items.len();
            let reason = format!("{size} bytes of items, the bound is {SHARD_BYTES_MAX}");
            return Err(FailureKind::task(reason).into());
        }
        // Until the answer is whole, nobody knows what state the worker is in.
        self.clean = false;
        let result = self.execute_frames(task, items).await;
        self.clean = result
            .as_ref()
            .err()
            .is_none_or(|failure| failure.kind.leaves_worker_clean());
        result
    }

    async fn execute_frames(
        &mut self,
        task: ShardTask,
        items: Vec<u8>,
    ) -> Result<ShardOutcome, Failure> {
        let wall = task.limits.wall_ms.saturating_add(GRACE_MS);
        let noted = task.noting.is_some();
        let request = Request::Execute(task);
        let first = self
            .ask(&request, items, PREPARE_WALL_MS, "preparing the job")
            .await?;
        let answer = match first {
            (Response::Prepared, _) => self.wait(wall, "the guest").await?,
            other => other,
        };
        match answer {
            (Response::Done { outcome, log }, outputs) => {
                let trace = self.trace(noted, &outcome).await?;
                finish(ShardOutcome {
                    outcome,
                    outputs,
                    log,
                    trace,
                })
            }
            (Response::Failed(failure), _) => Err(failure),
            (other, _) => Err(unexpected(&other).into()),
        }
    }

    /// Takes the chunks that a worker noted, into a file of our own.
    async fn trace(&mut self, asked: bool, outcome: &Outcome) -> Result<Option<Trace>, Failure> {
        let said = match (asked, outcome.noted) {
            (false, None) => return Ok(None),
            (true, Some(noted)) if noted.is_bounded() => noted,
            _ => return Err(FailureKind::lost("it notes something else than it should").into()),
        };
        let mut writer = TraceWriter::new(&self.scratch_dir).map_err(not_kept)?;
        while writer.bytes() < said.trace_bytes() {
            let (word, chunks) = self
                .wait(TRACE_WALL_MS, "handing noted values over")
                .await?;
            let whole = !chunks.is_empty() && chunks.len().is_multiple_of(CHUNK_BYTES);
            if word != Response::Trace || !whole {
                return Err(unexpected(&word).into());
            }
            writer = take(writer, chunks).await?;
        }
        let (noted, trace) = writer.finish().map_err(not_kept)?;
        if (noted.root, noted.chunks) != (said.root, said.chunks) {
            return Err(FailureKind::lost("its outcome does not fit what it noted").into());
        }
        Ok(Some(trace))
    }

    pub(super) async fn ask(
        &mut self,
        request: &Request,
        body: Vec<u8>,
        wall_ms: u64,
        what: &str,
    ) -> Result<(Response, Vec<u8>), FailureKind> {
        let frame = Frame::new(request, body).map_err(FailureKind::task)?;
        let sent = timeout(Duration::from_millis(wall_ms), frame.send(&mut self.input)).await;
        match sent {
            Ok(Ok(())) => self.wait(wall_ms, what).await,
            Ok(Err(error)) => Err(self.lost(&error).await),
            Err(_) => Err(self.late(wall_ms, what)),
        }
    }

    async fn wait(&mut self, wall_ms: u64, what: &str) -> Result<(Response, Vec<u8>), FailureKind> {
        let received = timeout(
            Duration::from_millis(wall_ms),
            Frame::receive(&mut self.output),
        )
        .await;
        let answer = match received {
            Ok(frame) => frame.and_then(|frame| Ok((frame.word()?, frame.body))),
            Err(_) => return Err(self.late(wall_ms, what)),
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.lost(&error).await),
        }
    }

    fn late(&mut self, limit_ms: u64, what: &str) -> FailureKind {
        self.kill();
        FailureKind::Deadline {
            what: what.to_owned(),
            limit_ms,
        }
    }

    async fn lost(&mut self, error: &FrameError) -> FailureKind {
        self.kill();
        let status = timeout(Duration::from_millis(REAP_WALL_MS), self.child.wait()).await;
        let ended = match status {
            Ok(Ok(status)) => describe(status),
            _ => "did not end".to_owned(),
        };
        FailureKind::lost(format!("{error}; the process {ended}"))
    }

    fn kill(&mut self) {
        self.clean = false;
        if let Err(error) = self.child.start_kill() {
            tracing::debug!(%error, "worker is gone already");
        }
    }
}

/// Writes and hashes what came, away from the executor.
async fn take(mut writer: TraceWriter, chunks: Vec<u8>) -> Result<TraceWriter, FailureKind> {
    let written = tokio::task::spawn_blocking(move || writer.push(&chunks).map(|()| writer));
    let written = written.await.map_err(FailureKind::lost)?;
    written.map_err(not_kept)
}

/// Trouble of our own while a worker hands noted values over. What it has yet to say is in the pipe, so it is not a kind
/// that leaves a worker clean.
fn not_kept(error: impl std::fmt::Display) -> FailureKind {
    FailureKind::engine(format!("noted values could not be kept: {error}"))
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (_, Some(code)) => format!("exited with {code}"),
        _ => "ended".to_owned(),
    }
}

/// A worker is not trusted to have counted right: what it says must fit together.
fn finish(done: ShardOutcome) -> Result<ShardOutcome, Failure> {
    let named = done.outcome.outputs == jobs::digest::BlobRef::of(&done.outputs);
    let items = jobs::items::decode(&done.outputs).map_err(FailureKind::lost)?;
    let counted = items.len() as u64 == u64::from(done.outcome.items);
    if named && counted && jobs::merkle::root(&items) == done.outcome.root {
        return Ok(done);
    }
    Err(FailureKind::lost("its outcome does not fit its outputs").into())
}

pub(super) fn unexpected(response: &Response) -> FailureKind {
    let word = format!("{response:?}");
    let word = word.split(['(', ' ']).next().unwrap_or_default();
    FailureKind::lost(format!("unexpected answer {word}"))
}
