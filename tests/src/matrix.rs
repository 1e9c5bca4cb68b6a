//! Every real adversary against the real binary, with real models: what each gets through, how long until it
//! is caught, and what that costs whom.
//!
//! A case is a market of its own: an aggregator, honest providers, and one or two that cheat with
//! `--misbehave`. The same small jobs go through each ([`workload`]), and what is delivered is compared with what
//! an honest execution on this machine gave. How answers are verified is a parameter, which only the
//! manifests show. Nothing here knows how the system decides.

mod cases;
mod watch;
mod workload;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::{Market, Plan, Stopwatch};
pub use cases::{CASES, Case, case};
use watch::{Seen, watch};
pub use workload::{Policy, Workload};

/// Jobs submitted at the same time.
const AT_ONCE: usize = 4;

/// What a run varies.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How answers are verified.
    pub policy: Policy,
    /// Honest providers.
    pub honest: usize,
    /// Jobs of each case.
    pub jobs: u32,
    /// Whether replicas open what their models made of the items.
    pub openings: bool,
}

/// What one case came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// The case.
    pub adversary: String,
    /// How its providers were started.
    pub misbehave: String,
    /// How answers were verified.
    pub policy: String,
    /// Honest providers.
    pub honest: usize,
    /// Providers that cheat.
    pub adversaries: usize,
    /// Jobs submitted.
    pub jobs: u32,
    /// Jobs that failed, and why the first did.
    pub failed: u32,
    /// The reason of the first failure.
    pub failure: Option<String>,
    /// Items of the jobs that are done.
    pub items: u32,
    /// Of these, how many are not what an honest execution gives.
    pub wrong_items: u32,
    /// Executions an item: replicas that were revealed.
    #[serde(rename = "R")]
    pub executions: f64,
    /// Assignments an item, whatever became of them.
    pub sent: f64,
    /// Items that the adversaries were given, whatever became of them.
    pub adversary_items: u64,
    /// How each adversary was caught, and after how many items; nothing if it was not.
    pub caught: Vec<Caught>,
    /// What the adversaries earned, in micro-units.
    pub adversary_earned: u128,
    /// What all honest providers earned, in micro-units.
    pub honest_earned: u128,
    /// Stake taken from adversaries, in micro-units.
    pub slashed: u128,
    /// Honest providers that lost stake or were banned.
    pub honest_slashed: usize,
    /// Replicas of honest providers that lost a vote.
    pub honest_outvoted: u64,
    /// Seconds from the first submission to the last result.
    pub seconds: f64,
}

/// That somebody was caught.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caught {
    /// Banned and why, demoted, or gone.
    pub how: String,
    /// Items it had been given by then, or a few more: somebody looks ten times a second.
    pub items: u64,
    /// Jobs that were over by then.
    pub jobs: u32,
}

/// What jobs came to, added up by whoever runs them.
#[derive(Debug, Default)]
struct Sums {
    failed: u32,
    failure: Option<String>,
    items: u32,
    wrong: u32,
    shards: u64,
    replicas: u64,
    assignments: u64,
}

/// Runs one case.
///
/// # Errors
/// If a process does not start, a job is refused or never ends, or a result cannot be verified.
pub fn run(case: &Case, settings: Settings, workload: &Workload) -> Result<Row> {
    let scratch = tempfile::TempDir::with_prefix("assay-matrix-")?;
    case.prepare(scratch.path())?;
    let market = Market::up(&plan(case, settings, scratch.path()))?;
    let ids = market.provider_ids();
    let (honest, adversaries) = ids.split_at(settings.honest);
    let over = AtomicU32::new(0);
    let started = Stopwatch::start();
    let (sums, seen) = std::thread::scope(|scope| {
        let ended = AtomicU32::new(0);
        let ended = std::sync::Arc::new(ended);
        let (stop, http) = (std::sync::Arc::clone(&ended), market.http());
        let over = &over;
        let watching = scope.spawn(move || watch(http, adversaries, over, &stop));
        let sums = trade(&market, case, settings, workload, over);
        ended.store(1, Ordering::SeqCst);
        let seen = watching.join();
        (sums, seen)
    });
    let (sums, seconds) = (sums?, started.seconds());
    let seen = seen.map_err(|_| anyhow::anyhow!("whoever watched the providers died"))?;
    let mut row = row(case, settings, &sums, &seen);
    row.seconds = seconds;
    books(&mut row, &market, honest, adversaries)?;
    market.audit()?;
    Ok(row)
}

fn plan(case: &Case, settings: Settings, scratch: &Path) -> Plan {
    let mut plan = settings.policy.market(settings.honest);
    for how in case.misbehave {
        let scratch = scratch.to_string_lossy();
        plan = plan.and(&how.replace("{}", &scratch));
        if case.one_operator {
            plan = plan.with(format!("--operator={scratch}/operator.key"));
        }
    }
    plan
}

fn row(case: &Case, settings: Settings, sums: &Sums, seen: &[Seen]) -> Row {
    let share = |count: u64| count as f64 / (sums.shards as f64).max(1.0);
    let items = u64::from(workload::ITEMS_PER_SHARD);
    Row {
        adversary: case.name.to_owned(),
        misbehave: case.misbehave.join(", ").replace("{}/", ""),
        policy: match settings.openings {
            true => format!("{} with openings", settings.policy),
            false => settings.policy.to_string(),
        },
        honest: settings.honest,
        adversaries: case.misbehave.len(),
        jobs: settings.jobs,
        failed: sums.failed,
        failure: sums.failure.clone(),
        items: sums.items,
        wrong_items: sums.wrong,
        executions: share(sums.replicas),
        sent: share(sums.assignments),
        adversary_items: seen.iter().map(|one| one.assignments * items).sum(),
        caught: seen.iter().filter_map(|one| one.caught.clone()).collect(),
        ..Row::default()
    }
}

