//! Two worker processes, each with code that it compiled itself, in different orders and beside
//! different company, must say the same of every shard.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jobs::digest::Digest;
use jobs::offer::DeviceKind;
use jobs::outcome::Fingerprint;
use runtime::{Cause, Failure, SandboxConfig, ShardOutcome, WorkerConfig, WorkerPool};

use crate::dice::Dice;
use crate::harness::Case;
use crate::kinds::Kinds;

pub(crate) const CASES: &[Case] = &[
    (
        "equal_fingerprints_give_equal_bits_and_equal_fuel",
        equal_fingerprints_give_equal_bits_and_equal_fuel,
    ),
    (
        "a_difference_in_anything_is_noticed",
        a_difference_in_anything_is_noticed,
    ),
];

/// Shards that are executed twice unless the variable says otherwise.
const SHARDS_DEFAULT: u32 = 100_000;
const SHARDS_VARIABLE: &str = "ASSAY_DETERMINISM_SHARDS";

/// The second replica takes so many shards at a time in an order of its own.
const SHUFFLED: usize = 1_000;

/// Longest that the noise beside the replicas computes or pauses at a time, in microseconds.
const NOISE_US: u64 = 1_000;

/// What a replica says of a shard: everything but how long it took.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    fuel: u64,
    answer: Result<Answer, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    root: Digest,
    outputs: Digest,
    tensor_bytes: u64,
    memory_bytes: u64,
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// A worker configuration with folders of its own below `dir`, which reads what lies in `blobs`.
pub(crate) fn config(dir: &Path, blobs: &Path) -> WorkerConfig {
    let sandbox = SandboxConfig::new(dir.join("compiled"));
    let exe = std::env::current_exe().unwrap();
    let args = vec![crate::WORKER_ARGUMENT.into()];
    let readable = vec![blobs.to_owned()];
    WorkerConfig::new(exe, args, dir.join("scratch"), sandbox, readable)
}

/// The fingerprint of a pool's processor, with the library.
pub(crate) async fn fingerprint(pool: &WorkerPool) -> Fingerprint {
    let report = pool.probe().await.unwrap();
    assert_eq!(report.no_models, None, "run `cargo xtask setup` first");
    report.device(DeviceKind::Cpu).unwrap().fingerprint.clone()
}

fn said(done: Result<ShardOutcome, Failure>, fingerprint: &Fingerprint) -> Said {
    match done {
        Ok(done) => {
            assert_eq!(&done.outcome.fingerprint, fingerprint);
            let meters = done.outcome.meters;
            Said {
                fuel: meters.fuel,
                answer: Ok(Answer {
                    root: done.outcome.root,
                    outputs: Digest::of(&done.outputs),
                    tensor_bytes: meters.tensor_bytes,
                    memory_bytes: meters.memory_bytes,
                }),
            }
        }
        Err(failure) => {
            assert_eq!(failure.cause(), Cause::Guest, "{failure}");
            Said {
                fuel: failure.fuel,
                answer: Err(failure.to_string()),
            }
        }
    }
}

/// Executes the shards in this order; what it said of each, by its index.
async fn replica(pool: &WorkerPool, kinds: &Kinds, order: Vec<u32>) -> Vec<Option<Said>> {
    let fingerprint = fingerprint(pool).await;
    let mut all = vec![None; order.len()];
    for index in order {
        let (task, items) = kinds.shard(index);
        let done = pool.execute(task, items).await;
        all[index as usize] = Some(said(done, &fingerprint));
    }
    all
}

/// Computes and pauses by turns until it is told to stop, so that replicas are not always alone.
fn noise(stop: &AtomicBool) {
    let mut dice = Dice::new(7);
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..dice.roll(NOISE_US) * 100 {
            std::hint::black_box(dice.roll(9));
        }
        std::thread::sleep(Duration::from_micros(dice.roll(NOISE_US * 16)));
    }
}

fn shuffled(shards: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..shards).collect();
    let mut dice = Dice::new(1);
    for part in order.chunks_mut(SHUFFLED) {
        for last in (1..part.len()).rev() {
            part.swap(last, dice.roll(last as u64 + 1) as usize);
        }
    }
    order
}

