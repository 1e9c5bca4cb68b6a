//! What this machine can spare.

use std::path::Path;

use jobs::manifest::MEMORY_BYTES_MAX;

/// Memory that a worker needs beside its guest's, for compiled code, models and tensors, in bytes.
const RESERVE_BYTES: u64 = 512 << 20;

/// Smallest default in bytes: on a machine that small the operator should choose.
const LEAST_BYTES: u64 = 64 << 20;

/// The memory to grant a guest when the operator does not say: an even part of the machine's for each
/// worker, less what the worker itself needs, and at most what any job may ask for.
pub(crate) fn guest_memory(workers: u16) -> u64 {
    guest_memory_of(memory(), workers)
}

fn guest_memory_of(machine: Option<u64>, workers: u16) -> u64 {
    let part = machine.and_then(|bytes| bytes.checked_div(workers.into()));
    part.map_or(MEMORY_BYTES_MAX, |part| {
        let spare = part.saturating_sub(RESERVE_BYTES);
        spare.clamp(LEAST_BYTES, MEMORY_BYTES_MAX)
    })
}

/// A line on this machine: processor, cores, memory, system.
pub(crate) fn describe() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let name = cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    let name = name.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let mebibytes = memory().unwrap_or(0) >> 20;
    let system = read("/proc/sys/kernel/osrelease");
    let system = system.trim();
    format!("{name}, {cores} cores, {mebibytes} MiB, linux {system}")
}

/// Bytes of memory this process may use: the machine's, or less if its control group says so. `None`
/// if the system does not tell.
pub(crate) fn memory() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).ok();
    let machine = read("/proc/meminfo").and_then(|text| total(&text));
    let group = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse().ok());
    machine.into_iter().chain(group).min()
}

/// The first line of `/proc/meminfo`: `MemTotal:  32780472 kB`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_gets_its_part_of_the_machine() {
        const GIB: u64 = 1 << 30;
        for (machine, workers, expected) in [
            (Some(32 * GIB), 1, 4 * GIB),
            (Some(32 * GIB), 8, 4 * GIB - GIB / 2),
            (Some(4 * GIB), 2, 2 * GIB - GIB / 2),
            (Some(GIB), 1, GIB / 2),
            (Some(GIB), 4, 64 << 20),
            (None, 4, 4 * GIB),
            // Refused later, by name.
            (Some(GIB), 0, 4 * GIB),
        ] {
            let granted = guest_memory_of(machine, workers);
            assert_eq!(granted, expected, "{machine:?}, {workers} workers");
        }
    }

    #[test]
    fn the_systems_own_words_are_understood() {
        assert_eq!(
            total("MemTotal:       32780472 kB\nMemFree: 1 kB\n"),
            Some(32_780_472 << 10)
        );
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert!(memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
