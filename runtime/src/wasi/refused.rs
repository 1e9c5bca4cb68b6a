//! What exists for whoever asks and is refused: files, sockets, and functions that no host serves.
//!
//! A program that only mentions a socket shall run; one that opens one is told that it may not, in
//! WASI's words where the function has an error for it, and is stopped where it has none.

use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{LinkerInstance, Resource, ResourceType, Val};
use wasmtime::{Engine, StoreContextMut};

use super::cli::Terminal;
use super::io::{InputStream, IoError, OutputStream, Pollable};
use super::{charge, trap};
use crate::sandbox::state::State;

/// A file, a socket, a network: there are none.
#[derive(Debug)]
enum Nothing {}

/// What the error codes of WASI call a refusal: those of files, and those of sockets.
const REFUSALS: [&str; 2] = ["access", "access-denied"];

/// Defines everything that the import has, as refusals.
pub(super) fn all(
    instance: &mut LinkerInstance<'_, State>,
    engine: &Engine,
    import: &str,
    item: &ComponentItem,
) -> wasmtime::Result<()> {
    let ComponentItem::ComponentInstance(interface) = item else {
        return Ok(());
    };
    for (name, item) in interface.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(_) => {
                let what = format!("{import}#{name}");
                instance.func_new(name, move |store, ty, _, results| {
                    refuse(store, &ty, &what, results)
                })?;
            }
            ComponentItem::Resource(_) => {
                let drop = |mut store: StoreContextMut<'_, State>, rep: u32| {
                    let pollable = Resource::<Pollable>::new_own(rep);
                    store.data_mut().wasi.pollables.delete(pollable)?;
                    Ok(())
                };
                match resource(name) {
                    ty if ty == ResourceType::host::<Pollable>() => {
                        instance.resource(name, ty, drop)?;
                    }
                    ty => instance.resource(name, ty, |_, _| Ok(()))?,
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The type of a resource of WASI. Interfaces that use another's name it alike.
fn resource(name: &str) -> ResourceType {
    match name {
        "pollable" => ResourceType::host::<Pollable>(),
        "input-stream" => ResourceType::host::<InputStream>(),
        "output-stream" => ResourceType::host::<OutputStream>(),
        "error" => ResourceType::host::<IoError>(),
        "terminal-input" | "terminal-output" => ResourceType::host::<Terminal>(),
        _ => ResourceType::host::<Nothing>(),
    }
}

fn refuse(
    mut store: StoreContextMut<'_, State>,
    ty: &ComponentFunc,
    what: &str,
    results: &mut [Val],
) -> wasmtime::Result<()> {
    charge(&mut store, 0)?;
    let code = ty.results().next().and_then(|result| refusal(&result));
    match (code, results.first_mut()) {
        (Some(code), Some(result)) => {
            *result = Val::Result(Err(Some(Box::new(Val::Enum(code)))));
            Ok(())
        }
        _ => Err(trap(format!("it called {what}, which no job may"))),
    }
}

/// The error that says so, if a function's result has one.
fn refusal(result: &Type) -> Option<String> {
    let Type::Result(result) = result else {
        return None;
    };
    let Some(Type::Enum(codes)) = result.err() else {
        return None;
    };
    let code = codes.names().find(|code| REFUSALS.contains(code))?;
    Some(code.to_owned())
}
