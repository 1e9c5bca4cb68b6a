//! Runs a script, directive by directive.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmtime::component::{Component, Instance, Linker, Val};
use wasmtime::{Engine, Module, Store};
use wast::parser::{self, ParseBuffer};
use wast::{QuoteWat, Wast, WastArg, WastDirective, WastExecute, WastInvoke, WastRet};

use crate::values;

/// Fuel of one instance: far more than any script burns.
const FUEL: u64 = 1_000_000_000;

/// Named instances that live at the same time; an older one goes. The engine's pool has eight places.
const LIVING_MAX: usize = 6;

/// What the engine says of what it has not switched on.
const SWITCHED_OFF: [&str; 4] = [
    " feature",
    "proposal not enabled",
    "proposal must be enabled",
    MEMORIES,
];

/// Of a module with two memories; and how the engine panics, instead of refusing, where one component
/// calls another. A job cannot get there: `jobs::component::check` refuses components in components.
const MEMORIES: &str = "multiple memories";

/// What became of a script.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Directives that are as they should be.
    pub(crate) held: usize,
    /// Directives that use, or follow from, what is switched off.
    pub(crate) left_out: Vec<String>,
    /// Directives that are not.
    pub(crate) failed: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (out, failed) = (self.left_out.len(), self.failed.len());
        write!(f, "{} held, {out} left out, {failed} failed", self.held)
    }
}

/// Why a directive did not hold.
#[derive(Debug)]
enum Not {
    /// It is about something that is switched off.
    Ours(String),
    Failed(String),
}

type Held = Result<(), Not>;

fn failed(why: impl fmt::Display) -> Not {
    let text = why.to_string();
    match SWITCHED_OFF.iter().any(|words| text.contains(words)) {
        true => Not::Ours(text),
        false => Not::Failed(text),
    }
}

/// An instance and its own store, so that it can go alone.
struct Living {
    store: Store<()>,
    instance: Instance,
}

/// `None` stands for what could not be made because it uses something that is switched off.
type Slot<T> = Option<T>;

struct Runner {
    engine: Engine,
    definitions: BTreeMap<String, Slot<Component>>,
    /// Oldest first; the current one is the last, under its name or none.
    instances: Vec<(Option<String>, Slot<Living>)>,
    tokio: tokio::runtime::Runtime,
}

/// Runs a script on a fresh engine.
pub(crate) fn run(text: &str) -> Tally {
    let mut tally = Tally::default();
    let mut lexer = wast::lexer::Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let parsed = ParseBuffer::new_with_lexer(lexer);
    let script = match parsed.as_ref().map(parser::parse::<Wast<'_>>) {
        Ok(Ok(script)) => script,
        Ok(Err(error)) => {
            tally.failed.push(format!(": {error}"));
            return tally;
        }
        Err(error) => {
            tally.failed.push(format!(": {error}"));
            return tally;
        }
    };
    let tokio = tokio::runtime::Builder::new_current_thread().build();
    let mut runner = Runner {
        engine: runtime::engine::engine().unwrap(),
        definitions: BTreeMap::new(),
        instances: Vec::new(),
        tokio: tokio.unwrap(),
    };
    for directive in script.directives {
        let (line, _) = directive.span().linecol_in(text);
        match runner.directive(directive) {
            Ok(()) => tally.held += 1,
            Err(Not::Ours(why)) => tally.left_out.push(format!(":{}: {why}", line + 1)),
            Err(Not::Failed(why)) => tally.failed.push(format!(":{}: {why}", line + 1)),
        }
    }
    tally
}

impl Runner {
    fn directive(&mut self, directive: WastDirective<'_>) -> Held {
        match directive {
            WastDirective::Module(mut wat) => {
                let name = wat.name().map(|id| id.name().to_owned());
                let made = self.component(&mut wat).and_then(|c| self.instantiate(&c));
                self.keep(name, made)
            }
            WastDirective::ModuleDefinition(mut wat) => {
                let name = wat.name().map_or("", |id| id.name()).to_owned();
                let (slot, held) = split(self.component(&mut wat));
                self.definitions.insert(name, slot);
                held
            }
            WastDirective::ModuleInstance {
                instance, module, ..
            } => {
                let definition = module.map_or("", |id| id.name());
                let component = match self.definitions.get(definition) {
                    Some(Some(component)) => Ok(component.clone()),
                    Some(None) => Err(Not::Ours("its definition is left out".to_owned())),
                    None => Err(failed(format!("no definition {definition:?}"))),
                };
                let made = component.and_then(|component| self.instantiate(&component));
                self.keep(instance.map(|id| id.name().to_owned()), made)
            }
            WastDirective::AssertMalformed {
                mut module,
                message,
                ..
            }
            | WastDirective::AssertInvalid {
                mut module,
                message,
                ..
            } => refused(self.component(&mut module).map(drop), message),
            WastDirective::AssertReturn { exec, results, .. } => {
                let found = self.execute(exec)?;
                returned(&found, &results)
            }
            WastDirective::AssertTrap { exec, message, .. } => match self.execute(exec) {
                Ok(found) => Err(failed(format!("{found:?} instead of trap {message:?}"))),
                Err(Not::Failed(why)) if why.contains(message) => Ok(()),
                Err(other) => Err(other),
            },
            WastDirective::Invoke(invoke) => self.invoke(&invoke).map(drop),
            other => Err(failed(format!("an unknown directive: {other:?}"))),
        }
    }

