//! Jobs in JavaScript and Python: the examples in a market, what goes wrong in them, and new ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Market, Plan, assay, assay_with, repository, submitted};

use crate::reference::home;

/// Magika prints scores cut after three decimals, and processors round differently.
const SCORE_APART_MAX: f64 = 2e-3;

/// Builds an example where its manifest looks for it. Who has built it before finds it kept.
fn build(example: &str) -> Result<()> {
    assay(&["component", "setup"])?.ok()?;
    assay(&["component", "build", example])?.ok()?;
    Ok(())
}

#[test]
fn jobs_in_javascript_and_python_agree_on_every_replica_and_are_paid() -> Result<()> {
    let model = home()?.join("models/magika-standard-v3.3.onnx");
    ensure!(
        model.is_file(),
        "there is no {}: fetch it with `cargo xtask setup`",
        model.display()
    );
    let examples = ["examples/js", "examples/python"];
    for example in examples {
        build(example)?;
    }
    // One worker each: two would compile the same megabytes side by side.
    let mut plan = Plan::honest(2);
    for provider in 0..plan.providers.len() {
        let arguments = plan.provider_arguments.entry(provider).or_default();
        arguments.push("--workers=1".to_owned());
    }
    let market = Market::up(&plan)?;
    let mut ids = Vec::new();
    for example in examples {
        let manifest = repository().join(example).join("job.toml");
        let id = submitted(market.submit_manifest(&manifest)?)?;
        // One after the other: each provider compiles megabytes first.
        market.wait_agreed(&id, 2)?;
        ids.push(id);
    }
    market.check_settled(&ids)?;
    market.audit()?;
    let results = ids
        .iter()
        .map(|id| Ok(market.fetch(id)?.join("result.jsonl")));
    let [javascript, python] = results
        .collect::<Result<Vec<PathBuf>>>()?
        .try_into()
        .ok()
        .context("not two results")?;
    are_statistics(&lines(&javascript)?)?;
    are_kinds(&lines(&python)?)
}

