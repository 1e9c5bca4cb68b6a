//! The worker's side.

use std::fs::File;
use std::process::{ExitCode, exit};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::clock::Clock;
use super::frame::{Frame, FrameError};
use super::harden::{self, Pipes};
use super::models;
use super::protocol::{Request, Response};
use crate::engine::engine_id;
use crate::failure::{Failure, FailureKind};
use crate::limits::ShardLimits;
use crate::sandbox::{Sandbox, SandboxConfig};
use crate::task::{ShardOutcome, ShardTask};

/// Frames that wait between the reader and the worker. The parent asks one thing at a time.
const REQUESTS_MAX: usize = 1;

/// The parent is gone, or has closed its end: nothing is wrong.
const EXIT_DONE: u8 = 0;
/// The parent broke the protocol.
const EXIT_PROTOCOL: u8 = 70;
/// The process could not be hardened.
const EXIT_HARDEN: u8 = 71;

/// The whole life of a worker process. Call it first thing in `main`, while the process has one
/// thread, and return what it returns. Standard input and output are the protocol, standard error is
/// talk.
pub fn main() -> ExitCode {
    main_with(|| {})
}

/// As [`main`], and calls `first` once everything is given up: for whoever wants to see what can still
/// be done from inside.
pub fn main_with(first: impl FnOnce()) -> ExitCode {
    match begin(first) {
        Ok(()) => ExitCode::from(EXIT_DONE),
        Err(Fatal::Harden(reason)) => {
            eprintln!("worker does not start: {reason}");
            ExitCode::from(EXIT_HARDEN)
        }
        Err(Fatal::Protocol(error)) => {
            eprintln!("worker gives up: {error}");
            ExitCode::from(EXIT_PROTOCOL)
        }
    }
}

/// Why a worker ends by itself.
enum Fatal {
    Harden(String),
    Protocol(FrameError),
}

impl From<FrameError> for Fatal {
    fn from(error: FrameError) -> Self {
        Self::Protocol(error)
    }
}

fn begin(first: impl FnOnce()) -> Result<(), Fatal> {
    let mut pipes = harden::take().map_err(Fatal::Harden)?;
    // The parent's own words: nothing that a stranger wrote is read before everything is given up.
    let Some(frame) = Frame::read(&mut pipes.input)? else {
        return Ok(());
    };
    let (confinement, config) = match frame.word()? {
        Request::Hello(confinement, config) => (confinement, Some(config)),
        Request::HelloModels(confinement) => (confinement, None),
        _ => return Err(FrameError::from(postcard::Error::DeserializeBadEncoding).into()),
    };
    let missing = harden::harden(&confinement).map_err(Fatal::Harden)?;
    first();
    Ok(serve(pipes, config.as_ref(), missing)?)
}

fn serve(
    pipes: Pipes,
    config: Option<&SandboxConfig>,
    missing: Vec<String>,
) -> Result<(), FrameError> {
    let (requests, inbox) = sync_channel(REQUESTS_MAX);
    let input = pipes.input;
    let reader = std::thread::Builder::new().name("worker-reader".into());
    drop(reader.spawn(move || read(input, &requests))?);
    match config {
        Some(config) => answer(&inbox, pipes.output, config, missing),
        None => models::answer(&inbox, pipes.output, missing),
    }
}

/// Reads requests. When the parent goes away the worker ends at once, a running guest included: the
/// kernel's death signal says the same, and neither alone is enough.
fn read(mut input: File, requests: &SyncSender<Frame>) {
    let code = loop {
        match Frame::read(&mut input) {
            Ok(Some(frame)) => {
                if requests.send(frame).is_err() {
                    break EXIT_DONE;
                }
            }
            Ok(None) => break EXIT_DONE,
            Err(error) => {
                eprintln!("worker gives up: {error}");
                break EXIT_PROTOCOL;
            }
        }
    };
    exit(i32::from(code))
}

fn answer(
    inbox: &Receiver<Frame>,
    mut output: File,
    config: &SandboxConfig,
    missing: Vec<String>,
) -> Result<(), FrameError> {
    let clock = Clock::start(output.try_clone()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let sandbox = match Sandbox::new(config) {
        Ok(sandbox) => sandbox,
        Err(kind) => return say(&mut output, &Response::Failed(kind.into()), Vec::new()),
    };
    let engine = engine_id();
    say(
        &mut output,
        &Response::Hello { engine, missing },
        Vec::new(),
    )?;
    while let Ok(frame) = inbox.recv() {
        match frame.word()? {
            Request::Probe => {
                say(&mut output, &Response::Probe(sandbox.probe()), Vec::new())?;
            }
            Request::Execute(task) => {
                let (items, clock) = (&frame.body, &clock);
                let done = runtime.block_on(execute(&sandbox, &task, items, &mut output, clock));
                match done {
                    Ok(done) => {
                        let (outcome, log) = (done.outcome, done.log);
                        say(&mut output, &Response::Done { outcome, log }, done.outputs)?;
                        let mut send = |piece| say(&mut output, &Response::Trace, piece);
                        done.trace.map_or(Ok(()), |trace| trace.pieces(&mut send))?;
                    }
                    Err(failure) => say(&mut output, &Response::Failed(failure), Vec::new())?,
                }
            }
            _ => return Err(postcard::Error::DeserializeBadEncoding.into()),
        }
    }
    Ok(())
}

async fn execute(
    sandbox: &Sandbox,
    task: &ShardTask,
    items: &[u8],
    output: &mut File,
    clock: &Clock,
) -> Result<ShardOutcome, Failure> {
    let prepared = sandbox.prepare(task, ShardLimits::from(task.limits))?;
    say(output, &Response::Prepared, Vec::new()).map_err(FailureKind::lost)?;
    clock.arm(task.limits.wall_ms);
    let done = prepared.run(items).await;
    clock.disarm();
    done
}

pub(super) fn say(output: &mut File, word: &Response, body: Vec<u8>) -> Result<(), FrameError> {
    Frame::new(word, body)?.write(output)
}
