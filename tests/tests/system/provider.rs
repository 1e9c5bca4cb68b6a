//! A provider as its owner meets it: set up, started from its file, told what is wrong.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Daemon, Job, Market, Plan, amount, assay, assay_with, repository};

/// A job that one provider can do alone.
pub(crate) fn alone(name: &str) -> Job {
    Job {
        replicas: 1,
        max_replicas: 1,
        ..Job::new(name)
    }
}

/// What a provider says to `assay provider …`.
pub(crate) fn ask(data: &Path, arguments: &[&str]) -> Result<Value> {
    asked(data, arguments)?.ok()?.json()
}

pub(crate) fn asked(data: &Path, arguments: &[&str]) -> Result<tests::Output> {
    let data = data.to_string_lossy();
    let mut all = vec!["--json", "provider"];
    all.extend(arguments);
    all.extend(["--data", &data]);
    assay(&all)
}

#[test]
fn a_provider_is_set_up_and_runs_and_earns_by_its_file() -> Result<()> {
    let market = Market::up(&Plan::default())?;
    let data = market.dir().join("mine");
    let aggregator = format!("--aggregator={}", market.http());
    let made = ask(&data, &["init", "--no-benchmark", &aggregator])?;
    ensure!(made["machine"]["cores"].as_u64() > Some(0), "{made}");
    ensure!(
        made["machine"]["protections"]
            .as_array()
            .is_some_and(|all| all.len() == 5),
        "{made}"
    );
    asked(&data, &["init", "--no-benchmark"])?.refused(2, "--force")?;
    let again = ask(&data, &["init", "--no-benchmark", "--force", &aggregator])?;
    ensure!(again["provider"] == made["provider"], "a key was replaced");

    let arguments = ["provider", "start"].map(OsString::from).into_iter();
    let named = format!("--data={}", data.display());
    let cheap = ["--price-per-gfuel=0.001".into(), "--drain-seconds=5".into()];
    let arguments = arguments.chain([named.into()]).chain(cheap).collect();
    let daemon = Daemon::start("mine", &data, arguments)?;
    ensure!(
        Some(daemon.ready.id.as_str()) == made["provider"].as_str(),
        "another key is used"
    );
    market.deposit(&format!("stake:{}", daemon.ready.id), "10")?;
    market.wait_for_providers(1)?;
    let id = market.submit(&alone("mine"))?;
    market.wait_done(&id)?;

    let status = ask(&data, &["status"])?;
    ensure!(
        status["state"] == "working" && status["done_today"] == 4,
        "{status}"
    );
    ensure!(status["aggregators"][0]["listed"] == true, "{status}");
    let says = &status["aggregator_says"];
    ensure!(
        says["provider"]["agreements"] == 4 && says["stake"] == "10.000000",
        "{says}"
    );
    let earnings = ask(&data, &["earnings", "--since=1d"])?;
    let (claimed, paid) = (
        amount(&earnings["asked"])?,
        amount(&earnings["aggregator_says"]["paid"])?,
    );
    ensure!(claimed == paid && paid > 0, "{earnings}");
    Ok(())
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_its_line_its_key_and_the_fix() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("p");
    ask(&data, &["init", "--no-benchmark"])?;
    let file = data.join("provider.toml");
    let good = fs::read_to_string(&file)?;
    let workers = good.lines().position(|line| line.starts_with("workers = "));
    let line = workers.context("no workers")? + 1;
    let cut = good.split_once("complete").context("no end")?.0.to_owned();
    for (text, said) in [
        (
            good.replace("workers = ", "worker = "),
            format!("line {line}: unknown key `worker`: did you mean `workers`?"),
        ),
        (
            good.replace("workers = ", "workers = \"two\" #"),
            format!("line {line}: key `workers`: invalid type"),
        ),
        (
            good.replace("workers = ", "workers = 300 #"),
            "workers = 300: must be 1 to 256".to_owned(),
        ),
        (cut, "end it with `complete = true`".to_owned()),
        (String::new(), "end it with `complete = true`".to_owned()),
        (
            good.replace("schema = 1", "schema = 9"),
            "it has schema 9".to_owned(),
        ),
        (
            good.replace("aggregators = []", "aggregators = [\"nowhere\"]"),
            "nowhere".to_owned(),
        ),
    ] {
        fs::write(&file, &text)?;
        asked(&data, &["start"])?.refused(2, &said)?;
    }
    // A variable goes before the file, and a flag before the variable.
    fs::write(&file, &good)?;
    let shown = data.to_string_lossy();
    let start = ["provider", "start", "--data", &shown];
    let variable = [("ASSAY_PROVIDER_WORKERS", OsString::from("301"))];
    assay_with(&start, &variable, &repository())?.refused(2, "workers = 301")?;
    let flagged: Vec<&str> = start.into_iter().chain(["--workers=302"]).collect();
    assay_with(&flagged, &variable, &repository())?.refused(2, "workers = 302")?;
    Ok(())
}

#[test]
fn a_key_that_is_none_and_a_port_in_use_are_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().to_owned();
    let key = data.join("identity.key");
    for (text, mode, said) in [
        ("half a key", 0o600, "expected 64 hexadecimal digits"),
        (
            &"ab".repeat(32),
            0o644,
            "others may read it (mode 644, must be 600)",
        ),
    ] {
        fs::write(&key, text)?;
        fs::set_permissions(&key, fs::Permissions::from_mode(mode))?;
        asked(&data, &["start"])?.refused(2, said)?;
        asked(&data, &["init", "--no-benchmark"])?.refused(2, said)?;
    }
    fs::remove_file(&key)?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr()?.port());
    asked(&data, &["start", "--listen", &address])?.refused(1, &address)?;
    asked(&data, &["start", "--listen=none", "--listen", &address])?
        .refused(2, "`none` stands alone")?;
    fs::write(data.join("changes.json"), "{\"per_gfuel\":")?;
    asked(&data, &["start"])?.refused(2, "remove it to go back to the configuration")?;
    Ok(())
}

#[test]
fn nobody_is_asked_where_no_provider_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for command in [
        &["status"][..],
        &["drain", "--wait"],
        &["mode", "never"],
        &["price", "get"],
        &["policy", "show"],
        &["tasks", "list"],
        &["earnings"],
        &["cache", "prune"],
    ] {
        asked(folder.path(), command)?.refused(6, "assay provider start --data")?;
        asked(&folder.path().join("missing"), command)?.refused(6, "no provider runs in")?;
    }
    Ok(())
}

#[test]
fn a_machine_that_holds_what_is_tried_says_so() -> Result<()> {
    let report = assay(&["--json", "provider", "selftest"])?;
    let code = report.code;
    let report = report.json()?;
    let attempts = report["attempts"].as_array().context("no attempts")?;
    let blocked = attempts.iter().filter(|attempt| attempt["blocked"] == true);
    ensure!(report["attempts_blocked"] == blocked.count(), "{report}");
    ensure!(report["agreement"]["agree"] == true, "{report}");
    ensure!((code == 0) == (report["held"] == true), "{code}: {report}");
    // Where a protection is missing it is named, with what to do; the drill's own test requires all of them.
    let missing = report["missing"].as_array().context("no protections")?;
    let lacking: Vec<_> = missing.iter().filter(|one| one["there"] == false).collect();
    ensure!(lacking.iter().all(|one| one["fix"] != ""), "{lacking:?}");
    ensure!(code == 0 || !lacking.is_empty(), "{report}");
    Ok(())
}
