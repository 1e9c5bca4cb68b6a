//! Stake taken by votes that are safe: a liar that everybody refutes loses it, and whoever is accused falsely does not.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Job, Market, Plan};

/// A market of one referee, three voters with seven times the liar's stake, and the liar; a finished job in which it
/// was outvoted, and the job's folder.
struct Scene {
    market: Market,
    liar: String,
    folder: PathBuf,
    record: Value,
}

impl Scene {
    fn new() -> Result<Self> {
        let plan = Plan::honest(4).and("wrong").referees(1);
        let market = Market::up(&plan.aggregator_argument("--audit=confirmations=1"))?;
        for voter in market.provider_ids().iter().skip(1).take(3) {
            more_stake(&market, voter, "60")?;
        }
        let job = Job {
            replicas: 4,
            wall_ms: 4_000,
            ..Job::new("accused")
        };
        let id = market.submit(&job)?;
        market.wait_done(&id)?;
        let folder = market.fetch(&id)?;
        job.check_result(&folder.join("result.items"))?;
        let record = std::fs::read(folder.join("record.json"))?;
        Ok(Self {
            liar: market.provider_ids().pop().context("no liar")?,
            record: serde_json::from_slice(&record)?,
            market,
            folder,
        })
    }

    /// The first shard that somebody answered.
    fn answered_by(&self, provider: &str) -> Result<String> {
        let shards = self.record["shards"].as_array().context("no shards")?;
        let answered = |shard: &&Value| {
            let replicas = shard["replicas"].as_array();
            let mut replicas = replicas.into_iter().flatten();
            replicas.any(|replica| replica["provider"] == provider)
        };
        let shard = shards.iter().find(answered);
        Ok(shard.context("answered nothing")?["index"].to_string())
    }

    fn open(&self, provider: &str) -> Result<tests::Output> {
        let (folder, shard) = (self.folder.to_string_lossy(), self.answered_by(provider)?);
        self.market.assay(&[
            "--json",
            "liquidation",
            "open",
            &folder,
            "--shard",
            &shard,
            "--provider",
            provider,
        ])
    }

    /// Opens a case, has the shard executed again, and waits for what comes of it.
    fn accuse(&self, provider: &str, replicas: &str) -> Result<Value> {
        let opened = self.open(provider)?.ok()?.json()?;
        let case = opened["case"].as_str().context("no case")?;
        let show = ["--json", "liquidation", "show", case];
        let open = self.market.assay(&show)?.ok()?.json()?;
        ensure!(open["phase"] == "open", "{open}");
        let listed = self.market.assay(&["--json", "liquidation", "show"])?;
        let listed = listed.ok()?.json()?;
        let listed = listed.as_array().context("no list")?;
        ensure!(
            listed.iter().all(|known| known["case"] != case),
            "an open case is shown to everybody"
        );
        let folder = self.folder.to_string_lossy();
        let mut verify = vec!["--json", "liquidation", "verify", case, &folder];
        verify.extend(["--replicas", replicas, "--wait"]);
        self.market.assay(&verify)?.ok()?.json()
    }
}

fn more_stake(market: &Market, provider: &str, units: &str) -> Result<()> {
    let token = market.aggregator.data.join("operator.token");
    let (token, account) = (token.to_string_lossy(), format!("stake:{provider}"));
    let reference = format!("more {}", &provider[..16]);
    let mut deposit = vec!["ledger", "deposit", "--account", &account];
    deposit.extend(["--amount", units, "--reference", &reference]);
    deposit.extend(["--token-file", &token]);
    market.assay(&deposit)?.ok().map(drop)
}

#[test]
fn a_liar_is_liquidated_by_votes_and_a_referee_and_an_honest_provider_is_acquitted() -> Result<()> {
    let scene = Scene::new()?;
    let (market, liar) = (&scene.market, &scene.liar);
    let client = format!("client:{}", market.client);
    let before = market.balance(&client)?.credits;
    let slashed = scene.accuse(liar, "4")?;
    assert_eq!(slashed["phase"], "slashed", "{slashed}\n{}", market.logs());
    assert_eq!(slashed["votes"]["operators"], 3, "{slashed}");
    let stake = market.balance(&format!("stake:{liar}"))?;
    assert_eq!((stake.debits, stake.is_empty()), (10_000_000, true));
    let standing = market.provider(liar)?;
    let banned = standing["banned"].as_str().unwrap_or_default();
    assert!(banned.contains("Liquidated"), "{standing}");
    // Half of it goes to the accuser, beside what its jobs did not cost.
    let bounty = market.balance("slashed")?.debits;
    assert!(bounty >= 5_000_000, "{bounty}");
    assert!(market.balance(&client)?.credits >= before + 5_000_000);
    scene
        .open(liar)?
        .refused(1, "has decided about this answer")?;

    let honest = market.provider_ids()[1].clone();
    let acquitted = scene.accuse(&honest, "3")?;
    assert_eq!(acquitted["phase"], "refunded", "{acquitted}");
    assert_eq!(acquitted["reason"], "acquitted", "{acquitted}");
    for provider in market.provider_ids().iter().take(4) {
        let stake = market.balance(&format!("stake:{provider}"))?;
        assert_eq!(stake.debits, 0, "an honest stake was touched");
        assert!(market.provider(provider)?["banned"].is_null());
    }
    market.audit()
}

#[test]
fn what_cannot_be_accused_or_verified_is_refused_by_name() -> Result<()> {
    let scene = Scene::new()?;
    let (market, folder) = (&scene.market, scene.folder.to_string_lossy());
    let honest = market.provider_ids()[1].clone();
    let stranger = "07".repeat(32);
    let open = |shard: &str, provider: &str, more: &[&str]| {
        let mut open = vec!["liquidation", "open", &folder, "--shard", shard];
        open.extend(["--provider", provider]);
        open.extend(more);
        market.assay(&open)
    };
    open("99", &honest, &[])?.refused(2, "shard = 99: the record has shards 0 to 3")?;
    open("0", &stranger, &[])?.refused(2, "answered nothing of shard 0")?;
    let shard = scene.answered_by(&honest)?;
    let long = ["--window-s", "86401"];
    open(&shard, &honest, &long)?.refused(2, "window_ms = 86401000: must be 1000 to 86400000")?;
    let poor = market.dir().join("poor.key").to_string_lossy().into_owned();
    market.assay(&["key", "new", "--out", &poor])?.ok()?;
    open(&shard, &honest, &["--key", &poor])?.refused(5, "balance 0")?;

    let unknown = format!("blake3:{}", "0".repeat(64));
    let verify = |case: &str, more: &[&str]| {
        let mut verify = vec!["liquidation", "verify", case, &folder];
        verify.extend(more);
        market.assay(&verify)
    };
    verify(&unknown, &[])?.refused(1, "there is no case")?;
    let opened = scene.open(&honest)?.ok()?.json()?;
    let case = opened["case"].as_str().context("no case")?.to_owned();
    scene
        .open(&honest)?
        .refused(1, "about this answer is open")?;
    verify(&case, &["--replicas", "13"])?.refused(2, "replicas = 13: must be 1 to 12")?;
    verify(&case, &["--referees", "2"])?.refused(2, "referees = 2: this aggregator has 1")?;
    verify(&case, &["--key", &poor])?.refused(7, "opened by another client")?;
    Ok(())
}
