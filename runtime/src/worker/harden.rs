//! What a worker gives up before it reads its first task.
//!
//! Nothing here can be taken back by the process: no new privileges, no network, no tracing of other
//! processes and no signals to them, no programs to start, no core dumps with models in them, and no
//! files but those that [`super::confine`] leaves it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use rustix::process::Signal;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::confine::{Confinement, confine};

/// The variables a worker inherits if they are set; all others are cleared. Where libraries lie,
/// which devices there are, how loud to log: nothing secret.
pub const WORKER_ENVIRONMENT: &[&str] = &[
    "ASSAY_ORT_DYLIB",
    "ASSAY_HOME",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "RUST_LOG",
];

/// The variables every worker is given, with its scratch directory as the value: a library that looks
/// for a home finds nobody's.
pub const WORKER_HOMES: &[&str] = &["HOME", "XDG_CACHE_HOME", "TMPDIR"];

/// Keeps ONNX Runtime from opening a database of usage reports in the user's cache. Turning telemetry
/// off through its API is too late for that.
pub(super) const NO_TELEMETRY: (&str, &str) = ("ORT_DISABLE_TELEMETRY", "1");

/// Numbers GPUs as NVML does, which says what each of them is.
pub(super) const GPU_ORDER: (&str, &str) = ("CUDA_DEVICE_ORDER", "PCI_BUS_ID");

/// The pipes to the parent. Standard output itself leads to standard error from now on, so that no
/// library can print into the protocol.
pub(super) struct Pipes {
    pub(super) input: File,
    pub(super) output: File,
}

/// Takes the pipes and closes whatever else the parent let slip. The first thing a worker does.
pub(super) fn take() -> Result<Pipes, String> {
    let pipes = take_pipes().map_err(|error| format!("cannot take the pipes: {error}"))?;
    close_inherited(&pipes).map_err(|error| format!("cannot close files: {error}"))?;
    Ok(pipes)
}

/// Gives everything up. Must run while the process has one thread. Answers what this machine would not
/// let it give up.
pub(super) fn harden(confinement: &Confinement) -> Result<Vec<String>, String> {
    rustix::thread::set_no_new_privs(true)
        .map_err(|error| format!("cannot give up new privileges: {error}"))?;
    let mut missing = confine(confinement)?;
    // After the namespaces, whose making may clear it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot tie its life to its parent's: {error}"))?;
    for filter in filters()? {
        match seccompiler::apply_filter_all_threads(&filter) {
            Ok(()) => {}
            Err(error) if confinement.emulated => {
                missing.push(format!("a filter on system calls (emulated): {error}"));
                break;
            }
            Err(error) => return Err(format!("cannot install the system call filter: {error}")),
        }
    }
    Ok(missing)
}

fn take_pipes() -> io::Result<Pipes> {
    use rustix::stdio::{dup2_stdin, dup2_stdout, stderr, stdin, stdout};
    let input = File::from(rustix::io::fcntl_dupfd_cloexec(stdin(), 3)?);
    let output = File::from(rustix::io::fcntl_dupfd_cloexec(stdout(), 3)?);
    dup2_stdout(stderr())?;
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(Pipes { input, output })
}

/// Bytes that a pipe to or from a worker should hold: a shard's items or outputs pass in few turns of the two
/// processes. No more than the kernel lets an ordinary user have (`fs.pipe-max-size`).
const PIPE_BYTES: libc::c_int = 1 << 20;

/// Lets a pipe hold [`PIPE_BYTES`], or leaves it as it is: then large shards take longer to pass.
#[expect(
    unsafe_code,
    reason = "the safe wrapper is a feature of rustix that rebuilds wasmtime"
)]
pub(super) fn widen(pipe: std::os::fd::BorrowedFd<'_>) {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is borrowed, hence open, for the length of the call, which takes an integer
    // and touches no memory of ours.
    let size = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES) };
    if size < PIPE_BYTES {
        tracing::debug!(size, "a worker's pipe stays small");
    }
}

