//! The game through the real binary: a validator plays two games, and its scores and the rewards appear
//! in the providers' view.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use tests::{Job, Market, Plan, assay, get, post};

/// Longest epoch there is: none ends while a test runs, but by all validators' reports.
const EPOCH_SECONDS: &str = "--epoch-seconds=2592000";

/// A game over the echo job, packed into a folder.
fn pack(market: &Market, measure: &str, scoring: &str) -> Result<PathBuf> {
    let dir = market.dir().join(format!("game-{measure}"));
    fs::create_dir_all(&dir)?;
    let job = Job {
        items: 24,
        // One execution each: nobody is there to outvote a wrong answer, so only canaries find it.
        replicas: 1,
        max_replicas: 1,
        price: "2.00".into(),
        ..Job::new(&format!("pool-{measure}"))
    };
    let manifest = job.write(&dir)?;
    let name = manifest.file_name().context("no name")?.to_string_lossy();
    let text = format!(
        "schema = 1\nname = \"{measure}\"\nversion = 1\nabout = \"a test\"\nmeasure = \"{measure}\"\n\
         job = \"{name}\"\n[rounds]\nper_epoch = 6\nitems_min = 12\nitems_max = 20\npause_ms_min = 0\n\
         pause_ms_max = 50\n[scoring]\nsamples_min = 1\n{scoring}"
    );
    let written = manifest.with_file_name("game.toml");
    fs::write(&written, text)?;
    let out = dir.join("packed");
    let arguments = [
        "--json",
        "game",
        "pack",
        &path(&written),
        "--out",
        &path(&out),
    ];
    let packed = market.assay(&arguments)?.ok()?.json()?;
    let verified = market
        .assay(&["--json", "game", "verify", &path(&out)])?
        .ok()?
        .json()?;
    assert_eq!(packed["digest"], verified["digest"]);
    assert_eq!(verified["author"].as_str(), Some(market.client.as_str()));
    Ok(out)
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A validator's key, before there is a market.
fn validator(dir: &Path) -> Result<String> {
    let data = format!("--data={}", dir.display());
    let shown = assay(&["--json", "validator", "key", &data])?
        .ok()?
        .json()?;
    Ok(shown["validator"].as_str().context("no key")?.to_owned())
}

fn run(market: &Market, data: &Path, games: &[PathBuf]) -> Result<tests::Output> {
    let mut arguments = vec!["--json".to_owned(), "validator".into(), "run".into()];
    arguments.push(format!("--data={}", data.display()));
    arguments.push(format!("--payer={}", market.key.display()));
    arguments.push("--epochs=1".into());
    arguments.extend(
        games
            .iter()
            .map(|game| format!("--game={}", game.display())),
    );
    market.assay(&arguments)
}

#[test]
fn an_epoch_of_two_games_scores_and_rewards_providers() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let id = validator(dir.path())?;
    // Three honest providers, a slow one and one that answers something else.
    let plan = Plan::honest(3)
        .and("slow")
        .and("wrong")
        .aggregator_argument(format!("--validator={id}"))
        .aggregator_argument(EPOCH_SECONDS)
        .aggregator_argument("--epoch-reward=3");
    let market = Market::up(&plan)?;
    market.deposit("rewards", "5")?;
    let latency = "full_permille = 2000\nnone_permille = 8000\nnetwork_ms_max = 100\n";
    let identity = "full_permille = 990\nnone_permille = 800\nnetwork_ms_max = 0\n";
    let games = [
        pack(&market, "latency", latency)?,
        pack(&market, "identity", identity)?,
    ];
    let summary = run(&market, dir.path(), &games)?.ok()?.json()?;
    assert_eq!(summary["skipped"], 0, "{summary}");

    let ids = market.provider_ids();
    let views = ids.iter().map(|id| market.provider(id));
    let views: Vec<Value> = views.collect::<Result<_>>()?;
    let points = |index: usize| views[index]["game_points"].as_u64();
    let rewarded = |index: usize| tests::amount(&views[index]["rewarded"]);
    assert_eq!(points(4), Some(0), "{summary}");
    assert_eq!(rewarded(4)?, 0);
    let slow = points(3).context("the slow one was not scored")?;
    for honest in 0..3 {
        assert!(points(honest) > Some(slow), "{summary}");
    }
    let paid: Vec<u128> = (0..5).map(rewarded).collect::<Result<_>>()?;
    let sum: u128 = paid.iter().sum();
    assert!((2_999_990..=3_000_000).contains(&sum), "{paid:?}");
    assert_eq!(
        market.balance("rewards")?.credits - market.balance("rewards")?.debits,
        5_000_000 - sum
    );
    for (id, paid) in ids.iter().zip(&paid) {
        assert!(
            market.balance(&format!("provider:{id}"))?.credits >= *paid,
            "{id}"
        );
    }
    market.audit()?;
    check_second_report(&market, dir.path(), &games, &summary)
}

/// Playing again in the same epoch gives another report, which is refused and kept.
fn check_second_report(
    market: &Market,
    data: &Path,
    games: &[PathBuf],
    summary: &Value,
) -> Result<()> {
    let again = run(market, data, &games[..1])?;
    again.refused(1, "contradicting-report")?;
    let epoch = get(market.http(), "/api/v1/epoch")?.json()?;
    let closed = epoch["closed"].as_array().context("no closed epochs")?;
    let found = closed
        .iter()
        .find(|closed| closed["epoch"] == summary["epoch"]);
    assert_eq!(found.context("the epoch is not closed")?["reporters"], 1);
    Ok(())
}

#[test]
fn whoever_is_no_validator_reports_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let market = Market::up(&Plan::honest(1))?;
    let identity = "full_permille = 990\nnone_permille = 800\nnetwork_ms_max = 0\n";
    let game = pack(&market, "identity", identity)?;
    let refused = run(&market, dir.path(), std::slice::from_ref(&game))?;
    refused.refused(7, "is not among the 0 that the operator lists")?;
    for body in ["{}", "{\"report\":\"zz\"}", "{\"report\":\"00\"}"] {
        let answer = post(market.http(), "/api/v1/scores", body.as_bytes())?;
        assert_eq!(answer.status, 400, "{body}");
    }
    // A game whose pool was changed is found before anybody is asked.
    let blobs = fs::read_dir(game.join("blobs"))?;
    for blob in blobs {
        let blob = blob?.path();
        let kept = fs::read(&blob)?;
        fs::write(&blob, [&kept[..], b"x"].concat())?;
        let spoilt = market.assay(&["game", "verify", &path(&game)])?;
        spoilt.refused(4, "has digest")?;
        fs::write(&blob, kept)?;
    }
    Ok(())
}