fn lines(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

/// Holds the answers of the JavaScript example against counts made here.
fn are_statistics(answers: &[Value]) -> Result<()> {
    let records = lines(&repository().join("examples/js/data/passages.jsonl"))?;
    ensure!(answers.len() == records.len(), "{} answers", answers.len());
    for (record, answer) in records.iter().zip(answers) {
        let text = record["text"].as_str().context("no text")?.to_lowercase();
        let words: Vec<&str> = text
            .split(|symbol: char| !symbol.is_alphabetic())
            .filter(|word| !word.is_empty())
            .collect();
        let distinct: BTreeSet<&str> = words.iter().copied().collect();
        let counted = [text.chars().count(), words.len(), distinct.len()];
        let told = ["characters", "words", "distinct"].map(|key| answer[key].as_u64());
        ensure!(answer["id"] == record["id"], "{answer}");
        ensure!(
            told == counted.map(|count| Some(count as u64)),
            "{counted:?}, not {answer}"
        );
        let top = answer["top"].as_array().context("no top")?;
        ensure!(top.len() == 5, "{answer}");
        for pair in top {
            let often = words.iter().filter(|word| pair[0] == **word).count();
            ensure!(pair[1] == often, "{pair} is there {often} times");
        }
    }
    Ok(())
}

/// Holds the answers of the Python example against what Magika's own program said.
fn are_kinds(answers: &[Value]) -> Result<()> {
    let path = repository().join("examples/python/data/kinds.json");
    let known: Vec<(String, String, f64)> = serde_json::from_slice(&fs::read(path)?)?;
    ensure!(answers.len() == known.len(), "{} answers", answers.len());
    for ((file, kind, score), answer) in known.iter().zip(answers) {
        let told = answer["score"].as_f64().context("no score")?;
        ensure!(answer["kind"] == **kind, "{file} is {kind}, not {answer}");
        ensure!(
            (told - score).abs() < SCORE_APART_MAX,
            "{file} scores {score}, not {answer}"
        );
    }
    Ok(())
}

#[test]
fn what_is_wrong_with_an_item_is_said_by_a_script_too() -> Result<()> {
    build("examples/js")?;
    let scratch = tempfile::tempdir()?;
    let folder = repository().join("examples/js");
    let manifest = fs::read_to_string(folder.join("job.toml"))?;
    let component = folder.join("target/js.component.wasm");
    let manifest = manifest
        .replace("target/js.component.wasm", &component.to_string_lossy())
        .replace("data/passages.jsonl", "items.jsonl");
    fs::write(scratch.path().join("job.toml"), manifest)?;
    let good = r#"{"text":"Two words."}"#;
    for (item, words) in [
        (
            r#"{"txt":"x"}"#,
            r#"bad-input: item 9: it has no field "text" with a string"#,
        ),
        (r#"{"text":"#, "bad-input: item 9: it is not JSON"),
    ] {
        let items = [vec![good; 9], vec![item]].concat().join("\n");
        fs::write(scratch.path().join("items.jsonl"), items)?;
        let manifest = scratch.path().join("job.toml");
        let out = scratch.path().join("result");
        assay(&[
            "job",
            "run",
            "--local",
            &manifest.to_string_lossy(),
            "--out",
            &out.to_string_lossy(),
        ])?
        .refused(3, words)?;
    }
    Ok(())
}

#[test]
fn a_source_that_does_not_parse_is_named_with_its_line() -> Result<()> {
    assay(&["component", "setup"])?.ok()?;
    for (language, file, words) in [
        ("js", "job.js", "job.js:2"),
        ("python", "job.py", "job.py\", line 2"),
    ] {
        let scratch = tempfile::tempdir()?;
        let here = |arguments: &[&str]| assay_with(arguments, &[], scratch.path());
        here(&["component", "new", "broken", "--lang", language])?.ok()?;
        fs::write(scratch.path().join("broken").join(file), "\nrun = = 1\n")?;
        here(&["component", "build", "broken"])?.refused(1, words)?;
    }
    Ok(())
}

#[test]
fn a_new_job_in_a_scripting_language_builds_and_runs_as_it_is() -> Result<()> {
    assay(&["component", "setup"])?.ok()?;
    for (language, tool) in [("js", "componentize-js"), ("python", "componentize-py")] {
        let scratch = tempfile::tempdir()?;
        let here = |arguments: &[&str]| assay_with(arguments, &[], scratch.path());
        here(&["component", "new", "first", "--lang", language])?.ok()?;
        here(&["component", "new", "first", "--lang", language])?.refused(2, "is there already")?;
        let built = here(&["--json", "component", "build", "first"])?
            .ok()?
            .json()?;
        ensure!(built["profile"] == "compat", "{built}");
        let toolchain = built["toolchain"].as_str().unwrap_or_default();
        ensure!(toolchain.starts_with(tool), "{built}");
        // What was built before is what is built again.
        let again = here(&["--json", "component", "build", "first"])?
            .ok()?
            .json()?;
        ensure!(built == again, "{built}, then {again}");
        let found = here(&[
            "--json",
            "component",
            "inspect",
            "first/target/first.component.wasm",
        ])?;
        ensure!(found.ok()?.json()?["digest"] == built["digest"], "{built}");
        here(&["job", "run", "--local", "first/job.toml", "--out", "result"])?.ok()?;
        let result = fs::read(scratch.path().join("result"))?;
        let outputs = jobs::items::decode(&result)?;
        let lines = fs::read_to_string(scratch.path().join("first/data/lines.txt"))?;
        let expected: Vec<String> = lines.lines().map(str::to_uppercase).collect();
        ensure!(
            outputs == expected.iter().map(String::as_bytes).collect::<Vec<_>>(),
            "{outputs:?}"
        );
    }
    Ok(())
}
