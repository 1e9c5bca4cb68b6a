//! An aggregator as its operator meets it: set up, started from its file, told what is wrong.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Daemon, Deadline, Output, Response, assay, assay_with, get, repository, request};

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

/// Started on ports of the system's choice, with more arguments.
fn start(data: &Path, more: &[&str]) -> Result<Daemon> {
    init(data, &[])?.ok()?;
    let named = format!("--data={}", data.display());
    let all = ["aggregator", "start", &named]
        .into_iter()
        .chain(more.iter().copied());
    Daemon::start("mine", data, all.map(OsString::from).collect())
}

/// What whoever a proxy on this machine says it is gets.
fn forwarded(base: &str, method: &str, path: &str, client: &str) -> Result<Response> {
    request(base, method, path, &[("x-forwarded-for", client)], b"")
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

/// Whether somebody who fails so often to show the operator's token is told to wait.
fn is_stopped(base: &str, client: &str, often: usize) -> Result<bool> {
    for _ in 0..often {
        match forwarded(base, "POST", "/api/v1/collections", client)?.status {
            401 => {}
            429 => return Ok(true),
            other => anyhow::bail!("status {other}"),
        }
    }
    Ok(false)
}

#[test]
fn clients_behind_a_trusted_proxy_are_told_apart_and_nobody_else_is_believed() -> Result<()> {
    // About a hundred failures at once are too many.
    const ENOUGH: usize = 500;
    const FEW: usize = 50;
    let folder = tempfile::tempdir()?;
    let (loud, quiet) = ("198.51.100.7, 192.0.2.1", "203.0.113.1");
    for (name, trusted) in [("proxied", "127.0.0.0/8"), ("direct", "10.0.0.0/8")] {
        let proxy = format!("--trusted-proxy={trusted}");
        let daemon = start(&folder.path().join(name), &[&proxy])?;
        let http = &daemon.ready.http;
        ensure!(is_stopped(http, loud, ENOUGH)?, "{name}: no bound");
        ensure!(is_stopped(http, "192.0.2.1", FEW)?, "{name}: it goes on");
        let other = is_stopped(http, quiet, FEW)?;
        ensure!(
            other == (name == "direct"),
            "{name}: another waits: {other}"
        );
    }
    Ok(())
}

#[test]
fn a_trusted_proxy_may_have_more_connections_than_one_network_and_each_of_its_clients_not()
-> Result<()> {
    /// What one network may have open.
    const MOST: usize = 256;
    let folder = tempfile::tempdir()?;
    let daemon = start(&folder.path().join("mine"), &["--trusted-proxy=127.0.0.1"])?;
    let http = &daemon.ready.http;
    let address = http.trim_start_matches("http://");
    // Requests whose bodies do not come last long enough.
    let begun = |client: &str| -> Result<TcpStream> {
        let mut stream = TcpStream::connect(address)?;
        write!(
            stream,
            "POST /api/v1/jobs HTTP/1.1\r\nhost: {address}\r\nx-forwarded-for: {client}\r\n\
             content-length: 1\r\n\r\n"
        )?;
        Ok(stream)
    };
    let crowd = (0..MOST).map(|_| begun("192.0.2.1"));
    let crowd = crowd.collect::<Result<Vec<_>>>()?;
    let deadline = Deadline::after(Duration::from_secs(10));
    let refused = loop {
        let answer = forwarded(http, "GET", "/api/v1/jobs", "192.0.2.99")?;
        if answer.status != 200 || deadline.over() {
            break answer;
        }
    };
    ensure!(refused.status == 429, "{}", refused.head);
    ensure!(refused.code() == "too-many-requests", "{}", refused.code());
    let other = forwarded(http, "GET", "/api/v1/jobs", "203.0.113.1")?;
    ensure!(other.status == 200, "another network: {}", other.head);
    let own = get(http, "/api/v1/jobs")?;
    ensure!(own.status == 200, "the proxy itself: {}", own.head);
    drop(crowd);
    Ok(())
}

#[test]
fn providers_are_told_first_where_the_operator_says_that_it_is_reached() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("mine");
    let outside = "/ip4/203.0.113.7/tcp/7701";
    let daemon = start(&data, &[&format!("--p2p-external={outside}")])?;
    let health = get(&daemon.ready.http, "/api/v1/health")?.json()?;
    let told = health["p2p"].as_array().context("no addresses")?;
    let told: Vec<&str> = told.iter().filter_map(Value::as_str).collect();
    ensure!(told == daemon.ready.p2p, "{told:?}");
    let [first, second] = told.as_slice() else {
        anyhow::bail!("{told:?}");
    };
    let id = first.strip_prefix(outside).context("another is first")?;
    ensure!(id.starts_with("/p2p/"), "{first}");
    ensure!(
        second.starts_with("/ip4/127.0.0.1/tcp/") && second.ends_with(id),
        "{second}"
    );
    Ok(())
}

#[test]
fn proxies_and_addresses_that_cannot_be_meant_are_refused_by_their_value() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("mine");
    init(&data, &[])?.ok()?;
    let file = data.join("aggregator.toml");
    let good = fs::read_to_string(&file)?;
    for (wrong, said) in [
        (
            "--trusted-proxy=nginx",
            "\"nginx\" is no range of addresses",
        ),
        ("--trusted-proxy=10.0.0.0/33", "it has 0 to 32 bits"),
        (
            "--trusted-proxy=10.0.0.5/8",
            "10.0.0.5 has bits beyond the first 8",
        ),
        ("--p2p=nowhere", "\"nowhere\" is not a usable multiaddress"),
        (
            "--p2p-external=203.0.113.7:7701",
            "\"203.0.113.7:7701\" cannot be used",
        ),
        (
            "--p2p-external=/ip4/0.0.0.0/tcp/7701",
            "nobody can connect to /ip4/0.0.0.0",
        ),
        (
            "--p2p-external=/dns4/assay.example.org/tcp/1",
            "write it as /ip4/ADDRESS",
        ),
    ] {
        asked(&data, &["start", wrong])?.refused(2, said)?;
    }
    for (key, value) in [("trusted_proxies", "10.0.0.0/40"), ("p2p_external", "here")] {
        let (shown, wrong) = (format!("#{key} = []"), format!("{key} = [{value:?}]"));
        fs::write(&file, good.replace(&shown, &wrong))?;
        asked(&data, &["start"])?.refused(2, &format!("{value:?}"))?;
    }
    fs::write(&file, &good)?;
    let shown = data.to_string_lossy();
    for (name, value) in [("TRUSTED_PROXIES", "::1,::2/200"), ("P2P_EXTERNAL", "here")] {
        let variable = [(format!("ASSAY_AGGREGATOR_{name}"), OsString::from(value))];
        let variable = variable
            .each_ref()
            .map(|(name, value)| (name.as_str(), value.clone()));
        let said = value.rsplit(',').next().unwrap_or_default();
        let start = ["aggregator", "start", "--data", &shown];
        assay_with(&start, &variable, &repository())?.refused(2, &format!("{said:?}"))?;
    }
    Ok(())
}
