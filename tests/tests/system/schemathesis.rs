//! A serving aggregator, asked for everything that its description allows and forbids by a tool that knows nothing but
//! that description.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Job, Market, Plan, get, repository, target_dir};

use crate::reference::home;

/// Requests that are made up for each operation, beside those at the bounds of every value.
const EXAMPLES: &str = "20";

/// Things that are there, for about half of the requests to ask for.
fn real(market: &Market) -> Result<Value> {
    let job = market.submit(&Job::new("described"))?;
    market.wait_done(&job)?;
    let record = get(market.http(), &format!("/api/v1/jobs/{job}/record"))?.json()?;
    let package = record["package"]["package"].as_str();
    let package: Value = serde_json::from_str(package.context("a record without a package")?)?;
    let digests = "blake3:[0-9a-f]{64}";
    Ok(json!({
        "job": { "like": digests, "use": job },
        "digest": { "like": digests, "use": package["input"]["blob"]["digest"] },
        "shard": { "like": "[0-9]+", "use": 0 },
        // Nobody but this one: the others answer.
        "provider": { "like": "[0-9a-f]{64}", "use": market.provider_ids()[2] },
    }))
}

fn asked(market: &Market, folder: &Path) -> Result<String> {
    let st = home()?.join("schemathesis/bin/st");
    ensure!(
        st.is_file(),
        "there is no {}: make it with `cargo xtask setup --interface`",
        st.display()
    );
    let conformance = repository().join("tests/conformance");
    let report = folder.join("junit.xml");
    let asked = Command::new(st)
        .arg("--config-file")
        .arg(conformance.join("schemathesis.toml"))
        .args(["run", "--no-color"])
        .args(["--max-examples", EXAMPLES])
        .arg("--report-junit-path")
        .arg(&report)
        .arg(format!("{}/api/v1/openapi.json", market.http()))
        .current_dir(folder)
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .env("PYTHONPATH", &conformance)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("ASSAY_KEY", &market.key)
        .env("ASSAY_TOKEN", market.aggregator.data.join("operator.token"))
        .env("ASSAY_BACKUPS", market.dir().join("backups"))
        .env("ASSAY_REAL", real(market)?.to_string())
        .output()?;
    let told = String::from_utf8_lossy(&asked.stdout).into_owned();
    fs::write(folder.join("told.txt"), &told)?;
    let stderr = String::from_utf8_lossy(&asked.stderr);
    ensure!(asked.status.success(), "{told}\n{stderr}");
    Ok(told)
}

#[test]
fn every_answer_is_as_described_and_what_is_not_described_is_refused() -> Result<()> {
    let market = Market::up(&Plan::honest(3))?;
    let folder = target_dir()?.join("system-tests/schemathesis");
    fs::create_dir_all(&folder)?;
    let told = asked(&market, &folder)?;
    let description = get(market.http(), "/api/v1/openapi.json")?.json()?;
    let paths = description["paths"].as_object().into_iter().flatten();
    let operations: usize = paths
        .filter_map(|(_, methods)| methods.as_object().map(serde_json::Map::len))
        .sum();
    // All but the description itself, and the events of everything, which have no end.
    let tested = format!("Tested: {}\n", operations - 2);
    ensure!(told.contains(&tested), "not {tested:?} in {told}");
    // It still serves, and no money was lost or made.
    market.audit()?;
    // Who may ban finds whom to ban in what the aggregator answers.
    let token = market.aggregator.data.join("operator.token");
    let token = format!("--token-file={}", token.display());
    for provider in market.provider_ids() {
        market
            .assay(&["aggregator", "ban", &provider, "--undo", &token])?
            .ok()?;
    }
    market.wait_for_providers(3)?;
    let next = market.submit(&Job::new("afterwards"))?;
    market.wait_done(&next)?;
    Ok(())
}