/// Closes whatever the parent let slip, except standard streams and pipes.
#[expect(
    unsafe_code,
    reason = "there is no safe way to close what one does not own"
)]
fn close_inherited(pipes: &Pipes) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let keep = [pipes.input.as_raw_fd(), pipes.output.as_raw_fd()];
    // The list is complete before the first is closed: it was read through one of them.
    let listed = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .collect::<Vec<_>>();
    for fd in listed
        .into_iter()
        .filter(|fd| *fd > 2 && !keep.contains(fd))
    {
        // SAFETY: nothing in this process has opened a file before (the caller is the first code of
        // a fresh process), so no Rust value owns `fd`. A number that is no longer open, such as the
        // one the list was read through, gives EBADF, which is ignored.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// System calls that no task needs. Each would reach another machine, another process or the kernel's
/// configuration.
const DENIED: &[libc::c_long] = &[
    // Other machines and local sockets.
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    // Ways around this filter.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Other processes and their memory.
    libc::SYS_ptrace,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_setns,
    libc::SYS_unshare,
    // The machine.
    libc::SYS_mount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_fsmount,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_syslog,
    libc::SYS_personality,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_acct,
    libc::SYS_quotactl,
    // Keys that the kernel keeps.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Rights.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_capset,
];

#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[libc::c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[libc::c_long] = &[];

/// On x86-64 a kernel may know every call under a second number, for programs with short pointers,
/// and a filter sees them as calls of their own.
#[cfg(target_arch = "x86_64")]
const SHORT_POINTERS: Option<i64> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const SHORT_POINTERS: Option<i64> = None;

// Numbers of the kernel's that libc does not name.
const F_SETSIG: u64 = 10;
const F_SETOWN_EX: u64 = 15;
const IOPRIO_WHO_PROCESS: u64 = 1;

/// Two filters, because one filter has one answer: what is denied gets EPERM, and `clone3`, whose
/// flags a filter cannot see, gets ENOSYS, upon which the C library uses `clone`, whose flags it can.
fn filters() -> Result<[BpfProgram; 2], String> {
    let mut denied: BTreeMap<i64, Vec<SeccompRule>> = DENIED
        .iter()
        .chain(DENIED_HERE)
        .map(|call| (*call, Vec::new()))
        .collect();
    for (call, alternatives) in conditional() {
        let rules = alternatives.into_iter().map(rule);
        denied.insert(call, rules.collect::<Result<_, _>>()?);
    }
    let hidden = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    Ok([
        program(denied, libc::EPERM)?,
        program(hidden, libc::ENOSYS)?,
    ])
}

/// A condition on an argument of a call: which, and how it compares with what.
type Condition = (u8, SeccompCmpOp, u64);

/// Calls that are denied where all conditions of one of their alternatives hold.
fn conditional() -> Vec<(libc::c_long, Vec<Vec<Condition>>)> {
    let own = u64::from(std::process::id());
    let is = |argument, value| vec![(argument, SeccompCmpOp::Eq, value)];
    let is_not = |argument, value| (argument, SeccompCmpOp::Ne, value);
    // These take a process, and nought for the one that calls.
    let others = |argument| vec![is_not(argument, own), is_not(argument, 0)];
    let no_thread = SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64);
    let mut calls = vec![
        // A clone that is not a thread is a fork.
        (libc::SYS_clone, vec![vec![(0, no_thread, 0)]]),
        // Signals are for oneself: an abort is one, too.
        (libc::SYS_kill, vec![vec![is_not(0, own)]]),
        (libc::SYS_tgkill, vec![vec![is_not(0, own)]]),
        // Files that send signals to whoever is named.
        (
            libc::SYS_fcntl,
            vec![
                is(1, libc::F_SETOWN as u64),
                is(1, F_SETOWN_EX),
                is(1, F_SETSIG),
            ],
        ),
        // What is typed into a terminal, and the keyboard's.
        (
            libc::SYS_ioctl,
            vec![is(1, libc::TIOCSTI), is(1, libc::TIOCLINUX)],
        ),
        (
            libc::SYS_setpriority,
            vec![vec![is_not(0, libc::PRIO_PROCESS.into())], others(1)],
        ),
        (
            libc::SYS_ioprio_set,
            vec![vec![is_not(0, IOPRIO_WHO_PROCESS)], others(1)],
        ),
    ];
    for call in [
        libc::SYS_prlimit64,
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setscheduler,
    ] {
        calls.push((call, vec![others(0)]));
    }
    calls
}

/// A rule that holds where every condition on an argument does.
fn rule(conditions: Vec<Condition>) -> Result<SeccompRule, String> {
    let conditions = conditions.into_iter().map(|(argument, compare, value)| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)
    });
    conditions
        .collect::<Result<Vec<_>, _>>()
        .and_then(SeccompRule::new)
        .map_err(|error| error.to_string())
}

fn program(mut rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, String> {
    if let Some(bit) = SHORT_POINTERS {
        let again: Vec<_> = rules
            .iter()
            .map(|(call, rules)| (call | bit, rules.clone()))
            .collect();
        rules.extend(again);
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let answer = SeccompAction::Errno(errno.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, answer, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_and_name_no_call_twice() {
        let filters = filters().unwrap();
        assert!(filters.iter().all(|filter| !filter.is_empty()));
        let mut calls: Vec<_> = DENIED.iter().chain(DENIED_HERE).collect();
        let count = calls.len();
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls.len(), count);
    }

    /// A filter binds the thread that installs it, so a test can try it without giving up its process.
    #[test]
    fn a_filtered_thread_reaches_no_network_and_starts_no_program_but_starts_threads() {
        use std::net::{TcpListener, TcpStream, UdpSocket};
        use std::os::unix::net::UnixStream;
        let filtered = std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            for filter in filters().unwrap() {
                seccompiler::apply_filter(&filter).unwrap();
            }
            let program = || std::process::Command::new("/bin/true").status().map(drop);
            for (what, tried) in [
                ("listen", TcpListener::bind("127.0.0.1:0").map(drop)),
                ("connect", TcpStream::connect("127.0.0.1:1").map(drop)),
                ("datagrams", UdpSocket::bind("127.0.0.1:0").map(drop)),
                ("a pair", UnixStream::pair().map(drop)),
                ("a program", program()),
            ] {
                let refused = tried.err().map(|error| error.kind());
                assert_eq!(refused, Some(io::ErrorKind::PermissionDenied), "{what}");
            }
            assert!(std::fs::read("/proc/self/status").is_ok());
            std::thread::spawn(|| 7).join().unwrap()
        });
        assert_eq!(filtered.join().unwrap(), 7);
    }
}