/// The first shard that the replicas do not agree on.
fn difference(first: &[Option<Said>], second: &[Option<Said>]) -> Option<String> {
    if first.len() != second.len() {
        return Some(format!("{} shards and {}", first.len(), second.len()));
    }
    let mut both = first.iter().zip(second).enumerate();
    both.find_map(|(index, pair)| match pair {
        (Some(a), Some(b)) if a == b => None,
        (a, b) => Some(format!("shard {index}: {a:?} and {b:?}")),
    })
}

fn equal_fingerprints_give_equal_bits_and_equal_fuel() {
    let wanted = std::env::var(SHARDS_VARIABLE).map(|text| text.parse());
    let shards: u32 = wanted.unwrap_or(Ok(SHARDS_DEFAULT)).expect(SHARDS_VARIABLE);
    let dir = tempfile::tempdir().unwrap();
    let blobs = dir.path().join("blobs");
    std::fs::create_dir(&blobs).unwrap();
    let kinds = Arc::new(Kinds::new(&blobs));
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let noise = std::thread::spawn(move || noise(&stopped));
    let run = |name: &str, order: Vec<u32>| {
        let pool = WorkerPool::new(config(&dir.path().join(name), &blobs), 1);
        let kinds = Arc::clone(&kinds);
        async move {
            let print = fingerprint(&pool).await;
            (print, replica(&pool, &kinds, order).await)
        }
    };
    let (first, second) = block_on(async {
        let first = tokio::spawn(run("first", (0..shards).collect()));
        let second = tokio::spawn(run("second", shuffled(shards)));
        (first.await.unwrap(), second.await.unwrap())
    });
    stop.store(true, Ordering::Relaxed);
    noise.join().unwrap();
    assert_eq!(first.0, second.0, "one machine, one fingerprint");
    assert_eq!(difference(&first.1, &second.1), None);
    report(&first.1);
}

/// What was compared; a test of shards that are all alike, or all fail, would show nothing.
fn report(all: &[Option<Said>]) {
    let said = || all.iter().flatten();
    let roots: BTreeSet<&[u8]> = said()
        .filter_map(|said| said.answer.as_ref().ok())
        .map(|answer| &answer.root.as_bytes()[..])
        .collect();
    let failed = said().filter(|said| said.answer.is_err()).count();
    let with_tensors = said().filter(|s| s.answer.as_ref().is_ok_and(|a| a.tensor_bytes > 0));
    let with_tensors = with_tensors.count();
    let fuel: u64 = said().map(|said| said.fuel).sum();
    println!(
        "{} shards, each executed twice: equal outputs, fuel and memory; {with_tensors} ran a graph, \
         {failed} failed alike, {} different answers, {fuel} fuel",
        all.len(),
        roots.len()
    );
    assert!(roots.len() * 2 > all.len(), "shards are too much alike");
    assert!(with_tensors * 3 > all.len() && failed * 50 > all.len());
}

fn a_difference_in_anything_is_noticed() {
    let answer = Answer {
        root: Digest::of(b"root"),
        outputs: Digest::of(b"outputs"),
        tensor_bytes: 8,
        memory_bytes: 65_536,
    };
    let good = Said {
        fuel: 1,
        answer: Ok(answer),
    };
    type Change = fn(&mut Answer);
    let with = |change: Change| {
        let mut other = good.clone();
        change(other.answer.as_mut().unwrap());
        Some(other)
    };
    let failed = |text: &str| {
        let answer = Err(text.to_owned());
        Some(Said { fuel: 1, answer })
    };
    let more_fuel = Said {
        fuel: 2,
        ..good.clone()
    };
    let same = Some(good.clone());
    for (other, differs) in [
        (same.clone(), false),
        (None, true),
        (Some(more_fuel), true),
        (failed("the guest trapped"), true),
        (with(|answer| answer.root = Digest::of(b"")), true),
        (with(|answer| answer.outputs = Digest::of(b"")), true),
        (with(|answer| answer.tensor_bytes = 0), true),
        (with(|answer| answer.memory_bytes = 0), true),
    ] {
        let found = difference(std::slice::from_ref(&same), std::slice::from_ref(&other));
        assert_eq!(found.is_some(), differs, "{other:?}");
    }
    assert!(difference(&[failed("a")], &[failed("b")]).is_some());
    assert!(difference(&[same], &[]).is_some());
}
