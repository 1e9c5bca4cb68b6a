//! Copying an answer is not executing: what a provider gets that has another's outputs, and not the values behind them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use jobs::record::{JobRecord, ShardRecord};
use tests::{Market, Plan, embed_component, repository, submitted};

/// Lines of the job, each a shard of its own: with so many, two providers of four meet in one.
const LINES: usize = 16;

/// What is opened of the embedder.
const OPENINGS: &str = "\n[verify.openings]\ngraph = \"minilm\"\ntensor = \"last_hidden_state\"\n\
                        count = 16\natol = 1e-3\nrtol = 0.0\n";

/// The embedder's job over a few lines, three replicas each, of which something is opened or not.
fn manifest(market: &Market, name: &str, openings: &str) -> Result<PathBuf> {
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
        (
            "replicas = 2\nmax_replicas = 5",
            "replicas = 3\nmax_replicas = 4".into(),
        ),
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
    (name, openings): (&str, &str),
    ids: &mut Vec<String>,
) -> Result<(Vec<u8>, Vec<ShardRecord>)> {
    let path = manifest(market, name, openings)?;
    let id = submitted(market.submit_manifest(&path)?)?;
    market.wait_done(&id)?;
    let folder = market.fetch(&id)?;
    ids.push(id);
    market.check_settled(ids)?;
    let record: JobRecord = serde_json::from_slice(&fs::read(folder.join("record.json"))?)?;
    Ok((fs::read(folder.join("result.npy"))?, record.shards))
}

/// Of each shard that both relays answered, whether they agreed and were paid: one of them executed it, the other had its
/// outputs from it.
fn relayed(market: &Market, shards: &[ShardRecord]) -> Result<Vec<[bool; 2]>> {
    let relays = &market.provider_ids()[2..];
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
    ensure!(!found.is_empty(), "the relays met in no shard");
    Ok(found)
}

#[test]
fn who_copies_an_answer_is_paid_for_it_unless_it_has_to_open_the_values_behind_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let relay = format!("relay={}", folder.path().display());
    let market = Market::up(&Plan::honest(2).and(&relay).and(&relay))?;

    let mut ids = Vec::new();
    let (plain, shards) = run(&market, ("plain", ""), &mut ids)?;
    for both in relayed(&market, &shards)? {
        ensure!(both == [true, true], "a copy was noticed without openings");
    }
    let (opened, shards) = run(&market, ("opened", OPENINGS), &mut ids)?;
    for [one, other] in relayed(&market, &shards)? {
        ensure!(one != other, "of two one executed: {one} {other}");
    }
    ensure!(plain == opened, "the results differ");

    let out = market.dir().join("local.npy");
    let path = market.dir().join("opened.toml");
    let (path, out_text) = (path.to_string_lossy(), out.to_string_lossy());
    market
        .assay(&["job", "run", "--local", &path, "--out", &out_text])?
        .ok()?;
    ensure!(
        fs::read(&out)? == opened,
        "the result is not what it should be"
    );

    for honest in market.provider_ids().iter().take(2) {
        let standing = market.provider(honest)?;
        ensure!(standing["disagreements"] == 0, "{standing}");
        ensure!(standing["failures"] == 0, "{standing}");
    }
    let slashed = market.balance("slashed").context("no balance")?;
    assert_eq!(slashed.credits, 0, "a lost vote costs no stake");
    market.audit()
}
