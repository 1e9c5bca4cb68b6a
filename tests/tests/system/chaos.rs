//! Sudden deaths: in the middle of every job some process is killed and started again.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use serde_json::Value;
use tests::{Job, Market, Plan, Stopwatch, assay, repository, submitted};

/// Honest providers. One may be away while a shard needs three.
const PROVIDERS: usize = 4;
/// Jobs in a row, unless `ASSAY_CHAOS_JOBS` says otherwise.
const JOBS: usize = 3;
/// Longest time a killed process stays dead, in milliseconds.
const DEAD_MS_MAX: u64 = 1_500;

/// One job in a row of them.
enum Work {
    /// Small, and done in a second.
    Echo(Job),
    /// The demo's: sentence embeddings of 1,024 lines in 16 shards. Taken if `ASSAY_CHAOS_DEMO=1`.
    Embed(PathBuf),
}

impl Work {
    fn new(market: &Market, index: usize) -> Result<Self> {
        if number("ASSAY_CHAOS_DEMO")? != Some(1) {
            return Ok(Self::Echo(Job {
                items: 96,
                item_bytes: 16 << 10,
                items_per_shard: 4,
                ..Job::new(&format!("chaos-{index}"))
            }));
        }
        let example = repository().join("examples/embed");
        let mut manifest = fs::read_to_string(example.join("job.toml"))?;
        for (from, to) in [
            ("name = \"embed\"", format!("name = \"embed-{index}\"")),
            ("\"target/", format!("\"{}/target/", example.display())),
            ("\"data/", format!("\"{}/data/", example.display())),
        ] {
            ensure!(
                manifest.contains(from),
                "the example's manifest lacks {from}"
            );
            manifest = manifest.replacen(from, &to, 1);
        }
        let path = market.dir().join(format!("embed-{index}.toml"));
        fs::write(&path, manifest)?;
        Ok(Self::Embed(path))
    }

    fn submit(&self, market: &Market) -> Result<String> {
        match self {
            Self::Echo(job) => market.submit(job),
            Self::Embed(manifest) => submitted(market.submit_manifest(manifest)?),
        }
    }

    fn shards(&self) -> u32 {
        match self {
            Self::Echo(job) => job.shards(),
            Self::Embed(_) => 16,
        }
    }

    /// Requires the right result in the folder of a job that is done.
    fn check_result(&self, folder: PathBuf) -> Result<()> {
        match self {
            Self::Echo(job) => job.check_result(&folder.join("result.items")),
            Self::Embed(manifest) => {
                let alone = manifest.with_extension("npy");
                let (from, to) = (manifest.to_string_lossy(), alone.to_string_lossy());
                assay(&["job", "run", "--local", &from, "--out", &to])?.ok()?;
                let same = fs::read(folder.join("result.npy"))? == fs::read(alone)?;
                ensure!(same, "the market's result is not the client's own");
                Ok(())
            }
        }
    }
}

fn number(variable: &str) -> Result<Option<u64>> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty());
    text.map(|text| text.parse().with_context(|| format!("{variable}={text}")))
        .transpose()
}

/// The order in which processes die: all of them before any dies again, shuffled.
fn victims(count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut victims = Vec::new();
    while victims.len() < count {
        let mut round: Vec<usize> = (0..=PROVIDERS).collect();
        for at in (1..round.len()).rev() {
            round.swap(at, (rng.next_u64() % (at as u64 + 1)) as usize);
        }
        victims.extend(round);
    }
    // The aggregator is what is hardest to lose, so even a short run kills it.
    if let Some(at) = victims.iter().position(|victim| *victim == 0) {
        victims.swap(at, at % count);
    }
    victims.truncate(count);
    victims
}

#[test]
fn every_victim_gets_its_turn() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for count in 1..20 {
        let chosen = victims(count, &mut rng);
        assert_eq!(chosen.len(), count);
        assert!(chosen.contains(&0), "the aggregator is spared: {chosen:?}");
        let distinct: BTreeSet<_> = chosen.iter().collect();
        assert!(count < 2 || distinct.len() > 1, "{chosen:?}");
    }
}

#[test]
fn jobs_survive_the_sudden_death_of_any_process() -> Result<()> {
    let jobs = number("ASSAY_CHAOS_JOBS")?.map_or(JOBS, |jobs| jobs as usize);
    let seed = number("ASSAY_CHAOS_SEED")?.unwrap_or_else(|| RandomState::new().hash_one(jobs));
    eprintln!("{jobs} jobs, ASSAY_CHAOS_SEED={seed}");
    eprintln!(
        "{:>3}  {:<11}  {:<16}  {:<7}  {:>7}",
        "job", "killed", "at", "outcome", "seconds"
    );
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut market = Market::up(&Plan::honest(PROVIDERS))?;
    let (mut ids, mut done) = (Vec::new(), 0);
    for (index, victim) in victims(jobs, &mut rng).into_iter().enumerate() {
        let ended = disturbed(&mut market, index, victim, &mut rng)?;
        done += usize::from(ended.1["phase"] == "done");
        ids.push(ended.0);
        market.check_health()?;
        market.audit()?;
        market.check_settled(&ids)?;
    }
    once_each(&market, &ids)?;
    market.audit_at_rest()?;
    ensure!(done > 0, "every one of {jobs} jobs failed");
    Ok(())
}

/// Runs one job and kills one process in its middle; returns the job's id and end.
fn disturbed(
    market: &mut Market,
    index: usize,
    victim: usize,
    rng: &mut ChaCha8Rng,
) -> Result<(String, Value)> {
    let watch = Stopwatch::start();
    let job = Work::new(market, index)?;
    let id = job.submit(market)?;
    let after = rng.next_u64() % u64::from(job.shards() * 3 / 4);
    let hit = market.wait_until(&id, |view| {
        let accepted = view["shards_accepted"].as_u64().unwrap_or_default();
        view["phase"] != "waiting" && accepted >= after
    })?;
    let dead = Duration::from_millis(rng.next_u64() % DEAD_MS_MAX);
    let daemon = match victim.checked_sub(1) {
        Some(provider) => market
            .providers
            .get_mut(provider)
            .context("no such provider")?,
        None => &mut market.aggregator,
    };
    let name = daemon.name.clone();
    daemon.kill()?;
    std::thread::sleep(dead);
    daemon.restart()?;
    let view = market.wait(&id)?;
    let outcome = view["phase"].as_str().unwrap_or_default();
    let at = format!("{} of {} shards", hit["shards_accepted"], job.shards());
    eprintln!(
        "{index:>3}  {name:<11}  {at:<16}  {outcome:<7}  {:>7.1}",
        watch.seconds()
    );
    if outcome == "done" {
        job.check_result(market.fetch(&id)?)?;
    } else {
        eprintln!("     {}", view["reason"]);
    }
    market.wait_for_providers(PROVIDERS)?;
    Ok((id, view))
}

/// No assignment was paid twice, in whatever job.
fn once_each(market: &Market, ids: &[String]) -> Result<()> {
    let mut paid = BTreeSet::new();
    for id in ids {
        if market.view(id)?["phase"] != "done" {
            continue;
        }
        let claims = market.claims(id)?;
        ensure!(
            claims.iter().any(|claim| claim.paid > 0),
            "job {id} was done for nothing"
        );
        for claim in claims.into_iter().filter(|claim| claim.paid > 0) {
            ensure!(
                paid.insert(claim.assignment.clone()),
                "paid twice: {claim:?}"
            );
        }
    }
    Ok(())
}
