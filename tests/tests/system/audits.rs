//! Answers that are audited instead of repeated: what honest providers get, and what becomes of liars.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Job, Market, Plan};

/// Answers are final soon, and audits decide with two referees.
fn market(plan: Plan) -> Result<Market> {
    let plan = plan.referees(2);
    Market::up(&plan.aggregator_argument("--finality-s=1"))
}

fn audited(name: &str, unit: &'static str) -> Job {
    Job {
        items: 8,
        replicas: 1,
        max_replicas: 6,
        audit: Some(unit),
        wall_ms: 4_000,
        ..Job::new(name)
    }
}

/// Runs a job to its end and checks everything that can be checked of it, offline.
fn run(market: &Market, job: &Job) -> Result<Value> {
    let id = market.submit(job)?;
    let view = market.wait_done(&id)?;
    let folder = market.fetch(&id)?;
    job.check_result(&folder.join("result.items"))?;
    Ok(view)
}

#[test]
fn answers_count_at_once_are_checked_by_others_and_paid_when_they_are_final() -> Result<()> {
    let market = market(Plan::honest(4))?;
    let mut ids = Vec::new();
    for (name, unit) in [("whole-shards", "shard"), ("single-items", "item")] {
        let job = audited(name, unit);
        let id = market.submit(&job)?;
        // The result is there before anybody was paid for it.
        let early = market.wait_until(&id, |view| {
            matches!(view["phase"].as_str(), Some("provisional" | "done"))
        })?;
        let view = market.wait_done(&id)?;
        ensure!(view["phase"] == "done", "{early} {view}");
        let folder = market.fetch(&id)?;
        job.check_result(&folder.join("result.items"))?;
        ids.push(id);
        market.check_settled(&ids)?;
        // Both shares decided, and what they drew was executed again.
        let text = folder.to_string_lossy();
        let verified = market.assay(&["--json", "receipt", "verify", &text])?;
        let verified = verified.ok()?.json()?;
        let draws = &verified["draws"];
        ensure!(draws["promise_kept"] == true, "{draws}");
        ensure!(draws["by_both"] == true, "{draws}");
        // Nobody has a record yet: every shard is executed once more, by somebody else.
        let record = std::fs::read(folder.join("record.json"))?;
        let record: Value = serde_json::from_slice(&record)?;
        for shard in record["shards"].as_array().context("no shards")? {
            let replicas = shard["replicas"].as_array().context("no replicas")?;
            let checks = shard["checks"].as_array().context("no checks")?;
            ensure!(replicas.len() == 1 && !checks.is_empty(), "{shard}");
            ensure!(replicas[0]["provider"] != checks[0]["provider"], "{shard}");
        }
    }
    for provider in market.provider_ids() {
        let standing = market.provider(&provider)?;
        ensure!(standing["disagreements"] == 0, "{standing}");
        ensure!(standing["banned"].is_null(), "{standing}");
    }
    market.audit()
}

#[test]
fn a_liar_is_convicted_by_referees_and_loses_its_stake_and_no_result_is_wrong() -> Result<()> {
    let market = market(Plan::honest(3).and("wrong"))?;
    let liar = market.provider_ids().pop().context("no liar")?;
    // More shards than the one honest worker takes at once, so the liar answers some.
    let job = Job {
        items: 48,
        ..audited("many-shards", "shard")
    };
    run(&market, &job)?;
    let standing = market.provider(&liar)?;
    assert_eq!(standing["eligible"], false, "{standing}");
    // The first conviction's fine is more than it has; the second takes what a richer one has left.
    let stake = market.balance(&format!("stake:{liar}"))?;
    assert!(
        stake.credits > 0 && stake.is_empty(),
        "{stake:?} {standing}"
    );
    assert_eq!(market.balance(&format!("provider:{liar}"))?.credits, 0);
    // Nothing more of it gets through, whoever else is asked.
    run(&market, &audited("afterwards", "shard"))?;
    for honest in market.provider_ids().iter().take(3) {
        let standing = market.provider(honest)?;
        assert!(standing["banned"].is_null(), "{standing}");
        let stake = market.balance(&format!("stake:{honest}"))?;
        assert_eq!(stake.debits, 0, "an honest stake was touched");
    }
    market.audit()
}

