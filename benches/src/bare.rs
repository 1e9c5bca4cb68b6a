//! Wasmtime as its documentation has it: an engine, a linker, a store, a call. No limits on memory,
//! tables, handles or time, no log, no checks of what comes out, no digest of it, no fiber to stop it by.

use host_gpu::{NnCtxView, NnState, NnView};
use wasmtime::component::{Component, Linker, Val};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Result, Store,
    format_err,
};

use crate::measure::Clock;

mod bindings {
    #![allow(
        missing_debug_implementations,
        dead_code,
        unreachable_pub,
        clippy::all,
        reason = "generated code"
    )]
    wasmtime::component::bindgen!({
        path: "../guest-sdk/wit",
        world: "inference",
        exports: { default: async },
    });
}

use bindings::InferencePre;

/// Their errors as ours.
pub(crate) fn plain<T>(result: Result<T>) -> anyhow::Result<T> {
    result.map_err(|error| anyhow::anyhow!("{error:#}"))
}

mod sync {
    #![allow(
        missing_debug_implementations,
        dead_code,
        unreachable_pub,
        clippy::all,
        reason = "generated code"
    )]
    wasmtime::component::bindgen!({ path: "../guest-sdk/wit", world: "inference" });
}

/// The smallest embedding of a component that imports nothing.
pub(crate) struct Smallest {
    engine: Engine,
    component: sync::InferencePre<()>,
}

impl Smallest {
    /// On an engine with exactly our settings.
    pub(crate) fn new(component: &[u8]) -> Result<Self> {
        let engine = runtime::engine::engine().map_err(|failure| format_err!("{failure}"))?;
        let component = Component::new(&engine, component)?;
        let mut linker = Linker::new(&engine);
        linker.instance("assay:job/types@0.1.0")?;
        let component = sync::InferencePre::new(linker.instantiate_pre(&component)?)?;
        Ok(Self { engine, component })
    }

    /// A fresh store and instance, one call, and both dropped.
    pub(crate) fn run(&self, items: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        let mut store = Store::new(&self.engine, ());
        // The engine counts fuel, so there has to be some.
        store.set_fuel(u64::MAX)?;
        let instance = self.component.instantiate(&mut store)?;
        let answer = instance.call_run(&mut store, items)?;
        answer.map_err(|error| format_err!("{error:?}"))
    }
}

/// The same on a fiber, as whoever has to stop a guest that does not end must have it: the engine zeroes its
/// stack after each guest.
pub(crate) struct OnFiber {
    engine: Engine,
    component: InferencePre<()>,
}

impl OnFiber {
    /// On an engine with exactly our settings.
    pub(crate) fn new(component: &[u8]) -> Result<Self> {
        let engine = runtime::engine::engine().map_err(|failure| format_err!("{failure}"))?;
        let component = Component::new(&engine, component)?;
        let mut linker = Linker::new(&engine);
        linker.instance("assay:job/types@0.1.0")?;
        let component = InferencePre::new(linker.instantiate_pre(&component)?)?;
        Ok(Self { engine, component })
    }

    /// A fresh store and instance, one call, and both dropped.
    pub(crate) async fn run(&self, items: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        let mut store = Store::new(&self.engine, ());
        store.set_fuel(u64::MAX)?;
        store.fuel_async_yield_interval(Some(runtime::limits::FUEL_YIELD_INTERVAL))?;
        let instance = self.component.instantiate_async(&mut store).await?;
        let answer = instance.call_run(&mut store, items).await?;
        answer.map_err(|error| format_err!("{error:?}"))
    }
}

/// Compiler settings of our engine, with fuel or without.
fn config(fuel: bool) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(2)
        .total_core_instances(8)
        .total_memories(4)
        .total_tables(8)
        .total_stacks(2)
        .max_memory_size(4 << 30)
        .table_elements(100_000)
        .linear_memory_keep_resident(1 << 20);
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .consume_fuel(fuel)
        .concurrency_support(false)
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

struct Data {
    nn: NnState,
}

impl NnView for Data {
    fn nn(&mut self) -> NnCtxView<'_> {
        NnCtxView {
            state: &mut self.nn,
        }
    }
}

/// A guest with models on an engine that counts fuel or does not, everything else being equal.
pub(crate) struct Fuelled {
    engine: Engine,
    component: InferencePre<Data>,
    fuel: bool,
}

