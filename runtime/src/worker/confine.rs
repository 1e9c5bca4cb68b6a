//! Which files a worker may open, how much memory it may take, and whom it may reach: its own
//! namespaces, capabilities, rights on paths and limits. System calls are [`super::harden`]'s.
//!
//! A kernel that lacks a protection is not an error: the worker says what is missing, its parent
//! repeats it aloud, and the operator decides.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, make_bitflags, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use serde::{Deserialize, Serialize};

/// Threads of a worker. Where it runs as root the kernel does not count them.
const THREADS_MAX: u64 = 512;

/// Open files of a worker, libraries and models included.
const OPEN_FILES_MAX: u64 = 1024;

/// Largest file a worker may write, in bytes: a compiled component.
const WRITTEN_FILE_BYTES_MAX: u64 = 1 << 30;

/// What libraries read: themselves, what the dynamic linker knows, and what the kernel says about
/// processors and memory. None of it is anybody's secret.
const SYSTEM: &[&str] = &[
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/driver/nvidia",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system",
    "/sys/bus/pci",
    "/sys/module/nvidia",
];

/// Devices that are used as such. GPUs are found by name.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/urandom"];

/// There where a GPU's driver is loaded.
const GPU_DRIVER: &str = "/dev/nvidiactl";

/// Less than this no worker can do with: libraries, a compiler and a small model.
const MEMORY_BYTES_MIN: u64 = 1 << 30;

/// How the driver names its devices below `/dev`.
const GPU_DEVICES: &str = "nvidia";

/// What one worker is left with. The parent decides; a worker only gives up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Files and folders that tasks name: components and models. They must exist.
    pub readable: Vec<PathBuf>,
    /// Folders that it may write to: its scratch and the compile cache.
    pub writable: Vec<PathBuf>,
    /// Private memory that it may write to, in bytes: guests, tensors, models and libraries
    /// together. None: no bound, which a GPU's driver wants.
    pub memory_bytes_max: Option<u64>,
    /// Whether it runs in an emulator, which has no filter on system calls to offer. What is missing is
    /// said; without an emulator, a worker that lacks the filter does not start.
    pub emulated: bool,
}

/// What each of so many workers may take of this machine's memory, in bytes: an equal part of three
/// quarters of it, so that the worst that all of them do together leaves the node alive. None where a
/// GPU's driver is loaded, which maps more than it uses.
pub fn fair_memory_bytes(workers: usize) -> Option<u64> {
    let machine = host_gpu::host_memory_bytes();
    if machine == 0 || Path::new(GPU_DRIVER).exists() {
        return None;
    }
    let fair = machine / 4 * 3 / u64::try_from(workers.max(1)).unwrap_or(u64::MAX);
    Some(fair.max(MEMORY_BYTES_MIN))
}

/// Gives up everything but what the confinement names. Must run while the process has one thread.
/// Answers what this machine would not let it give up.
pub(super) fn confine(confinement: &Confinement) -> Result<Vec<String>, String> {
    let mut missing = Vec::new();
    // Where memory runs out, the kernel takes a worker before it takes the node.
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "1000") {
        missing.push(format!(
            "being the first to go when memory runs out: {error}"
        ));
    }
    match namespaces() {
        Ok(()) => limit(Resource::Nproc, THREADS_MAX)?,
        Err(error) => missing.push(format!("namespaces of its own: {error}")),
    }
    if let Err(error) = no_capabilities() {
        missing.push(format!("a life without capabilities: {error}"));
    }
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, OPEN_FILES_MAX)?;
    limit(Resource::Fsize, WRITTEN_FILE_BYTES_MAX)?;
    if let Some(bytes) = confinement.memory_bytes_max {
        limit(Resource::Data, bytes)?;
    }
    match paths(confinement)? {
        RulesetStatus::FullyEnforced => {}
        status => missing.push(format!("rights on paths (Landlock): {status:?}")),
    }
    Ok(missing)
}

/// A user namespace without rights elsewhere, and with it a network without interfaces and IPC with
/// nobody.
#[expect(unsafe_code, reason = "the kernel call is unsafe for other flags")]
fn namespaces() -> rustix::io::Result<()> {
    let flags =
        UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: none of the flags separates this thread's file descriptors or file system from those of
    // other threads, and there are no other threads yet.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// A process that made a user namespace has every capability in it.
fn no_capabilities() -> rustix::io::Result<()> {
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )
}

fn limit(resource: Resource, max: u64) -> Result<(), String> {
    let current = rustix::process::getrlimit(resource).maximum;
    let max = Some(current.map_or(max, |current| current.min(max)));
    let new = Rlimit {
        current: max,
        maximum: max,
    };
    rustix::process::setrlimit(resource, new)
        .map_err(|error| format!("cannot limit {resource:?} to {max:?}: {error}"))
}

fn paths(confinement: &Confinement) -> Result<RulesetStatus, String> {
    for path in &confinement.writable {
        std::fs::create_dir_all(path).map_err(|error| refused(path, &error))?;
    }
    for path in &confinement.readable {
        path.metadata().map_err(|error| refused(path, &error))?;
    }
    restrict(confinement).map_err(|error| format!("cannot restrict paths: {error}"))
}

fn refused(path: &Path, error: &std::io::Error) -> String {
    format!("cannot let the worker use {}: {error}", path.display())
}

fn restrict(confinement: &Confinement) -> Result<RulesetStatus, RulesetError> {
    // Signals and abstract sockets came with this version; an older kernel takes what it knows.
    let abi = ABI::V6;
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let write = read
        | make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer});
    let device: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev});
    let folders = library_folders();
    let libraries = folders.iter().flat_map(|folder| libraries_in(folder));
    let restricted = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(SYSTEM, read))?
        // These folders may hold more than libraries: names can be seen, and libraries read.
        .add_rules(path_beneath_rules(&folders, AccessFs::ReadDir))?
        .add_rules(path_beneath_rules(libraries, AccessFs::ReadFile))?
        .add_rules(path_beneath_rules(&confinement.readable, read))?
        .add_rules(path_beneath_rules(&confinement.writable, write))?
        .add_rules(path_beneath_rules(devices(), device))?
        .restrict_self()?;
    Ok(restricted.ruleset)
}

/// Where ONNX Runtime and the libraries beside it lie.
fn library_folders() -> Vec<PathBuf> {
    let found = host_gpu::discover()
        .ok()
        .and_then(|path| path.canonicalize().ok());
    let beside = found.and_then(|path| Some(path.parent()?.to_owned()));
    let listed = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let listed: Vec<PathBuf> = std::env::split_paths(&listed)
        .filter(|path| path.is_absolute())
        .collect();
    beside.into_iter().chain(listed).collect()
}

/// Files of a folder that are named as libraries are: `lib….so`, perhaps with a version behind.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let libraries = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("lib") && (name.ends_with(".so") || name.contains(".so."))
    });
    libraries.map(|entry| entry.path()).collect()
}

fn devices() -> Vec<PathBuf> {
    let gpus = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let gpus = gpus.filter(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with(GPU_DEVICES)
    });
    let plain = DEVICES.iter().map(PathBuf::from);
    plain.chain(gpus.map(|entry| entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_a_library_only_libraries_are_readable() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["libort.so", "libort.so.1", "key", "lib.key", "so.so"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let mut found = libraries_in(dir.path());
        found.sort();
        assert_eq!(
            found,
            ["libort.so", "libort.so.1"].map(|name| dir.path().join(name))
        );
    }
}
