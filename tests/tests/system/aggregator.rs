//! An aggregator as its operator meets it: set up, started from its file, told what is wrong.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Daemon, Output, assay, assay_with, get, repository};

/// What `assay aggregator …` says of this data directory.
fn asked(data: &Path, arguments: &[&str]) -> Result<Output> {
    let data = data.to_string_lossy();
    let mut all = vec!["--json", "aggregator"];
    all.extend(arguments);
    all.extend(["--data", &data]);
    assay(&all)
}

/// Made on ports of the system's choice.
fn init(data: &Path, more: &[&str]) -> Result<Output> {
    let mut all = vec!["init", "--http=127.0.0.1:0", "--p2p=/ip4/127.0.0.1/tcp/0"];
    all.extend(more);
    asked(data, &all)
}

#[test]
fn an_aggregator_is_set_up_and_runs_by_its_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("mine");
    let made: Value = init(&data, &["--fee-bps=150"])?.ok()?.json()?;
    init(&data, &[])?.refused(2, "replace it with --force")?;
    let again: Value = init(&data, &["--force", "--fee-bps=150"])?.ok()?.json()?;
    ensure!(
        again["aggregator"] == made["aggregator"],
        "a key was replaced"
    );
    ensure!(again["chosen"]["fee_bps"] == 150, "{again}");

    let file = data.join("aggregator.toml");
    let text = fs::read_to_string(&file)?;
    fs::write(&file, text.replace("#audit = []", "audit = [\"window=5\"]"))?;
    let arguments = ["aggregator", "start"].map(OsString::from).into_iter();
    let named = format!("--data={}", data.display());
    let arguments = arguments.chain([named.into()]).collect();
    let daemon = Daemon::start("mine", &data, arguments)?;
    ensure!(
        Some(daemon.ready.id.as_str()) == made["aggregator"].as_str(),
        "another key is used"
    );
    let auditing = get(&daemon.ready.http, "/api/v1/auditing")?.json()?;
    ensure!(auditing["params"]["window"] == 5, "{auditing}");
    Ok(())
}

#[test]
fn ports_that_are_taken_are_told_of_when_it_is_set_up() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let held = TcpListener::bind("127.0.0.1:0")?;
    let taken = held.local_addr()?;
    let http = format!("--http={taken}");
    let data = folder.path().join("mine");
    let peers = "--p2p=/ip4/127.0.0.1/tcp/0";
    let made: Value = asked(&data, &["init", &http, peers])?.ok()?.json()?;
    let ports = &made["checks"][1];
    ensure!(
        ports["status"] == "warn" && ports["found"].to_string().contains(&taken.to_string()),
        "{made}"
    );
    drop(held);
    let wrong = folder.path().join("wrong");
    asked(&wrong, &["init", "--p2p=7701"])?.refused(2, "\"7701\" is no multiaddress")?;
    ensure!(!wrong.exists(), "something was made of a mistake");
    Ok(())
}

#[test]
fn a_file_that_is_wrong_is_refused_with_its_line_its_key_and_the_fix() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("mine");
    init(&data, &[])?.ok()?;
    let file = data.join("aggregator.toml");
    let good = fs::read_to_string(&file)?;
    let fee = good.lines().position(|line| line.starts_with("fee_bps = "));
    let line = fee.context("no fee")? + 1;
    let cut = good.split_once("complete").context("no end")?.0.to_owned();
    for (text, said) in [
        (
            good.replace("fee_bps = ", "fee_bsp = "),
            format!("line {line}: unknown key `fee_bsp`: did you mean `fee_bps`?"),
        ),
        (
            good.replace("fee_bps = ", "fee_bps = \"a lot\" #"),
            format!("line {line}: key `fee_bps`: invalid type"),
        ),
        (
            good.replace("fee_bps = ", "fee_bps = 201 #"),
            "201".to_owned(),
        ),
        (
            good.replace("#audit = []", "audit = [\"widow=1\"]"),
            "there is no parameter \"widow\"".to_owned(),
        ),
        (cut, "end it with `complete = true`".to_owned()),
    ] {
        fs::write(&file, &text)?;
        asked(&data, &["start"])?.refused(2, &said)?;
    }
    // A variable goes before the file, and a flag before the variable.
    fs::write(&file, &good)?;
    let shown = data.to_string_lossy();
    let start = ["aggregator", "start", "--data", &shown];
    let variable = [("ASSAY_AGGREGATOR_FEE_BPS", OsString::from("301"))];
    assay_with(&start, &variable, &repository())?.refused(2, "301")?;
    let flagged: Vec<&str> = start.into_iter().chain(["--fee-bps=302"]).collect();
    assay_with(&flagged, &variable, &repository())?.refused(2, "302")?;
    Ok(())
}
