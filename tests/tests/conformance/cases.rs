//! The exported cases, made with the reference environment if they are not there yet.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tests::repository;

/// What decides the export; written beside it when it is whole.
const SOURCES: [&str; 2] = ["export.py", "requirements.txt"];
const STAMP: &str = "made-from";

/// Everything `export.py` wrote.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) folder: PathBuf,
    pub(crate) index: Index,
    data: Vec<u8>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    pub(crate) onnx: String,
    pub(crate) onnxruntime: String,
    pub(crate) cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) operator: String,
    pub(crate) types: Vec<String>,
    pub(crate) rtol: f64,
    pub(crate) atol: f64,
    /// "pass", or what ONNX Runtime under Python says.
    pub(crate) library: String,
    /// A type of the case's values that `wasi:nn` does not have.
    pub(crate) uncarried: Option<String>,
    pub(crate) sets: Vec<Set>,
}

/// Where one set of inputs and expected outputs lies in the data: offset and length.
#[derive(Debug, Deserialize)]
pub(crate) struct Set {
    pub(crate) inputs: (usize, usize),
    pub(crate) outputs: (usize, usize),
}

impl Suite {
    pub(crate) fn bytes(&self, (offset, length): (usize, usize)) -> &[u8] {
        &self.data[offset..offset + length]
    }

    pub(crate) fn model(&self, case: &Case) -> PathBuf {
        self.folder
            .join("models")
            .join(format!("{}.onnx", case.name))
    }
}

/// Where the record, the exporter and its requirements are.
pub(crate) fn folder() -> PathBuf {
    repository().join("tests/conformance")
}

/// The cases, or why they cannot be had on this machine.
pub(crate) fn suite() -> Result<Result<Suite, String>> {
    let home = home()?;
    let python = home.join("venv/bin/python");
    let able = Command::new(&python)
        .args(["-c", "import onnx, onnxruntime"])
        .output();
    if !able.is_ok_and(|answer| answer.status.success()) {
        return Ok(Err(format!(
            "the cases of the ONNX project, because {} has no onnx: make it with `cargo xtask setup --reference`",
            python.display()
        )));
    }
    let at = home.join("conformance/onnx");
    let mut wanted = String::new();
    for source in SOURCES {
        wanted += &fs::read_to_string(folder().join(source))?;
    }
    if !fs::read_to_string(at.join(STAMP)).is_ok_and(|found| found == wanted) {
        export(&python, &at, &wanted)?;
    }
    let index = fs::read(at.join("cases.json"))?;
    Ok(Ok(Suite {
        index: serde_json::from_slice(&index)?,
        data: fs::read(at.join("data.bin"))?,
        folder: at,
    }))
}

fn export(python: &Path, at: &Path, wanted: &str) -> Result<()> {
    if at.exists() {
        fs::remove_dir_all(at)?;
    }
    fs::create_dir_all(at)?;
    let made = Command::new(python)
        .arg(folder().join("export.py"))
        .arg(at)
        .output()?;
    ensure!(
        made.status.success(),
        "export.py failed: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(fs::write(at.join(STAMP), wanted)?)
}

fn home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("ASSAY_HOME").filter(|home| !home.is_empty()) {
        return Ok(home.into());
    }
    let user = std::env::var_os("HOME").context("neither ASSAY_HOME nor HOME is set")?;
    Ok(PathBuf::from(user).join(".cache/assay"))
}
