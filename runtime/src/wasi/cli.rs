//! What a program finds when it starts: nothing, and three streams.

use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource, Val};

use super::io::{InputStream, OutputStream, STDERR, STDIN, STDOUT};
use super::{charge, trap};
use crate::sandbox::state::State;

/// A terminal. There are none.
#[derive(Debug)]
pub(super) enum Terminal {}

type Store<'a> = StoreContextMut<'a, State>;

pub(super) fn environment(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    instance.func_wrap("get-environment", |mut store: Store<'_>, (): ()| {
        charge(&mut store, 0)?;
        Ok((Vec::<(String, String)>::new(),))
    })?;
    instance.func_wrap("get-arguments", |mut store: Store<'_>, (): ()| {
        charge(&mut store, 0)?;
        Ok((Vec::<String>::new(),))
    })?;
    instance.func_wrap("initial-cwd", |mut store: Store<'_>, (): ()| {
        charge(&mut store, 0)?;
        Ok((None::<String>,))
    })
}

/// A job answers; one that exits has not, whatever status it gives.
pub(super) fn exit(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    let stop = |status: String| {
        let what = format!("it exited with {status} before it had answered");
        Err::<(), _>(trap(what))
    };
    instance.func_wrap(
        "exit",
        move |_: Store<'_>, (status,): (Result<(), ()>,)| match status {
            Ok(()) => stop("success".into()),
            Err(()) => stop("failure".into()),
        },
    )?;
    instance.func_wrap("exit-with-code", move |_: Store<'_>, (status,): (u8,)| {
        stop(format!("status {status}"))
    })
}

pub(super) fn stdin(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    instance.func_wrap("get-stdin", |mut store: Store<'_>, (): ()| {
        charge(&mut store, 0)?;
        Ok((Resource::<InputStream>::new_own(STDIN),))
    })
}

pub(super) fn stdout(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    instance.func_wrap("get-stdout", |mut store: Store<'_>, (): ()| {
        charge(&mut store, 0)?;
        Ok((Resource::<OutputStream>::new_own(STDOUT),))
    })
}

pub(super) fn stderr(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    instance.func_wrap("get-stderr", |mut store: Store<'_>, (): ()| {
        charge(&mut store, 0)?;
        Ok((Resource::<OutputStream>::new_own(STDERR),))
    })
}

pub(super) fn terminal_stdin(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    no_terminal(instance, "get-terminal-stdin")
}

pub(super) fn terminal_stdout(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    no_terminal(instance, "get-terminal-stdout")
}

pub(super) fn terminal_stderr(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    no_terminal(instance, "get-terminal-stderr")
}

fn no_terminal(instance: &mut LinkerInstance<'_, State>, name: &str) -> wasmtime::Result<()> {
    instance.func_wrap(name, |mut store: Store<'_>, (): ()| {
        charge(&mut store, 0)?;
        Ok((None::<Resource<Terminal>>,))
    })
}

/// No directory is open to begin with, so no file can be named.
pub(super) fn preopens(instance: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    instance.func_new(
        "get-directories",
        |mut store: Store<'_>, _, _, results: &mut [Val]| {
            charge(&mut store, 0)?;
            if let Some(result) = results.first_mut() {
                *result = Val::List(Vec::new());
            }
            Ok(())
        },
    )
}
