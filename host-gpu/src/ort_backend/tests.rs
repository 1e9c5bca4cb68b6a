//! What a device makes use of, tried where there is none: host memory stands in for a device's.

use super::*;
use crate::backend::GraphIo;
use crate::pick::{Rows, top_k};
use crate::tensor::{BoundInput, ElementType, ReadBack, TensorValue};
use crate::{CacheLimits, GraphCache, ModelDigest};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use std::path::PathBuf;

fn library() -> Arc<OrtLibrary> {
    OrtLibrary::load_discovered().expect("run `cargo xtask setup`")
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn memory() -> MemoryInfo<'static> {
    let ty = (AllocatorType::Device, MemoryType::CPUOutput);
    MemoryInfo::new(AllocationDevice::CPU, 0, ty.0, ty.1).unwrap()
}

/// A session whose outputs stay on a device, which is the host here.
fn on_device(name: &str) -> OrtSession {
    let (library, options) = (library(), GraphOptions::on(Device::Cpu));
    let bytes = std::fs::read(file(name)).unwrap();
    let session = builder(&library, &options)
        .unwrap()
        .commit_from_memory(&bytes)
        .unwrap();
    let placement = placement::of(&session).unwrap();
    let top_k = Arc::new(TopK::new(move || builder(&library, &options)));
    let outputs = Outputs::Device {
        device: memory(),
        pinned: memory(),
        top_k,
    };
    OrtSession::new(session, placement, outputs).unwrap()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn bound(io: &GraphIo, values: &[f32]) -> Vec<BoundInput> {
    let dims = [u32::try_from(values.len()).unwrap()];
    let value = TensorValue::from_bytes(ElementType::F32, &dims, &f32s(values)).unwrap();
    let name = io.inputs[0].name.clone();
    io.bind(vec![(name, Arc::new(value))]).unwrap()
}

#[test]
fn an_output_stays_on_the_device_until_it_is_read_and_then_comes_to_the_host() {
    let mut session = on_device("double.onnx");
    let read_back = Arc::new(ReadBack::default());
    let stop = StopFlag::default();
    let inputs = bound(session.io(), &[1.0, 2.0]);
    let (name, first) = session
        .run_for(&inputs, &read_back, &stop)
        .unwrap()
        .pop()
        .unwrap();
    assert!(!read_back.has(&name));
    // Straight into the next run, unread.
    let input = session.io().inputs[0].name.clone();
    let again = session.io().bind(vec![(input, Arc::new(first))]).unwrap();
    let (_, second) = session
        .run_for(&again, &read_back, &stop)
        .unwrap()
        .pop()
        .unwrap();
    assert!(!read_back.has(&name), "nobody has read anything yet");
    assert_eq!(second.host_bytes().unwrap(), f32s(&[4.0, 8.0]));
    assert!(read_back.has(&name));
    // Outputs of earlier runs are not written over.
    let (_, third) = session
        .run_for(&inputs, &read_back, &stop)
        .unwrap()
        .pop()
        .unwrap();
    assert_eq!(third.host_bytes().unwrap(), f32s(&[2.0, 4.0]));
    assert_eq!(second.host_bytes().unwrap(), f32s(&[4.0, 8.0]));
}

#[test]
fn the_device_finds_the_same_largest_values_as_the_host() {
    let mut session = on_device("identity_f32.onnx");
    let values: Vec<f32> = (0..60_u16).map(|i| f32::from(i * 37 % 23)).collect();
    let inputs = bound(session.io(), &values);
    let stop = StopFlag::default();
    let (_, remote) = session.run(&inputs, &stop).unwrap().pop().unwrap();
    let local = TensorValue::from_bytes(ElementType::F32, &[60], &f32s(&values)).unwrap();
    for count in [1, 2, 7, 60, 1000] {
        let rows = Rows::of(&local, &[]).unwrap();
        assert!(remote.top_k_on_device(&rows, count).is_some());
        let found = top_k(&remote, &rows, count).unwrap();
        assert_eq!(found, top_k(&local, &rows, count).unwrap(), "{count}");
    }
}

#[test]
fn every_node_is_counted_with_what_runs_it() {
    let session = on_device("tinylm.onnx");
    let placement = session.placement();
    assert_eq!(placement.len(), 1, "{placement:?}");
    assert_eq!(placement[0].provider, "CPUExecutionProvider");
    assert!(placement[0].nodes > 50, "{placement:?}");
    assert!(!placement[0].operators.is_empty());
}

#[test]
fn sessions_that_share_weights_answer_with_the_same_bits() {
    let backend = OrtBackend::new(library());
    let bytes = std::fs::read(file("tinylm.onnx")).unwrap();
    let options = GraphOptions::on(Device::Cpu);
    let weights = backend.share("tinylm", &bytes, &options).unwrap();
    let shared = weights.0.as_ref().unwrap().downcast_ref::<Weights>();
    let shown = format!("{:?}", shared.unwrap());
    assert_ne!(shown, "Weights(0 initialisers)");
    let stop = StopFlag::default();
    let load = |weights: &SharedWeights| {
        backend
            .load_shared("tinylm", &bytes, &options, weights, &stop)
            .unwrap()
    };
    let mut alone = load(&SharedWeights::default());
    let mut one = load(&weights);
    let mut two = load(&weights);
    let inputs = first_token(alone.io());
    let run = |session: &mut Box<dyn NnSession>| {
        let outputs = session.run(&inputs, &stop).unwrap();
        outputs
            .iter()
            .map(|(name, value)| (name.clone(), value.host_bytes().unwrap().to_vec()))
            .collect::<Vec<_>>()
    };
    let expected = run(&mut alone);
    assert!(run(&mut one) == expected && run(&mut two) == expected);
    drop(one);
    assert!(run(&mut two) == expected, "the weights outlive a session");
}

/// One token and an empty past, whatever the model's sizes are.
fn first_token(io: &GraphIo) -> Vec<BoundInput> {
    let each = io.inputs.iter().map(|port| {
        let past = port.name.starts_with("past");
        let dims: Vec<u32> = port
            .dims
            .iter()
            .enumerate()
            .map(|(at, dim)| dim.unwrap_or(u32::from(!(past && at == 2))))
            .collect();
        let elements: u32 = dims.iter().product();
        let bytes = vec![0; elements as usize * port.ty.size_bytes()];
        let value = TensorValue::from_bytes(port.ty, &dims, &bytes).unwrap();
        (port.name.clone(), Arc::new(value))
    });
    io.bind(each.collect()).unwrap()
}

#[test]
fn a_graph_of_several_sessions_is_loaded_once_and_says_where_it_runs() {
    let limits = CacheLimits {
        sessions_per_graph: 2,
        ..CacheLimits::default()
    };
    let cache = GraphCache::new(Arc::new(OrtBackend::new(library())), limits);
    let path = file("tinylm.onnx");
    let digest = ModelDigest::of(&std::fs::read(&path).unwrap());
    let graph = cache.load("tinylm", digest, &path, Device::Cpu).unwrap();
    assert_eq!(graph.sessions(), 1);
    let fingerprint = graph.fingerprint().execution_provider.clone();
    assert_eq!(graph.placement()[0].provider, fingerprint);
}
