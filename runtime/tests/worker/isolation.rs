//! What a worker can see and do, looked at from outside and tried from inside.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;

use runtime::WorkerHandle;

use crate::guests::{echo, endless};
use crate::harness::Case;
use crate::lifecycle::{block_on, config, items, task};

pub(crate) const CASES: &[Case] = &[
    (
        "a_worker_has_no_sockets_and_no_secrets",
        a_worker_has_no_sockets_and_no_secrets,
    ),
    (
        "a_worker_has_given_its_rights_up",
        a_worker_has_given_its_rights_up,
    ),
    (
        "a_worker_ends_with_its_parent",
        a_worker_ends_with_its_parent,
    ),
];

/// Descriptors of a process, as `number -> what it is`.
fn descriptors(pid: u32) -> Vec<(i32, String)> {
    let listed = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let target = fs::read_link(entry.path()).ok()?;
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, target.to_string_lossy().into_owned()))
    };
    listed.filter_map(read).collect()
}

fn a_worker_has_no_sockets_and_no_secrets() {
    let dir = tempfile::tempdir().unwrap();
    // A careless parent: a socket and a key file that children inherit.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
    let key_path = dir.path().join("provider.key");
    fs::write(&key_path, "secret").unwrap();
    let key = fs::File::open(&key_path).unwrap();
    rustix::io::fcntl_setfd(&key, rustix::io::FdFlags::empty()).unwrap();

    block_on(async {
        let mut worker = WorkerHandle::spawn(&config(dir.path())).await.unwrap();
        worker
            .execute(task(dir.path(), &echo()), items())
            .await
            .unwrap();
        let pid = worker.id().unwrap();

        let open = descriptors(pid);
        assert!(
            open.iter()
                .all(|(_, target)| !target.starts_with("socket:")),
            "{open:?}"
        );
        let secret = key_path.to_string_lossy().into_owned();
        assert!(open.iter().all(|(_, target)| *target != secret), "{open:?}");
        assert!(open.contains(&(0, "/dev/null".into())), "{open:?}");
        assert!(key.as_raw_fd() > 2 && listener.as_raw_fd() > 2);

        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment);
        for variable in environment
            .split('\0')
            .filter(|variable| !variable.is_empty())
        {
            let (name, value) = variable.split_once('=').unwrap();
            let homeless = runtime::worker::WORKER_HOMES.contains(&name)
                && Path::new(value).starts_with(dir.path().join("scratch"));
            let allowed = runtime::worker::WORKER_ENVIRONMENT.contains(&name);
            let settings = ["ORT_DISABLE_TELEMETRY=1", "CUDA_DEVICE_ORDER=PCI_BUS_ID"];
            let fixed = settings.contains(&variable);
            assert!(
                allowed || homeless || fixed,
                "{variable} is in the worker's environment"
            );
        }
        // This test has variables that the worker must not have got.
        // (`LD_LIBRARY_PATH`, which test runners set, is another variable and allowed.)
        let inherited = |name: &str| environment.split('\0').any(|set| set.starts_with(name));
        assert!(std::env::var_os("PATH").is_some() && !inherited("PATH="));

        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(command.contains(crate::WORKER_ARGUMENT) && !command.contains("secret"));
        let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        assert!(cwd.starts_with(dir.path().canonicalize().unwrap().join("scratch")));
    });
}

fn a_worker_has_given_its_rights_up() {
    let dir = tempfile::tempdir().unwrap();
    block_on(async {
        let worker = WorkerHandle::spawn(&config(dir.path())).await.unwrap();
        let pid = worker.id().unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "Seccomp_filters:\t2"] {
            assert!(status.contains(line), "{line:?} is not in {status}");
        }
        // Every thread, the reader too.
        for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            assert!(status.contains("Seccomp:\t2"), "{status}");
        }
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let limit = |name: &str| {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..]
                .split_whitespace()
                .next()
                .unwrap()
                .to_owned()
        };
        assert_eq!(limit("Max core file size"), "0");
        assert_eq!(limit("Max open files"), "1024");
    });
}

/// The whole life of a parent that is killed: it starts a worker, says which, and keeps it busy.
pub(crate) fn be_a_parent(dir: &Path) -> std::process::ExitCode {
    block_on(async {
        let mut worker = WorkerHandle::spawn(&config(dir)).await.unwrap();
        let _kept = keep_pipes_open();
        let (part, whole) = (dir.join("pid.part"), dir.join(PID_FILE));
        fs::write(&part, worker.id().unwrap().to_string()).unwrap();
        fs::rename(part, whole).unwrap();
        let done = worker.execute(task(dir, &endless()), items()).await;
        panic!("an endless guest ended: {done:?}");
    })
}

/// Gives every pipe of this process but the standard ones to another one that outlives it: a worker
/// could tell from its pipes that its parent has ended, which shall not be all that ends it.
fn keep_pipes_open() -> Vec<std::process::Child> {
    let open = descriptors(std::process::id());
    let pipes = open
        .iter()
        .filter(|(number, target)| *number > 2 && target.starts_with("pipe:"));
    let keep = |(number, _): &(i32, String)| {
        let pipe = fs::File::options()
            .write(true)
            .open(format!("/proc/self/fd/{number}"));
        std::process::Command::new("sleep")
            .arg("20")
            .stdin(std::process::Stdio::null())
            .stdout(pipe.unwrap())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let kept: Vec<_> = pipes.map(keep).collect();
    assert!(kept.len() >= 2, "a worker has two pipes: {open:?}");
    kept
}

/// Where a parent says which process its worker is.
const PID_FILE: &str = "pid";

/// Looks until there is something to see, ten seconds at most.
fn look<T>(what: &str, mut sight: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1000 {
        if let Some(seen) = sight() {
            return seen;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{what}");
}

fn a_worker_ends_with_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let mut parent = std::process::Command::new(std::env::current_exe().unwrap())
        .arg(crate::PARENT_ARGUMENT)
        .arg(dir.path())
        .spawn()
        .unwrap();
    let pid = look("no worker was started", || {
        fs::read_to_string(dir.path().join(PID_FILE)).ok()
    });
    let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(
        stat().contains(&format!(" {} ", parent.id())),
        "worker {pid} is not the child of {}: {}",
        parent.id(),
        stat()
    );
    // Killed as by a power failure: nothing of the parent's own runs any more.
    parent.kill().unwrap();
    parent.wait().unwrap();
    look("the worker outlives its parent", || {
        let stat = stat();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}
