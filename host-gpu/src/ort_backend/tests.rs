//! What a device makes use of, tried where there is none: host memory stands in for a device's.

use super::*;
use crate::backend::GraphIo;
use crate::pick::{Rows, top_k};
use crate::tensor::{BoundInput, ElementType, ReadBack, TensorValue};
use crate::{CacheLimits, GraphCache, ModelDigest};
use std::path::PathBuf;

fn library() -> Arc<OrtLibrary> {
    OrtLibrary::load_discovered().expect("run `cargo xtask setup`")
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// A session whose outputs stay on a device, which is the host here.
fn on_device(name: &str) -> OrtSession {
    let (library, options) = (library(), GraphOptions::on(Device::Cpu));
    let bytes = std::fs::read(file(name)).unwrap();
    let session = builder(&library, &options, None)
        .unwrap()
        .commit_from_memory(&bytes)
        .unwrap();
    let placement = placement::of(&session).unwrap();
    let kernels = Arc::new(Kernels::new(move || builder(&library, &options, None)));
    let outputs = Outputs::Device {
        device: binding::host_memory().unwrap(),
        pinned: binding::host_memory().unwrap(),
        kernels,
    };
    OrtSession::new(session, placement, outputs).unwrap()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The values as rows of the width that the graph's only input has.
fn bound(io: &GraphIo, values: &[f32]) -> Vec<BoundInput> {
    let width = io.inputs[0].dims[1].unwrap();
    let dims = [u32::try_from(values.len()).unwrap() / width, width];
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
    let stop = StopFlag::default();
    let values: Vec<f32> = (0..60_u16)
        .map(|i| match i % 9 {
            0 => f32::NEG_INFINITY,
            _ => f32::from(i * 37 % 23),
        })
        .collect();
    for (ty, bytes) in [
        (ElementType::F32, f32s(&values)),
        (ElementType::F16, halves(&values, half::f16::to_le_bytes)),
        (ElementType::Bf16, halves(&values, half::bf16::to_le_bytes)),
    ] {
        let mut session = on_device(&format!("identity_{ty}.onnx"));
        let local = TensorValue::from_bytes(ty, &[20, 3], &bytes).unwrap();
        let input = TensorValue::from_bytes(ty, &[20, 3], &bytes).unwrap();
        let name = session.io().inputs[0].name.clone();
        let inputs = session.io().bind(vec![(name, Arc::new(input))]).unwrap();
        let (_, remote) = session.run(&inputs, &stop).unwrap().pop().unwrap();
        for (rows, count) in [(&[][..], 1), (&[19, 0, 7], 2), (&[], 3), (&[5], 1000)] {
            let rows = Rows::of(&local, rows).unwrap();
            assert!(remote.top_k_on_device(&rows, count).unwrap().is_some());
            let found = top_k(&remote, &rows, count).unwrap();
            assert_eq!(found, top_k(&local, &rows, count).unwrap(), "{ty} {count}");
        }
    }
}

fn halves<T: From2>(values: &[f32], bytes: impl Fn(T) -> [u8; 2]) -> Vec<u8> {
    values.iter().flat_map(|v| bytes(T::from2(*v))).collect()
}

/// The two sixteen-bit floats, made from a single.
trait From2 {
    fn from2(value: f32) -> Self;
}

impl From2 for half::f16 {
    fn from2(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl From2 for half::bf16 {
    fn from2(value: f32) -> Self {
        Self::from_f32(value)
    }
}

#[test]
fn logits_that_mean_nothing_are_refused_on_the_device_too() {
    let mut session = on_device("identity_f32.onnx");
    let stop = StopFlag::default();
    let rows = [[f32::NAN; 3], [f32::NEG_INFINITY; 3], [1.0, 2.0, 3.0]].concat();
    let inputs = bound(session.io(), &rows);
    let (_, remote) = session.run(&inputs, &stop).unwrap().pop().unwrap();
    for (row, meant) in [(0, false), (1, false), (2, true)] {
        assert_eq!(remote.top_k(&[row], 1).is_ok(), meant, "row {row}");
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
fn further_sessions_answer_with_the_same_bits() {
    let backend = OrtBackend::new(library());
    let stop = StopFlag::default();
    let bytes = std::fs::read(file("tinylm.onnx")).unwrap();
    let options = GraphOptions::on(Device::Cpu);
    let load = || backend.load("tinylm", &bytes, &options, &stop).unwrap();
    let (mut one, mut two) = (load(), load());
    let inputs = first_token(one.io());
    let run = |session: &mut Box<dyn NnSession>| {
        let outputs = session.run(&inputs, &stop).unwrap();
        outputs
            .iter()
            .map(|(name, value)| (name.clone(), value.host_bytes().unwrap().to_vec()))
            .collect::<Vec<_>>()
    };
    assert!(run(&mut one) == run(&mut two));
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

#[test]
fn processes_that_share_a_gpu_have_an_equal_part_of_its_memory_each() {
    let gib = |count: u64| count << 30;
    for (device, processes, expected) in [
        (gib(80), 1, Some(79 << 30)),
        (gib(80), 4, Some(19 << 30)),
        (gib(80), 0, Some(79 << 30)),
        (gib(2), 2, None),
        (0, 1, None),
    ] {
        assert_eq!(
            arena_bytes(device, processes),
            expected,
            "{device} bytes, {processes} processes"
        );
    }
}
