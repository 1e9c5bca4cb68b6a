//! What figures were measured on.

use std::process::Command;

use serde_json::{Value, json};

/// Facts about this machine.
pub fn facts() -> Value {
    let first = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().next().unwrap_or_default().to_owned()
    };
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut lines = cpuinfo.lines();
    let cpu = lines.find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let date = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])
        .output();
    let date = date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    json!({
        "cpu": cpu.map_or(std::env::consts::ARCH, |(_, name)| name.trim()),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "date": date.unwrap_or_default(),
        "load": first("/proc/loadavg"),
    })
}