#[test]
fn a_client_uses_a_result_before_it_is_final_and_has_what_it_doubts_executed_again() -> Result<()> {
    let rare = ["ramp_checks=1", "peer=1000000", "trusted=1", "leave=1"];
    let plan = Plan::honest(4)
        .referees(2)
        .aggregator_argument("--finality-s=6");
    let market = rare.iter().fold(plan, |plan, rate| {
        plan.aggregator_argument(format!("--audit={rate}"))
    });
    let market = Market::up(&market)?;
    let job = audited("doubted", "shard");
    let id = market.submit(&job)?;
    market.wait_until(&id, |view| view["phase"] == "provisional")?;
    let out = market.dir().join("early");
    let out = out.to_string_lossy();
    let early = ["job", "result", &id, "--provisional", "--out", &out];
    market.assay(&early)?.ok()?;
    job.check_result(&Path::new(&*out).join("provisional-result"))?;

    let beyond = market.assay(&["job", "challenge", &id, "--item", "8"])?;
    beyond.refused(2, "item = 8 is outside 0 to 7")?;
    market
        .assay(&["job", "challenge", &id, "--item", "0", "--item", "1"])?
        .ok()?;
    market.wait_done(&id)?;
    let record = std::fs::read(market.fetch(&id)?.join("record.json"))?;
    let record: Value = serde_json::from_slice(&record)?;
    let referees = &market.provider_ids()[..2];
    let checks = record["shards"][0]["checks"]
        .as_array()
        .context("no checks")?;
    let by_referee = checks.iter().any(|check| {
        let provider = check["provider"].as_str();
        provider.is_some_and(|id| referees.iter().any(|referee| referee == id))
    });
    assert!(by_referee, "{checks:?}");
    let late = market.assay(&["job", "challenge", &id, "--item", "0"])?;
    late.refused(1, "item 0 has no answer that is not final")?;
    market.audit()
}

#[test]
fn an_aggregator_refuses_stakes_that_deter_nobody_and_shows_the_economics_it_lives_by() -> Result<()>
{
    let data = tempfile::tempdir()?;
    let data = format!("--data={}", data.path().display());
    let start = [
        "aggregator",
        "start",
        &data,
        "--http=127.0.0.1:0",
        "--stake-min=1",
    ];
    tests::assay(&start)?.refused(2, "unsafe configuration: fines-are-covered")?;
    let one_referee = format!("--referee={}", "07".repeat(32));
    let start = [
        "aggregator",
        "start",
        &data,
        "--http=127.0.0.1:0",
        &one_referee,
    ];
    tests::assay(&start)?.refused(2, "1 referee: as many as confirm a conviction, 2,")?;

    let plan = Plan::honest(2).aggregator_argument("--audit=window=77");
    let market = Market::up(&plan)?;
    let shown = market.assay(&["--json", "aggregator", "economics", "--live"])?;
    let shown = shown.ok()?.json()?;
    assert_eq!(shown["params"]["window"], 77);
    Ok(())
}

/// Submits, waits, and has three items executed on this machine as well.
fn with_canaries(market: &Market, job: &Job) -> Result<(tests::Output, std::path::PathBuf)> {
    let manifest = job.write(&market.dir().join("jobs"))?;
    let out = market.dir().join(format!("out-{}", job.name));
    let (manifest, text) = (manifest.to_string_lossy(), out.to_string_lossy());
    let submit = ["job", "submit", &manifest, "--wait", "--out", &text];
    let output = market.assay(&[&submit[..], &["--canaries", "3"]].concat())?;
    Ok((output, out))
}

#[test]
fn a_client_finds_out_by_canaries_what_everyone_else_agreed_on() -> Result<()> {
    // Nobody compares the answers of the only provider there is, but for the client.
    let alone = Market::up(&Plan::honest(0).and("wrong"))?;
    let job = Job {
        items: 8,
        replicas: 1,
        max_replicas: 1,
        ..Job::new("alone")
    };
    let (output, _) = with_canaries(&alone, &job)?;
    output.refused(4, "3 of 3 canaries are wrong")?;
    alone.audit()?;
    // One market at a time.
    drop(alone);

    let market = market(Plan::honest(3).and("wrong"))?;
    let (output, out) = with_canaries(&market, &audited("with-canaries", "shard"))?;
    output.ok()?;
    audited("with-canaries", "shard").check_result(&out.join("result.items"))?;
    let more = Job {
        items: 2,
        ..audited("fewer-items", "shard")
    };
    let (output, _) = with_canaries(&market, &more)?;
    output.refused(2, "--canaries is 3, the job has 2 items")?;
    market.audit()
}
