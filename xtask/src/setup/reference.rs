//! The Python environment that tests compare the examples against: the same model, run by other
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

pub(super) fn run(home: &Path) -> Result<()> {
    let root = run::root()?;
    let lists = REQUIREMENTS.map(|list| root.join(list));
    let mut wanted = String::new();
    for list in &lists {
        wanted += &fs::read_to_string(list)
            .with_context(|| format!("could not read {}", list.display()))?;
    }
    let venv = home.join("venv");
    // Written last: an interrupted installation is started again.
    let stamp = venv.join("requirements.installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    eprintln!("  making the reference environment {}", venv.display());
    make(&venv, &lists)?;
    fs::write(&stamp, wanted).with_context(|| format!("could not write {}", stamp.display()))
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
    pip.args(["--only-binary", ":all:"]);
    for list in lists {
        pip.arg("--requirement").arg(list);
    }
    run::check_quietly(&mut pip)
}
