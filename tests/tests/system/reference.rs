//! The `embed` example against the same model under Python.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{assay, repository};

/// Largest difference of one number; a vector has length one.
const MAX_ABS_DIFF: f64 = 1e-3;
/// Smallest cosine of any line's two vectors.
const MIN_COSINE: f64 = 0.9999;

#[test]
fn embeddings_equal_those_of_the_reference() -> Result<()> {
    let python = home()?.join("venv/bin/python");
    ensure!(
        python.is_file(),
        "there is no {}: make it with `cargo xtask setup --reference`",
        python.display()
    );
    let scratch = tempfile::tempdir()?;
    let result = scratch.path().join("embed.npy");
    let out = result.to_string_lossy();
    let component = repository().join("examples/embed/target/embed.component.wasm");
    if !component.is_file() {
        assay(&["component", "build", "examples/embed"])?.ok()?;
    }
    assay(&[
        "job",
        "run",
        "--local",
        "examples/embed/job.toml",
        "--out",
        &out,
    ])?
    .ok()?;
    let compared = Command::new(python)
        .arg(repository().join("examples/embed/reference.py"))
        .arg(&result)
        .output()?;
    let stderr = String::from_utf8_lossy(&compared.stderr);
    let summary: Value =
        serde_json::from_slice(&compared.stdout).with_context(|| stderr.into_owned())?;
    eprintln!("{summary}");
    let difference = summary["max_abs_diff"].as_f64().context("no difference")?;
    let cosine = summary["min_cosine"].as_f64().context("no cosine")?;
    assert!(summary["items"].as_u64() >= Some(1000), "{summary}");
    assert!(difference <= MAX_ABS_DIFF, "{summary}");
    assert!(cosine >= MIN_COSINE, "{summary}");
    assert!(compared.status.success(), "{summary}");
    Ok(())
}

/// Where set-up puts models and the reference environment.
pub(crate) fn home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("ASSAY_HOME").filter(|home| !home.is_empty()) {
        return Ok(home.into());
    }
    let user = std::env::var_os("HOME").context("neither ASSAY_HOME nor HOME is set")?;
    Ok(PathBuf::from(user).join(".cache/assay"))
}
