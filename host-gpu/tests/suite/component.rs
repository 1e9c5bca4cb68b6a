//! A real component, by the canonical ABI: what a guest gets through the linker, and what it does not.

use crate::support::data;
use host_gpu::{
    CacheLimits, Device, GraphCache, ModelDigest, NnBackend, NnCtxView, NnError, NnLimits, NnState,
    NnView, ReferenceBackend, add_to_linker,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store};

/// The guest's scenes, by the number its `run` takes.
const DOUBLE: u32 = 0;
const WRONG_LENGTH: u32 = 1;
const USE_AFTER_DROP: u32 = 2;
const HOARD: u32 = 3;
const SPIN: u32 = 4;
const LOAD_BYTES: u32 = 5;
const UNKNOWN_NAME: u32 = 6;
/// What the guest adds to an error's code before it returns it.
const FAULT: u32 = 1000;
/// `wasi:nn/errors.error-code`, by its place in the WIT.
const INVALID_ARGUMENT: u32 = 0;
const NOT_FOUND: u32 = 6;
const SECURITY: u32 = 7;

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

/// Makes a component of the text in `guest.wat`, which is written against the core names of the WIT.
fn component_bytes() -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk/wit/deps/wasi-nn");
    resolve.push_dir(&wit).unwrap();
    let world = "package test:guest;\nworld guest {\n\
        import wasi:nn/tensor@0.2.0-rc-2024-10-28;\nimport wasi:nn/graph@0.2.0-rc-2024-10-28;\n\
        import wasi:nn/inference@0.2.0-rc-2024-10-28;\nimport wasi:nn/errors@0.2.0-rc-2024-10-28;\n\
        export run: func(scene: u32) -> u32;\n}\n";
    let package = resolve.push_str("guest.wit", world).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    let mut module = wat::parse_file(data("guest.wat")).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding).unwrap();
    let encoder = wit_component::ComponentEncoder::default().validate(true);
    encoder.module(&module).unwrap().encode().unwrap()
}

struct Host {
    engine: Engine,
    component: Component,
    linker: Linker<Data>,
}

fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| {
        let engine = Engine::new(&Config::new()).unwrap();
        let component = Component::new(&engine, component_bytes()).unwrap();
        let mut linker = Linker::new(&engine);
        add_to_linker(&mut linker).unwrap();
        Host {
            engine,
            component,
            linker,
        }
    })
}

fn instance(backend: Arc<dyn NnBackend>, model: &Path, limits: NnLimits) -> Store<Data> {
    let cache = GraphCache::new(backend, CacheLimits::default());
    let digest = ModelDigest::of(&std::fs::read(model).unwrap());
    let graph = cache.load("g", digest, model, Device::Cpu).unwrap();
    let graphs = BTreeMap::from([("g".to_owned(), graph)]);
    Store::new(
        &host().engine,
        Data {
            nn: NnState::new(graphs, limits),
        },
    )
}

fn reference(body: &str, limits: NnLimits) -> Store<Data> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("g");
    std::fs::write(&path, format!("assay-reference-graph 1\n{body}\n")).unwrap();
    instance(Arc::new(ReferenceBackend::new()), &path, limits)
}

async fn run(store: &mut Store<Data>, scene: u32) -> wasmtime::Result<u32> {
    let instance = host()
        .linker
        .instantiate_async(&mut *store, &host().component)
        .await?;
    let run = instance.get_typed_func::<(u32,), (u32,)>(&mut *store, "run")?;
    Ok(run.call_async(&mut *store, (scene,)).await?.0)
}

const DOUBLING: &str = "input x f32 -1 2\noutput y = add x x";

#[tokio::test]
async fn a_guest_makes_a_tensor_runs_a_graph_twice_and_reads_the_result() {
    let mut store = reference(DOUBLING, NnLimits::default());
    // 1.5 doubled, and doubled again without leaving the host.
    assert_eq!(f32::from_bits(run(&mut store, DOUBLE).await.unwrap()), 6.0);
    let meters = store.data().nn.meters();
    assert_eq!(meters.computes, 2);
    // 8 bytes in, 8 bytes out; the tensor between the runs is never copied.
    assert_eq!(meters.host_bytes, 16);
}

#[tokio::test]
async fn the_same_guest_runs_on_onnx_runtime() {
    let mut store = instance(
        crate::support::ort(),
        &data("double.onnx"),
        NnLimits::default(),
    );
    assert_eq!(f32::from_bits(run(&mut store, DOUBLE).await.unwrap()), 6.0);
    assert_eq!(store.data().nn.meters().host_bytes, 16);
}

#[tokio::test]
async fn a_guests_mistakes_are_errors_that_it_can_read() {
    for (scene, code) in [
        (WRONG_LENGTH, INVALID_ARGUMENT),
        (LOAD_BYTES, SECURITY),
        (UNKNOWN_NAME, NOT_FOUND),
    ] {
        let mut store = reference(DOUBLING, NnLimits::default());
        assert_eq!(
            run(&mut store, scene).await.unwrap(),
            FAULT + code,
            "scene {scene}"
        );
    }
}

#[tokio::test]
async fn a_dropped_handle_traps() {
    let mut store = reference(DOUBLING, NnLimits::default());
    let error = run(&mut store, USE_AFTER_DROP).await.unwrap_err();
    assert!(
        error.downcast_ref::<NnError>().is_none(),
        "the sandbox itself refuses the handle: {error:?}"
    );
}

#[tokio::test]
async fn a_guest_that_hoards_tensors_is_stopped_at_the_bound() {
    let limits = NnLimits {
        max_resources: 100,
        ..NnLimits::default()
    };
    let mut store = reference(DOUBLING, limits);
    let error = run(&mut store, HOARD).await.unwrap_err();
    assert!(
        matches!(
            error.downcast_ref(),
            Some(NnError::TableFull { bound: 100 })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_graph_that_does_not_end_is_stopped_with_its_guest() {
    let spin = "input x f32 -1 2\noutput y = spin x";
    let limits = NnLimits {
        compute_wall: Duration::from_millis(20),
        ..NnLimits::default()
    };
    let mut store = reference(spin, limits);
    let error = run(&mut store, SPIN).await.unwrap_err();
    assert!(
        matches!(error.downcast_ref(), Some(NnError::Timeout { .. })),
        "{error:?}"
    );

    let mut store = reference(spin, NnLimits::default());
    let ended = tokio::time::timeout(Duration::from_millis(20), run(&mut store, SPIN)).await;
    assert!(ended.is_err());
    // Dropping the store ends the last graph, whose owner thread must come to its end.
    drop(store);
}
