//! The `generate` example: its tokens against those of the same models under Python, and its own promises.
//!
//! The reference is the same ONNX file on the same build of ONNX Runtime, driven by other code: one
//! prompt at a time, nothing padded, another tokenizer's host and another loop. It shows that guest,
//! batches, caches and host change no token; whether the file is the model it claims to be is what
//! `independent.py` shows, when set-up converts the checkpoint.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Output, assay, repository};

use crate::reference::home;

/// How near the likeliest token of a reference may be to the next. Another order of additions moves a logit by about
/// 1e-5, so that with this margin tokens are the same on every processor.
const MIN_MARGIN: f64 = 1e-3;

/// Prompts whose answers run to their limit of 64 tokens, at least; the others end by themselves.
const WHOLE_MIN: u64 = 20;

/// `fresh` runs the reference instead of reading what it wrote (it takes a minute or two).
const FRESH: &str = "ASSAY_REFERENCE";

const FOLDER: &str = "examples/generate";

#[test]
fn a_language_model_writes_the_tokens_of_its_reference() -> Result<()> {
    let model = home()?.join("models/smollm2-135m-instruct-fp32.onnx");
    ensure!(
        model.is_file(),
        "there is no {}: make it with `cargo xtask setup --generate`",
        model.display()
    );
    let summary = agrees("job.toml", "prompts.reference.json")?;
    let whole = summary["of_64_tokens"].as_u64();
    ensure!(whole >= Some(WHOLE_MIN), "{summary}");
    Ok(())
}

#[test]
fn a_model_of_bytes_writes_the_tokens_of_its_reference() -> Result<()> {
    agrees("tinylm.toml", "beginnings.reference.json")?;
    Ok(())
}

/// Runs a job and compares every output with its reference.
fn agrees(manifest: &str, reference: &str) -> Result<Value> {
    let scratch = tempfile::tempdir()?;
    let folder = repository().join(FOLDER);
    let manifest = folder.join(manifest);
    let run = run(&manifest, scratch.path())?.ok()?.json()?;
    if std::env::var(FRESH).is_ok_and(|value| value == "fresh") {
        let compared = Command::new(home()?.join("venv/bin/python"))
            .arg(folder.join("reference.py"))
            .arg("--job")
            .arg(&manifest)
            .arg(result(scratch.path()))
            .output()?;
        let [summary, errors] =
            [&compared.stdout, &compared.stderr].map(|text| String::from_utf8_lossy(text));
        ensure!(compared.status.success(), "{summary}{errors}");
    }
    let written = fs::read_to_string(folder.join("data").join(reference))?;
    let reference: Value = serde_json::from_str(&written)?;
    is_of(&reference, &manifest)?;
    let expected = reference["items"].as_array().context("no items")?;
    let outputs = outputs(scratch.path())?;
    ensure!(outputs.len() == expected.len(), "{} outputs", outputs.len());
    let (mut tokens, mut whole) = (0, 0);
    for (output, expected) in outputs.iter().zip(expected) {
        let (item, mut expected) = (&expected[0], expected[1].clone());
        expected
            .as_object_mut()
            .context("no object")?
            .remove("margin");
        ensure!(*output == expected, "{item}: {output}, not {expected}");
        let count = expected["tokens"].as_array().map_or(0, Vec::len);
        tokens += count;
        whole += usize::from(count == 64);
    }
    // Every token was chosen on the host, and so were those that ended a row without being written.
    let chosen = run["meters"]["tokens"].as_u64().context("no tokens")?;
    let stopped = outputs.iter().filter(|output| output["finish"] == "stop");
    let most = tokens + stopped.count();
    ensure!((tokens..=most).contains(&usize::try_from(chosen)?), "{run}");
    let summary = json!({
        "items": outputs.len(),
        "tokens": tokens,
        "of_64_tokens": whole,
        "tokens_per_s": run["tokens_per_s"],
        "least_margin": reference["least_margin"],
    });
    eprintln!("{summary}");
    Ok(summary)
}

/// Whether a reference was written for what the manifest names, and says more than rounding could change.
fn is_of(reference: &Value, manifest: &Path) -> Result<()> {
    let text = fs::read_to_string(manifest)?;
    let digest = reference["model"].as_str().context("no model")?;
    ensure!(text.contains(digest), "the reference is for {digest}");
    let input = reference["input"].as_str().context("no input")?;
    ensure!(text.contains(input), "the reference is for {input}");
    let lines = fs::read_to_string(repository().join(FOLDER).join(input))?;
    let item = |line: &str| match serde_json::from_str(line) {
        Ok(item @ Value::Object(_)) => item,
        _ => json!({ "prompt": line }),
    };
    let items: Vec<Value> = lines.lines().map(item).collect();
    let known = reference["items"].as_array().context("no items")?;
    let known: Vec<Value> = known.iter().map(|pair| pair[0].clone()).collect();
    ensure!(
        items == known,
        "{input} was changed: run `reference.py --write` again"
    );
    let margin = reference["least_margin"].as_f64();
    ensure!(margin >= Some(MIN_MARGIN), "the margin is {margin:?}");
    Ok(())
}

