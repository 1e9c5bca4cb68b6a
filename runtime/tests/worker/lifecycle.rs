//! Workers that trap, hang, are killed, and the pool that goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use jobs::offer::DeviceKind;
use jobs::package::Limits;
use runtime::{
    Backend, Cause, FailureKind, LocalBlob, LocalJob, SandboxConfig, ShardTask, WorkerConfig,
    WorkerPool, run_local,
};

use crate::guests::{echo, endless, guest, trap};
use crate::harness::Case;

pub(crate) const CASES: &[Case] = &[
    ("a_worker_serves_many_tasks", a_worker_serves_many_tasks),
    (
        "a_trap_costs_the_worker_and_not_the_pool",
        a_trap_costs_the_worker_and_not_the_pool,
    ),
    (
        "a_killed_worker_is_the_hosts_fault",
        a_killed_worker_is_the_hosts_fault,
    ),
    ("the_wall_clock_stops_a_guest", the_wall_clock_stops_a_guest),
    (
        "a_worker_that_is_stopped_is_killed",
        a_worker_that_is_stopped_is_killed,
    ),
    (
        "dropping_the_future_kills_the_guest",
        dropping_the_future_kills_the_guest,
    ),
    (
        "a_program_that_is_no_worker_is_named",
        a_program_that_is_no_worker_is_named,
    ),
    (
        "a_whole_job_runs_locally_in_order",
        a_whole_job_runs_locally_in_order,
    ),
];

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

pub(crate) fn config(dir: &Path) -> WorkerConfig {
    let mut sandbox = SandboxConfig::new(dir.join("cache"));
    sandbox.backend = Backend::Reference;
    let exe = std::env::current_exe().unwrap();
    let args = vec![crate::WORKER_ARGUMENT.into()];
    let readable = vec![dir.to_owned()];
    WorkerConfig::new(exe, args, dir.join("scratch"), sandbox, readable)
}

pub(crate) fn task(dir: &Path, component: &[u8]) -> ShardTask {
    let blob = BlobRef::of(component);
    let path = dir.join(blob.digest.to_hex());
    std::fs::write(&path, component).unwrap();
    ShardTask {
        job: JobId(Digest::of(b"job")),
        shard: 0,
        first_item: 0,
        component: LocalBlob { path, blob },
        models: Vec::new(),
        device: DeviceKind::Cpu,
        cpu_nodes: false,
        noting: None,
        limits: Limits {
            fuel: u64::MAX / 2,
            memory_bytes: 16 << 20,
            output_bytes_per_item: 1 << 20,
            wall_ms: 60_000,
        },
    }
}

pub(crate) fn items() -> Vec<u8> {
    jobs::items::encode(&["one", "two"]).unwrap()
}

fn a_worker_serves_many_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let pool = WorkerPool::new(config(dir.path()), 1);
    block_on(async {
        let first = pool
            .execute(task(dir.path(), &echo()), items())
            .await
            .unwrap();
        assert_eq!(first.outputs, items());
        for _ in 0..5 {
            let again = pool
                .execute(task(dir.path(), &echo()), items())
                .await
                .unwrap();
            assert_eq!(again, first);
        }
        let report = pool.probe().await.unwrap();
        let cpu = report.device(DeviceKind::Cpu).unwrap();
        assert_eq!(cpu.fingerprint, first.outcome.fingerprint);
        // A guest's own error leaves the worker as it was.
        let error = guest(
            "",
            2,
            "",
            "(return (call $err (i32.const 0) (i32.const 0) (i32.const 0)))",
        );
        let failure = pool
            .execute(task(dir.path(), &error), items())
            .await
            .unwrap_err();
        assert!(
            matches!(failure.kind, FailureKind::Guest { .. }),
            "{failure}"
        );
        pool.execute(task(dir.path(), &echo()), items())
            .await
            .unwrap();
    });
    assert_eq!(pool.started(), 1);
}

fn a_trap_costs_the_worker_and_not_the_pool() {
    let dir = tempfile::tempdir().unwrap();
    let pool = WorkerPool::new(config(dir.path()), 1);
    block_on(async {
        pool.execute(task(dir.path(), &echo()), items())
            .await
            .unwrap();
        let before = pool.idle_ids();
        let failure = pool
            .execute(task(dir.path(), &trap()), items())
            .await
            .unwrap_err();
        assert!(
            matches!(failure.kind, FailureKind::Trap { .. }),
            "{failure}"
        );
        assert_eq!(failure.cause(), Cause::Guest);
        pool.execute(task(dir.path(), &echo()), items())
            .await
            .unwrap();
        assert_ne!(pool.idle_ids(), before);
    });
    assert_eq!(pool.started(), 2);
    // Every worker's directory goes with it.
    drop(pool);
    assert_eq!(
        std::fs::read_dir(dir.path().join("scratch"))
            .unwrap()
            .count(),
        0
    );
}

/// The only worker that has this scratch directory as its own.
fn busy_worker(dir: &Path) -> Option<i32> {
    let scratch = dir.join("scratch").canonicalize().ok()?;
    std::fs::read_dir("/proc").unwrap().find_map(|entry| {
        let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        cwd.starts_with(&scratch).then_some(pid)
    })
}

