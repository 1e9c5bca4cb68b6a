//! WASI 0.2 without a world behind it, for guests in languages whose tools cannot do without.
//!
//! Everything here is a function of the shard: time is the fuel that was burnt and what was slept,
//! random bytes grow from the job's seed, standard output and error are lines of the job's log,
//! standard input is empty, and so are environment and arguments. Nothing waits: who sleeps finds the
//! clock advanced. Files and sockets are refused ([`refused`]).
//!
//! Each component gets exactly the interfaces of WASI that it imports, under the names that it gives
//! them; one that imports none has no trace of this in its linker.

mod cli;
mod clocks;
mod io;
mod random;
mod refused;

use wasmtime::component::{Component, Linker, LinkerInstance, ResourceTable};
use wasmtime::{AsContext, Engine, StoreContextMut};

use crate::failure::FailureKind;
use crate::limits::LimitHit;
use crate::log::{Log, LogLevel};
use crate::sandbox::state::State;
use io::Lines;

/// What a call of WASI costs in fuel: the host's work is paid for like the guest's, so that a guest
/// which does nothing but call ends as soon as one that computes.
const CALL_FUEL: u64 = 100;

/// An interface that is served, and how it gets into a linker.
struct Interface {
    name: &'static str,
    add: fn(&mut LinkerInstance<'_, State>) -> wasmtime::Result<()>,
}

/// What is served. Interfaces and functions that are not in here are refused when they are called.
const SERVED: &[Interface] = &[
    Interface {
        name: "wasi:cli/environment",
        add: cli::environment,
    },
    Interface {
        name: "wasi:cli/exit",
        add: cli::exit,
    },
    Interface {
        name: "wasi:cli/stderr",
        add: cli::stderr,
    },
    Interface {
        name: "wasi:cli/stdin",
        add: cli::stdin,
    },
    Interface {
        name: "wasi:cli/stdout",
        add: cli::stdout,
    },
    Interface {
        name: "wasi:cli/terminal-stderr",
        add: cli::terminal_stderr,
    },
    Interface {
        name: "wasi:cli/terminal-stdin",
        add: cli::terminal_stdin,
    },
    Interface {
        name: "wasi:cli/terminal-stdout",
        add: cli::terminal_stdout,
    },
    Interface {
        name: "wasi:clocks/monotonic-clock",
        add: clocks::monotonic,
    },
    Interface {
        name: "wasi:clocks/wall-clock",
        add: clocks::wall,
    },
    Interface {
        name: "wasi:filesystem/preopens",
        add: cli::preopens,
    },
    Interface {
        name: "wasi:io/poll",
        add: io::poll,
    },
    Interface {
        name: "wasi:io/streams",
        add: io::streams,
    },
    Interface {
        name: "wasi:random/insecure",
        add: random::insecure,
    },
    Interface {
        name: "wasi:random/insecure-seed",
        add: random::insecure_seed,
    },
    Interface {
        name: "wasi:random/random",
        add: random::random,
    },
];

/// The linker for a component: `linker`, and the WASI that the component imports.
pub(crate) fn linker_for(
    engine: &Engine,
    linker: &Linker<State>,
    component: &Component,
) -> wasmtime::Result<Linker<State>> {
    let mut linker = linker.clone();
    // What is served stands in the place of a refusal.
    linker.allow_shadowing(true);
    for (import, item) in component.component_type().imports(engine) {
        let Some(name) = jobs::component::wasi_interface(import) else {
            continue;
        };
        let mut instance = linker.instance(import)?;
        refused::all(&mut instance, engine, import, &item.ty)?;
        if let Some(interface) = SERVED.iter().find(|served| served.name == name) {
            (interface.add)(&mut instance)?;
        }
    }
    linker.allow_shadowing(false);
    Ok(linker)
}

/// What a shard's guest has of WASI.
#[derive(Debug)]
pub(crate) struct Wasi {
    fuel_limit: u64,
    /// Fuel for the host's work, beside what the store counts.
    charged: u64,
    slept_ns: u64,
    secure: random::Bytes,
    insecure: random::Bytes,
    insecure_seed: (u64, u64),
    stdout: Lines,
    stderr: Lines,
    pollables: ResourceTable,
}

impl Wasi {
    pub(crate) fn new(seed: (u64, u64), fuel_limit: u64) -> Self {
        let mut seeds = random::Bytes::new(seed, "seed");
        Self {
            fuel_limit,
            charged: 0,
            slept_ns: 0,
            secure: random::Bytes::new(seed, "secure"),
            insecure: random::Bytes::new(seed, "insecure"),
            insecure_seed: (seeds.number(), seeds.number()),
            stdout: Lines::new(LogLevel::Info),
            stderr: Lines::new(LogLevel::Warn),
            pollables: ResourceTable::new(),
        }
    }

    /// Fuel of the host's calls, to be added to what the store counts.
    pub(crate) fn charged(&self) -> u64 {
        self.charged
    }

    /// Whether the store's fuel, of which so much is left, pays for the host's calls too. A guest may
    /// have burnt after its last call what that call left.
    pub(crate) fn check_paid(&self, left: u64) -> Result<(), FailureKind> {
        let limit = self.fuel_limit;
        match self.charged > left {
            true => Err(FailureKind::FuelExhausted { limit }),
            false => Ok(()),
        }
    }

    /// Logs what was printed without the end of a line.
    pub(crate) fn finish(&mut self, log: &mut Log) -> Result<(), FailureKind> {
        self.stdout.finish(log)?;
        self.stderr.finish(log)
    }
}

/// Takes fuel for a call that does `work` units of work beside being made.
fn charge(store: &mut StoreContextMut<'_, State>, work: u64) -> wasmtime::Result<()> {
    let left = store.as_context().get_fuel()?;
    let wasi = &mut store.data_mut().wasi;
    wasi.charged = wasi.charged.saturating_add(CALL_FUEL).saturating_add(work);
    Ok(wasi.check_paid(left).map_err(LimitHit)?)
}

/// A stop with a reason of our own.
fn trap(what: String) -> wasmtime::Error {
    LimitHit(FailureKind::Trap { what }).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_may_be_imported_and_the_rest_is_refused_by_intent() {
        let allowed = jobs::component::WASI_INTERFACES;
        let served: Vec<&str> = SERVED.iter().map(|interface| interface.name).collect();
        assert!(served.is_sorted(), "{served:?}");
        for name in &served {
            assert!(allowed.contains(name), "{name} is served and not allowed");
        }
        let refused: Vec<&&str> = allowed
            .iter()
            .filter(|name| !served.contains(name))
            .collect();
        let expected = [
            "wasi:cli/terminal-input",
            "wasi:cli/terminal-output",
            "wasi:filesystem/types",
            "wasi:io/error",
            "wasi:sockets/instance-network",
            "wasi:sockets/ip-name-lookup",
            "wasi:sockets/network",
            "wasi:sockets/tcp",
            "wasi:sockets/tcp-create-socket",
            "wasi:sockets/udp",
            "wasi:sockets/udp-create-socket",
        ];
        assert_eq!(refused, expected.each_ref());
    }
}
