//! What the figures were measured on.

use std::process::Command;

use serde_json::{Value, json};

/// Facts about this machine and this build.
pub(crate) fn facts() -> Value {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let library = host_gpu::OrtLibrary::load_discovered();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({
        "cpu": cpu.map_or(std::env::consts::ARCH, |(_, name)| name.trim()),
        "cores": cores,
        "memory": format!("{} MiB", host_gpu::host_memory_bytes() >> 20),
        "os": format!("{} {}", std::env::consts::OS, first_line("/proc/sys/kernel/osrelease")),
        "rustc": env!("BENCH_RUSTC"),
        "wasmtime": runtime::engine::WASMTIME_VERSION,
        "onnxruntime": library.map_or_else(|error| error.to_string(), |library| library.engine().to_owned()),
        "date": date(),
        "load": first_line("/proc/loadavg"),
    })
}

fn first_line(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn date() -> String {
    let output = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}

/// A line of `/proc/self/status` in KiB: `VmRSS`, `VmHWM`.
pub(crate) fn memory_kib(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or(f64::NAN)
}
