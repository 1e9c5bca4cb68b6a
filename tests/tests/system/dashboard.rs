//! The dashboard, used in a real browser as a person would.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Job, Market, Plan, repository, target_dir};

use crate::reference::home;

/// Shards of the larger job: more than have a cell of their own with a sign in it.
const MANY: u32 = 600;

fn python() -> Result<PathBuf> {
    let python = home()?.join("browser/bin/python");
    ensure!(
        python.is_file(),
        "there is no {}: make it with `cargo xtask setup --interface`",
        python.display()
    );
    Ok(python)
}

/// A job in which the liar took part.
fn disputed(market: &Market) -> Result<String> {
    for attempt in 0..5 {
        let id = market.submit(&Job {
            items: 12,
            ..Job::new(&format!("disputed-{attempt}"))
        })?;
        if market.wait_done(&id)?["disagreements"].as_u64() > Some(0) {
            return Ok(id);
        }
    }
    anyhow::bail!("the liar never lied")
}

fn visited(market: &Market, pictures: &Path) -> Result<Value> {
    let disputed = disputed(market)?;
    let big = market.submit(&Job {
        items: MANY,
        items_per_shard: 1,
        price: "50".into(),
        ..Job::new("big")
    })?;
    market.wait_done(&big)?;
    let visit = Command::new(python()?)
        .arg(repository().join("tests/browser/check.py"))
        .args([market.http().as_ref(), pictures.as_os_str()])
        .args([&disputed, &big])
        .output()?;
    let stderr = String::from_utf8_lossy(&visit.stderr);
    ensure!(visit.status.success(), "{stderr}");
    serde_json::from_slice(&visit.stdout).with_context(|| stderr.into_owned())
}

/// Everything that an object names, with what it says of it.
fn entries(value: &Value) -> Vec<(&String, &Value)> {
    value.as_object().into_iter().flatten().collect()
}

fn check_scheme(scheme: &str, seen: &Value) {
    let nothing = Value::Array(Vec::new());
    assert_eq!(seen["troubles"], nothing, "{scheme}");
    assert_eq!(entries(&seen["views"]).len(), 5, "{scheme}");
    for (view, barriers) in entries(&seen["views"]) {
        assert_eq!(*barriers, nothing, "{scheme}, {view}");
    }
    for view in ["disputed", "big"] {
        assert_eq!(seen[view]["barriers"], nothing, "{scheme}, {view}");
    }
    let disputed = &seen["disputed"];
    assert_eq!(disputed["outvoted"], 1, "{scheme}: {disputed}");
    assert_eq!(disputed["verdict"], "This record checks out.", "{disputed}");
    let checks = disputed["checks"].as_array().map_or(&[][..], Vec::as_slice);
    assert_eq!(checks.len(), 7, "{disputed}");
    assert!(checks.iter().all(|check| check == "holds"), "{disputed}");
    assert_eq!(seen["big"]["cells"], MANY, "{scheme}");
    assert_eq!(seen["live"], true, "{scheme}: nothing is told of events");
    let theme = &seen["theme"];
    assert_eq!(theme["first"], scheme);
    assert_ne!(theme["other"], scheme);
    assert_eq!(theme["remembered"], theme["other"], "{theme}");
}

#[test]
fn the_dashboard_shows_the_market_and_verifies_records_in_the_page() -> Result<()> {
    let market = Market::up(&Plan::honest(3).and("wrong"))?;
    let pictures = target_dir()?.join("system-tests/dashboard");
    let seen = visited(&market, &pictures)?;
    for scheme in ["light", "dark"] {
        check_scheme(scheme, &seen[scheme]);
        for view in [
            "overview",
            "jobs",
            "disagreements",
            "providers",
            "money",
            "job",
            "big",
        ] {
            let picture = pictures.join(format!("{view}-{scheme}.png"));
            assert!(picture.metadata()?.len() > 10_000, "{}", picture.display());
        }
    }
    let keyboard = &seen["keyboard"];
    assert_eq!(keyboard["skip"], "Skip to content", "{keyboard}");
    assert_eq!(keyboard["reached"], true, "{keyboard}");
    assert_eq!(keyboard["moved"], "shard 1: accepted", "{keyboard}");
    assert_eq!(keyboard["chosen"], "Shard 1: accepted", "{keyboard}");
    assert_eq!(keyboard["kept"], true, "{keyboard}");
    let forged = entries(&seen["forged"]);
    assert_eq!(forged.len(), 9);
    for (what, verdict) in forged {
        assert_eq!(verdict, "This record does NOT check out.", "{what}");
    }
    let gone = &seen["gone"];
    assert!(gone["told"] == true && gone["kept"] == true, "{gone}");
    for (view, cut) in entries(&seen["narrow"]) {
        assert_eq!(cut, false, "{view} is wider than a telephone");
    }
    Ok(())
}