/// One item a shard or all in one: padding, neighbours and batches of other sizes change no token.
#[test]
fn an_answer_does_not_depend_on_its_neighbours() -> Result<()> {
    let items = fs::read_to_string(repository().join(FOLDER).join("data/beginnings.jsonl"))?;
    let mut answers = Vec::new();
    for items_per_shard in [1, 7, 64] {
        let scratch = tempfile::tempdir()?;
        answers.push(answer(scratch.path(), &items, items_per_shard)?);
    }
    ensure!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    Ok(())
}

#[test]
fn a_seed_decides_what_is_drawn() -> Result<()> {
    let item = |seed: &str| {
        format!(
            r#"{{"prompt":"And the king said ","temperature":0.9,"top_k":40,"top_p":0.95{seed}}}"#
        )
    };
    let given = [
        item(r#","seed":1"#),
        item(""),
        item(r#","seed":2"#),
        item(r#","seed":1"#),
    ];
    let items = [
        &given[0],
        "The king said ",
        &given[1],
        &given[2],
        &given[3],
        &given[1],
    ]
    .join("\n");
    let scratch = tempfile::tempdir()?;
    let first = answer(scratch.path(), &items, 6)?;
    ensure!(first[0] == first[4], "one seed, two texts");
    ensure!(first[0] != first[3], "two seeds, one text");
    ensure!(first[2] != first[5], "two items without a seed drew alike");
    let again = answer(scratch.path(), &items, 6)?;
    ensure!(
        first[0] == again[0] && first[3] == again[3],
        "another run, another text"
    );
    // Without a seed of its own an item draws what the job and the shard give it, and another run is another job.
    ensure!(first[2] != again[2], "two jobs drew alike");
    Ok(())
}

#[test]
fn what_is_wrong_with_an_item_is_said_by_its_number_and_value() -> Result<()> {
    let long = "x".repeat(100);
    let cases = [
        (
            r#"{"prompt":"a","max_new_tokens":900}"#,
            "item 2: max_new_tokens is 900, it must be 1 to 512",
        ),
        (r#"{"prompt":"a","top":900}"#, "item 2: unknown field `top`"),
        (
            r#"{"prompt":"a","stop_tokens":[256]}"#,
            "item 2: a stop token is 256, it must be 0 to 255",
        ),
        (&long, "in a context of 128, is 100, it must be 1 to 64"),
        ("", "item 2: prompt is empty"),
    ];
    for (item, reason) in cases {
        let scratch = tempfile::tempdir()?;
        let manifest = write(scratch.path(), &format!("a\nb\n{item}\nc"), 2)?;
        run(&manifest, scratch.path())?.refused(3, reason)?;
    }
    Ok(())
}

/// Writes a job for the model of bytes and runs it.
fn answer(scratch: &Path, items: &str, items_per_shard: u32) -> Result<Vec<Value>> {
    let manifest = write(scratch, items, items_per_shard)?;
    run(&manifest, scratch)?.ok()?;
    outputs(scratch)
}

/// `tinylm.toml` with other items.
fn write(scratch: &Path, items: &str, items_per_shard: u32) -> Result<PathBuf> {
    let folder = repository().join(FOLDER);
    let text = fs::read_to_string(folder.join("tinylm.toml"))?;
    let there = |path: &str| format!("\"{}", folder.join(path).display());
    let text = text
        .replace("\"target/", &there("target/"))
        .replace("\"../../", &there("../../"))
        .replace("data/beginnings.jsonl", "items.jsonl")
        .replace(
            "items_per_shard = 10",
            &format!("items_per_shard = {items_per_shard}"),
        );
    fs::write(scratch.join("items.jsonl"), items)?;
    let manifest = scratch.join("job.toml");
    fs::write(&manifest, text)?;
    Ok(manifest)
}

/// Runs a job of this example on this machine.
fn run(manifest: &Path, scratch: &Path) -> Result<Output> {
    let component = repository()
        .join(FOLDER)
        .join("target/generate.component.wasm");
    if !component.is_file() {
        assay(&["component", "build", FOLDER])?.ok()?;
    }
    let (manifest, result) = (manifest.to_string_lossy(), result(scratch));
    let out = result.to_string_lossy();
    assay(&["--json", "job", "run", "--local", &manifest, "--out", &out])
}

fn result(scratch: &Path) -> PathBuf {
    scratch.join("result.jsonl")
}

fn outputs(scratch: &Path) -> Result<Vec<Value>> {
    let lines = fs::read_to_string(result(scratch))?;
    let outputs: Result<Vec<Value>, _> = lines.lines().map(serde_json::from_str).collect();
    Ok(outputs?)
}