impl Fuelled {
    pub(crate) fn new(component: &[u8], fuel: bool) -> Result<Self> {
        let engine = Engine::new(&config(fuel))?;
        let component = Component::new(&engine, component)?;
        let mut linker = Linker::<Data>::new(&engine);
        host_gpu::add_to_linker(&mut linker)?;
        linker.instance("assay:job/types@0.1.0")?;
        let mut log = linker.instance("assay:job/log@0.1.0")?;
        log.func_new("log", |_, _, _: &[Val], _: &mut [Val]| Ok(()))?;
        let mut context = linker.instance("assay:job/context@0.1.0")?;
        for (name, answer) in [
            ("seed", Val::Tuple(vec![Val::U64(1), Val::U64(2)])),
            ("models", Val::List(vec![Val::String("minilm".into())])),
            ("shard-index", Val::U32(0)),
            ("item-offset", Val::U64(0)),
        ] {
            context.func_new(name, move |_, _, _: &[Val], results: &mut [Val]| {
                results.fill(answer.clone());
                Ok(())
            })?;
        }
        let component = InferencePre::new(linker.instantiate_pre(&component)?)?;
        Ok(Self {
            engine,
            component,
            fuel,
        })
    }

    /// Runs a shard; the outputs, the fuel and the microseconds that models took.
    pub(crate) async fn run(
        &self,
        nn: NnState,
        items: &[Vec<u8>],
    ) -> Result<(Vec<Vec<u8>>, u64, u64)> {
        let mut store = Store::new(&self.engine, Data { nn });
        if self.fuel {
            store.set_fuel(u64::MAX)?;
        }
        let instance = self.component.instantiate_async(&mut store).await?;
        let outputs = instance.call_run(&mut store, items).await?;
        let outputs = outputs.map_err(|error| format_err!("{error:?}"))?;
        let left = if self.fuel {
            store.get_fuel()?
        } else {
            u64::MAX
        };
        let spent = u64::MAX - left;
        let busy = store.data().nn.meters().device_us;
        Ok((outputs, spent, busy))
    }
}

/// Core instances in one component for [`scaled`]: what componentize-py links are 42.
const SCALED_INSTANCES: u32 = 64;

/// Our engine but for the number of core instances in one component. Its bounds on tables, memories and
/// their sizes, and what its pools keep resident, are ours.
fn scaled() -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(2)
        .total_core_instances(2 * SCALED_INSTANCES)
        .total_memories(2 * runtime::limits::MEMORIES_MAX)
        .total_tables(2 * runtime::limits::TABLES_MAX)
        .total_stacks(2)
        .max_component_instance_size(8 << 20)
        .max_core_instance_size(4 << 20)
        .max_core_instances_per_component(SCALED_INSTANCES)
        .max_memories_per_component(runtime::limits::MEMORIES_MAX)
        .max_tables_per_component(runtime::limits::TABLES_MAX)
        .max_tables_per_module(runtime::limits::TABLES_MAX)
        .table_elements(runtime::limits::TABLE_ELEMENTS_MAX)
        .max_memory_size(4 << 30)
        .linear_memory_keep_resident(1 << 20)
        .table_keep_resident(64 << 10)
        .max_unused_warm_slots(2);
    let mut config = config(true);
    config
        .memory_init_cow(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// A component with an interpreter inside. Whatever it imports traps when called: where it answers, it
/// needed nothing.
pub(crate) struct Interpreter {
    engine: Engine,
    component: sync::InferencePre<()>,
}

impl Interpreter {
    /// Compiles it, which takes seconds: on exactly the engine that runs jobs, or, for what cannot be
    /// one, on an engine that has room for more core instances.
    pub(crate) fn new(component: &[u8], is_job: bool) -> Result<Self> {
        let engine = if is_job {
            runtime::engine::engine().map_err(|failure| format_err!("{failure}"))?
        } else {
            scaled()?
        };
        let component = Component::new(&engine, component)?;
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component)?;
        let component = sync::InferencePre::new(linker.instantiate_pre(&component)?)?;
        Ok(Self { engine, component })
    }

    /// A fresh store and instance, both dropped: milliseconds.
    pub(crate) fn instance(&self) -> Result<f64> {
        let clock = Clock::start();
        let mut store = self.store()?;
        self.component.instantiate(&mut store)?;
        drop(store);
        Ok(clock.seconds() * 1e3)
    }

    /// The same with a call in between: milliseconds and what it answered.
    pub(crate) fn run(&self, items: &[Vec<u8>]) -> Result<(f64, Vec<Vec<u8>>)> {
        let clock = Clock::start();
        let mut store = self.store()?;
        let instance = self.component.instantiate(&mut store)?;
        let answer = instance.call_run(&mut store, items)?;
        drop(store);
        let taken = clock.seconds() * 1e3;
        let outputs = answer.map_err(|error| format_err!("{error:?}"))?;
        Ok((taken, outputs))
    }

    fn store(&self) -> Result<Store<()>> {
        let mut store = Store::new(&self.engine, ());
        // The engine counts fuel, so there has to be some.
        store.set_fuel(u64::MAX)?;
        Ok(store)
    }
}
