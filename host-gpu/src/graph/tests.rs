//! The pool of a graph's sessions, over the reference backend.

use crate::backend::{
    Device, DeviceInfo, FingerprintParts, GraphOptions, NnBackend, NnSession, StopFlag,
};
use crate::budget::MeterCells;
use crate::error::NnError;
use crate::graph::{Caller, Graph, Source};
use crate::models::ModelDigest;
use crate::tensor::{ElementType, TensorValue};
use crate::{NodesOn, ReferenceBackend};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ECHO: &str = "assay-reference-graph 1\ninput x i64 1\noutput y = identity x\n";
const SPIN: &str = "assay-reference-graph 1\ninput x i64 1\noutput y = spin x\n";
const WALL: Duration = Duration::from_secs(20);

/// The reference backend, which fails the loads that a test names.
#[derive(Debug, Default)]
struct Loads {
    inner: ReferenceBackend,
    begun: AtomicUsize,
    failing: Mutex<Vec<usize>>,
}

impl NnBackend for Loads {
    fn available_devices(&self) -> Vec<DeviceInfo> {
        self.inner.available_devices()
    }

    fn fingerprint(&self, options: &GraphOptions) -> Result<FingerprintParts, NnError> {
        self.inner.fingerprint(options)
    }

    fn load(
        &self,
        name: &str,
        bytes: &[u8],
        options: &GraphOptions,
        stop: &StopFlag,
    ) -> Result<Box<dyn NnSession>, NnError> {
        let number = self.begun.fetch_add(1, Ordering::SeqCst);
        if self.failing.lock().unwrap().contains(&number) {
            return Err(NnError::Backend(format!("load {number} fails")));
        }
        self.inner.load(name, bytes, options, stop)
    }
}

/// A graph of at most so many sessions, its backend, and the folder that its file lies in.
fn graph(text: &str, sessions: usize) -> (Arc<Graph>, Arc<Loads>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("graph");
    std::fs::write(&path, text).unwrap();
    let backend = Arc::new(Loads::default());
    let source = Source {
        name: "graph",
        digest: ModelDigest::of(text.as_bytes()),
        path: &path,
        bytes: text.as_bytes().to_vec(),
        bytes_max: 1 << 20,
        sessions,
    };
    let options = GraphOptions::on(Device::Cpu);
    let graph = Graph::start(Arc::<Loads>::clone(&backend), source, options, WALL).unwrap();
    (Arc::new(graph), backend, dir)
}

async fn ask(graph: Arc<Graph>, tenant: u64, wall: Duration) -> Result<(), NnError> {
    run(&graph, tenant, false, wall).await
}

async fn ask_as(graph: &Graph, own_thread: bool, wall: Duration) -> Result<(), NnError> {
    run(graph, 1, own_thread, wall).await
}

async fn run(graph: &Graph, tenant: u64, own_thread: bool, wall: Duration) -> Result<(), NnError> {
    let meters = Arc::new(MeterCells::default());
    run_metered(graph, tenant, own_thread, wall, &meters).await
}

async fn run_metered(
    graph: &Graph,
    tenant: u64,
    own_thread: bool,
    wall: Duration,
    meters: &Arc<MeterCells>,
) -> Result<(), NnError> {
    let value = TensorValue::from_bytes(ElementType::I64, &[1], &[0; 8]).unwrap();
    let caller = Caller {
        tenant,
        read_back: &Arc::default(),
        meters,
        wall,
        own_thread,
    };
    let inputs = vec![("x".to_owned(), Arc::new(value))];
    graph.compute(inputs, caller).await.map(drop)
}

