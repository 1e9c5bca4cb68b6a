//! Which interfaces a job may import, and which profile follows from them.

use std::fmt;

/// The interfaces that exist for every job, at exactly these versions. The runtime's linker defines
/// these, and those of [`WASI_INTERFACES`].
pub const ALLOWED_IMPORTS: &[&str] = &[
    "assay:job/context@0.1.0",
    "assay:job/log@0.1.0",
    "assay:job/nn-ext@0.1.0",
    "assay:job/types@0.1.0",
    "wasi:nn/errors@0.2.0-rc-2024-10-28",
    "wasi:nn/graph@0.2.0-rc-2024-10-28",
    "wasi:nn/inference@0.2.0-rc-2024-10-28",
    "wasi:nn/tensor@0.2.0-rc-2024-10-28",
];

/// The interfaces of WASI 0.2 that a job may import besides, at any 0.2 release. They lead to no
/// world: clocks follow fuel, randomness follows the job's seed, what is printed is logged, and files
/// and sockets are refused.
pub const WASI_INTERFACES: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The releases of WASI whose interfaces are the same but for additions.
const WASI_MINOR: &str = "0.2.";

/// Most digits of a release within them.
const PATCH_DIGITS_MAX: usize = 3;

/// What a component expects of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// It imports nothing but [`ALLOWED_IMPORTS`].
    Pure,
    /// It also imports WASI, as what other languages are compiled to does: the host gives it a
    /// deterministic one.
    Compat,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pure => "pure",
            Self::Compat => "compat",
        })
    }
}

/// The profile of a component with such imports.
pub(super) fn profile(imports: &[String]) -> Profile {
    match imports.iter().any(|name| wasi_interface(name).is_some()) {
        true => Profile::Compat,
        false => Profile::Pure,
    }
}

/// Whether a job may import an interface of this name.
pub(super) fn is_allowed(import: &str) -> bool {
    ALLOWED_IMPORTS.contains(&import) || wasi_interface(import).is_some()
}

/// The one of [`WASI_INTERFACES`] that an import means, whichever release of WASI 0.2 it names.
pub fn wasi_interface(import: &str) -> Option<&'static str> {
    let (name, version) = import.split_once('@')?;
    let patch = version.strip_prefix(WASI_MINOR)?;
    let is_number = !patch.is_empty()
        && patch.len() <= PATCH_DIGITS_MAX
        && patch.bytes().all(|digit| digit.is_ascii_digit());
    let known = WASI_INTERFACES.iter().find(|known| **known == name);
    known.filter(|_| is_number).copied()
}
