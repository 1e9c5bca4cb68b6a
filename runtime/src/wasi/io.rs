//! Streams and polls. Everything is always ready, or ready once the clock says so, and the clock is
//! moved for whoever waits.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower, Resource};

use super::{charge, clocks, trap};
use crate::failure::FailureKind;
use crate::log::{LOG_LINE_BYTES_MAX, Log, LogLevel};
use crate::sandbox::state::State;

/// The streams, as handles know them.
pub(super) const STDIN: u32 = 0;
pub(super) const STDOUT: u32 = 1;
pub(super) const STDERR: u32 = 2;

/// What a stream says that it takes at once, in bytes. It takes more.
const WRITE_BYTES: u64 = 64 << 10;

/// `wasi:io/streams.input-stream`. There is one, and it is empty.
#[derive(Debug)]
pub(super) enum InputStream {}

/// `wasi:io/streams.output-stream`: [`STDOUT`] or [`STDERR`].
#[derive(Debug)]
pub(super) enum OutputStream {}

/// `wasi:io/error.error`. Nothing here fails in a way that needs one.
#[derive(Debug)]
pub(super) enum IoError {}

/// `wasi:io/poll.pollable`: ready at a time of the monotonic clock.
#[derive(Debug)]
pub(super) struct Pollable {
    pub(super) at: u64,
}

/// `wasi:io/streams.stream-error`.
#[derive(Debug, ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

/// What was printed since the last end of a line.
#[derive(Debug)]
pub(super) struct Lines {
    level: LogLevel,
    /// Below [`LOG_LINE_BYTES_MAX`].
    begun: Vec<u8>,
}

impl Lines {
    pub(super) fn new(level: LogLevel) -> Self {
        Self {
            level,
            begun: Vec::new(),
        }
    }

    /// Logs every line that the bytes end; a longer one than the log takes is several.
    fn write(&mut self, log: &mut Log, bytes: &[u8]) -> Result<(), FailureKind> {
        for byte in bytes {
            if *byte == b'\n' {
                self.end(log)?;
                continue;
            }
            self.begun.push(*byte);
            if self.begun.len() >= LOG_LINE_BYTES_MAX {
                self.end(log)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, log: &mut Log) -> Result<(), FailureKind> {
        let line = std::mem::take(&mut self.begun);
        log.push(self.level, &String::from_utf8_lossy(&line))
    }

    /// Logs a line that has no end.
    pub(super) fn finish(&mut self, log: &mut Log) -> Result<(), FailureKind> {
        match self.begun.is_empty() {
            true => Ok(()),
            false => self.end(log),
        }
    }
}

type Store<'a> = StoreContextMut<'a, State>;
type Instance<'a> = LinkerInstance<'a, State>;
type Input = Resource<InputStream>;
type Output = Resource<OutputStream>;

pub(super) fn poll(instance: &mut Instance<'_>) -> wasmtime::Result<()> {
    instance.func_wrap(
        "[method]pollable.ready",
        |mut store: Store<'_>, (pollable,): (Resource<Pollable>,)| {
            charge(&mut store, 0)?;
            let at = store.data().wasi.pollables.get(&pollable)?.at;
            Ok((at <= clocks::now(&store)?,))
        },
    )?;
    instance.func_wrap(
        "[method]pollable.block",
        |mut store: Store<'_>, (pollable,): (Resource<Pollable>,)| {
            charge(&mut store, 0)?;
            let at = store.data().wasi.pollables.get(&pollable)?.at;
            clocks::sleep_until(&mut store, at)
        },
    )?;
    instance.func_wrap(
        "poll",
        |mut store: Store<'_>, (pollables,): (Vec<Resource<Pollable>>,)| {
            charge(&mut store, pollables.len() as u64)?;
            let table = &store.data().wasi.pollables;
            let times = pollables.iter().map(|one| Ok(table.get(one)?.at));
            let times = times.collect::<wasmtime::Result<Vec<u64>>>()?;
            let Some(first) = times.iter().min() else {
                return Err(trap("it polls nothing, which would wait for ever".into()));
            };
            clocks::sleep_until(&mut store, *first)?;
            let now = clocks::now(&store)?;
            let ready = (0_u32..).zip(times).filter(|(_, at)| *at <= now);
            Ok((ready.map(|(index, _)| index).collect::<Vec<u32>>(),))
        },
    )
}