/// Waits until a worker burns processor time, which it does once it is in its guest.
async fn running_worker(dir: &Path) -> i32 {
    for _ in 0..3000 {
        if let Some(pid) = busy_worker(dir) {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let ticks = stat
                .split(' ')
                .nth(13)
                .and_then(|ticks| ticks.parse::<u64>().ok());
            if ticks > Some(50) {
                return pid;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no worker runs in {}", dir.display())
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn a_killed_worker_is_the_hosts_fault() {
    let dir = tempfile::tempdir().unwrap();
    let pool = WorkerPool::new(config(dir.path()), 1);
    block_on(async {
        let running = pool.execute(task(dir.path(), &endless()), items());
        let kill = async {
            signal(
                running_worker(dir.path()).await,
                rustix::process::Signal::KILL,
            )
        };
        let (result, ()) = tokio::join!(running, kill);
        let failure = result.unwrap_err();
        assert_eq!(failure.cause(), Cause::Host);
        assert!(failure.to_string().contains("signal 9"), "{failure}");
        pool.execute(task(dir.path(), &echo()), items())
            .await
            .unwrap();
    });
    assert_eq!(pool.started(), 2);
}

fn the_wall_clock_stops_a_guest() {
    let dir = tempfile::tempdir().unwrap();
    let pool = WorkerPool::new(config(dir.path()), 1);
    block_on(async {
        let mut task = task(dir.path(), &endless());
        task.limits.wall_ms = 100;
        let failure = pool.execute(task, items()).await.unwrap_err();
        assert!(
            matches!(failure.kind, FailureKind::Deadline { limit_ms: 100, .. }),
            "{failure}"
        );
        assert!(failure.fuel > 0, "the worker answered itself");
    });
}

fn a_worker_that_is_stopped_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let pool = WorkerPool::new(config(dir.path()), 1);
    block_on(async {
        let mut task = task(dir.path(), &endless());
        task.limits.wall_ms = 4_000;
        let running = pool.execute(task, items());
        // A stopped process cannot look at its clock: the parent must.
        let stop = async {
            let pid = running_worker(dir.path()).await;
            signal(pid, rustix::process::Signal::STOP);
            pid
        };
        let (result, pid) = tokio::join!(running, stop);
        let failure = result.unwrap_err();
        assert!(
            matches!(failure.kind, FailureKind::Deadline { .. }),
            "{failure}"
        );
        assert_eq!(failure.fuel, 0, "nobody answered");
        gone(pid).await;
    });
}

/// Waits until a process has ended.
async fn gone(pid: i32) {
    for _ in 0..1000 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("process {pid} still runs")
}

fn dropping_the_future_kills_the_guest() {
    let dir = tempfile::tempdir().unwrap();
    let pool = Arc::new(WorkerPool::new(config(dir.path()), 1));
    block_on(async {
        let (running, work) = (Arc::clone(&pool), task(dir.path(), &endless()));
        let running = tokio::spawn(async move { running.execute(work, items()).await });
        let pid = running_worker(dir.path()).await;
        running.abort();
        assert!(running.await.is_err());
        gone(pid).await;
        pool.execute(task(dir.path(), &echo()), items())
            .await
            .unwrap();
    });
}

fn a_program_that_is_no_worker_is_named() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        for (exe, args, expected) in [
            ("/nowhere/at/all", &[][..], "cannot start /nowhere/at/all"),
            ("/bin/true", &[], "exited with 0"),
            ("/bin/cat", &[], "malformed header"),
            (
                "/bin/sh",
                &["-c", "echo a line that is no frame; cat > /dev/null"],
                "expected a frame",
            ),
        ] {
            let mut config = config(dir.path());
            config.exe = exe.into();
            config.args = args.iter().map(Into::into).collect();
            let pool = WorkerPool::new(config, 1);
            let failure = pool
                .execute(task(dir.path(), &echo()), items())
                .await
                .unwrap_err();
            assert_eq!(failure.cause(), Cause::Host);
            assert!(
                failure.to_string().contains(expected),
                "{failure} lacks {expected}"
            );
        }
    });
}

fn a_whole_job_runs_locally_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let pool = WorkerPool::new(config(dir.path()), 2);
    let one = task(dir.path(), &echo());
    let items: Vec<Vec<u8>> = (0..23).map(|i| format!("item {i}").into_bytes()).collect();
    let job = |component: &LocalBlob, items_per_shard| LocalJob {
        job: one.job,
        component: component.clone(),
        models: Vec::new(),
        items: items.clone(),
        items_per_shard,
        limits: one.limits,
        device: DeviceKind::Cpu,
        cpu_nodes: false,
        noting: None,
    };
    block_on(async {
        let mut seen = Vec::new();
        let good = job(&one.component, 4);
        let done = run_local(&good, &pool, |shard| seen.push(shard.span.index))
            .await
            .unwrap();
        assert_eq!(done.outputs, items);
        assert_eq!((done.shards, seen), (6, vec![0, 1, 2, 3, 4, 5]));
        let bad = task(dir.path(), &trap()).component;
        let error = run_local(&job(&bad, 10), &pool, |_| ()).await.unwrap_err();
        assert!(
            error.to_string().contains("failed: the guest trapped"),
            "{error}"
        );
    });
}
