//! The model of `examples/generate`, which no package ships as ONNX: its `convert.py` writes it, once.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::fetch::{self, Member};
use super::reference;
use crate::run;

/// What the conversion needs, each with its digest; the checkpoint itself is among it.
const REQUIREMENTS: &str = "examples/generate/requirements.txt";

/// What the check of the conversion needs besides.
const CHECKED_WITH: &str = "examples/embed/requirements.txt";

/// Computes an answer without the model that was converted, from the checkpoint, and compares.
const CHECK: &str = "examples/generate/independent.py";

/// SmolLM2-135M-Instruct (Apache-2.0) in 32-bit floats. The same bytes on every machine, so that a job
/// can name it by digest.
const MODEL: Member = Member {
    from: "examples/generate/convert.py",
    to: "models/smollm2-135m-instruct-fp32.onnx",
    size: 538_195_257,
    sha256: "f7ddc7f48488f3000a17feb9a2e49076a86ec0f123a30f06d151476ff2b69ae8",
};

/// Makes the model if it is not there; says how many were made.
pub(super) fn run(home: &Path) -> Result<usize> {
    if fetch::is_in_place(home, &MODEL) {
        return Ok(0);
    }
    eprintln!("  fetching what {} needs (150 MB)", MODEL.from);
    let staging = home
        .join("tmp")
        .join(format!("convert-{}", std::process::id()));
    fs::create_dir_all(&staging)
        .with_context(|| format!("could not create {}", staging.display()))?;
    let result = convert(home, &staging);
    // The environment served once, and is larger than the model.
    fs::remove_dir_all(&staging).ok();
    result.with_context(|| format!("could not make {}", MODEL.to))?;
    Ok(1)
}

fn convert(home: &Path, staging: &Path) -> Result<()> {
    let root = run::root()?;
    let venv = staging.join("venv");
    reference::make(
        &venv,
        &[REQUIREMENTS, CHECKED_WITH].map(|list| root.join(list)),
    )?;
    eprintln!("  converting SmolLM2-135M-Instruct (538 MB, half a minute)");
    let fresh = staging.join("model.onnx");
    let python = || run::program(venv.join("bin").join("python"));
    run::check_quietly(
        python()?
            .arg(root.join(MODEL.from))
            .arg("--model")
            .arg(&fresh),
    )?;
    let digest = fetch::sha256(&fresh)?;
    if digest != MODEL.sha256 {
        bail!(
            "{} wrote a model with digest {digest}, pinned is {}",
            MODEL.from,
            MODEL.sha256
        );
    }
    eprintln!("  computing an answer without it, from the checkpoint (half a minute)");
    run::check_quietly(python()?.arg(root.join(CHECK)).arg(&fresh))
        .context("the converted model is not the checkpoint")?;
    let to = home.join(MODEL.to);
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).with_context(|| format!("could not create {}", dir.display()))?;
    }
    fs::rename(&fresh, &to).with_context(|| format!("could not write {}", to.display()))?;
    eprintln!("  installed {}", to.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> String {
        fs::read_to_string(run::root().unwrap().join(path)).unwrap()
    }

    #[test]
    fn the_job_names_the_model_that_set_up_makes() {
        let job = text("examples/generate/job.toml");
        assert!(job.contains(&format!("source = \"{}\"", MODEL.to)), "{job}");
    }

    #[test]
    fn every_requirement_is_pinned_by_version_and_digest() {
        let lists = [
            REQUIREMENTS,
            "examples/embed/requirements.txt",
            "examples/sniff/requirements.txt",
            "examples/ocr/requirements.txt",
            "guest-sdk/tools/requirements.txt",
        ];
        for list in lists {
            let text = text(list).replace("\\\n", " ");
            let lines = text
                .lines()
                .filter(|line| !line.is_empty() && !line.starts_with('#'));
            for line in lines {
                assert!(
                    line.contains("==") && line.contains("--hash=sha256:"),
                    "{list}: {line}"
                );
            }
        }
    }
}
