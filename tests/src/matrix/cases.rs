//! Who cheats, and how.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use host_gpu::{ModelEdit, edit_model};

use super::workload::tinylm;

/// Somebody to run the jobs against.
#[derive(Debug)]
pub struct Case {
    /// Its name in the table.
    pub name: &'static str,
    /// One entry a provider: `--misbehave`, with `{}` for the case's folder.
    pub misbehave: &'static [&'static str],
    /// Whether its providers say that one operator runs them.
    pub one_operator: bool,
    /// Whether one job in five embeds with MiniLM; the others continue texts with `tinylm`.
    pub embeds: bool,
    /// The device that the jobs require.
    pub device: &'static str,
}

const fn of(name: &'static str, misbehave: &'static [&'static str]) -> Case {
    Case {
        name,
        misbehave,
        one_operator: false,
        embeds: true,
        device: "any",
    }
}

/// With a model in place of the job's, which must be the same one in every job.
const fn with_model(name: &'static str, misbehave: &'static [&'static str]) -> Case {
    Case {
        embeds: false,
        ..of(name, misbehave)
    }
}

/// Every case, the honest market first.
pub const CASES: [Case; 22] = [
    of("nobody", &[]),
    of("wrong", &["wrong"]),
    of("lazy", &["lazy"]),
    of("copy", &["copy"]),
    of("stall", &["stall"]),
    of("crash", &["crash"]),
    of("equivocate", &["equivocate"]),
    of("targeted", &["sometimes=0.05"]),
    of("replay", &["replay"]),
    with_model("quantised, int8", &["model={}/int8.onnx"]),
    with_model("quantised, int4", &["model={}/int4.onnx"]),
    with_model("stale, one weight", &["model={}/stale.onnx"]),
    of("overclaim", &["overclaim=2"]),
    of("cpu as gpu, any device", &["cpu-as-gpu"]),
    Case {
        device: "gpu",
        ..of("cpu as gpu, gpu required", &["cpu-as-gpu", "cpu-as-gpu"])
    },
    of("two colluders", &["collude={}/secret", "collude={}/secret"]),
    Case {
        one_operator: true,
        ..of(
            "two colluders, one operator",
            &["collude={}/secret", "collude={}/secret"],
        )
    },
    of(
        "two colluders, 5 %",
        &["collude=0.05:{}/secret", "collude=0.05:{}/secret"],
    ),
    of(
        "two conspirators",
        &["conspire={}/shared", "conspire={}/shared"],
    ),
    Case {
        one_operator: true,
        ..of(
            "two conspirators, one operator",
            &["conspire={}/shared", "conspire={}/shared"],
        )
    },
    of("relay", &["relay={}/shared", "relay={}/shared"]),
    Case {
        one_operator: true,
        ..of(
            "relay, one operator",
            &["relay={}/shared", "relay={}/shared"],
        )
    },
];

/// The case of this name.
///
/// # Errors
/// If there is none, with the names there are.
pub fn case(name: &str) -> Result<&'static Case> {
    let found = CASES.iter().find(|case| case.name == name);
    found.with_context(|| {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        format!("there is no adversary {name:?}: one of {names:?}")
    })
}

impl Case {
    /// Makes what its providers name.
    pub(super) fn prepare(&self, folder: &Path) -> Result<()> {
        fs::create_dir(folder.join("shared"))?;
        fs::write(folder.join("secret"), "between us")?;
        let names = |file: &str| self.misbehave.iter().any(|how| how.contains(file));
        let edits = [
            ("int8.onnx", ModelEdit::Int8Weights),
            ("int4.onnx", ModelEdit::Int4Weights),
        ];
        for (file, edit) in edits {
            if names(file) {
                let mut model = fs::read(tinylm())?;
                edit_model(&mut model, edit).map_err(anyhow::Error::msg)?;
                fs::write(folder.join(file), model)?;
            }
        }
        if names("stale.onnx") {
            fs::write(folder.join("stale.onnx"), stale()?)?;
        }
        Ok(())
    }
}

/// The model with one of its weights another: the first of those that skipping a layer would set to zero.
fn stale() -> Result<Vec<u8>> {
    let mut model = fs::read(tinylm())?;
    let mut skipped = model.clone();
    edit_model(&mut skipped, ModelEdit::SkippedLayer).map_err(anyhow::Error::msg)?;
    let differs = model.iter().zip(&skipped).position(|(a, b)| a != b);
    let at = differs.context("skipping a layer changes nothing")?;
    let weight = model.get_mut(at..at.saturating_add(4));
    let weight = weight.context("the weight lies outside of the file")?;
    weight.copy_from_slice(&4.0_f32.to_le_bytes());
    ensure!(model != skipped, "nothing was changed");
    Ok(model)
}
