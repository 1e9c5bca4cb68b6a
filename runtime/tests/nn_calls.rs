//! Hostile and careless calls of `wasi:nn`, made by real guests against the component interface, each
//! with the answer that it gets: a trap, an error of `wasi:nn`, or what was asked for.
//!
//! The list began as that of WasmEdge's tests for its `wasi_nn` plugin; `nn_calls/theirs.rs` says for
//! each of them which calls here are its like, or why it does not apply.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test program"
)]

#[path = "support/guests.rs"]
#[allow(dead_code, reason = "shared by several test programs")]
mod guests;

#[path = "nn_calls/calls.rs"]
mod calls;
#[path = "nn_calls/theirs.rs"]
mod theirs;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use calls::{Answer, CALLS};
use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use jobs::offer::DeviceKind;
use jobs::package::Limits;
use runtime::{
    Backend, Cause, Failure, FailureKind, LocalBlob, LocalModel, Sandbox, SandboxConfig,
    ShardOutcome, ShardTask,
};
use theirs::{Ours, THEIRS};

/// Graphs of the tests, by name.
const GRAPHS: [(&str, &str); 2] = [
    ("double", "input x f32 -1\noutput y = add x x\n"),
    ("fail", "input x f32 -1\noutput y = fail x\n"),
];

fn sandbox(dir: &Path) -> Sandbox {
    let mut config = SandboxConfig::new(dir.join("compiled"));
    config.backend = Backend::Reference;
    Sandbox::new(&config).unwrap()
}

fn written(dir: &Path, name: &str, bytes: &[u8]) -> LocalBlob {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    let blob = BlobRef::of(bytes);
    LocalBlob { path, blob }
}

fn task(dir: &Path, name: &str, component: &[u8]) -> ShardTask {
    let model = |(name, body): &(&str, &str)| LocalModel {
        name: (*name).to_owned(),
        file: written(
            dir,
            name,
            format!("assay-reference-graph 1\n{body}").as_bytes(),
        ),
    };
    ShardTask {
        job: JobId(Digest::of(b"nn-calls")),
        shard: 0,
        first_item: 0,
        component: written(dir, &name.replace(' ', "-"), component),
        models: GRAPHS.iter().map(model).collect(),
        device: DeviceKind::Cpu,
        cpu_nodes: false,
        noting: None,
        limits: Limits {
            fuel: 100_000_000,
            memory_bytes: 16 << 20,
            output_bytes_per_item: 1 << 20,
            wall_ms: 60_000,
        },
    }
}

/// What a guest is told, in words.
fn answer(done: &Result<ShardOutcome, Failure>) -> String {
    match done {
        Ok(done) => {
            let outputs = jobs::items::decode(&done.outputs).unwrap();
            let text = String::from_utf8_lossy(outputs[1]);
            match outputs[0] {
                [calls::FINE] => format!("fine: {text}"),
                code => format!("error {code:?}: {text}"),
            }
        }
        Err(failure) => format!("{failure}"),
    }
}

fn is_as_expected(expected: &Answer, done: &Result<ShardOutcome, Failure>) -> bool {
    match (expected, done) {
        (Answer::Trap(words), Err(failure)) => {
            let FailureKind::Trap { what } = &failure.kind else {
                return false;
            };
            failure.cause() == Cause::Guest && what.contains(words)
        }
        (Answer::Error(code, words), Ok(_)) => {
            let said = answer(done);
            said.starts_with(&format!("error [{code}]: ")) && said.contains(words)
        }
        (Answer::Memory, Err(failure)) => {
            matches!(failure.kind, FailureKind::MemoryLimit { .. })
        }
        (Answer::Fine, Ok(_)) => answer(done) == "fine: fine",
        _ => false,
    }
}

#[tokio::test]
async fn every_hostile_call_of_wasi_nn_gets_its_named_answer() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = sandbox(dir.path());
    let items = jobs::items::encode(&["code", "text"]).unwrap();
    let (mut wrong, mut names) = (Vec::new(), BTreeSet::new());
    for call in CALLS {
        assert!(names.insert(call.name), "{} is there twice", call.name);
        let task = task(dir.path(), call.name, &calls::component(call));
        let done = sandbox.execute(&task, &items).await;
        let again = sandbox.execute(&task, &items).await;
        println!("{}: {}", call.name, answer(&done));
        let same = answer(&done) == answer(&again) && fuel(&done) == fuel(&again);
        if !same || !is_as_expected(&call.answer, &done) {
            let expected = &call.answer;
            wrong.push(format!(
                "{}: {:?} expected, {}",
                call.name,
                expected,
                answer(&done)
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn fuel(done: &Result<ShardOutcome, Failure>) -> u64 {
    match done {
        Ok(done) => done.outcome.meters.fuel,
        Err(failure) => failure.fuel,
    }
}

/// A call that is expected to do something else than it does is noticed.
#[tokio::test]
async fn a_wrong_answer_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = sandbox(dir.path());
    let items = jobs::items::encode(&["code", "text"]).unwrap();
    for name in [
        "name of no graph",
        "graph dropped twice",
        "graph dropped before a compute",
    ] {
        let call = CALLS.iter().find(|call| call.name == name).unwrap();
        let done = sandbox
            .execute(
                &task(dir.path(), call.name, &calls::component(call)),
                &items,
            )
            .await;
        let others = [
            Answer::Fine,
            Answer::Memory,
            Answer::Trap("unknown handle index"),
            Answer::Trap("out of bounds"),
            Answer::Error(6, "names no graph"),
            Answer::Error(0, "names no graph"),
        ];
        let fitting = others.iter().filter(|other| is_as_expected(other, &done));
        assert_eq!(fitting.count(), 1, "{name}: {}", answer(&done));
    }
}

#[test]
fn every_test_of_wasmedge_has_its_like_here_or_a_reason() {
    let known: BTreeSet<&str> = CALLS.iter().map(|call| call.name).collect();
    let mut theirs = BTreeSet::new();
    for (test, ours) in THEIRS {
        assert!(theirs.insert(test), "{test} is there twice");
        match ours {
            Ours::Calls(calls) => {
                assert!(!calls.is_empty(), "{test}");
                for call in *calls {
                    assert!(known.contains(call), "{test}: there is no call {call:?}");
                }
            }
            Ours::Not(reason) | Ours::Test(reason) => assert!(reason.len() > 10, "{test}"),
        }
    }
    assert_eq!(theirs.len(), 23 + 10, "blocks of both of their files");
}

/// Many that ask for one name at once get one graph, loaded once.
#[test]
fn instances_that_load_one_name_at_the_same_time_share_one_graph() {
    use host_gpu::{CacheLimits, Device, GraphCache, ModelDigest, ReferenceBackend};
    let dir = tempfile::tempdir().unwrap();
    let text = format!("assay-reference-graph 1\n{}", GRAPHS[0].1);
    let file = written(dir.path(), "double", text.as_bytes());
    let cache = GraphCache::new(Arc::new(ReferenceBackend::new()), CacheLimits::default());
    let load = || {
        let digest = ModelDigest::of(text.as_bytes());
        cache
            .load("double", digest, &file.path, Device::Cpu)
            .unwrap()
    };
    let graphs: Vec<_> = std::thread::scope(|scope| {
        let loads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        loads.into_iter().map(|load| load.join().unwrap()).collect()
    });
    assert!(graphs.iter().all(|graph| Arc::ptr_eq(graph, &graphs[0])));
    assert_eq!(cache.len(), 1);
}
