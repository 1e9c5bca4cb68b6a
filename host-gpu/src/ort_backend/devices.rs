//! What the machine says about its processor and its GPUs.

use crate::backend::{Device, DeviceInfo, DeviceKind};
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The most GPUs that are looked at.
const MAX_GPUS: usize = 64;
/// How long `nvidia-smi` may take: a wedged driver answers never.
const SMI_POLLS: u32 = 100;
/// Between two looks at whether it has answered.
const SMI_POLL: Duration = Duration::from_millis(100);
/// The longest answer that is read, in bytes.
const MAX_SMI_BYTES: u64 = 64 * 1024;
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
pub(crate) fn host_memory_bytes() -> u64 {
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

/// The NVIDIA GPUs that the driver lists. Whether a graph loads on them is another question.
pub(crate) fn nvidia() -> Vec<DeviceInfo> {
    // Without the driver's device file there is nothing to ask, and nothing to wait for.
    if !std::path::Path::new("/dev/nvidiactl").exists() {
        return Vec::new();
    }
    parse_smi(&smi().unwrap_or_default())
}

fn smi() -> Option<String> {
    let mut child = Command::new("nvidia-smi")
        .args([
            "--query-gpu=index,name,memory.total,driver_version",
            "--format=csv,noheader,nounits",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    for _ in 0..SMI_POLLS {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => {
                let mut text = String::new();
                child
                    .stdout
                    .take()?
                    .take(MAX_SMI_BYTES)
                    .read_to_string(&mut text)
                    .ok()?;
                return Some(text);
            }
            Ok(Some(_)) | Err(_) => return None,
            Ok(None) => std::thread::sleep(SMI_POLL),
        }
    }
    // It is past its time: end it, and reap it if it lets itself be ended.
    let _ = child.kill();
    let _ = child.try_wait();
    None
}

fn parse_smi(text: &str) -> Vec<DeviceInfo> {
    let gpus = text.lines().take(MAX_GPUS).filter_map(|line| {
        let columns: Vec<&str> = line.split(',').map(str::trim).collect();
        let [index, name, mebibytes, driver] = columns.as_slice() else {
            return None;
        };
        Some(DeviceInfo {
            device: Device::Cuda(index.parse().ok()?),
            kind: DeviceKind::Cuda,
            name: (*name).to_owned(),
            memory_bytes: mebibytes
                .parse::<u64>()
                .unwrap_or(0)
                .saturating_mul(1024 * 1024),
            driver: (*driver).to_owned(),
        })
    });
    gpus.collect()
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
    fn the_drivers_table_is_read_and_nonsense_is_not() {
        let text = "0, NVIDIA H200, 143771, 580.65.06\nnonsense\n1, NVIDIA H100 80GB HBM3, [N/A], 580.65.06\n";
        let gpus = parse_smi(text);
        assert_eq!(gpus.len(), 2);
        assert_eq!(gpus[0].device, Device::Cuda(0));
        assert_eq!(
            (gpus[0].name.as_str(), gpus[0].memory_bytes >> 20),
            ("NVIDIA H200", 143_771)
        );
        assert_eq!(
            (gpus[1].memory_bytes, gpus[1].driver.as_str()),
            (0, "580.65.06")
        );
        assert!(parse_smi("").is_empty());
    }
}