/// Runs all jobs, some at a time.
fn trade(
    market: &Market,
    case: &Case,
    settings: Settings,
    workload: &Workload,
    over: &AtomicU32,
) -> Result<Sums> {
    let (next, sums) = (AtomicU32::new(0), Mutex::new(Sums::default()));
    let work = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if number >= settings.jobs {
                return Ok(());
            }
            let job = workload.job(case, number);
            let folder = market.dir().join("jobs");
            let manifest = job.write(&folder, settings)?;
            let id = crate::submitted(market.submit_manifest(&manifest)?)?;
            let view = market.wait(&id)?;
            over.fetch_add(1, Ordering::SeqCst);
            let wrong = match view["phase"].as_str() {
                Some("done") => Some(job.wrong(&market.fetch(&id)?)?),
                _ => None,
            };
            let Ok(mut sums) = sums.lock() else {
                bail!("another job went wrong");
            };
            add(&mut sums, &view, wrong);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let done = worker.join();
            done.map_err(|_| anyhow::anyhow!("a job's thread died"))??;
        }
        anyhow::Ok(())
    })?;
    let sums = sums.into_inner();
    sums.map_err(|_| anyhow::anyhow!("a job's thread died"))
}

fn add(sums: &mut Sums, view: &Value, wrong: Option<u32>) {
    let count = |key: &str| view[key].as_u64().unwrap_or(0);
    sums.shards += count("shards");
    sums.replicas += count("replicas");
    sums.assignments += count("assignments");
    match wrong {
        Some(wrong) => {
            sums.items += u32::try_from(count("items")).unwrap_or(0);
            sums.wrong += wrong;
        }
        None => {
            sums.failed += 1;
            let reason = view["reason"].as_str().map(str::to_owned);
            sums.failure = sums.failure.take().or(reason);
        }
    }
}

/// What moved in the ledger, and how the honest stand.
fn books(row: &mut Row, market: &Market, honest: &[String], adversaries: &[String]) -> Result<()> {
    let balances = market.balances()?;
    let of = |account: String| balances.get(&account).copied().unwrap_or_default();
    let earned = |ids: &[String]| {
        ids.iter()
            .map(|id| of(format!("provider:{id}")).credits)
            .sum()
    };
    row.adversary_earned = earned(adversaries);
    row.honest_earned = earned(honest);
    row.slashed = adversaries
        .iter()
        .map(|id| of(format!("stake:{id}")).debits)
        .sum();
    ensure!(
        of("slashed".into()).credits >= row.slashed,
        "stake went elsewhere: {:?}",
        of("slashed".into())
    );
    for id in honest {
        let standing = market.provider(id)?;
        let harmed = of(format!("stake:{id}")).debits > 0 || !standing["banned"].is_null();
        row.honest_slashed += usize::from(harmed);
        let outvoted = standing["disagreements"].as_u64();
        row.honest_outvoted += outvoted.context("no count of lost votes")?;
    }
    Ok(())
}

/// The rows as a page for people.
pub fn table(rows: &[Row]) -> String {
    let mut page = String::from(
        "| adversary | providers | jobs (failed) | items | wrong | R | sent | given to it | caught | earned | slashed | \
         honest slashed / outvoted |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let how = row
            .caught
            .iter()
            .map(|one| format!("{} after {}", one.how, one.items));
        let how: Vec<String> = how.collect();
        let caught = match (row.adversaries, how.len()) {
            (0, _) => "–".to_owned(),
            (_, 0) => "no".to_owned(),
            (all, some) if some < all => format!("{} ({some} of {all})", how.join(", ")),
            _ => how.join(", "),
        };
        page += &format!(
            "| {} | {} + {} | {} ({}) | {} | {} | {:.3} | {:.3} | {} | {} | {} | {} | {} / {} |\n",
            row.adversary,
            row.honest,
            row.adversaries,
            row.jobs,
            row.failed,
            row.items,
            row.wrong_items,
            row.executions,
            row.sent,
            row.adversary_items,
            caught,
            units(row.adversary_earned),
            units(row.slashed),
            row.honest_slashed,
            row.honest_outvoted,
        );
    }
    page
}

fn units(micros: u128) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_who_was_caught_and_who_was_not() {
        let caught = |items| Caught {
            how: "demoted".into(),
            items,
            jobs: 1,
        };
        let cases = [
            (0, vec![], "| – |"),
            (1, vec![], "| no |"),
            (1, vec![caught(6)], "| demoted after 6 |"),
            (2, vec![caught(6)], "| demoted after 6 (1 of 2) |"),
        ];
        for (adversaries, caught, expected) in cases {
            let row = Row {
                adversaries,
                caught,
                adversary_earned: 1_000_001,
                ..Row::default()
            };
            let page = table(&[row]);
            assert!(page.contains(expected), "{page}");
            assert!(page.contains("| 1.000001 |"), "{page}");
        }
    }
}
