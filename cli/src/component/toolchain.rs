//! Which compiler makes guests on this machine.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

/// What guests are compiled for: WebAssembly with nothing around it.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

/// Where Debian puts its compiler, its source of `std` included.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

const NOTHING_FOUND: &str = "no compiler for wasm32-unknown-unknown was found; install one of:
  rustup target add wasm32-unknown-unknown
  apt-get install rustc-web rust-web-src lld        (Debian)";

/// A compiler of guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Toolchain {
    /// The toolchain on the path has the target installed.
    Installed { version: String },
    /// Debian's toolchain has the target but not its `std`, which is built from source.
    Debian { version: String, linker: PathBuf },
}

impl fmt::Display for Toolchain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed { version } => formatter.write_str(version),
            Self::Debian { version, .. } => write!(formatter, "{version}, std from source"),
        }
    }
}

impl Toolchain {
    /// The cargo that belongs to the compiler.
    pub(super) fn cargo(&self) -> Command {
        match self {
            Self::Installed { .. } => Command::new("cargo"),
            Self::Debian { .. } => Command::new(DEBIAN_CARGO),
        }
    }

    /// `cargo build` for guests, as far as it depends on the toolchain.
    pub(super) fn cargo_build(&self) -> Command {
        let mut command = self.cargo();
        command.args(["build", "--release", "--target", TARGET]);
        if let Self::Debian { linker, .. } = self {
            command
                .arg("-Zbuild-std=std,panic_abort")
                // Building `std` is an unstable feature of cargo; Debian's release compiler allows
                // it when told that it may bootstrap.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", DEBIAN_RUSTC)
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        } else {
            command
                .env_remove("RUSTC_BOOTSTRAP")
                .env_remove("RUSTC")
                .env_remove("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER");
        }
        command
    }
}

/// Finds a compiler: the project's own toolchain if it has the target, else Debian's.
pub(super) fn find(project: &Path) -> Result<Toolchain> {
    if let Some(sysroot) = ask("rustc", &["--print", "sysroot"], project) {
        let library = Path::new(&sysroot).join("lib/rustlib").join(TARGET);
        if library.join("lib").is_dir()
            && let Some(version) = ask("rustc", &["--version"], project)
        {
            return Ok(Toolchain::Installed { version });
        }
    }
    match debian(project) {
        Some(toolchain) => Ok(toolchain),
        None => bail!(NOTHING_FOUND),
    }
}

fn debian(project: &Path) -> Option<Toolchain> {
    let sysroot = ask(DEBIAN_RUSTC, &["--print", "sysroot"], project)?;
    let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/std/Cargo.toml");
    if !source.is_file() || !Path::new(DEBIAN_CARGO).is_file() {
        return None;
    }
    let version = ask(DEBIAN_RUSTC, &["--version"], project)?;
    // The distribution's package has no WebAssembly backend before this name appears in its list.
    let targets = ask(DEBIAN_RUSTC, &["--print", "target-list"], project)?;
    if !targets.lines().any(|target| target == TARGET) {
        return None;
    }
    Some(Toolchain::Debian {
        version,
        linker: linker(Path::new(&sysroot))?,
    })
}

/// The linker: LLVM's under its own name, or the one inside the toolchain.
fn linker(sysroot: &Path) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join("wasm-ld"));
    let host = sysroot
        .join("lib/rustlib")
        .join(format!("{}-unknown-linux-gnu", env::consts::ARCH));
    let fixed = [PathBuf::from("/usr/bin/wasm-ld"), host.join("bin/rust-lld")];
    on_path.chain(fixed).find(|candidate| candidate.is_file())
}

/// The first words of a program, run in `folder` so that a project's toolchain file is obeyed.
fn ask(program: &str, arguments: &[&str], folder: &Path) -> Option<String> {
    let answer = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    (answer.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