    /// Compiles a component; of a core module, says whether it compiles.
    fn component(&self, wat: &mut QuoteWat<'_>) -> Result<Component, Not> {
        let is_core = matches!(
            wat,
            QuoteWat::Wat(wast::Wat::Module(_)) | QuoteWat::QuoteModule(..)
        );
        let bytes = wat.encode().map_err(failed)?;
        if is_core {
            Module::new(&self.engine, &bytes).map_err(|error| failed(format!("{error:#}")))?;
            return Err(failed("a core module where a component is expected"));
        }
        let compile = AssertUnwindSafe(|| Component::new(&self.engine, &bytes));
        match catch_unwind(compile) {
            Ok(made) => made.map_err(|error| failed(format!("{error:#}"))),
            Err(_) if jobs::component::check(&bytes).is_ok() => {
                Err(Not::Failed("a panic over what may be a job".to_owned()))
            }
            Err(panic) => Err(failed(format!("a panic: {}", message(&*panic)))),
        }
    }

    fn instantiate(&self, component: &Component) -> Result<Living, Not> {
        let mut store = Store::new(&self.engine, ());
        store.set_fuel(FUEL).unwrap();
        let linker = Linker::<()>::new(&self.engine);
        let instance = linker.instantiate_async(&mut store, component);
        let instance = self.tokio.block_on(instance);
        let instance = instance.map_err(|error| failed(format!("{error:#}")))?;
        Ok(Living { store, instance })
    }

    fn keep(&mut self, name: Option<String>, made: Result<Living, Not>) -> Held {
        // What has no name is gone when the next one comes.
        self.instances.retain(|(name, _)| name.is_some());
        if self.instances.len() >= LIVING_MAX {
            self.instances.remove(0);
        }
        let (slot, held) = split(made);
        self.instances.push((name, slot));
        held
    }

    fn execute(&mut self, execute: WastExecute<'_>) -> Result<Vec<Val>, Not> {
        match execute {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Wat(wat) => {
                let component = self.component(&mut QuoteWat::Wat(wat))?;
                self.instantiate(&component).map(|_| Vec::new())
            }
            WastExecute::Get { .. } => Err(failed("components have no globals")),
        }
    }

    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Result<Vec<Val>, Not> {
        let wanted = invoke.module.map(|id| id.name());
        let mut found = self.instances.iter_mut().rev();
        let found = found.find(|(name, _)| wanted.is_none() || name.as_deref() == wanted);
        let living = match found {
            Some((_, Some(living))) => living,
            Some((_, None)) => return Err(Not::Ours("its component is left out".to_owned())),
            None => return Err(failed(format!("no instance {wanted:?}"))),
        };
        let store = &mut living.store;
        let Some(func) = living.instance.get_func(&mut *store, invoke.name) else {
            return Err(failed(format!("no export {:?}", invoke.name)));
        };
        let argument = |argument: &WastArg<'_>| match argument {
            WastArg::Component(written) => Ok(values::value(written)),
            _ => Err(failed("a core value for a component")),
        };
        let arguments = invoke.args.iter().map(argument);
        let arguments: Vec<Val> = arguments.collect::<Result<_, _>>()?;
        let mut results = vec![Val::Bool(false); func.ty(&*store).results().len()];
        let call = func.call_async(&mut *store, &arguments, &mut results);
        let called = self.tokio.block_on(call);
        called.map_err(|error| failed(format!("{error:#}")))?;
        Ok(results)
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or(panic.downcast_ref::<&str>().copied())
        .unwrap_or_default()
}

/// What was made, if anything was, and what that says of the directive.
fn split<T>(made: Result<T, Not>) -> (Slot<T>, Held) {
    match made {
        Ok(made) => (Some(made), Ok(())),
        Err(not) => (None, Err(not)),
    }
}

/// What must be refused was, and not only because something is switched off.
fn refused(made: Held, message: &str) -> Held {
    match made {
        Ok(()) => Err(failed(format!("accepted instead of {message:?}"))),
        Err(Not::Failed(_)) => Ok(()),
        Err(ours) => Err(ours),
    }
}

fn returned(found: &[Val], expected: &[WastRet<'_>]) -> Held {
    let expected = expected.iter().map(|result| match result {
        WastRet::Component(written) => Some(values::value(written)),
        _ => None,
    });
    let expected: Option<Vec<Val>> = expected.collect();
    let expected = expected.ok_or_else(|| failed("a core value of a component"))?;
    let equal = found.len() == expected.len();
    match equal && found.iter().zip(&expected).all(|(a, b)| values::same(a, b)) {
        true => Ok(()),
        false => Err(failed(format!("{found:?} instead of {expected:?}"))),
    }
}
