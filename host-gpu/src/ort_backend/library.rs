//! ONNX Runtime as a file: where it is, that it loads, and which build it is.

use crate::error::NnError;
use crate::models::file_digest;
use ort::environment::Environment;
use ort::logging::LogLevel;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Names the library for this process, before any other place is looked at.
const DYLIB_VARIABLE: &str = "ASSAY_ORT_DYLIB";
/// Names the directory of everything that was set up.
const HOME_VARIABLE: &str = "ASSAY_HOME";
/// Where set-up puts the library below that directory.
const IN_HOME: &str = "ort/libonnxruntime.so";
/// The file beside the library that holds the CUDA kernels.
const CUDA_PROVIDER: &str = "libonnxruntime_providers_cuda.so";
/// The longest message of the library that is passed to the log, in bytes.
const MAX_LOG_BYTES: usize = 1024;

/// The one library of this process.
static LOADED: Mutex<Option<Arc<OrtLibrary>>> = Mutex::new(None);

/// A loaded ONNX Runtime. There is one per process, and it stays.
#[derive(Debug)]
pub struct OrtLibrary {
    path: PathBuf,
    engine: String,
    environment: Environment,
    cuda_provider: OnceLock<String>,
}

/// Finds the library: `ASSAY_ORT_DYLIB`, else `$ASSAY_HOME/ort/libonnxruntime.so`, else the same
/// below `~/.cache/assay`.
pub fn discover() -> Result<PathBuf, NnError> {
    let path = candidate(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
    if path.is_file() {
        Ok(path)
    } else {
        Err(NnError::LibraryMissing { path })
    }
}

fn candidate(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    if let Some(path) = variable(DYLIB_VARIABLE) {
        return PathBuf::from(path);
    }
    if let Some(home) = variable(HOME_VARIABLE) {
        return PathBuf::from(home).join(IN_HOME);
    }
    let home = variable("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    home.join(".cache/assay").join(IN_HOME)
}

impl OrtLibrary {
    /// Loads the library, or returns it if this process already has it.
    pub fn load(path: &Path) -> Result<Arc<Self>, NnError> {
        let missing = || NnError::LibraryMissing {
            path: path.to_path_buf(),
        };
        let path = path.canonicalize().map_err(|_| missing())?;
        if !path.is_file() {
            return Err(NnError::LibraryMissing { path });
        }
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = loaded.as_ref() {
            if library.path == path {
                return Ok(Arc::clone(library));
            }
            return Err(NnError::LibraryAlreadyLoaded {
                loaded: library.path.clone(),
                asked: path,
            });
        }
        let library = Arc::new(Self::open(path)?);
        *loaded = Some(Arc::clone(&library));
        Ok(library)
    }

    /// Finds the library and loads it.
    pub fn load_discovered() -> Result<Arc<Self>, NnError> {
        Self::load(&discover()?)
    }

    fn open(path: PathBuf) -> Result<Self, NnError> {
        // Before the library's own code runs, know which code it is.
        let digest = file_digest(&path)?;
        let unusable = |reason: String| NnError::LibraryUnusable {
            path: path.clone(),
            reason,
        };
        preload_beside(&path);
        let builder = ort::init_from(&path).map_err(|error| unusable(error.to_string()))?;
        let logger: ort::logging::LoggerFunction = Arc::new(log);
        let environment = builder.with_telemetry(false).with_logger(logger).build();
        let environment = environment.map_err(|error| unusable(error.to_string()))?;
        environment.set_log_level(LogLevel::Warning);
        let engine = format!("onnxruntime {} blake3:{digest}", build_id(ort::info()));
        Ok(Self {
            path,
            engine,
            environment,
            cuda_provider: OnceLock::new(),
        })
    }

    /// Where it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Branch, commit and digest of the build.
    pub fn engine(&self) -> &str {
        &self.engine
    }

    /// The library's environment, of which a process has one: benchmarks open their bare sessions in it.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The digest of the file that holds the CUDA kernels.
    pub(crate) fn cuda_provider_digest(&self) -> Result<&str, NnError> {
        if let Some(digest) = self.cuda_provider.get() {
            return Ok(digest);
        }
        let digest = format!(
            "cuda-blake3:{}",
            file_digest(&self.path.with_file_name(CUDA_PROVIDER))?
        );
        Ok(self.cuda_provider.get_or_init(|| digest))
    }
}

/// The CUDA provider names its libraries without saying where they are, and set-up puts them beside it:
/// those already in the process are found. Whatever cannot be loaded is missed, by name, when CUDA is
/// asked for; a library without the provider loads nothing here.
fn preload_beside(library: &Path) {
    let Some(folder) = library
        .parent()
        .filter(|folder| folder.join(CUDA_PROVIDER).is_file())
    else {
        return;
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut waiting: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.contains(".so") && !name.starts_with("libonnxruntime"))
        })
        .collect();
    waiting.sort();
    // They need one another: one that fails is tried again once others are there.
    loop {
        let before = waiting.len();
        waiting.retain(|path| ort::util::preload_dylib(path).is_err());
        if waiting.is_empty() || waiting.len() == before {
            break;
        }
    }
    for path in waiting {
        tracing::warn!(path = %path.display(), "a library beside the CUDA provider does not load");
    }
}

/// Branch and commit out of the library's description of itself.
fn build_id(info: &str) -> String {
    let words = info
        .split([',', ' '])
        .filter(|word| word.starts_with("git-"));
    let id: Vec<&str> = words.collect();
    if id.is_empty() {
        "unknown build".to_owned()
    } else {
        id.join(" ")
    }
}

/// The library's messages go to the log, not to our standard error, and not in full: a model names
/// its nodes as it likes.
fn log(level: LogLevel, category: &str, _id: &str, _location: &str, message: &str) {
    let mut end = message.len().min(MAX_LOG_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let message = message.get(..end).unwrap_or_default();
    match level {
        LogLevel::Error | LogLevel::Fatal => {
            tracing::debug!(category, ?message, "onnxruntime error")
        }
        _ => tracing::trace!(category, ?message, "onnxruntime"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_looked_for_in_the_stated_order() {
        let with = |set: &'static [(&str, &str)]| {
            candidate(move |name| {
                set.iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| OsString::from(value))
            })
        };
        for (set, expected) in [
            (
                &[
                    ("ASSAY_ORT_DYLIB", "/o.so"),
                    ("ASSAY_HOME", "/h"),
                    ("HOME", "/me"),
                ][..],
                "/o.so",
            ),
            (
                &[("ASSAY_HOME", "/h"), ("HOME", "/me")],
                "/h/ort/libonnxruntime.so",
            ),
            (&[("HOME", "/me")], "/me/.cache/assay/ort/libonnxruntime.so"),
        ] {
            assert_eq!(with(set), Path::new(expected));
        }
    }

    #[test]
    fn a_missing_library_says_how_to_get_it() {
        let text = OrtLibrary::load(Path::new("/nowhere/libonnxruntime.so"))
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("cargo xtask setup") && text.contains("ASSAY_ORT_DYLIB"),
            "{text}"
        );
    }

    #[test]
    fn a_build_is_named_by_branch_and_commit() {
        let info = "ORT Build Info: git-branch=rel-1.31.1, git-commit-id=26250ae, build type=Release, cmake cxx flags: -O3";
        assert_eq!(
            build_id(info),
            "git-branch=rel-1.31.1 git-commit-id=26250ae"
        );
        assert_eq!(build_id(""), "unknown build");
    }
}
