//! A flood: strangers ask an aggregator for too much while an honest client goes on as before, and is measured.
//!
//! The honest client asks at fixed times, whatever became of what it asked before, and every latency counts from the
//! time at which the request was due: a server that stands still for a second is seen to.

mod attacks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jobs::envelope::ClientKey;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::{Job, Market, Plan, request, signed, status_field};
pub use attacks::{Attack, Tally};

/// Time between two requests of the honest client.
const EVERY: Duration = Duration::from_millis(25);

/// Time after which the honest client gives a request up.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// Time that an attack gets to be at its full strength before anything is measured.
const RISE: Duration = Duration::from_secs(1);

/// Requests without a late one that end a recovery.
const WELL: usize = 20;

/// Longest recovery that is waited for.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// What was measured under one attack.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The attack's name.
    pub attack: &'static str,
    /// Connections that it tried to hold at once.
    pub held: u32,
    /// Connections it made.
    pub connections: u64,
    /// Its requests that were answered, refused for good (4xx), and turned away for now (429, 503).
    pub requests: [u64; 3],
    /// Requests of the honest client.
    pub honest: usize,
    /// Those that got no decision: turned away, broken off, or given up.
    pub undecided: usize,
    /// Median latency of the decided ones in milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// By how much the aggregator's resident memory grew at most, in MiB.
    pub grew_mib: f64,
    /// Seconds after the attack until the honest client is served as before it.
    pub recovery_s: f64,
}

/// An aggregator with a finished job, and its client.
#[derive(Debug)]
pub struct Scene {
    market: Market,
    at: SocketAddr,
    key: ClientKey,
    job: String,
}

impl Scene {
    /// Starts the processes and has them finish a job.
    ///
    /// # Errors
    /// If something does not start or the job does not end.
    pub fn new() -> Result<Self> {
        let market = Market::up(&Plan::honest(2))?;
        let job = market.submit(&Job::new("flooded"))?;
        market.wait_done(&job)?;
        let at = market.http().trim_start_matches("http://").parse()?;
        let key = market.client_key()?;
        Ok(Self {
            market,
            at,
            key,
            job,
        })
    }

    /// One request of the honest client: reads of its job, and now and then something signed.
    fn ask(&self, number: usize) -> Result<()> {
        let base = self.market.http();
        let job = format!("/api/v1/jobs/{}", self.job);
        let (answer, expected) = match number % 4 {
            // A job that has ended cannot be cancelled, which takes a good signature to learn.
            0 => {
                let path = format!("{job}/cancel");
                (signed(base, &self.key, ("POST", &path), b"")?, 409)
            }
            _ => (request(base, "GET", &job, &[], b"")?, 200),
        };
        anyhow::ensure!(answer.status == expected, "{}", answer.status);
        Ok(())
    }

    fn resident_mib(&self) -> Result<f64> {
        let field = status_field(self.market.aggregator.pid(), "VmRSS")?;
        let kib = field.split_whitespace().next().context("no VmRSS")?;
        Ok(kib.parse::<f64>()? / 1024.0)
    }

    /// Attacks for so long, and measures.
    ///
    /// # Errors
    /// If the aggregator ended, or the market's books do not hold afterwards.
    pub async fn flood(self: &Arc<Self>, attack: Attack, lasts: Duration) -> Result<Row> {
        let before = self.resident_mib()?;
        let tally = Arc::new(Tally::default());
        let mut strangers = JoinSet::new();
        strangers.spawn(attacks::run(attack, self.at, Arc::clone(&tally)));
        tokio::time::sleep(RISE).await;
        let (latencies, grown) = self.honest(lasts).await?;
        strangers.shutdown().await;
        let recovery_s = self.recovery().await?;
        self.market.check_health()?;
        let mut decided: Vec<f64> = latencies.iter().copied().flatten().collect();
        decided.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = decided.len().saturating_sub(1);
            let index = (last as f64 * share).ceil() as usize;
            decided.get(index).copied().unwrap_or(f64::NAN) * 1e3
        };
        let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed);
        Ok(Row {
            attack: attack.name(),
            held: attack.held(),
            connections: count(&tally.connections),
            requests: [&tally.answered, &tally.refused, &tally.turned_away].map(count),
            honest: latencies.len(),
            undecided: latencies.len().saturating_sub(decided.len()),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: at(1.0),
            grew_mib: grown - before,
            recovery_s,
        })
    }

    /// Latencies in seconds, of each request that was decided, and the most memory that was seen.
    async fn honest(self: &Arc<Self>, lasts: Duration) -> Result<(Vec<Option<f64>>, f64)> {
        let start = Instant::now();
        let mut asked = JoinSet::new();
        let mut grown = self.resident_mib()?;
        let requests = (lasts.as_secs_f64() / EVERY.as_secs_f64()) as usize;
        for number in 0..requests {
            let due = start + EVERY * u32::try_from(number)?;
            tokio::time::sleep_until(due).await;
            let scene = Arc::clone(self);
            asked.spawn(async move {
                let asking = tokio::task::spawn_blocking(move || scene.ask(number));
                let answer = timeout(GIVEN_UP, asking).await;
                let decided = matches!(answer, Ok(Ok(Ok(()))));
                decided.then(|| due.elapsed().as_secs_f64())
            });
            grown = grown.max(self.resident_mib()?);
        }
        Ok((asked.join_all().await, grown))
    }

    /// Seconds until requests in a row are decided, and in time.
    async fn recovery(self: &Arc<Self>) -> Result<f64> {
        let start = Instant::now();
        let (mut well, mut since) = (0, start);
        while well < WELL && start.elapsed() < RECOVERY_MAX {
            let began = Instant::now();
            let scene = Arc::clone(self);
            let asked = tokio::task::spawn_blocking(move || scene.ask(well)).await?;
            if asked.is_ok() && began.elapsed() < EVERY {
                well = well.saturating_add(1);
            } else {
                (well, since) = (0, Instant::now());
            }
        }
        Ok(since.duration_since(start).as_secs_f64())
    }

    /// Checks the books once all is over.
    ///
    /// # Errors
    /// If money was lost or made.
    pub fn audit(&self) -> Result<()> {
        self.market.audit()
    }
}

/// The rows as a page for people; ratios are over the row without an attack.
pub fn table(rows: &[Row]) -> String {
    let calm = rows.iter().find(|row| row.attack == Attack::None.name());
    let mut page = String::from(
        "| attack | connections held (made) | its requests answered / refused / turned away | honest requests | \
         undecided | p50 ms | p99 ms | p99 over no attack | max ms | memory grew MiB | recovery s |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let [answered, refused, away] = row.requests;
        let ratio = calm.map_or(f64::NAN, |calm| row.p99_ms / calm.p99_ms);
        page += &format!(
            "| {} | {} ({}) | {answered} / {refused} / {away} | {} | {} | {:.1} | {:.1} | {ratio:.1}x | {:.1} | {:.1} | {:.1} |\n",
            row.attack,
            row.held,
            row.connections,
            row.honest,
            row.undecided,
            row.p50_ms,
            row.p99_ms,
            row.max_ms,
            row.grew_mib,
            row.recovery_s,
        );
    }
    page
}
