//! System packages, on Debian and its kin. Elsewhere: a list of what to install by hand.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::run;

/// Something the build needs from the system.
struct Need {
    /// What needs it, for the person who reads the message.
    why: &'static str,
    /// The packages to install when `met` says no.
    packages: &'static [&'static str],
    met: fn(&Installed) -> bool,
}

const NEEDS: [Need; 5] = [
    Need {
        why: "compiling C++ dependencies (RocksDB)",
        packages: &["build-essential"],
        met: |_| run::on_path("c++") && run::on_path("cc"),
    },
    Need {
        why: "generating RocksDB's bindings",
        packages: &["libclang-dev"],
        met: |i| {
            std::env::var_os("LIBCLANG_PATH").is_some()
                || i.has(|p| {
                    p.starts_with("libclang-") && p.ends_with("-dev") && !p.contains("common")
                })
        },
    },
    Need {
        why: "finding the C headers for those bindings",
        packages: &["clang"],
        met: |i| {
            run::on_path("clang")
                || i.has(|p| {
                    p.strip_prefix("clang-")
                        .is_some_and(|v| v.parse::<u32>().is_ok())
                })
        },
    },
    Need {
        why: "fetching ONNX Runtime and models",
        packages: &["python3", "python3-pip"],
        met: |_| python_module("pip"),
    },
    Need {
        why: "compiling guests to wasm; `rustup target add wasm32-unknown-unknown` does as well",
        packages: &GUEST_TOOLCHAIN,
        met: |i| rustup_has_wasm() || GUEST_TOOLCHAIN.iter().all(|p| i.has(|q| q == *p)),
    },
];

/// One version of compiler, standard library source and cargo, and the linker for wasm. cargo-web
/// and rust-web-llvm are only recommended by rustc-web, so they are named.
const GUEST_TOOLCHAIN: [&str; 5] = [
    "rustc-web",
    "cargo-web",
    "rust-web-llvm",
    "rust-web-src",
    "lld",
];

/// Names of the installed Debian packages; empty where there is no dpkg.
struct Installed(String);

impl Installed {
    fn read() -> Option<Installed> {
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat", "${db:Status-Abbrev}${Package}\n"]);
        Some(Installed(run::text(&mut query)?))
    }

    fn has(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.0
            .lines()
            .filter_map(|l| l.strip_prefix("ii "))
            .any(wanted)
    }
}

/// What is wanted beyond [`NEEDS`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Python environments.
    pub(super) venv: bool,
    /// A browser without a screen, and a font for it.
    pub(super) browser: bool,
    /// Network namespaces with a router between them.
    pub(super) networks: bool,
    /// Programs for other processors run on this one.
    pub(super) emulator: bool,
}

pub(super) fn run(wanted: Wanted) -> Result<()> {
    let debian = Installed::read();
    let none = Installed(String::new());
    let installed = debian.as_ref().unwrap_or(&none);
    let mut missing: Vec<&str> = Vec::new();
    for need in NEEDS.iter().filter(|n| !(n.met)(installed)) {
        eprintln!("  missing: {} (for {})", need.packages.join(" "), need.why);
        missing.extend(need.packages);
    }
    if wanted.emulator && !run::on_path("qemu-x86_64") {
        eprintln!("  missing: qemu-user (for calibrations on emulated processors)");
        missing.push("qemu-user");
    }
    if wanted.networks && !["nft", "ip"].into_iter().all(administers) {
        eprintln!("  missing: nftables iproute2 (for the test of a provider behind a router)");
        missing.extend(["nftables", "iproute2"]);
    }
    if wanted.browser && !run::on_path("chromium") {
        eprintln!("  missing: chromium fonts-dejavu-core (for the tests of the dashboard)");
        missing.extend(["chromium", "fonts-dejavu-core"]);
    }
    if wanted.venv && !python_module("ensurepip") {
        eprintln!("  missing: python3-venv (for the reference environment)");
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    if debian.is_none() || !run::on_path("apt-get") {
        bail!(
            "this is not a Debian system: please install the equivalents of {}",
            missing.join(", ")
        );
    }
    // An old package list names files that are gone, so it is renewed, but only when something is
    // to be installed.
    run::check(apt_get()?.args(["update", "-qq"]))?;
    run::check(
        apt_get()?
            .args(["install", "--yes", "-qq", "--no-install-recommends"])
            .args(&missing),
    )
}

fn apt_get() -> Result<Command> {
    let root = nix::unistd::geteuid().is_root();
    if !root && !run::on_path("sudo") {
        bail!("installing system packages needs root or sudo");
    }
    let mut command = run::program(if root { "env" } else { "sudo" })?;
    command.args(if root { &[][..] } else { &["env"] });
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    Ok(command)
}

/// Whether an administrator's program is there: it may lie where other users' paths do not lead.
fn administers(name: &str) -> bool {
    run::on_path(name) || Path::new("/usr/sbin").join(name).is_file()
}

fn python_module(module: &str) -> bool {
    run::text(Command::new("python3").args([
        "-c",
        &format!("import importlib.util as u, sys; sys.exit(u.find_spec('{module}') is None)"),
    ]))
    .is_some()
}

fn rustup_has_wasm() -> bool {
    run::text(Command::new("rustup").args(["target", "list", "--installed"]))
        .is_some_and(|targets| targets.lines().any(|t| t == "wasm32-unknown-unknown"))
}