pub(super) fn streams(instance: &mut Instance<'_>) -> wasmtime::Result<()> {
    inputs(instance)?;
    outputs(instance)?;
    instance.func_wrap("[method]input-stream.subscribe", |store, (_,): (Input,)| {
        at_once(store)
    })?;
    instance.func_wrap(
        "[method]output-stream.subscribe",
        |store, (_,): (Output,)| at_once(store),
    )
}

/// A pollable that is always ready.
fn at_once(mut store: Store<'_>) -> wasmtime::Result<(Resource<Pollable>,)> {
    charge(&mut store, 0)?;
    let pollable = Pollable { at: 0 };
    Ok((store.data_mut().wasi.pollables.push(pollable)?,))
}

fn inputs(instance: &mut Instance<'_>) -> wasmtime::Result<()> {
    for name in ["read", "blocking-read"] {
        let name = format!("[method]input-stream.{name}");
        instance.func_wrap(&name, |mut store: Store<'_>, (_, _): (Input, u64)| {
            charge(&mut store, 0)?;
            Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
        })?;
    }
    for name in ["skip", "blocking-skip"] {
        let name = format!("[method]input-stream.{name}");
        instance.func_wrap(&name, |mut store: Store<'_>, (_, _): (Input, u64)| {
            charge(&mut store, 0)?;
            Ok((Err::<u64, _>(StreamError::Closed),))
        })?;
    }
    Ok(())
}

type Written = (Result<(), StreamError>,);

fn outputs(instance: &mut Instance<'_>) -> wasmtime::Result<()> {
    instance.func_wrap(
        "[method]output-stream.check-write",
        |mut store: Store<'_>, (_,): (Output,)| {
            charge(&mut store, 0)?;
            Ok((Ok::<_, StreamError>(WRITE_BYTES),))
        },
    )?;
    for name in ["write", "blocking-write-and-flush"] {
        let name = format!("[method]output-stream.{name}");
        instance.func_wrap(&name, |store, (to, bytes): (Output, Vec<u8>)| {
            write(store, &to, &bytes)
        })?;
    }
    for name in ["flush", "blocking-flush"] {
        let name = format!("[method]output-stream.{name}");
        instance.func_wrap(&name, |mut store: Store<'_>, (_,): (Output,)| {
            charge(&mut store, 0)?;
            Ok::<Written, _>((Ok(()),))
        })?;
    }
    for name in ["write-zeroes", "blocking-write-zeroes-and-flush"] {
        let name = format!("[method]output-stream.{name}");
        instance.func_wrap(&name, |store, (to, count): (Output, u64)| {
            let count = count.min(WRITE_BYTES);
            write(store, &to, &vec![0; usize::try_from(count)?])
        })?;
    }
    for name in ["splice", "blocking-splice"] {
        let name = format!("[method]output-stream.{name}");
        instance.func_wrap(
            &name,
            |mut store: Store<'_>, (_, _, _): (Output, Input, u64)| {
                charge(&mut store, 0)?;
                Ok((Err::<u64, _>(StreamError::Closed),))
            },
        )?;
    }
    Ok(())
}

fn write(mut store: Store<'_>, to: &Output, bytes: &[u8]) -> wasmtime::Result<Written> {
    charge(&mut store, bytes.len() as u64)?;
    let state = store.data_mut();
    let lines = match to.rep() {
        STDERR => &mut state.wasi.stderr,
        _ => &mut state.wasi.stdout,
    };
    lines
        .write(&mut state.log, bytes)
        .map_err(crate::limits::LimitHit)?;
    Ok((Ok(()),))
}
