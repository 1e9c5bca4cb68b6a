//! The Python environments that tests compare the examples against: the same models, run by other
//! people's code.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::run;

/// Pinned requirements, each with its digest: those of the examples, and of the cases of the ONNX project.
const REQUIREMENTS: [&str; 2] = [
    "examples/embed/requirements.txt",
    "tests/conformance/requirements.txt",
];

/// The same for the packages `magika` and `rapidocr-onnxruntime`, which `examples/sniff` and `examples/ocr` are
/// compared with. Theirs is an environment apart, as they bring much (200 MB) that nothing else needs.
const PACKAGES: [&str; 3] = [
    "examples/embed/requirements.txt",
    "examples/sniff/requirements.txt",
    "examples/ocr/requirements.txt",
];

/// Where the two lie below Assay's own folder.
pub(super) const FOLDERS: [&str; 2] = ["venv", "venv-examples"];

/// A Python environment and what it is made of.
pub(super) struct Environment {
    /// Where it lies.
    pub(super) folder: PathBuf,
    /// Lists of pinned requirements, relative to the repository.
    pub(super) requirements: &'static [&'static str],
}

pub(super) fn run(home: &Path) -> Result<()> {
    let [examples, packages] = FOLDERS.map(|folder| home.join(folder));
    ensure(&Environment {
        folder: examples,
        requirements: &REQUIREMENTS,
    })?;
    ensure(&Environment {
        folder: packages,
        requirements: &PACKAGES,
    })
}

/// Makes an environment unless it is there, of what is pinned now.
pub(super) fn ensure(wanted: &Environment) -> Result<()> {
    let root = run::root()?;
    let lists: Vec<PathBuf> = wanted
        .requirements
        .iter()
        .map(|list| root.join(list))
        .collect();
    let mut pinned = String::new();
    for list in &lists {
        pinned += &fs::read_to_string(list)
            .with_context(|| format!("could not read {}", list.display()))?;
    }
    let venv = &wanted.folder;
    // Written last: an interrupted installation is started again.
    let stamp = venv.join("requirements.installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == pinned) {
        return Ok(());
    }
    eprintln!("  making the Python environment {}", venv.display());
    make(venv, &lists)?;
    fs::write(&stamp, pinned).with_context(|| format!("could not write {}", stamp.display()))
}

/// Makes a Python environment of what lists of pinned requirements name.
pub(super) fn make(venv: &Path, lists: &[PathBuf]) -> Result<()> {
    run::check_quietly(
        run::program("python3")?
            .args(["-m", "venv", "--clear"])
            .arg(venv),
    )?;
    let mut pip = run::program(venv.join("bin").join("python"))?;
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
    ]);
    // Which Pythons a package knows of is no question: each is pinned, and those that are compiled by their tags.
    pip.args(["--only-binary", ":all:", "--ignore-requires-python"]);
    for list in lists {
        pip.arg("--requirement").arg(list);
    }
    run::check_quietly(&mut pip)
}
