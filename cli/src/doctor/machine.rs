//! What lies on this machine: configuration, keys, disk, toolchain, runtime, sandbox.

use std::path::{Path, PathBuf};

use jobs::offer::DeviceKind;
use runtime::ModelWorker;

use super::{Check, Status};
use crate::commands::provider::{local_pool, local_workers};
use crate::place::Signer;
use crate::{component, config, home};

/// Below this room for models and components runs out soon, in bytes.
const DISK_BYTES_LEAST: u64 = 2 << 30;

/// Where shells look for completions of a user's own, below the home directory.
const COMPLETIONS: [&str; 3] = [
    ".local/share/bash-completion/completions/assay",
    ".config/fish/completions/assay.fish",
    ".zfunc/_assay",
];

pub(super) fn config() -> Check {
    const NAME: &str = "configuration";
    match config::load() {
        Err(error) => Check::of(NAME, Status::Fail, &error, "correct it"),
        Ok(config) => {
            let context = config.value("context");
            let context = context.map_or("no context".to_owned(), |name| format!("context {name}"));
            Check::ok(NAME, format!("can be read, {context} in use"))
        }
    }
}

pub(super) fn home() -> Check {
    const NAME: &str = "home directory";
    let made = home::home().and_then(|home| {
        std::fs::create_dir_all(&home)?;
        // What can be made in it can be kept in it.
        tempfile::NamedTempFile::new_in(&home)?;
        Ok(home)
    });
    match made {
        Ok(home) => Check::ok(NAME, format!("{} can be written", home.display())),
        Err(error) => {
            let fix = "set ASSAY_HOME to a directory that you may write";
            Check::of(NAME, Status::Fail, &error, fix)
        }
    }
}

pub(super) fn disk() -> Check {
    const NAME: &str = "disk";
    let there = home::home().map(|home| existing(&home));
    let left = there.and_then(|path| Ok((rustix::fs::statvfs(&path)?, path)));
    match left {
        Err(error) => Check::of(NAME, Status::Warn, &error, "check that the disk is mounted"),
        Ok((disk, path)) => {
            let left = disk.f_bavail.saturating_mul(disk.f_frsize);
            let found = format!("{} MiB left at {}", left >> 20, path.display());
            match left < DISK_BYTES_LEAST {
                false => Check::ok(NAME, found),
                true => {
                    let least = DISK_BYTES_LEAST >> 20;
                    let fix = format!("make room: {least} MiB at least, or move ASSAY_HOME");
                    Check::not(NAME, Status::Warn, found, fix)
                }
            }
        }
    }
}

/// The path, or the nearest folder above it that exists.
fn existing(path: &Path) -> PathBuf {
    let there = path.ancestors().find(|folder| folder.exists());
    there.unwrap_or(Path::new("/")).to_owned()
}

pub(super) fn key(level: Status) -> Check {
    const NAME: &str = "key";
    let signer = Signer::default();
    let loaded = signer.path().and_then(|path| Ok((signer.load()?, path)));
    match loaded {
        Ok((key, path)) => Check::ok(NAME, format!("{} at {}", key.client_id(), path.display())),
        Err(error) => Check::of(NAME, level, &error, "assay key generate"),
    }
}

pub(super) fn toolchain() -> Check {
    const NAME: &str = "wasm toolchain";
    match component::toolchain_line(Path::new(".")) {
        Ok(line) => Check::ok(NAME, line),
        Err(error) => {
            let fix =
                "needed to build components in Rust: rustup target add wasm32-unknown-unknown";
            let text = format!("{error:#}");
            let first = text.lines().next().unwrap_or_default().to_owned();
            Check::not(NAME, Status::Warn, first, fix)
        }
    }
}

pub(super) fn completions() -> Check {
    const NAME: &str = "completions";
    let user = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    let found = COMPLETIONS.iter().map(|path| user.join(path));
    let installed = found
        .filter(|path| path.exists())
        .map(|path| path.display().to_string());
    let installed: Vec<String> = installed.collect();
    match installed.is_empty() {
        false => Check::ok(NAME, installed.join(", ")),
        true => {
            let fix = "assay completions bash > ~/.local/share/bash-completion/completions/assay \
                       (see `assay completions --help`)";
            Check::not(NAME, Status::Warn, "not installed", fix)
        }
    }
}

/// A worker is started as for a job, and asked what it has and what it lacks.
pub(super) async fn sandbox(level: Status) -> Vec<Check> {
    const LOOK: &str = "run `assay provider probe` with ASSAY_LOG=debug";
    let report = match local_pool(1, Vec::new()) {
        Ok(pool) => pool.probe().await.map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    let report = match report {
        Ok(report) => report,
        Err(error) => return vec![Check::of("sandbox", level, &error, LOOK)],
    };
    let library = report
        .devices
        .first()
        .map(|device| device.fingerprint.library.clone());
    let mut checks = vec![match &report.no_models {
        None => Check::ok("ONNX Runtime", library.unwrap_or_default()),
        Some(why) => {
            let fix = "`cargo xtask setup` fetches it, or set ASSAY_ORT_DYLIB to libonnxruntime.so (1.27 or later)";
            Check::not("ONNX Runtime", level, why.clone(), fix)
        }
    }];
    checks.push(match report.device(DeviceKind::Gpu) {
        Some(gpu) => Check::ok(
            "GPU",
            format!("{}, {} MiB", gpu.name, gpu.memory_bytes >> 20),
        ),
        None => {
            let fix =
                "only for jobs that ask for one: NVIDIA's driver, and `cargo xtask setup --gpu`";
            Check::not("GPU", Status::Warn, "none that is usable", fix)
        }
    });
    let protected = match local_workers(1, Vec::new()) {
        Ok(config) => ModelWorker::spawn(&config, None)
            .await
            .map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    checks.push(match protected {
        Ok(worker) => protections(worker.missing()),
        // Such a worker needs the library; the drill does not.
        Err(_) if report.no_models.is_some() => {
            let found = "not looked at without ONNX Runtime";
            Check::not("sandbox", Status::Warn, found, "assay provider selftest")
        }
        Err(error) => Check::of("sandbox", level, &error, LOOK),
    });
    checks
}

/// Namespaces, Landlock, seccomp and the like, as a worker itself found them.
fn protections(missing: &[String]) -> Check {
    const NAME: &str = "sandbox";
    if missing.is_empty() {
        return Check::ok(
            NAME,
            "namespaces, Landlock, seccomp and bounds are all in force",
        );
    }
    let fix = "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, \
               kernel.apparmor_restrict_unprivileged_userns=0) and run a kernel with Landlock (5.13 or later)";
    Check::not(
        NAME,
        Status::Warn,
        format!("goes without {}", missing.join(", ")),
        fix,
    )
}
