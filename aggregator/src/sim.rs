//! The simulator: the very core of the daemon, driven by seeded providers, clients and faults.
//!
//! A seed decides everything: who lies and how, which message is lost, doubled or late, when the
//! aggregator is killed and between which two of its acts. Time is simulated, outputs are symbols, and
//! after every step the invariants of core and ledger are checked; at the end, that every job ended, that
//! no money is held, and that the oracle, which knows who lied, has seen no wrong result accepted and no
//! honest provider slashed.
//!
//! Reading order: [`SimConfig`], [`run`]; then `world` (the clockwork), `node` (the aggregator's daemon
//! in small: persist, act, crash, replay), `peer` (providers and their vices), `plan` (what a seed
//! brings about), `oracle` (what must never happen).

mod node;
mod oracle;
mod peer;
mod plan;
mod world;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use jobs::digest::Digest;
use serde::Serialize;

/// Most threads a run uses.
pub const THREADS_MAX: usize = 64;
/// Violations kept in a report; more are only counted.
pub const VIOLATIONS_LISTED_MAX: usize = 100;

/// What to simulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimConfig {
    /// How many seeds.
    pub seeds: u64,
    /// The first one.
    pub seed_start: u64,
    /// On how many threads, 1 to [`THREADS_MAX`]; the result does not depend on it.
    pub threads: usize,
    /// A deliberate mistake in the core.
    #[cfg(any(test, feature = "sabotage"))]
    pub sabotage: Option<crate::core::Sabotage>,
}

impl SimConfig {
    /// `seeds` seeds from `seed_start` on, on two threads.
    #[must_use]
    pub const fn new(seeds: u64, seed_start: u64) -> Self {
        Self {
            seeds,
            seed_start,
            threads: 2,
            #[cfg(any(test, feature = "sabotage"))]
            sabotage: None,
        }
    }
}

/// Something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SimViolation {
    /// In which seed.
    pub seed: u64,
    /// At which simulated millisecond.
    pub at_ms: u64,
    /// What.
    pub what: String,
}

/// What one seed came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedReport {
    /// The first violation; the seed ends with it.
    pub violation: Option<SimViolation>,
    /// Simulated milliseconds.
    pub sim_ms: u64,
    /// What was counted.
    pub counts: Counts,
    /// Digest over every time, event and action.
    pub log_hash: Digest,
}

/// Sums of what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Steps of the core.
    pub events: u64,
    /// Injected faults: messages lost, doubled or delayed, partitions, crashes, lies, stalls.
    pub faults: u64,
    /// Kills of the aggregator.
    pub restarts: u64,
    /// Jobs done.
    pub done: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Of these, at their deadline.
    pub expired: u64,
    /// Providers banned with evidence.
    pub banned: u64,
    /// Replicas that lost a vote.
    pub dissented: u64,
    /// Providers that games were rewarded for.
    pub rewarded: u64,
    /// Cases opened against an answer.
    pub accused: u64,
    /// Of these, those that took a stake.
    pub liquidated: u64,
    /// What audits came to.
    pub audits: AuditCounts,
}

/// Sums of what audits came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct AuditCounts {
    /// Executions that checked an answer, or were to.
    pub drawn: u64,
    /// Answers that referees found to be wrong.
    pub convicted: u64,
    /// Of these, those that cost a fine; the others cost the stake.
    pub fined: u64,
    /// Providers banned because they vouched for a wrong answer.
    pub vouched: u64,
    /// Answers that were accepted for the time being and taken back.
    pub withdrawn: u64,
}

impl AuditCounts {
    const fn add(&mut self, other: &Self) {
        self.drawn = self.drawn.saturating_add(other.drawn);
        self.convicted = self.convicted.saturating_add(other.convicted);
        self.fined = self.fined.saturating_add(other.fined);
        self.vouched = self.vouched.saturating_add(other.vouched);
        self.withdrawn = self.withdrawn.saturating_add(other.withdrawn);
    }
}

impl Counts {
    const fn add(&mut self, other: &Self) {
        self.events = self.events.saturating_add(other.events);
        self.faults = self.faults.saturating_add(other.faults);
        self.restarts = self.restarts.saturating_add(other.restarts);
        self.done = self.done.saturating_add(other.done);
        self.failed = self.failed.saturating_add(other.failed);
        self.expired = self.expired.saturating_add(other.expired);
        self.banned = self.banned.saturating_add(other.banned);
        self.dissented = self.dissented.saturating_add(other.dissented);
        self.rewarded = self.rewarded.saturating_add(other.rewarded);
        self.accused = self.accused.saturating_add(other.accused);
        self.liquidated = self.liquidated.saturating_add(other.liquidated);
        self.audits.add(&other.audits);
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimReport {
    /// Seeds simulated.
    pub seeds: u64,
    /// Seeds with a violation.
    pub violated: u64,
    /// The first of them, in order of seed.
    pub violations: Vec<SimViolation>,
    /// Simulated milliseconds.
    pub sim_ms: u64,
    /// What was counted.
    pub counts: Counts,
    /// Digest over all seeds' digests, in order of seed.
    pub log_hash: Digest,
}

impl SimReport {
    /// Simulated hours.
    #[must_use]
    pub fn sim_hours(&self) -> f64 {
        self.sim_ms as f64 / 3_600_000.0
    }

    /// Injected faults.
    #[must_use]
    pub const fn faults(&self) -> u64 {
        self.counts.faults
    }
}

/// Simulates every seed of `config`. `progress` is told, from any thread, how many seeds are done.
pub fn run(config: SimConfig, progress: impl Fn(u64) + Sync) -> SimReport {
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let reports = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= config.seeds {
                return;
            }
            let report = run_seed(&config, config.seed_start.saturating_add(index));
            let mut all = reports.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(index, report);
            drop(all);
            progress(done.fetch_add(1, Ordering::Relaxed).saturating_add(1));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..config.threads.clamp(1, THREADS_MAX) {
            scope.spawn(work);
        }
        work();
    });
    let reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary(config.seeds, reports)
}

/// Simulates one seed.
#[must_use]
pub fn run_seed(config: &SimConfig, seed: u64) -> SeedReport {
    match world::World::new(config, seed) {
        Ok(world) => world.run(),
        Err(what) => SeedReport {
            violation: Some(SimViolation {
                seed,
                at_ms: 0,
                what,
            }),
            sim_ms: 0,
            counts: Counts::default(),
            log_hash: Digest::default(),
        },
    }
}

fn summary(seeds: u64, reports: BTreeMap<u64, SeedReport>) -> SimReport {
    let mut chain = blake3::Hasher::new();
    let mut sum = SimReport {
        seeds,
        violated: 0,
        violations: Vec::new(),
        sim_ms: 0,
        counts: Counts::default(),
        log_hash: Digest::default(),
    };
    for report in reports.into_values() {
        chain.update(report.log_hash.as_bytes());
        sum.sim_ms = sum.sim_ms.saturating_add(report.sim_ms);
        sum.counts.add(&report.counts);
        sum.violated = sum
            .violated
            .saturating_add(u64::from(report.violation.is_some()));
        if sum.violations.len() < VIOLATIONS_LISTED_MAX {
            sum.violations.extend(report.violation);
        }
    }
    sum.log_hash = Digest::from_bytes(*chain.finalize().as_bytes());
    sum
}
