//! The host's functions called directly, over the reference backend: faults, budgets, stops, sharing.

mod extension;
mod hostile;
mod notes;

use super::graph::{Host as _, HostGraph as _};
use super::inference::HostGraphExecutionContext as _;
use super::*;
use crate::{
    CacheLimits, Device, ElementType, GraphCache, ModelDigest, NnLimits, NnState, ReferenceBackend,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Graphs of the tests, by name.
const GRAPHS: [(&str, &str); 6] = [
    ("double", "input x f32 -1\noutput y = add x x\n"),
    (
        "two",
        "input x f32 -1 2\ninput y f32 -1 2\noutput sum = add x y\noutput same = identity x\n",
    ),
    (
        "twin",
        "input x f32 -1\noutput a = identity x\noutput b = add x x\n",
    ),
    ("scalar", "input x i64\noutput y = identity x\n"),
    ("spin", "input x f32 1\noutput y = spin x\n"),
    ("fail", "input x f32 1\noutput y = fail x\n"),
];

fn graphs() -> BTreeMap<String, Arc<Graph>> {
    let dir = tempfile::tempdir().unwrap();
    let cache = GraphCache::new(Arc::new(ReferenceBackend::new()), CacheLimits::default());
    let load = |(name, body): (&str, &str)| {
        let text = format!("assay-reference-graph 1\n{body}");
        let path = dir.path().join(name);
        std::fs::write(&path, &text).unwrap();
        let graph = cache
            .load(name, ModelDigest::of(text.as_bytes()), &path, Device::Cpu)
            .unwrap();
        (name.to_owned(), graph)
    };
    GRAPHS.into_iter().map(load).collect()
}

fn state(limits: NnLimits) -> NnState {
    NnState::new(graphs(), limits)
}

fn context(state: &mut NnState, name: &str) -> Resource<NnContext> {
    let mut view = NnCtxView { state };
    let Ok(graph) = view.load_by_name(name.to_owned()).unwrap() else {
        panic!("no graph {name}")
    };
    let Ok(context) = view
        .init_execution_context(Resource::new_borrow(graph.rep()))
        .unwrap()
    else {
        panic!("no context of {name}")
    };
    // The context must not need the handle.
    graph::HostGraph::drop(&mut view, graph).unwrap();
    context
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

type Given<'a> = (&'a str, ElementType, &'a [u32], Vec<u8>);
type Got = Vec<(String, Vec<u32>, Vec<u8>)>;

/// Makes the tensors, computes, and reads the outputs or the fault.
async fn compute(
    state: &mut NnState,
    graph: &str,
    given: &[Given<'_>],
) -> Result<Got, (FaultCode, String)> {
    let context = context(state, graph);
    let inputs = given
        .iter()
        .map(|(name, ty, dims, data)| ((*name).to_owned(), state.make_tensor(*ty, dims, data)))
        .collect();
    let mut view = NnCtxView { state };
    let outputs = view
        .compute(Resource::new_borrow(context.rep()), inputs)
        .await
        .unwrap();
    let result = match outputs {
        Ok(outputs) => Ok(outputs
            .into_iter()
            .map(|(name, tensor)| {
                let (dims, data) = view.state.read_tensor(&tensor).unwrap();
                view.state.table.delete(tensor).unwrap();
                (name, dims, data.to_vec())
            })
            .collect()),
        Err(fault) => {
            let fault = view.state.table.delete(fault).unwrap();
            Err((fault.code, fault.text().to_owned()))
        }
    };
    inference::HostGraphExecutionContext::drop(&mut view, context).unwrap();
    result
}

#[tokio::test]
async fn a_graph_answers_with_named_outputs_and_everything_is_given_back() {
    let mut state = state(NnLimits::default());
    let x = (
        "x",
        ElementType::F32,
        &[2, 2][..],
        f32s(&[1.0, 2.0, 3.0, f32::NAN]),
    );
    let y = (
        "y",
        ElementType::F32,
        &[2, 2][..],
        f32s(&[0.5, 0.5, 0.5, 0.5]),
    );
    let got = compute(&mut state, "two", &[y, x.clone()]).await.unwrap();
    assert_eq!(
        got[0],
        (
            "sum".to_owned(),
            vec![2, 2],
            f32s(&[1.5, 2.5, 3.5, f32::NAN])
        )
    );
    assert_eq!(got[1], ("same".to_owned(), vec![2, 2], x.3));
    assert_eq!(state.host_bytes_in_use(), 0);
    assert!(state.table.is_empty());
    let meters = state.meters();
    assert_eq!(meters.computes, 1);
    assert_eq!(meters.peak_host_bytes, 32);
}

#[tokio::test]
async fn a_scalar_may_be_written_either_way() {
    let mut state = state(NnLimits::default());
    for dims in [&[][..], &[1]] {
        let given = ("x", ElementType::I64, dims, 7i64.to_le_bytes().to_vec());
        let got = compute(&mut state, "scalar", &[given]).await.unwrap();
        assert_eq!(got, [("y".to_owned(), vec![], 7i64.to_le_bytes().to_vec())]);
    }
}

/// Inputs of a compute: name, type, dimensions, and how many zero bytes.
type Zeros = &'static [(&'static str, ElementType, &'static [u32], usize)];

const MAX: u32 = u32::MAX;
const F32: ElementType = ElementType::F32;
const INVALID: FaultCode = FaultCode::InvalidArgument;
const LARGE: FaultCode = FaultCode::TooLarge;

/// Graph, inputs, and the fault that they earn.
const MISTAKES: &[(&str, Zeros, FaultCode, &str)] = &[
    (
        "double",
        &[("x", F32, &[2], 4)],
        INVALID,
        "4 bytes, its dimensions say 8",
    ),
    (
        "double",
        &[("x", F32, &[1], 3)],
        INVALID,
        "3 bytes, its dimensions say 4",
    ),
    (
        "double",
        &[("x", F32, &[0], 4)],
        INVALID,
        "4 bytes, its dimensions say 0",
    ),
    (
        "double",
        &[("x", F32, &[MAX], 4)],
        LARGE,
        "larger than the bound of 1024",
    ),
    (
        "double",
        &[("x", F32, &[MAX, MAX, MAX, MAX], 4)],
        LARGE,
        "larger than the bound",
    ),
    (
        "double",
        &[("x", F32, &[257], 1028)],
        LARGE,
        "larger than the bound",
    ),
    (
        "double",
        &[("x", F32, &[1; 17], 4)],
        LARGE,
        "tensor rank is 17, the bound is 16",
    ),
    (
        "double",
        &[("x", ElementType::F64, &[1], 8)],
        INVALID,
        "is f64, the graph wants f32",
    ),
    (
        "double",
        &[("x", F32, &[1, 1], 4)],
        INVALID,
        "has dimensions [1, 1]",
    ),
    ("double", &[("z", F32, &[1], 4)], INVALID, "no input \"z\""),
    ("double", &[("", F32, &[1], 4)], INVALID, "no input \"\""),
    ("double", &[], INVALID, "input \"x\" is missing"),
    (
        "double",
        &[("x", F32, &[1], 4), ("x", F32, &[1], 4)],
        INVALID,
        "given twice",
    ),
    (
        "double",
        &[
            ("x", F32, &[1], 4),
            ("y", F32, &[1], 4),
            ("z", F32, &[1], 4),
        ],
        LARGE,
        "number of inputs is 3, the bound is 2",
    ),
    (
        "scalar",
        &[("x", ElementType::I64, &[2], 16)],
        INVALID,
        "[2], the graph wants []",
    ),
    (
        "two",
        &[("x", F32, &[1, 2], 8), ("y", F32, &[0, 2], 0)],
        FaultCode::RuntimeError,
        "cannot add",
    ),
    (
        "fail",
        &[("x", F32, &[1], 4)],
        FaultCode::RuntimeError,
        "fails",
    ),
];

#[tokio::test]
async fn a_guests_mistakes_come_back_as_faults_and_the_instance_goes_on() {
    let limits = NnLimits {
        max_tensor_bytes: 1024,
        max_inputs: 2,
        ..NnLimits::default()
    };
    let mut state = state(limits);
    for (graph, inputs, code, text) in MISTAKES {
        let given: Vec<Given<'_>> = inputs
            .iter()
            .map(|(name, ty, dims, len)| (*name, *ty, *dims, vec![0; *len]))
            .collect();
        let fault = compute(&mut state, graph, &given).await.unwrap_err();
        assert_eq!(fault.0, *code, "{graph} {inputs:?}: {fault:?}");
        assert!(
            fault.1.contains(text),
            "{graph}: {:?} lacks {text:?}",
            fault.1
        );
        assert!(fault.1.len() <= crate::MAX_ERROR_TEXT_BYTES);
    }
    assert!(state.table.is_empty());
    assert_eq!(state.host_bytes_in_use(), 0);
    compute(&mut state, "double", &[("x", F32, &[1], f32s(&[1.0]))])
        .await
        .unwrap();
}

#[test]
fn graphs_come_by_name_from_the_manifest_only() {
    let mut state = state(NnLimits::default());
    let mut view = NnCtxView { state: &mut state };
    let long = "x".repeat(100_000);
    for name in [
        "",
        "Double",
        "../double",
        "/etc/passwd",
        "dou\0ble",
        long.as_str(),
    ] {
        let Err(fault) = view.load_by_name(name.to_owned()).unwrap() else {
            panic!("{name:?} was found")
        };
        let fault = view.state.table.delete(fault).unwrap();
        assert_eq!(fault.code, FaultCode::NotFound);
        assert!(
            fault.text().len() < 200 && !fault.text().contains('/'),
            "{fault}"
        );
    }
    let bytes = vec![b"assay-reference-graph 1\n".to_vec()];
    let refused = view
        .load(
            bytes,
            graph::GraphEncoding::Onnx,
            graph::ExecutionTarget::Cpu,
        )
        .unwrap();
    let fault = view.state.table.delete(refused.err().unwrap()).unwrap();
    assert_eq!(fault.code, FaultCode::Security);
}

#[tokio::test]
async fn the_byte_budget_is_obeyed_and_its_violation_is_a_fault() {
    let mut state = state(NnLimits {
        max_host_bytes: 64,
        ..NnLimits::default()
    });
    // 16 bytes in; they are free again when 32 bytes come out.
    let four = [("x", F32, &[4][..], f32s(&[1.0; 4]))];
    compute(&mut state, "twin", &four).await.unwrap();
    for (held_bytes, fits) in [(32, true), (33, false), (48, false), (60, false)] {
        // Held tensors count until they are dropped.
        let held = state.make_tensor(
            ElementType::U8,
            &[held_bytes],
            &vec![0; held_bytes as usize],
        );
        assert_eq!(state.host_bytes_in_use(), u64::from(held_bytes));
        let result = compute(&mut state, "twin", &four)
            .await
            .map_err(|fault| fault.0);
        assert_eq!(result.is_ok(), fits, "{held_bytes}: {result:?}");
        assert!(fits || result == Err(FaultCode::TooLarge));
        assert_eq!(state.host_bytes_in_use(), u64::from(held_bytes));
        state.table.delete(held).unwrap();
    }
    assert_eq!(state.host_bytes_in_use(), 0);
    assert_eq!(state.meters().peak_host_bytes, 64);
}

#[tokio::test]
async fn a_full_table_stops_the_guest_and_names_the_bound() {
    let mut state = state(NnLimits {
        max_resources: 3,
        ..NnLimits::default()
    });
    for _ in 0..3 {
        state.make_tensor(ElementType::U8, &[1], &[0]);
    }
    let mut view = NnCtxView { state: &mut state };
    let error = view.load_by_name("double".to_owned()).unwrap_err();
    assert!(
        matches!(error.downcast_ref(), Some(NnError::TableFull { bound: 3 })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_dropped_handle_is_no_handle() {
    let mut state = state(NnLimits::default());
    let context = context(&mut state, "double");
    let tensor = state.make_tensor(ElementType::F32, &[1], &f32s(&[1.0]));
    let rep = tensor.rep();
    state.table.delete(tensor).unwrap();
    assert!(state.read_tensor(&Resource::new_borrow(rep)).is_err());
    let mut view = NnCtxView { state: &mut state };
    let inputs = vec![("x".to_owned(), Resource::new_own(rep))];
    assert!(
        view.compute(Resource::new_borrow(context.rep()), inputs)
            .await
            .is_err()
    );
    let rep = context.rep();
    inference::HostGraphExecutionContext::drop(&mut view, context).unwrap();
    assert!(
        view.compute(Resource::new_borrow(rep), vec![])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_run_ends_at_its_wall_limit_without_a_fault_for_the_guest() {
    let wall = Duration::from_millis(30);
    let mut state = state(NnLimits {
        compute_wall: wall,
        ..NnLimits::default()
    });
    let context = context(&mut state, "spin");
    let x = state.make_tensor(ElementType::F32, &[1], &f32s(&[1.0]));
    let mut view = NnCtxView { state: &mut state };
    let error = view
        .compute(context, vec![("x".to_owned(), x)])
        .await
        .unwrap_err();
    let error = error.downcast_ref::<NnError>().unwrap();
    assert!(
        matches!(error, NnError::Timeout { .. }) && !error.is_guest_fault(),
        "{error}"
    );
    settle(&state).await;
    assert!(state.meters().device_us > 0);
}

/// Waits until the owner thread has let go of a stopped run.
async fn settle(state: &NnState) {
    while state.host_bytes_in_use() > 0 || state.meters().computes == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn dropping_the_future_stops_the_run_and_frees_the_session_for_the_next() {
    let mut first = state(NnLimits::default());
    let graphs = first.graphs().clone();
    let context = context(&mut first, "spin");
    for round in 0..3u64 {
        let x = first.make_tensor(ElementType::F32, &[1], &f32s(&[1.0]));
        let mut view = NnCtxView { state: &mut first };
        let run = view.compute(
            Resource::new_borrow(context.rep()),
            vec![("x".to_owned(), x)],
        );
        let ended = tokio::time::timeout(Duration::from_millis(20), run).await;
        assert!(ended.is_err(), "a spinning graph does not end by itself");
        while first.host_bytes_in_use() > 0 || first.meters().computes <= round {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let mut second = NnState::new(graphs, NnLimits::default());
    let x = ("x", ElementType::F32, &[1][..], f32s(&[4.0]));
    let got = compute(&mut second, "double", &[x]).await.unwrap();
    assert_eq!(got[0].2, f32s(&[8.0]));
}

#[test]
fn eight_instances_on_eight_threads_share_one_session() {
    let graphs = graphs();
    std::thread::scope(|scope| {
        for thread in 0..8u16 {
            let mut state = NnState::new(graphs.clone(), NnLimits::default());
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    for round in 0..50u16 {
                        let value = f32::from(thread * 100 + round);
                        let x = ("x", ElementType::F32, &[3][..], f32s(&[value; 3]));
                        let got = compute(&mut state, "double", &[x]).await.unwrap();
                        assert_eq!(got[0].2, f32s(&[value * 2.0; 3]));
                    }
                });
                assert_eq!(state.meters().computes, 50);
            });
        }
    });
}