#[tokio::test]
async fn one_who_need_not_wait_makes_no_further_session() {
    let (graph, backend, _dir) = graph(ECHO, 4);
    for _ in 0..50 {
        ask(Arc::clone(&graph), 1, WALL).await.unwrap();
    }
    assert_eq!(graph.sessions(), 1);
    assert_eq!(backend.begun.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn sessions_are_added_up_to_the_bound_and_work_side_by_side() {
    let (graph, _backend, _dir) = graph(SPIN, 3);
    let asked: Vec<_> = (0..6)
        .map(|tenant| tokio::spawn(ask(Arc::clone(&graph), tenant, WALL)))
        .collect();
    while graph.sessions() < 3 {
        // Each session that is loaded makes room for the next to be asked for.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let more = ask(Arc::clone(&graph), 9, Duration::from_millis(5)).await;
        assert!(matches!(more, Err(NnError::Timeout { .. })), "{more:?}");
    }
    assert_eq!(graph.sessions(), 3);
    for task in asked {
        task.abort();
        let _ = task.await;
    }
    drop(graph);
}

#[tokio::test]
async fn a_session_that_does_not_load_leaves_the_others_at_work() {
    let (graph, backend, _dir) = graph(SPIN, 2);
    *backend.failing.lock().unwrap() = vec![1, 2];
    let busy = tokio::spawn(ask(Arc::clone(&graph), 1, WALL));
    while backend.begun.load(Ordering::SeqCst) < 2 {
        let waiting = ask(Arc::clone(&graph), 2, Duration::from_millis(20)).await;
        assert!(
            matches!(waiting, Err(NnError::Timeout { .. })),
            "{waiting:?}"
        );
    }
    busy.abort();
    let _ = busy.await;
    // The first session stops its run and takes the next: runs that nobody takes are not metered.
    let meters = Arc::new(MeterCells::default());
    while meters.read(&crate::Budget::new(0)).computes == 0 {
        let wall = Duration::from_millis(20);
        let next = run_metered(&graph, 3, false, wall, &meters).await;
        assert!(matches!(next, Err(NnError::Timeout { .. })), "{next:?}");
    }
}

#[tokio::test]
async fn a_session_on_a_device_is_alone() {
    let options = GraphOptions::on(Device::Cuda(0));
    assert_eq!(super::sessions(&options, 8), 1);
    assert_eq!(super::sessions(&GraphOptions::on(Device::Cpu), 0), 1);
}

#[test]
fn nodes_that_would_run_elsewhere_are_refused_unless_allowed() {
    let on = |provider: &str, nodes| NodesOn {
        provider: provider.to_owned(),
        nodes,
        operators: vec!["Shape".to_owned(), "Gather".to_owned()],
    };
    let cuda = "CUDAExecutionProvider";
    let both = [on("CPUExecutionProvider", 2), on(cuda, 9)];
    for (device, host_nodes, placement, refused) in [
        (Device::Cuda(0), false, &both[..], true),
        (Device::Cuda(0), true, &both, false),
        (Device::Cuda(0), false, &both[1..], false),
        (Device::Cpu, false, &both[..1], false),
    ] {
        let options = GraphOptions {
            host_nodes,
            ..GraphOptions::on(device)
        };
        let checked = super::check_placement("m", &options, cuda, placement);
        assert_eq!(checked.is_err(), refused, "{device} {host_nodes}");
        if let Err(error) = checked {
            assert_eq!(
                error.to_string(),
                "2 nodes of graph \"m\" would run on CPUExecutionProvider (Shape, Gather), \
                 the job wants all of them on cuda:0"
            );
        }
    }
}

#[tokio::test]
async fn a_caller_with_a_thread_of_its_own_runs_an_idle_session_there_and_is_stopped_in_time() {
    let (echo, _backend, _dir) = graph(ECHO, 1);
    for own_thread in [true, false, true] {
        ask_as(&echo, own_thread, WALL).await.unwrap();
    }
    let (spin, _backend, _dir) = graph(SPIN, 1);
    for _ in 0..2 {
        let stopped = ask_as(&spin, true, Duration::from_millis(20)).await;
        assert!(
            matches!(stopped, Err(NnError::Timeout { .. })),
            "{stopped:?}"
        );
    }
    // The session is there for those who queue as well.
    let queued = ask_as(&spin, false, Duration::from_millis(20)).await;
    assert!(matches!(queued, Err(NnError::Timeout { .. })), "{queued:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_queues_is_not_passed_by_those_with_threads_of_their_own() {
    let (graph, _backend, _dir) = graph(ECHO, 1);
    let tasks: Vec<_> = (0..6_u64)
        .map(|number| {
            let graph = Arc::clone(&graph);
            tokio::spawn(async move {
                for _ in 0..200 {
                    ask_as(&graph, number % 2 == 0, WALL).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(graph.sessions(), 1);
}
