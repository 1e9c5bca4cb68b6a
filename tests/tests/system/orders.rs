//! A client's commands against a real market: what a job costs, following it, giving it up, doing it again.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Job, Market, Output, Plan, assay_with, repository};

/// A client with a context and a home of its own: what was submitted from here is known here.
struct Client<'a> {
    market: &'a Market,
    variables: Vec<(&'static str, OsString)>,
}

impl<'a> Client<'a> {
    fn new(market: &'a Market) -> Result<Self> {
        let config = market.dir().join("config.toml");
        let client = Self {
            market,
            variables: vec![("ASSAY_CONFIG", config.into())],
        };
        let key = market.key.to_string_lossy().into_owned();
        let create = [
            "context",
            "create",
            "here",
            "--url",
            market.http(),
            "--key",
            &key,
        ];
        client.run(&create)?.ok()?;
        Ok(client)
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        assay_with(arguments, &self.variables, &repository())
    }

    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = vec!["--json"];
        all.extend(arguments);
        self.run(&all)?.ok()?.json()
    }

    fn manifest(&self, job: &Job) -> Result<String> {
        let path = job.write(&self.market.dir().join("orders"))?;
        Ok(path.to_string_lossy().into_owned())
    }
}

fn text(value: &Value) -> Result<&str> {
    value
        .as_str()
        .with_context(|| format!("{value} is no text"))
}

#[test]
fn a_client_prices_runs_and_looks_at_a_job_by_commands_alone() -> Result<()> {
    let market = Market::up(&Plan::honest(2))?;
    let client = Client::new(&market)?;
    let manifest = client.manifest(&Job::new("priced"))?;
    let quote = client.json(&["job", "quote", &manifest])?;
    ensure!(quote["served"] == true && quote["eligible"] == 2, "{quote}");
    ensure!(quote["escrow"] == "1.000000", "{quote}");
    let before = market.balances()?;
    client.json(&["job", "submit", &manifest, "--dry-run"])?;
    let dear = client.run(&["job", "submit", &manifest, "--max-price", "0.5"])?;
    dear.refused(5, "more than 0.500000")?;
    ensure!(before == market.balances()?, "asking costs nothing");
    let out = market.dir().join("out").to_string_lossy().into_owned();
    let done = client.json(&["job", "run", &manifest, "--out", &out, "--yes"])?;
    ensure!(done["phase"] == "done", "{done}");
    let job = text(&done["id"])?;
    Job::new("priced").check_result(&Path::new(&out).join("result.items"))?;
    client.run(&["job", "verify", &out, "--job", job])?.ok()?;
    let other = format!("blake3:{}", "0".repeat(64));
    client
        .run(&["job", "verify", &out, "--job", &other])?
        .refused(4, job)?;
    let mine = client.json(&["job", "list", "--mine", "--phase", "done"])?;
    ensure!(
        mine.as_array().is_some_and(|jobs| jobs.len() == 1),
        "{mine}"
    );
    let full = client.json(&["job", "describe", job])?;
    let executions = full["assignments"].as_array().context("no executions")?;
    ensure!(executions.len() == 8, "{full}");
    let logs = client.run(&["job", "logs", job])?.ok()?.stdout;
    for what in [
        "submitted: 4 shards",
        "dispatched",
        "committed",
        "agreed",
        "done; 2 providers paid",
    ] {
        ensure!(logs.contains(what), "{what}: {logs}");
    }
    let refused = client.run(&["job", "cancel", job])?;
    refused.refused(1, "the job is done")?;
    market.audit()
}

#[test]
fn a_job_that_was_given_up_costs_nothing_and_is_done_again_as_another() -> Result<()> {
    // One of three never answers, so that some of many shards wait for it.
    let market = Market::up(&Plan::honest(2).and("stall"))?;
    let client = Client::new(&market)?;
    let account = format!("client:{}", market.client);
    let before = market.balances()?.remove(&account);
    let job = Job {
        items_per_shard: 1,
        wall_ms: 2_000,
        ..Job::new("given-up")
    };
    let manifest = client.manifest(&job)?;
    let id = client
        .run(&["job", "submit", &manifest, "--id-only"])?
        .ok()?;
    let id = id.stdout.trim().to_owned();
    client
        .run(&["job", "retry", &id])?
        .refused(2, "may still succeed")?;
    let view = client.json(&["job", "cancel", &id])?;
    ensure!(view["phase"] == "failed", "{view}");
    ensure!(view["reason"] == "cancelled by the client", "{view}");
    ensure!(view["escrow_left"] == "0.000000", "{view}");
    client.run(&["job", "cancel", &id])?.ok()?;
    client
        .run(&["job", "results", &id])?
        .refused(3, "job logs")?;
    let after = market.balances()?.remove(&account);
    let (before, after) = (before.context("no client")?, after.context("no client")?);
    let held = |balance: tests::Balance| balance.credits - balance.debits;
    let spent = held(before) - held(after);
    ensure!(
        spent < tests::amount(&"0.50".into())?,
        "what no verdict had paid returns: {spent}"
    );
    let again = client
        .run(&["job", "retry", &id, "--max-price", "1", "--wait"])?
        .ok()?;
    ensure!(again.stderr.contains("as a new job"), "{}", again.stderr);
    std::fs::write(Path::new(&manifest).with_extension("txt"), "other lines\n")?;
    client
        .run(&["job", "retry", &id])?
        .refused(2, "is not what it was")?;
    market.audit()
}
