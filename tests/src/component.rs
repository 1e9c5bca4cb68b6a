//! The components that test jobs run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::{assay, repository, target_dir};

/// The component of `examples/echo`: built by `assay component build` unless the one that was built
/// last is younger than its sources. Tests of several processes build it once.
///
/// # Errors
/// If it cannot be built.
pub fn echo_component() -> Result<PathBuf> {
    built("echo", "examples")
}

/// The component of `examples/generate`, built likewise.
///
/// # Errors
/// If it cannot be built.
pub(crate) fn generate_component() -> Result<PathBuf> {
    built("generate", "examples")
}

/// The component of `examples/embed`, built likewise.
///
/// # Errors
/// If it cannot be built.
pub fn embed_component() -> Result<PathBuf> {
    built("embed", "examples")
}

/// The component of the example of this name, built likewise.
///
/// # Errors
/// If it cannot be built.
pub fn example_component(name: &str) -> Result<PathBuf> {
    built(name, "examples")
}

/// The component of `tests/guests/tensors`, built likewise.
///
/// # Errors
/// If it cannot be built.
pub fn tensors_component() -> Result<PathBuf> {
    built("tensors", "tests/guests")
}

/// The component of a package in a workspace of guests.
fn built(package: &str, workspace: &str) -> Result<PathBuf> {
    let cache = target_dir()?.join("system-tests");
    fs::create_dir_all(&cache)?;
    let component = cache.join(format!("{package}.component.wasm"));
    // Held until the component is there; the others find it built.
    let lock = File::create(cache.join(format!("{package}.lock")))?;
    lock.lock()?;
    let project = format!("{workspace}/{package}");
    let sources = [
        format!("{project}/src"),
        format!("{project}/Cargo.toml"),
        format!("{workspace}/Cargo.lock"),
        "guest-sdk".to_owned(),
    ];
    let mut newest = SystemTime::UNIX_EPOCH;
    for source in sources {
        newest = newest.max(modified(&repository().join(source))?);
    }
    let found = fs::metadata(&component).and_then(|found| found.modified());
    if !found.is_ok_and(|found| found > newest) {
        let out = component.to_string_lossy();
        assay(&["component", "build", &project, "--out", &out])?.ok()?;
    }
    Ok(component)
}

/// A valid component that wants more of the world than a job gets.
///
/// # Errors
/// If the text does not assemble.
pub fn foreign_component() -> Result<Vec<u8>> {
    let text = r#"(component
        (import "wasi:http/outgoing-handler@0.2.0" (instance))
        (core module $m (func (export "run")))
        (core instance $i (instantiate $m))
        (func (export "run") (canon lift (core func $i "run"))))"#;
    wat::parse_str(text).context("the foreign component does not assemble")
}

/// When a file, or the youngest file of a folder, was last changed. Build outputs do not count.
fn modified(path: &Path) -> Result<SystemTime> {
    let mut newest = fs::metadata(path)
        .with_context(|| path.display().to_string())?
        .modified()?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_name() != "target" {
                newest = newest.max(modified(&entry.path())?);
            }
        }
    }
    Ok(newest)
}
