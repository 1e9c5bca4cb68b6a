//! wasmtime-wasi-nn behind a line protocol: the benchmarks' baseline.
//!
//! `baseline-wasi-nn COMPONENT GRAPH DATA`: the component is a job whose first item is a number of runs
//! and whose second the tensor's bytes, GRAPH a folder named like the graph with `model.onnx` in it.
//! Reads a number of runs a line, executes the component in a fresh instance, and answers with the
//! nanoseconds that took and a checksum of its first output.

use std::io::{BufRead as _, Write as _};
use std::time::Instant;

use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Result, Store,
    format_err,
};
use wasmtime_wasi_nn::wit::{WasiNnCtx, WasiNnView};
use wasmtime_wasi_nn::{Backend, InMemoryRegistry, backend::onnx::OnnxBackend};

wasmtime::component::bindgen!({ path: "../../../guest-sdk/wit", world: "inference" });

struct Data {
    nn: WasiNnCtx,
    table: ResourceTable,
}

/// Assay's own settings, so that the same machine code runs.
fn engine() -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(2)
        .total_core_instances(8)
        .total_memories(4)
        .total_tables(8)
        .max_memory_size(4 << 30)
        .linear_memory_keep_resident(1 << 20);
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .consume_fuel(true)
        .concurrency_support(false)
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Ok(Engine::new(&config)?)
}

fn nn(graph: &str) -> Result<WasiNnCtx> {
    let mut backend = Backend::from(OnnxBackend::default());
    let mut registry = InMemoryRegistry::new();
    let loader = backend
        .as_dir_loadable()
        .ok_or(format_err!("the backend loads no folders"))?;
    registry.load(loader, graph.as_ref())?;
    Ok(WasiNnCtx::new([backend], registry.into()))
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or(format_err!("COMPONENT GRAPH DATA"));
    let (component, graph, data) = (next()?, next()?, next()?);
    let engine = engine()?;
    let component = Component::from_file(&engine, component)?;
    let mut linker = Linker::<Data>::new(&engine);
    wasmtime_wasi_nn::wit::add_to_linker(&mut linker, |data: &mut Data| {
        WasiNnView::new(&mut data.table, &mut data.nn)
    })?;
    linker.instance("assay:job/types@0.1.0")?;
    let pre = InferencePre::new(linker.instantiate_pre(&component)?)?;
    let tensor = std::fs::read(data)?;
    // The graph outlives the instances that use it, as it does in Assay.
    let mut context = Some(nn(&graph)?);
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let runs: u32 = line?.trim().parse()?;
        let items = vec![runs.to_le_bytes().to_vec(), tensor.clone()];
        let nn = context
            .take()
            .ok_or(format_err!("the context was not given back"))?;
        let start = Instant::now();
        let mut store = Store::new(
            &engine,
            Data {
                nn,
                table: ResourceTable::new(),
            },
        );
        store.set_fuel(u64::MAX)?;
        let instance = pre.instantiate(&mut store)?;
        let outputs = instance
            .call_run(&mut store, &items)?
            .map_err(|error| format_err!("{error:?}"))?;
        let elapsed = start.elapsed().as_nanos();
        let sum = outputs
            .first()
            .into_iter()
            .flatten()
            .fold(0_u64, |sum, byte| {
                sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
            });
        context = Some(store.into_data().nn);
        writeln!(out, "{elapsed} {sum}")?;
        out.flush()?;
    }
    Ok(())
}
