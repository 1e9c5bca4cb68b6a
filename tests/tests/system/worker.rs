//! What a worker holds while it executes a stranger's guest, as `/proc` shows it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tests::{Job, Market, Plan, children, status_field};

/// The variables a worker may inherit.
const INHERITED: [&str; 6] = [
    "ASSAY_ORT_DYLIB",
    "ASSAY_HOME",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "RUST_LOG",
];

/// The variables that lead to a worker's own folder, whatever they were before.
const HOMES: [&str; 3] = ["HOME", "XDG_CACHE_HOME", "TMPDIR"];

/// Set by the provider: ONNX Runtime does not report, and GPUs have the numbers that the driver gives.
const SETTINGS: [&str; 2] = ["ORT_DISABLE_TELEMETRY", "CUDA_DEVICE_ORDER"];

#[test]
fn a_worker_holds_no_sockets_no_keys_and_no_privileges() -> Result<()> {
    let market = Market::up(&Plan::honest(2))?;
    let job = Job {
        items: 256,
        item_bytes: 8 << 10,
        items_per_shard: 8,
        ..Job::new("watched")
    };
    let id = market.submit(&job)?;
    market.wait_until(&id, |view| view["phase"] != "waiting")?;
    let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
    // Looked at again and again until the job ends, so that executing workers are among those seen.
    loop {
        let ended = matches!(market.view(&id)?["phase"].as_str(), Some("done" | "failed"));
        for provider in &market.providers {
            let secret = fs::read(provider.data.join("identity.key"))?;
            for (pid, command) in children(provider.pid())? {
                ensure!(
                    command.ends_with("worker"),
                    "a provider started {command:?}"
                );
                match check_worker(pid, &provider.data, &secret) {
                    Ok(()) => *seen.entry(pid).or_default() += 1,
                    // It ended while it was looked at, or has only just started.
                    Err(_) if !is_settled(pid) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        if ended {
            break;
        }
    }
    market.wait_done(&id)?;
    eprintln!("looks at each worker: {seen:?}");
    ensure!(
        seen.len() >= 2,
        "fewer workers than providers were seen: {seen:?}"
    );
    let provider = market.providers.first().context("no provider")?;
    // The parent has what the worker must not have: the look would find it.
    ensure!(
        sockets(provider.pid())? > 0,
        "even the provider has no sockets: the look is blind"
    );
    Ok(())
}

/// Whether the process still runs and has finished giving up its privileges.
fn is_settled(pid: u32) -> bool {
    status_field(pid, "Seccomp").is_ok_and(|mode| mode == "2")
}

fn check_worker(pid: u32, data: &Path, secret: &[u8]) -> Result<()> {
    ensure!(
        status_field(pid, "Seccomp")? == "2",
        "worker {pid} has no system call filter"
    );
    ensure!(
        status_field(pid, "NoNewPrivs")? == "1",
        "worker {pid} may gain privileges"
    );
    ensure!(sockets(pid)? == 0, "worker {pid} has a socket");
    let environment = fs::read(format!("/proc/{pid}/environ"))?;
    ensure!(
        !contains(&environment, secret.trim_ascii()),
        "worker {pid} has the key in its environment"
    );
    let own = fs::read_link(format!("/proc/{pid}/cwd"))?;
    let is_own = own
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("worker-"));
    ensure!(is_own, "worker {pid} runs in {}", own.display());
    for variable in environment
        .split(|byte| *byte == 0)
        .filter(|variable| !variable.is_empty())
    {
        let variable = String::from_utf8_lossy(variable);
        let (name, value) = variable.split_once('=').unwrap_or((&variable, ""));
        if HOMES.contains(&name) {
            ensure!(
                Path::new(value) == own,
                "worker {pid} has {variable}, not its own folder"
            );
            continue;
        }
        let known = INHERITED.contains(&name) || SETTINGS.contains(&name);
        ensure!(known, "worker {pid} inherits {name}");
    }
    for target in open_files(pid)? {
        let secretive = ["identity.key", "journal", "LOCK", "lock"];
        let name = Path::new(&target)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let ours = Path::new(&target).starts_with(data);
        ensure!(
            !(ours && secretive.iter().any(|part| name.contains(part))),
            "worker {pid}: {target}"
        );
    }
    let command = fs::read(format!("/proc/{pid}/cmdline"))?;
    ensure!(
        !contains(&command, secret.trim_ascii()),
        "worker {pid} has the key in its arguments"
    );
    Ok(())
}

fn sockets(pid: u32) -> Result<usize> {
    Ok(open_files(pid)?
        .iter()
        .filter(|target| target.starts_with("socket:"))
        .count())
}

/// What each open descriptor leads to.
fn open_files(pid: u32) -> Result<Vec<String>> {
    let mut targets = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor may be closed between the listing and the look at it.
        if let Ok(target) = fs::read_link(entry?.path()) {
            targets.push(target.to_string_lossy().into_owned());
        }
    }
    Ok(targets)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && bytes.windows(part.len()).any(|window| window == part)
}
