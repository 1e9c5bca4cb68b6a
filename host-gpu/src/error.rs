//! Two kinds of wrong: a guest's fault, which it reads as a `wasi:nn` error, and ours, which it never sees.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The longest text of an error that a guest can read, in bytes.
pub const MAX_ERROR_TEXT_BYTES: usize = 512;

/// What went wrong, in the words of `wasi:nn/errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultCode {
    /// An argument that no graph could accept, or not this one.
    InvalidArgument,
    /// The graph ran and failed on these inputs.
    RuntimeError,
    /// Something the interface offers and this host does not.
    UnsupportedOperation,
    /// More bytes, dimensions or inputs than the limits allow.
    TooLarge,
    /// No graph of that name in the job's manifest.
    NotFound,
    /// Something a guest must not do, such as bringing its own graph.
    Security,
}

/// A mistake of the guest. Equal on every replica, so a guest may branch on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFault {
    /// The code that `wasi:nn` reports.
    pub code: FaultCode,
    /// At most [`MAX_ERROR_TEXT_BYTES`] bytes, without control characters or host paths.
    text: String,
}

impl GuestFault {
    /// A fault whose text is capped and cleansed of paths and control characters.
    pub fn new(code: FaultCode, text: &str) -> Self {
        Self {
            code,
            text: scrub(text),
        }
    }

    /// The text that a guest reads.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn invalid(text: impl AsRef<str>) -> Self {
        Self::new(FaultCode::InvalidArgument, text.as_ref())
    }

    pub(crate) fn too_large(
        what: &str,
        value: impl fmt::Display,
        bound: impl fmt::Display,
    ) -> Self {
        Self::new(
            FaultCode::TooLarge,
            &format!("{what} is {value}, the bound is {bound}"),
        )
    }
}

impl fmt::Display for GuestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for GuestFault {}

/// Everything this crate can fail with.
#[derive(Debug, thiserror::Error)]
pub enum NnError {
    /// The guest's fault: it is told, and may go on.
    #[error("{0}")]
    Guest(#[from] GuestFault),

    /// There is no ONNX Runtime where it was looked for.
    #[error(
        "no ONNX Runtime at {}: run `cargo xtask setup`, or set ASSAY_ORT_DYLIB to a libonnxruntime.so",
        path.display()
    )]
    LibraryMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The library is there and unusable.
    #[error("cannot use the ONNX Runtime at {}: {reason}", path.display())]
    LibraryUnusable {
        /// Which library.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// A process holds one ONNX Runtime for its life.
    #[error("this process already runs on {}, it cannot also load {}", loaded.display(), asked.display())]
    LibraryAlreadyLoaded {
        /// The library that was loaded first.
        loaded: PathBuf,
        /// The library that was asked for now.
        asked: PathBuf,
    },
    /// The device was asked for by name and cannot be used; there is no other to fall back to.
    #[error("device {device} is unusable: {reason}")]
    DeviceUnavailable {
        /// The device that was asked for.
        device: String,
        /// What the library said.
        reason: String,
    },
    /// Nodes of the graph would run elsewhere than where the job wants them.
    #[error(
        "{nodes} nodes of graph {name:?} would run on {provider} ({operators}), the job wants all of them on {device}"
    )]
    Misplaced {
        /// The graph's name.
        name: String,
        /// The device that was asked for.
        device: String,
        /// How many nodes.
        nodes: u32,
        /// Where they would run.
        provider: String,
        /// What they compute.
        operators: String,
    },
    /// The model's bytes are not the ones that its digest names.
    #[error("model has digest {found}, expected {expected}")]
    DigestMismatch {
        /// The digest in the manifest.
        expected: String,
        /// The digest of the bytes.
        found: String,
    },
    /// The store holds no such model.
    #[error("no model with digest {digest} in the store")]
    ModelMissing {
        /// The digest that was asked for.
        digest: String,
    },
    /// A model, or all of them together, above its bound.
    #[error("{what} would be {value} bytes, the bound is {bound}")]
    Quota {
        /// Which bound.
        what: &'static str,
        /// What it would be, in bytes (at least).
        value: u64,
        /// The bound, in bytes.
        bound: u64,
    },
    /// Every graph in the cache is in use.
    #[error("the graph cache holds {count} graphs and none is idle, the bound is {bound}")]
    CacheFull {
        /// Graphs held.
        count: usize,
        /// The bound.
        bound: usize,
    },
    /// The bytes are no graph that this backend can load for `wasi:nn`.
    #[error("graph {name} cannot be loaded: {reason}")]
    GraphRejected {
        /// The graph's name in the manifest.
        name: String,
        /// Why.
        reason: String,
    },
    /// A digest that is not 64 hexadecimal digits.
    #[error("{text:?} is no digest: expected 64 hexadecimal digits")]
    BadDigest {
        /// What was given, capped.
        text: String,
    },
    /// A load or a compute ran past its wall limit. Not the guest's fault: another machine may be faster.
    #[error("{what} ran past its wall limit of {} ms", limit.as_millis())]
    Timeout {
        /// A load or a compute.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The run was stopped because nobody waits for it any more.
    #[error("the run was stopped")]
    Stopped,
    /// Every session of the graph broke, or the graph is being dropped.
    #[error("the graph has no session left")]
    SessionGone,
    /// The instance's table of tensors, graphs, contexts and errors is full.
    #[error("the instance holds {bound} nn resources, which is the bound")]
    TableFull {
        /// The bound.
        bound: usize,
    },
    /// A job that has more values noted than one execution may. The job's own doing.
    #[error("{wanted} bytes of values to note, the bound is {limit}")]
    NotesFull {
        /// Bytes that there would be.
        wanted: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// The backend failed for a reason that is not in the inputs.
    #[error("the backend failed: {0}")]
    Backend(String),
    /// A file operation failed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl NnError {
    /// True if the guest caused it, so that every replica sees the same.
    pub fn is_guest_fault(&self) -> bool {
        matches!(self, Self::Guest(_))
    }

    pub(crate) fn io(
        what: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}

/// Caps a text, drops control characters and replaces every word that looks like a path.
///
/// A backend's messages name source files and, for some failures, files of the host.
fn scrub(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_whitespace() {
        let word = if word.contains(['/', '\\']) {
            "<path>"
        } else {
            word
        };
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().filter(|c| !c.is_control()));
        if out.len() > MAX_ERROR_TEXT_BYTES {
            break;
        }
    }
    let mut end = out.len().min(MAX_ERROR_TEXT_BYTES);
    while !out.is_char_boundary(end) {
        end -= 1;
    }
    out.truncate(end);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_reads_no_paths_and_no_control_characters() {
        for (raw, seen) in [
            ("plain words", "plain words"),
            (
                "failed in /home/me/model.onnx at line 3",
                "failed in <path> at line 3",
            ),
            ("C:\\secret\\x.onnx\x1b[31m", "<path>"),
            ("bell\x07 ring\u{9b}", "bell ring"),
            ("  many \n lines\r\n", "many lines"),
        ] {
            assert_eq!(GuestFault::invalid(raw).text(), seen);
        }
    }

    #[test]
    fn a_guest_reads_at_most_the_bound() {
        for text in [
            "x".repeat(10_000),
            "é".repeat(10_000),
            "ab ".repeat(10_000),
            format!("a{}", "é".repeat(9_999)),
        ] {
            let text = GuestFault::invalid(&text).text().to_owned();
            assert!(
                text.len() <= MAX_ERROR_TEXT_BYTES && text.len() >= MAX_ERROR_TEXT_BYTES - 4,
                "{}",
                text.len()
            );
        }
    }
}
