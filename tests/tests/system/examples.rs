//! The examples `sniff` and `ocr` against the packages that their models come from, and in a market.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Market, Plan, assay, example_component, repository, submitted};

use crate::reference::home;

/// Real files that are compared, at least, and kinds among them.
const FILES_MIN: u64 = 200;
const KINDS_MIN: u64 = 25;
/// Part of the files of which both say the same, at least.
const KINDS_AGREE_MIN: f64 = 0.99;
/// Scores are printed with four decimals, and processors round differently.
const SCORE_APART_MAX: f64 = 2e-3;

#[test]
fn kinds_of_real_files_are_those_that_magika_names() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let files = scratch.path().join("files");
    let script = repository().join("examples/sniff/collect.py");
    let mut collected = python(&[&script, &files])?;
    // Where each file is from: of interest to who looks for the one that differs.
    collected["sources"].take();
    let result = run("sniff", scratch.path(), |text| {
        text.replace("data/files", &files.to_string_lossy())
    })?;
    let reference = repository().join("examples/sniff/reference.py");
    let summary = python(&[&reference, &result, &files])?;
    eprintln!("{collected} {summary}");
    let figure = |key: &str| summary[key].as_f64().with_context(|| key.to_owned());
    assert!(summary["files"].as_u64() >= Some(FILES_MIN), "{summary}");
    assert!(summary["labels"].as_u64() >= Some(KINDS_MIN), "{summary}");
    assert!(figure("agreement")? >= KINDS_AGREE_MIN, "{summary}");
    assert!(figure("max_score_diff")? <= SCORE_APART_MAX, "{summary}");
    Ok(())
}

/// Characters that are read, at least.
const CHARACTERS_MIN: f64 = 1000.0;
/// Likeness of what the guest and RapidOCR read, at least, and how far it may fall behind in what is right.
const READERS_AGREE_MIN: f64 = 0.97;
const BEHIND_MAX: f64 = 0.02;
/// Part of the characters of each drawn picture that is right, at least. The scanned page is beyond both readers: of its
/// seven lines, which are low and close, they find five.
const RIGHT_MIN: f64 = 0.93;
const SCANNED: &str = "page.png";
/// Part of the lines that both find in the same place, at least.
const BOXES_MATCH_MIN: f64 = 0.9;

#[test]
fn text_in_pictures_is_what_rapidocr_reads_and_what_stands_there() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let result = run("ocr", scratch.path(), |text| text)?;
    let reference = repository().join("examples/ocr/reference.py");
    let summary = python(&[&reference, &result])?;
    eprintln!("{summary}");
    let figure = |key: &str| summary[key].as_f64().with_context(|| key.to_owned());
    assert!(figure("characters")? >= CHARACTERS_MIN, "{summary}");
    assert!(figure("agreement")? >= READERS_AGREE_MIN, "{summary}");
    let least = figure("accuracy_of_reference")? - BEHIND_MAX;
    assert!(figure("accuracy")? >= least, "{summary}");
    let boxes = figure("boxes")? * BOXES_MATCH_MIN;
    assert!(figure("boxes_matched")? >= boxes, "{summary}");
    let pictures = summary["pictures"].as_object().context("no pictures")?;
    for (name, picture) in pictures.iter().filter(|(name, _)| *name != SCANNED) {
        let right = picture["accuracy"].as_f64();
        assert!(right >= Some(RIGHT_MIN), "{name}: {picture}");
    }
    Ok(())
}

/// Pictures that take little time: nothing, a strip that is put into a frame, and two columns.
const QUICK: [&str; 3] = ["blank.png", "receipt.png", "strip.png"];

#[test]
fn replicas_of_files_and_pictures_are_equal_to_the_byte_and_paid() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let pictures = scratch.path().join("pictures");
    fs::create_dir(&pictures)?;
    for name in QUICK {
        let from = repository().join("examples/ocr/data/pictures").join(name);
        fs::copy(from, pictures.join(name))?;
    }
    let market = Market::up(&Plan::honest(2))?;
    let mut ids = Vec::new();
    for example in ["sniff", "ocr"] {
        let folder = scratch.path().join(example);
        fs::create_dir(&folder)?;
        // Tolerances are for machines of several kinds; these two are of one.
        let local = run(example, &folder, |text| {
            exact(text).replace("data/pictures", &pictures.to_string_lossy())
        })?;
        let id = submitted(market.submit_manifest(&folder.join("job.toml"))?)?;
        market.wait_agreed(&id, 2)?;
        let fetched = fs::read(market.fetch(&id)?.join("result.jsonl"))?;
        ensure!(fetched == fs::read(local)?, "{example} differs from here");
        ids.push(id);
    }
    market.check_settled(&ids)?;
    market.audit()
}

/// Runs an example's job here, with its manifest changed; returns where the result is.
fn run(example: &str, scratch: &Path, change: impl Fn(String) -> String) -> Result<PathBuf> {
    let folder = repository().join("examples").join(example);
    let text = fs::read_to_string(folder.join("job.toml"))?;
    let built = format!("target/{example}.component.wasm");
    let text = text.replace(&built, &example_component(example)?.to_string_lossy());
    let data = format!("\"{}/", folder.join("data").display());
    let text = change(text).replace("\"data/", &data);
    let (manifest, result) = (scratch.join("job.toml"), scratch.join("result.jsonl"));
    fs::write(&manifest, text)?;
    let [job, out] = [&manifest, &result].map(|path| path.to_string_lossy());
    assay(&["job", "run", "--local", &job, "--out", &out])?.ok()?;
    Ok(result)
}

/// The manifest with answers compared byte by byte.
fn exact(text: String) -> String {
    let mut kept = text.replace("comparator = \"json\"", "comparator = \"exact\"");
    while let Some(start) = kept.find("[[verify.field]]") {
        let table = &kept[start + 2..];
        let end = table.find("\n[").map_or(kept.len(), |at| start + 2 + at);
        kept.replace_range(start..end, "");
    }
    kept
}

/// What a script of an example prints, run where the packages are.
fn python(arguments: &[&Path]) -> Result<Value> {
    let python = home()?.join("venv-examples/bin/python");
    ensure!(
        python.is_file(),
        "there is no {}: make it with `cargo xtask setup --reference`",
        python.display()
    );
    let ran = Command::new(python).args(arguments).output()?;
    let [printed, errors] = [&ran.stdout, &ran.stderr].map(|text| String::from_utf8_lossy(text));
    serde_json::from_str(&printed).with_context(|| format!("{arguments:?}: {printed}{errors}"))
}
