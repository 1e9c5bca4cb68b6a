//! What the machine says about its processor and its GPUs.

use crate::backend::{Device, DeviceInfo, DeviceKind};
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use std::io::Read;

/// The most GPUs that are looked at.
const MAX_GPUS: u32 = 64;
/// The library that comes with the driver.
const NVML: &str = "libnvidia-ml.so.1";
/// There wherever the driver is loaded.
const DRIVER_FILE: &str = "/dev/nvidiactl";
/// The largest file under /proc that is read, in bytes.
const MAX_PROC_BYTES: u64 = 1024 * 1024;

/// The processor; its `driver` is the instruction set by which kernels are picked.
pub(crate) fn cpu() -> DeviceInfo {
    let cpuinfo = read_proc("/proc/cpuinfo");
    let name = field(&cpuinfo, "model name")
        .unwrap_or("unknown processor")
        .to_owned();
    DeviceInfo {
        device: Device::Cpu,
        kind: DeviceKind::Cpu,
        name,
        memory_bytes: host_memory_bytes(),
        driver: isa(field(&cpuinfo, "flags").unwrap_or_default()),
    }
}

/// The machine's memory in bytes, 0 if it does not say.
pub fn host_memory_bytes() -> u64 {
    let kib = field(&read_proc("/proc/meminfo"), "MemTotal").and_then(|text| {
        let number = text.split_whitespace().next()?;
        number.parse::<u64>().ok()
    });
    kib.unwrap_or(0).saturating_mul(1024)
}

/// The instruction sets by which ONNX Runtime's kernels are chosen, from the level up.
#[cfg(target_arch = "x86_64")]
fn isa(flags: &str) -> String {
    let level = if std::is_x86_feature_detected!("avx512f") {
        "avx512f"
    } else if std::is_x86_feature_detected!("avx2") {
        "avx2"
    } else if std::is_x86_feature_detected!("sse4.2") {
        "sse4.2"
    } else {
        "sse2"
    };
    let extras = [
        ("fma", std::is_x86_feature_detected!("fma")),
        ("f16c", std::is_x86_feature_detected!("f16c")),
        ("avxvnni", std::is_x86_feature_detected!("avxvnni")),
        (
            "avx512core",
            std::is_x86_feature_detected!("avx512bw") && std::is_x86_feature_detected!("avx512vl"),
        ),
        ("avx512vnni", std::is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", std::is_x86_feature_detected!("avx512bf16")),
        // Not yet detectable without a nightly feature; the kernel lists what it lets us use.
        (
            "amx",
            flags.split_whitespace().any(|flag| flag == "amx_int8"),
        ),
    ];
    let mut text = format!("x86_64 {level}");
    for (name, _) in extras.iter().filter(|(_, present)| *present) {
        text.push('+');
        text.push_str(name);
    }
    text
}

#[cfg(not(target_arch = "x86_64"))]
fn isa(_flags: &str) -> String {
    std::env::consts::ARCH.to_owned()
}

/// The NVIDIA GPUs that the driver lists, in the order of their places on the bus. Whether a graph
/// loads on them is another question.
pub(crate) fn nvidia() -> Vec<DeviceInfo> {
    // Without the driver's device file there is nothing to ask.
    if !std::path::Path::new(DRIVER_FILE).exists() {
        return Vec::new();
    }
    listed().unwrap_or_else(|error| {
        tracing::warn!(%error, "the driver does not list its devices");
        Vec::new()
    })
}

/// What NVML says. It is asked in this process: a worker starts no programs.
fn listed() -> Result<Vec<DeviceInfo>, NvmlError> {
    let nvml = Nvml::builder().lib_path(NVML.as_ref()).init()?;
    let driver = nvml.sys_driver_version()?;
    let describe = |index| {
        let device = nvml.device_by_index(index)?;
        Ok(DeviceInfo {
            device: Device::Cuda(index),
            kind: DeviceKind::Cuda,
            name: device.name()?,
            memory_bytes: device.memory_info()?.total,
            driver: driver.clone(),
        })
    };
    (0..nvml.device_count()?.min(MAX_GPUS))
        .map(describe)
        .collect()
}

/// The processes that compute or draw on an NVIDIA GPU now, as the driver numbers them. None where there is no driver,
/// or it does not say.
pub fn gpu_processes() -> Vec<u32> {
    if !std::path::Path::new(DRIVER_FILE).exists() {
        return Vec::new();
    }
    let listed = || {
        let nvml = Nvml::builder().lib_path(NVML.as_ref()).init()?;
        let mut found = Vec::new();
        for index in 0..nvml.device_count()?.min(MAX_GPUS) {
            let device = nvml.device_by_index(index)?;
            found.extend(device.running_compute_processes()?);
            found.extend(device.running_graphics_processes()?);
        }
        Ok::<_, NvmlError>(found.into_iter().map(|process| process.pid).collect())
    };
    listed().unwrap_or_default()
}

fn read_proc(path: &str) -> String {
    let mut text = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        // What can be read is used; the rest is "unknown".
        let _ = file.take(MAX_PROC_BYTES).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_describes_itself() {
        let cpu = cpu();
        assert!(
            cpu.memory_bytes > 1 << 20 && !cpu.name.is_empty(),
            "{cpu:?}"
        );
        assert!(
            cpu.driver.starts_with(std::env::consts::ARCH),
            "{}",
            cpu.driver
        );
        assert_eq!(cpu, super::cpu());
    }

    #[test]
    fn where_the_driver_is_not_there_are_no_gpus() {
        if std::path::Path::new(DRIVER_FILE).exists() {
            assert_eq!(listed().unwrap(), nvidia());
        } else {
            assert_eq!(nvidia(), []);
            // The library alone, as a container may have it, is an error and not a crash.
            assert!(listed().is_err());
        }
    }
}
