//! What an operator changes while a provider runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::{Deadline, Job, Market, Plan, assay_binary, submitted};

use crate::provider::{alone, ask, asked};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(50);

/// Looks until something holds.
fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Deadline::after(PATIENCE);
    while !deadline.over() {
        if holds()? {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    bail!("not in time: {what}")
}

/// Submits again and again until somebody serves; returns the job's id.
fn served(market: &Market, name: &str) -> Result<String> {
    let mut job = None;
    until("somebody serves", || {
        let submission = market.try_submit(&alone(name))?;
        if submission.code != 0 {
            submission.refused(1, "nobody-serves")?;
            return Ok(false);
        }
        job = Some(submitted(submission)?);
        Ok(true)
    })?;
    job.context("no job")
}

/// Waits until a provider holds an assignment; returns its id.
fn held(data: &Path) -> Result<String> {
    let mut found = None;
    until("an assignment is held", || {
        let tasks = ask(data, &["tasks", "list"])?;
        found = tasks[0]["assignment"].as_str().map(str::to_owned);
        Ok(tasks[0]["stage"] == "running")
    })?;
    found.context("a task without an id")
}

#[test]
fn prices_and_modes_are_announced_at_once_and_hold_over_a_restart() -> Result<()> {
    let mut market = Market::up(&Plan::honest(1))?;
    let (data, id) = (
        market.providers[0].data.clone(),
        market.provider_ids().remove(0),
    );
    let price = ask(&data, &["price", "set", "--per-gfuel=0.002"])?;
    ensure!(
        price["per_gfuel"] == "0.002000" && price["changed"]["per_gfuel"] == true,
        "{price}"
    );
    until("the aggregator knows the price", || {
        Ok(market.provider(&id)?["price"]["per_gfuel"] == "0.002000")
    })?;
    let mode = ask(&data, &["mode", "never"])?;
    ensure!(mode["state"] == "resting", "{mode}");
    market.providers[0].restart()?;
    let status = ask(&data, &["status"])?;
    ensure!(
        status["mode"] == "never" && status["price"]["per_gfuel"] == "0.002000",
        "{status}"
    );
    // Whoever rests is given nothing, so nothing is refused or held against it; the client is told.
    market
        .try_submit(&alone("rest"))?
        .refused(1, "nobody-serves")?;
    ask(&data, &["mode", "always"])?;
    market.wait_done(&served(&market, "rest")?)?;
    let status = ask(&data, &["status"])?;
    ensure!(
        status["refused"] == 0 && status["done_today"] == 4,
        "{status}"
    );
    ensure!(
        market.provider(&id)?["failures"] == 0,
        "it was held against it"
    );
    // For a while, and then as before.
    ask(&data, &["mode", "never", "--for=1s"])?;
    until("the hour is over", || {
        Ok(ask(&data, &["status"])?["state"] == "working")
    })?;
    let reset = ask(&data, &["price", "set", "--reset"])?;
    ensure!(
        reset["per_gfuel"] == "0.001000" && reset["changed"]["per_gfuel"] == false,
        "{reset}"
    );
    asked(&data, &["mode", "never", "--for=999d"])?.refused(2, "from 1s to 366d")?;
    asked(&data, &["mode", "sometimes"])?.refused(2, "use auto, always or never")?;
    Ok(())
}

#[test]
fn a_provider_works_for_whom_its_policy_names() -> Result<()> {
    let market = Market::up(&Plan::honest(1))?;
    let data = market.providers[0].data.clone();
    let client = market.client.clone();
    let policy = ask(&data, &["policy", "deny", &client])?;
    ensure!(policy["choices"]["deny"][0] == client.as_str(), "{policy}");
    let job = market.submit(&alone("denied"))?;
    until("it is refused", || {
        Ok(ask(&data, &["status"])?["refused"].as_u64() > Some(0))
    })?;
    ask(&data, &["policy", "allow", &client])?;
    market.wait_done(&job)?;
    ask(&data, &["policy", "reward-min", "1000"])?;
    let before = ask(&data, &["status"])?["refused"].as_u64();
    let job = market.submit(&alone("poor"))?;
    until("it is refused", || {
        Ok(ask(&data, &["status"])?["refused"].as_u64() > before)
    })?;
    let policy = ask(&data, &["policy", "reset"])?;
    ensure!(policy["changes"] == serde_json::json!({}), "{policy}");
    market.wait_done(&job)?;
    asked(&data, &["policy", "model-max", "999TiB"])?.refused(2, "must be at most")?;
    asked(&data, &["policy", "deny", "me"])?.refused(2, "me")?;
    Ok(())
}

#[test]
fn work_waits_while_somebody_uses_the_machine() -> Result<()> {
    // With a share of nothing there is always somebody, and with everything nobody.
    let plan = Plan::honest(2)
        .with("--mode=auto")
        .with("--idle-cpu-percent=0");
    let market = Market::up(&plan)?;
    let data = market.providers[1].data.clone();
    until("the machine is in use", || {
        let status = ask(&data, &["status"])?;
        let why = status["why"].as_str().unwrap_or_default();
        Ok(status["state"] == "resting" && why.contains("more than 0 %"))
    })?;
    let plan = Plan::honest(1)
        .with("--mode=auto")
        .with("--idle-cpu-percent=100");
    drop(market);
    let market = Market::up(&plan)?;
    market.wait_done(&served(&market, "idle")?)?;
    Ok(())
}

#[test]
fn draining_finishes_what_runs_and_takes_nothing_more() -> Result<()> {
    let market = Market::up(&Plan::default().and("slow"))?;
    let data = market.providers[0].data.clone();
    let job = market.submit(&alone("drained"))?;
    held(&data)?;
    let status = ask(&data, &["drain", "--wait"])?;
    ensure!(
        status["state"] == "drained" && status["held"] == 0,
        "{status}"
    );
    let done = status["done_today"].as_u64().context("no count")?;
    ensure!((1..4).contains(&done), "not drained in between: {status}");
    let view = market.view(&job)?;
    ensure!(
        view["phase"] != "done" && view["phase"] != "failed",
        "{view}"
    );
    ask(&data, &["drain", "--undo"])?;
    market.wait_done(&job)?;
    ensure!(
        market.provider(&market.provider_ids()[0])?["failures"] == 0,
        "it was held against it"
    );
    Ok(())
}

#[test]
fn an_aborted_task_is_handed_back_and_done_by_somebody_else() -> Result<()> {
    let market = Market::up(&Plan::honest(1).and("stall"))?;
    let data = market.providers[1].data.clone();
    let job = Job {
        max_replicas: 3,
        ..Job::new("aborted")
    };
    let id = market.submit(&Job { replicas: 1, ..job })?;
    let task = held(&data)?;
    asked(&data, &["tasks", "abort", "00"])?.refused(2, "no assignment under way is named")?;
    ensure!(
        ask(&data, &["tasks", "abort", &task])?["aborted"] == true,
        "{task}"
    );
    // It may be given others; each is handed back until everything is done by the other one.
    until("the job is done", || {
        if let Some(task) = ask(&data, &["tasks", "list"])?[0]["assignment"].as_str() {
            asked(&data, &["tasks", "abort", task])?;
        }
        Ok(market.view(&id)?["phase"] == "done")
    })?;
    ensure!(
        ask(&data, &["status"])?["failed_today"].as_u64() > Some(0),
        "nothing failed"
    );
    Ok(())
}

#[test]
fn the_cache_shows_what_it_holds_and_gives_up_what_nobody_needs() -> Result<()> {
    let market = Market::up(&Plan::honest(1))?;
    let data = market.providers[0].data.clone();
    let job = market.submit(&alone("kept"))?;
    market.wait_done(&job)?;
    let cache = ask(&data, &["cache", "list"])?;
    let list = cache["list"].as_array().context("no list")?;
    // A component, four inputs and four outputs; the outputs are kept for their aggregator.
    let of = |needed: bool| list.iter().filter(move |blob| blob["needed"] == needed);
    ensure!(of(true).count() == 4 && of(false).count() == 5, "{cache}");
    let blob = |needed| of(needed).next().and_then(|blob| blob["blob"].as_str());
    let (needed, free) = (blob(true).context("none")?, blob(false).context("none")?);
    asked(&data, &["cache", "rm", needed])?.refused(1, "is needed by an assignment")?;
    ensure!(
        ask(&data, &["cache", "rm", free])?["removed"] == 1,
        "{free}"
    );
    asked(&data, &["cache", "rm", free])?.refused(2, "is not in the cache")?;
    let pruned = ask(&data, &["cache", "prune"])?;
    ensure!(pruned["removed"] == 4 && pruned["blobs"] == 4, "{pruned}");
    // What was removed is fetched again.
    let job = market.submit(&alone("fetched-again"))?;
    market.wait_done(&job)?;
    Ok(())
}

fn connect(data: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(data.join("control.sock"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The first line that comes back.
fn line(stream: UnixStream) -> Result<Value> {
    let mut text = String::new();
    BufReader::new(stream).read_line(&mut text)?;
    serde_json::from_str(&text).with_context(|| format!("no answer: {text:?}"))
}

#[test]
fn whatever_happens_to_the_control_socket_work_goes_on() -> Result<()> {
    let market = Market::up(&Plan::honest(1))?;
    let data = market.providers[0].data.clone();
    let job = market.submit(&alone("steady"))?;
    for (sent, code) in [
        (&b"hello\n"[..], "request"),
        (b"{\"version\":7,\"ask\":\"status\"}\n", "version"),
        (
            b"{\"version\":1,\"ask\":{\"cache-remove\":{\"blob\":\"x\"}}}\n",
            "request",
        ),
        (&vec![b'x'; 65 * 1024 + 1], "too-large"),
        // Never ended: it is waited for, but not for ever.
        (b"{\"version\":1", "timeout"),
    ] {
        let mut stream = connect(&data)?;
        stream.write_all(sent)?;
        let answer = line(stream)?;
        ensure!(answer["error"]["code"] == code, "{code}: {answer}");
    }
    // As many as may, who say nothing; the next is told so.
    let silent = (0..16)
        .map(|_| connect(&data))
        .collect::<Result<Vec<_>>>()?;
    let turned_away = line(connect(&data)?)?;
    ensure!(turned_away["error"]["code"] == "busy", "{turned_away}");
    asked(&data, &["status"])?.refused(1, "which is the most")?;
    market.wait_done(&job)?;
    drop(silent);
    until("there is room again", || {
        Ok(asked(&data, &["status"])?.code == 0)
    })?;
    let mut stream = connect(&data)?;
    // Cut short by whoever asked: nothing comes back.
    stream.write_all(b"{\"version\":1")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    ensure!(rest.is_empty(), "{rest:?}");
    Ok(())
}

/// Another user's id.
const NOBODY: u32 = 65_534;

#[test]
fn another_user_is_refused_by_the_file_and_by_the_daemon() -> Result<()> {
    if Command::new("id").arg("-u").output()?.stdout != b"0\n" {
        eprintln!("NOT CHECKED: only root can be somebody else");
        return Ok(());
    }
    let market = Market::up(&Plan::honest(1))?;
    let data = market.providers[0].data.clone();
    let binary = market.dir().join("assay");
    std::fs::copy(assay_binary()?, &binary)?;
    let open =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    open(market.dir(), 0o755)?;
    let status = || -> Result<(Option<i32>, String)> {
        let output = Command::new(&binary)
            .args(["provider", "status", "--data"])
            .arg(&data)
            .uid(NOBODY)
            .current_dir("/")
            .output()?;
        Ok((
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    };
    let (code, said) = status()?;
    ensure!(
        code == Some(6) && said.contains("is another user's"),
        "{code:?}: {said}"
    );
    // Were the file open to everybody, the daemon would still look at who is there.
    open(&data.join("control.sock"), 0o666)?;
    let (code, said) = status()?;
    let refused = format!("this provider is of user 0, you are {NOBODY}");
    ensure!(
        code == Some(7) && said.contains(&refused),
        "{code:?}: {said}"
    );
    Ok(())
}
