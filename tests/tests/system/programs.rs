//! What programs that listen rely on: one JSON object, with the promised keys.

use anyhow::{Context, Result};
use serde_json::Value;
use tests::{Job, assay, echo_component};

#[test]
fn the_simulator_finds_nothing_and_repeats_itself() -> Result<()> {
    let run = || {
        assay(&["--json", "sim", "run", "--seeds", "50"])?
            .ok()?
            .json()
    };
    let (first, second) = (run()?, run()?);
    assert_eq!(first["seeds"], 50, "{first}");
    assert_eq!(first["violations"], 0, "{first}");
    assert!(
        first["faults"].as_u64() > Some(0),
        "nothing went wrong in the market: {first}"
    );
    assert!(
        first["log_hash"]
            .as_str()
            .is_some_and(|hash| !hash.is_empty()),
        "{first}"
    );
    assert_eq!(first["log_hash"], second["log_hash"]);
    let other = assay(&[
        "--json",
        "sim",
        "run",
        "--seeds",
        "50",
        "--seed-start",
        "50",
    ])?
    .ok()?;
    assert_ne!(
        first["log_hash"],
        other.json()?["log_hash"],
        "other seeds, the same history"
    );
    Ok(())
}

#[test]
fn the_demo_ends_with_one_object_of_the_promised_keys() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let job = Job {
        items: 16,
        component: Some(echo_component()?),
        ..Job::new("demo")
    };
    let manifest = job.write(folder.path())?;
    let (manifest, dir) = (manifest.to_string_lossy(), folder.path().join("market"));
    let dir = dir.to_string_lossy();
    let mut arguments = vec![
        "--json",
        "devnet",
        "demo",
        "--providers",
        "3",
        "--cheating",
        "1",
    ];
    arguments.extend(["--job", &manifest, "--dir", &dir]);
    let output = assay(&arguments)?.ok()?;
    let summary = output.json()?;
    let number = |key: &str| {
        summary[key]
            .as_f64()
            .with_context(|| format!("no {key}: {summary}"))
    };
    assert_eq!(number("items")?, 16.0);
    assert_eq!(number("shards")?, 8.0);
    assert!(number("replicas")? >= 16.0, "{summary}");
    assert!(number("disagreements")? >= 1.0, "{summary}");
    assert_eq!(number("cheaters_caught")?, 1.0);
    assert_eq!(number("honest_penalised")?, 0.0);
    assert!(number("throughput_items_per_s")? > 0.0);
    assert_eq!(tests::amount(&summary["escrow_left"])?, 0);
    assert!(tests::amount(&summary["paid"])? > 0, "{summary}");
    let receipts = summary["receipts"].as_str().context("no receipts")?;
    assay(&["receipt", "verify", receipts])?.ok()?;
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(
        lines
            .iter()
            .all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "{lines:?}"
    );
    Ok(())
}

#[test]
fn an_unsafe_configuration_of_audits_is_refused_by_name() -> Result<()> {
    let safe = assay(&["--json", "aggregator", "economics"])?
        .ok()?
        .json()?;
    let holds = safe["holds"].as_array().context("no list")?;
    assert!(
        holds.len() >= 10 && holds.iter().all(|holds| holds == true),
        "{safe}"
    );
    for (change, named) in [
        (
            "stake=0",
            "unsafe configuration: fines-are-covered: 0 units is not >= 250 units",
        ),
        ("peer=5", "peer is 5, at least 1000000 is needed"),
        ("colour=5", "there is no parameter \"colour\""),
    ] {
        assay(&["aggregator", "economics", "--set", change])?.refused(2, named)?;
    }
    Ok(())
}

#[test]
fn the_campaign_prints_one_object_with_a_row_for_each_cell() -> Result<()> {
    let arguments = [
        "sim",
        "verify",
        "--policy",
        "ours, no holdback",
        "--adversary",
        "colluding",
    ];
    let fewer = ["--lives", "50", "--share", "0.1", "--no-sweeps"];
    let report = assay(&[&["--json"][..], &arguments[..], &fewer[..]].concat())?
        .ok()?
        .json()?;
    let rows = report["rows"].as_array().context("no rows")?;
    assert_eq!(rows.len(), 1, "{report}");
    for key in ["R", "error", "error_ci95", "slashed_honest", "horizon"] {
        assert!(!rows[0][key].is_null(), "{key}: {report}");
    }
    assay(&["sim", "verify", "--policy", "magic"])?.refused(2, "magic")?;
    Ok(())
}
