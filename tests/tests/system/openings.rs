//! Copying an answer is not executing: what a provider gets that has another's outputs, and not the values behind them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use jobs::record::{JobRecord, ShardRecord};
use tests::{Market, Plan, embed_component, repository, submitted};

/// Lines of the job, each a shard of its own.
const LINES: usize = 8;

/// Jobs at most until two providers of five meet in a shard of three: one is nearly always enough.
const ROUNDS: usize = 10;

/// Honest providers: as many as a shard needs, because whoever copies is soon given no more work.
const HONEST: usize = 3;

/// What is opened of the embedder.
const OPENINGS: &str = "\n[verify.openings]\ngraph = \"minilm\"\ntensor = \"last_hidden_state\"\n\
                        count = 16\natol = 1e-3\nrtol = 0.0\n";

/// How often shards of these jobs are executed: three must agree, of four at most.
const REPLICAS: &str = "replicas = 3\nmax_replicas = 4";

/// One answer, which others check afterwards.
const AUDITED: &str = "policy = \"audit\"\nunit = \"item\"";

/// The embedder's job over a few lines, executed so often, of which something is opened or not.
fn manifest(market: &Market, name: &str, [executed, openings]: [&str; 2]) -> Result<PathBuf> {
    let example = repository().join("examples/embed");
    let text = fs::read_to_string(example.join("job.toml"))?;
    let lines = fs::read_to_string(example.join("data/lines.txt"))?;
    let lines: Vec<&str> = lines.lines().take(LINES).collect();
    let input = market.dir().join("lines.txt");
    fs::write(&input, lines.join("\n") + "\n")?;
    let component = embed_component()?;
    let changes = [
        ("name = \"embed\"", format!("name = \"{name}\"")),
        ("\"target/embed.component.wasm\"", format!("{component:?}")),
        ("\"data/lines.txt\"", format!("{input:?}")),
        ("items_per_shard = 64", "items_per_shard = 1".into()),
        ("replicas = 2\nmax_replicas = 5", executed.into()),
        (
            "min_cosine = 0.999\n",
            format!("min_cosine = 0.999\n{openings}"),
        ),
    ];
    let text = changes.iter().try_fold(text, |text, (from, to)| {
        ensure!(text.contains(from), "the example has no {from:?}");
        Ok(text.replacen(from, to, 1))
    })?;
    let path = market.dir().join(format!("{name}.toml"));
    fs::write(&path, text)?;
    Ok(path)
}

/// Runs a job to its end; its result, and what happened shard by shard. The program verifies the record.
fn run(
    market: &Market,
    (name, verify): (&str, [&str; 2]),
    ids: &mut Vec<String>,
) -> Result<(Vec<u8>, Vec<ShardRecord>)> {
    let path = manifest(market, name, verify)?;
    let id = submitted(market.submit_manifest(&path)?)?;
    market.wait_done(&id)?;
    let folder = market.fetch(&id)?;
    ids.push(id);
    market.check_settled(ids)?;
    let record: JobRecord = serde_json::from_slice(&fs::read(folder.join("record.json"))?)?;
    Ok((fs::read(folder.join("result.npy"))?, record.shards))
}

/// Runs jobs until both relays answered a shard of one. Of each such shard, whether they agreed and were paid: one of them
/// executed it, the other had its outputs from it.
fn relayed(
    market: &Market,
    (name, verify): (&str, [&str; 2]),
    expected: &mut Option<Vec<u8>>,
    ids: &mut Vec<String>,
) -> Result<Vec<[bool; 2]>> {
    for round in 0..ROUNDS {
        let name = format!("{name}-{round}");
        let (result, shards) = run(market, (&name, verify), ids)?;
        ensure!(
            result == *expected.get_or_insert(result.clone()),
            "{name}: another result"
        );
        let found = of_relays(market, &shards)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    bail!("the relays met in no shard")
}

fn of_relays(market: &Market, shards: &[ShardRecord]) -> Result<Vec<[bool; 2]>> {
    let relays = &market.provider_ids()[HONEST..];
    let mut found = Vec::new();
    for shard in shards {
        let mut of_relays = Vec::new();
        for replica in &shard.replicas {
            let paid = !replica.paid.is_zero();
            ensure!(paid == replica.agreed, "{replica:?}");
            match relays.contains(&replica.provider.to_string()) {
                true => of_relays.push(paid),
                false => ensure!(paid, "an honest one is not paid: {replica:?}"),
            }
        }
        if let [one, other] = of_relays[..] {
            found.push([one, other]);
        }
    }
    Ok(found)
}

#[test]
fn who_copies_an_answer_is_paid_for_it_unless_it_has_to_open_the_values_behind_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let relay = format!("relay={}", folder.path().display());
    let market = Market::up(&Plan::honest(HONEST).and(&relay).and(&relay))?;

    let (mut ids, mut result) = (Vec::new(), None);
    for both in relayed(&market, ("plain", [REPLICAS, ""]), &mut result, &mut ids)? {
        ensure!(both == [true, true], "a copy was noticed without openings");
    }
    for [one, other] in relayed(
        &market,
        ("opened", [REPLICAS, OPENINGS]),
        &mut result,
        &mut ids,
    )? {
        ensure!(one != other, "of two one executed: {one} {other}");
    }

    let out = market.dir().join("local.npy");
    let path = market.dir().join("opened-0.toml");
    let (path, out_text) = (path.to_string_lossy(), out.to_string_lossy());
    market
        .assay(&["job", "run", "--local", &path, "--out", &out_text])?
        .ok()?;
    let local = fs::read(&out)?;
    ensure!(Some(local) == result, "the result is not what it should be");

    for honest in market.provider_ids().iter().take(HONEST) {
        let standing = market.provider(honest)?;
        ensure!(standing["disagreements"] == 0, "{standing}");
        ensure!(standing["failures"] == 0, "{standing}");
    }
    let slashed = market.balance("slashed").context("no balance")?;
    assert_eq!(slashed.credits, 0, "a lost vote costs no stake");
    market.audit()
}

#[test]
fn answers_and_their_checks_open_to_one_another_and_honest_ones_agree() -> Result<()> {
    let plan = Plan::honest(4).referees(2);
    let market = Market::up(&plan.aggregator_argument("--finality-s=1"))?;
    let mut ids = Vec::new();
    let (_, shards) = run(&market, ("audited", [AUDITED, OPENINGS]), &mut ids)?;
    for shard in &shards {
        let [answer] = &shard.replicas[..] else {
            bail!("one answer: {shard:?}");
        };
        ensure!(answer.agreed && !shard.checks.is_empty(), "{shard:?}");
        for check in &shard.checks {
            ensure!(
                check.agreed && check.provider != answer.provider,
                "{shard:?}"
            );
        }
    }
    for provider in market.provider_ids() {
        let standing = market.provider(&provider)?;
        ensure!(standing["disagreements"] == 0, "{standing}");
        ensure!(standing["failures"] == 0, "{standing}");
    }
    market.audit()
}
