//! The attempts: each is made for real, and must be refused.
//!
//! What would do harm where it is not refused is only begun: files are opened for writing and not written to.

use std::ffi::CString;
use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use super::{BLOBS, SECRET, SIBLING, SOCKET};

/// What an attacker finds out first.
pub(super) struct Target {
    /// The parent's folder; the worker's own is `<dir>/scratch/worker-…`.
    pub(super) dir: PathBuf,
    pub(super) parent: libc::c_long,
    /// At which the parent listens.
    pub(super) port: u16,
}

impl Target {
    fn secret(&self) -> PathBuf {
        self.dir.join(SECRET)
    }

    fn blob(&self) -> PathBuf {
        self.dir.join(BLOBS).join("blob")
    }

    /// A file of the parent's process.
    fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.parent)
    }
}

pub(super) type Attempt = (&'static str, fn(&Target) -> std::io::Result<()>);

/// Attempts that are refused otherwise than for want of permission, and how.
pub(super) const OTHERWISE: &[(&str, &[i32])] = &[
    // Where the machine has them they are refused, and often it has not.
    ("read the machine's memory", &[libc::ENOENT]),
    ("use the hypervisor", &[libc::ENOENT]),
    ("trigger the kernel", &[libc::ENOENT, libc::EROFS]),
    ("configure the kernel", &[libc::EROFS]),
    // Landlock says so of what would move a file to where it has other rights.
    ("link to a blob", &[libc::EXDEV]),
    // So that the C library falls back to the call whose flags a filter sees.
    ("fork the new way", &[libc::ENOSYS]),
];

/// A system call by its number.
fn call(number: libc::c_long, arguments: [libc::c_long; 6]) -> std::io::Result<()> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: none of the calls made here writes through a pointer to memory that Rust owns, but for
    // those that must be refused before they do anything.
    #[expect(unsafe_code, reason = "an attacker writes no safe Rust")]
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result == -1 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

fn text(text: &str) -> CString {
    // None of the texts here has a nul in it.
    CString::new(text).unwrap_or_default()
}

/// The address of a string, as an argument.
fn address(text: &CString) -> libc::c_long {
    text.as_ptr().addr() as libc::c_long
}

/// Opens and writes nothing.
fn open_for_writing(path: &str) -> std::io::Result<()> {
    fs::OpenOptions::new().write(true).open(path).map(drop)
}

pub(super) const FILES: &[Attempt] = &[
    ("read a key", |at| fs::read(at.secret()).map(drop)),
    ("remove a key", |at| fs::remove_file(at.secret())),
    ("move a key here", |at| fs::rename(at.secret(), "stolen")),
    ("change a blob", |at| fs::write(at.blob(), "mine")),
    ("remove a blob", |at| fs::remove_file(at.blob())),
    ("link to a blob", |at| fs::hard_link(at.blob(), "link")),
    ("list the parent's folder", |at| {
        fs::read_dir(&at.dir).map(drop)
    }),
    ("write beside the scratch", |at| {
        fs::write(at.dir.join("new"), "x")
    }),
    ("read a sibling's scratch", |at| {
        fs::read(at.dir.join(SIBLING)).map(drop)
    }),
    ("read the password file", |_| {
        fs::read("/etc/passwd").map(drop)
    }),
    ("list a home", |_| fs::read_dir("/root").map(drop)),
    ("list processes", |_| fs::read_dir("/proc").map(drop)),
    ("write to a shared folder", |_| {
        fs::write("/tmp/assay-drill", "x")
    }),
    ("write to shared memory", |_| {
        fs::write("/dev/shm/assay-drill", "x")
    }),
    ("read the parent's memory", |at| {
        fs::File::open(at.proc("mem")).map(drop)
    }),
    ("read the parent's environment", |at| {
        fs::read(at.proc("environ")).map(drop)
    }),
    ("use the parent's files", |at| {
        fs::read_dir(at.proc("fd")).map(drop)
    }),
    ("read the machine's memory", |_| {
        fs::File::open("/dev/mem").map(drop)
    }),
    ("use the hypervisor", |_| {
        fs::File::open("/dev/kvm").map(drop)
    }),
    ("configure the kernel", |_| {
        open_for_writing("/proc/sys/kernel/core_pattern")
    }),
    ("trigger the kernel", |_| {
        open_for_writing("/proc/sysrq-trigger")
    }),
    ("open by handle", |_| {
        call(libc::SYS_open_by_handle_at, [-1, 0, 0, 0, 0, 0])
    }),
    ("make a device", |_| {
        let (name, mode) = (text("device"), i64::from(libc::S_IFCHR | 0o600));
        let here = i64::from(libc::AT_FDCWD);
        call(libc::SYS_mknodat, [here, address(&name), mode, 0x101, 0, 0])
    }),
    ("change the root", |_| {
        call(libc::SYS_chroot, [address(&text("/")), 0, 0, 0, 0, 0])
    }),
];

pub(super) const PROCESSES: &[Attempt] = &[
    ("start a program", |_| {
        Command::new("/bin/true").status().map(drop)
    }),
    ("become a program", |_| {
        call(
            libc::SYS_execve,
            [address(&text("/bin/true")), 0, 0, 0, 0, 0],
        )
    }),
    ("become a program of its own", |_| {
        let flags = i64::from(libc::AT_EMPTY_PATH);
        call(libc::SYS_execveat, [2, address(&text("")), 0, 0, flags, 0])
    }),
    ("fork", |_| {
        call(libc::SYS_clone, [i64::from(libc::SIGCHLD), 0, 0, 0, 0, 0])
    }),
    ("fork the new way", |_| call(libc::SYS_clone3, [0; 6])),
    #[cfg(target_arch = "x86_64")]
    ("fork the old way", |_| call(libc::SYS_fork, [0; 6])),
    #[cfg(target_arch = "x86_64")]
    ("fork by the other number", |_| {
        call(libc::SYS_fork | 0x4000_0000, [0; 6])
    }),
    ("trace the parent", |at| {
        let attach = i64::from(libc::PTRACE_ATTACH);
        call(libc::SYS_ptrace, [attach, at.parent, 0, 0, 0, 0])
    }),
    ("copy the parent's memory", |at| {
        call(libc::SYS_process_vm_readv, [at.parent, 0, 0, 0, 0, 0])
    }),
    ("end the parent", |at| {
        call(libc::SYS_kill, [at.parent, 9, 0, 0, 0, 0])
    }),
    ("end everybody", |_| {
        call(libc::SYS_kill, [-1, 9, 0, 0, 0, 0])
    }),
    ("end a thread of the parent's", |at| {
        call(libc::SYS_tgkill, [at.parent, at.parent, 9, 0, 0, 0])
    }),
    ("end it the old way", |at| {
        call(libc::SYS_tkill, [at.parent, 9, 0, 0, 0, 0])
    }),
    ("hold the parent", |at| {
        call(libc::SYS_pidfd_open, [at.parent, 0, 0, 0, 0, 0])
    }),
    ("limit the parent", |at| {
        let limit = [1_u64, 1];
        let (files, new) = (i64::from(libc::RLIMIT_NOFILE), limit.as_ptr().addr() as i64);
        call(libc::SYS_prlimit64, [at.parent, files, new, 0, 0, 0])
    }),
    ("move the parent to one processor", |at| {
        let one = 1_u64;
        let set = (&raw const one).addr() as i64;
        call(libc::SYS_sched_setaffinity, [at.parent, 8, set, 0, 0, 0])
    }),
    ("let the parent idle", |at| {
        let none = 0_u32;
        let (policy, none) = (i64::from(libc::SCHED_IDLE), (&raw const none).addr() as i64);
        call(
            libc::SYS_sched_setscheduler,
            [at.parent, policy, none, 0, 0, 0],
        )
    }),
    ("let the parent idle the new way", |at| {
        let size = 48_u32;
        let attributes = [u64::from(size) | (5 << 32), 0, 0, 0, 0, 0];
        let attributes = attributes.as_ptr().addr() as i64;
        call(libc::SYS_sched_setattr, [at.parent, attributes, 0, 0, 0, 0])
    }),
    ("make the parent nice", |at| {
        call(libc::SYS_setpriority, [0, at.parent, 19, 0, 0, 0])
    }),
    ("make everybody nice", |_| {
        call(libc::SYS_setpriority, [2, 0, 19, 0, 0, 0])
    }),
    ("let the parent's disk wait", |at| {
        call(libc::SYS_ioprio_set, [1, at.parent, 3 << 13, 0, 0, 0])
    }),
    ("let a file signal the parent", |at| {
        let own = i64::from(libc::F_SETOWN);
        call(libc::SYS_fcntl, [2, own, at.parent, 0, 0, 0])
    }),
    ("share memory with strangers", |_| {
        call(libc::SYS_shmget, [1, 4096, 0o1666, 0, 0, 0])
    }),
    ("leave its namespaces", |_| {
        call(
            libc::SYS_unshare,
            [i64::from(libc::CLONE_NEWUSER), 0, 0, 0, 0, 0],
        )
    }),
    ("enter another's namespaces", |_| {
        call(libc::SYS_setns, [0; 6])
    }),
    ("become somebody else", |_| {
        call(libc::SYS_setresuid, [0; 6])
    }),
    ("take limits back", |_| {
        let (current, maximum) = (None, None);
        let free = rustix::process::Rlimit { current, maximum };
        Ok(rustix::process::setrlimit(
            rustix::process::Resource::Fsize,
            free,
        )?)
    }),
];

pub(super) const KERNEL: &[Attempt] = &[
    ("io_uring", |_| call(libc::SYS_io_uring_setup, [0; 6])),
    ("userfaultfd", |_| call(libc::SYS_userfaultfd, [0; 6])),
    ("bpf", |_| call(libc::SYS_bpf, [0; 6])),
    ("perf events", |_| call(libc::SYS_perf_event_open, [0; 6])),
    ("keys", |_| call(libc::SYS_keyctl, [0; 6])),
    ("a mount", |_| call(libc::SYS_mount, [0; 6])),
    ("a mount the new way", |_| call(libc::SYS_fsopen, [0; 6])),
    ("a module", |_| call(libc::SYS_init_module, [0; 6])),
    ("another kernel", |_| call(libc::SYS_kexec_load, [0; 6])),
    ("a reboot", |_| call(libc::SYS_reboot, [0; 6])),
    ("the clock", |_| call(libc::SYS_clock_settime, [0; 6])),
    ("the host's name", |_| call(libc::SYS_sethostname, [0; 6])),
    ("the kernel's log", |_| call(libc::SYS_syslog, [0; 6])),
    ("all file events", |_| call(libc::SYS_fanotify_init, [0; 6])),
    ("type into a terminal", |_| {
        let (letter, push) = (b'x', libc::TIOCSTI as i64);
        call(
            libc::SYS_ioctl,
            [2, push, (&raw const letter).addr() as i64, 0, 0, 0],
        )
    }),
    ("another personality", |_| {
        call(libc::SYS_personality, [0; 6])
    }),
];

pub(super) const NETWORK: &[Attempt] = &[
    ("listen", |_| TcpListener::bind("127.0.0.1:0").map(drop)),
    ("connect", |at| {
        TcpStream::connect(("127.0.0.1", at.port)).map(drop)
    }),
    ("datagrams", |_| UdpSocket::bind("127.0.0.1:0").map(drop)),
    ("a local socket", |at| {
        UnixStream::connect(at.dir.join(SOCKET)).map(drop)
    }),
    ("a pair of sockets", |_| UnixStream::pair().map(drop)),
    ("the kernel's socket", |_| {
        let (family, kind) = (i64::from(libc::AF_NETLINK), i64::from(libc::SOCK_RAW));
        call(libc::SYS_socket, [family, kind, 0, 0, 0, 0])
    }),
];
