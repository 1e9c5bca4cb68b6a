//! The campaign: every policy against every adversary, at the same horizon, in one run.
//!
//! Event by event, with what is between two events drawn at once, so that ten billion items take
//! milliseconds. Ours is driven through the very functions of [`crate::audit`] and [`crate::finality`]; the
//! others are re-implemented from their published rules, with the benefit of the doubt: no false alarm ever
//! costs their honest providers anything that ours would not lose either. For each cell the rate of wrong items
//! that hurts most is searched for with one set of seeds, and reported with another.
//!
//! Reading order: [`Campaign`], [`run`], `search`; then `ours`, and the others beside it: `voting`, `boinc`,
//! `credit` (Sarmenta, PoCo), `sampled` (PoSP, Gonka). [`attack`] lists the adversaries.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "simulated counts stay far below what they are kept in, and decide nothing"
)]

pub mod attack;
pub mod plot;
pub mod table;

mod cell;
mod draw;
mod policies;
mod stats;
mod svg;
mod world;

mod boinc;
mod credit;
mod ours;
mod sampled;
mod voting;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::params::Params;
use attack::{ATTACKS, Attack, NOBODY};
use cell::Cell;
use policies::Policy;

pub use voting::majority_error;
pub use world::Noise;

/// Most threads a run uses.
pub const THREADS_MAX: usize = 64;
/// Most providers of a network.
pub const PROVIDERS_MAX: u64 = 100_000;
/// Most malicious lives of a cell.
pub const LIVES_MAX: u64 = 1_000_000;
/// The shares of malicious providers.
pub const SHARES: [f64; 4] = [0.0, 0.1, 0.3, 0.45];
/// The horizons, in items of one provider.
pub const HORIZONS: [u64; 3] = [10_000, 1_000_000, 10_000_000];

/// The adversaries of the shorter horizons; the longest meets all, unless some are named.
const SHORT: [&str; 4] = ["independent", "colluding", "sleeper", "burst and exit"];

/// What to simulate.
#[derive(Clone, Debug, PartialEq)]
pub struct Campaign {
    /// Parameters of the audit policy.
    pub params: Params,
    /// Mishaps that nobody intends.
    pub noise: Noise,
    /// Providers of a network.
    pub providers: u64,
    /// Malicious lives behind each reported figure.
    pub lives: u64,
    /// Where the seeds begin.
    pub seed: u64,
    /// On how many threads; the result does not depend on it.
    pub threads: usize,
    /// Shares of malicious providers.
    pub shares: Vec<f64>,
    /// Horizons.
    pub horizons: Vec<u64>,
    /// Only policies whose name contains one of these; all if there is none.
    pub policies: Vec<String>,
    /// Only adversaries whose name contains one of these; all if there is none.
    pub adversaries: Vec<String>,
    /// Whether the sweeps over parameters and noise are part of it.
    pub sweeps: bool,
}

impl Default for Campaign {
    fn default() -> Self {
        Self {
            params: Params::default(),
            noise: Noise::default(),
            providers: 1_000,
            lives: 3_000,
            seed: 1,
            threads: 2,
            shares: SHARES.to_vec(),
            horizons: HORIZONS.to_vec(),
            policies: Vec::new(),
            adversaries: Vec::new(),
            sweeps: true,
        }
    }
}

/// One cell's result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// `main`, `sweep` over parameters, or `noise`.
    pub group: &'static str,
    /// The policy.
    pub policy: String,
    /// The adversary.
    pub adversary: &'static str,
    /// Its share of providers.
    pub share: f64,
    /// Items of one provider.
    pub horizon: u64,
    /// Rate of wrong items that was worst.
    pub rate: f64,
    /// Mean executions per item.
    #[serde(rename = "R")]
    pub executions: f64,
    /// Mean assignments per item: some get no reply.
    pub sent: f64,
    /// Wrong items among the final ones, by cheating.
    pub error: f64,
    /// Its interval, with 95 %.
    pub error_ci95: (f64, f64),
    /// Wrong items among the final ones of honest providers, by faults that nobody noticed.
    pub error_faults: f64,
    /// Honest providers that lost their stake, or their place where there is no stake.
    pub slashed_honest: u64,
    /// Honest providers that paid for a fault of their own.
    pub fined_honest: u64,
    /// Honest lives behind these two.
    pub honest_lives: u64,
    /// Further items of its provider after which an item is final: half and 99 % of items.
    pub finality_p50: u64,
    /// See `finality_p50`.
    pub finality_p99: u64,
    /// Wrong items given until the first was found: half and 99 % of lives in which one was.
    pub delay_p50: Option<f64>,
    /// See `delay_p50`.
    pub delay_p99: Option<f64>,
    /// What cheating brought one malicious provider, at this rate, beyond honest work, in rewards.
    pub profit: f64,
    /// The most it brought at any rate that enough wrong items were seen of.
    pub profit_max: f64,
    /// The least stake at which no rate brings anything, in rewards; none where nothing is slashed.
    pub stake_min: Option<f64>,
    /// Malicious lives, or networks, behind the figures.
    pub clusters: u64,
}

/// What a campaign came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Where the seeds began.
    pub seed: u64,
    /// The rows, in order of group, horizon, share, policy and adversary.
    pub rows: Vec<Row>,
}

/// Runs a campaign. `progress` is told, from any thread, how many cells of how many are done.
pub fn run(campaign: &Campaign, progress: impl Fn(u64, u64) + Sync) -> Report {
    let cells = cells(campaign);
    let total = cells.len() as u64;
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let rows = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(cell) = cells.get(index as usize) else {
                return;
            };
            let row = cell.run();
            let mut all = rows.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(index, row);
            drop(all);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..campaign.threads.clamp(1, THREADS_MAX) {
            scope.spawn(work);
        }
        work();
    });
    let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    Report {
        seed: campaign.seed,
        rows: rows.into_values().collect(),
    }
}

/// Every cell of a campaign.
fn cells(campaign: &Campaign) -> Vec<Cell> {
    let wanted = |names: &[String], name: &str| {
        names.is_empty() || names.iter().any(|wanted| name.contains(wanted.as_str()))
    };
    let policies = policies::all(&campaign.params);
    let policies = policies
        .iter()
        .filter(|p| wanted(&campaign.policies, &p.name));
    let policies: Vec<&Policy> = policies.collect();
    let longest = campaign.horizons.iter().max().copied().unwrap_or(1);
    let meets = |horizon: u64, name: &str| {
        let short = horizon < longest && campaign.adversaries.is_empty();
        wanted(&campaign.adversaries, name) && (!short || SHORT.contains(&name))
    };
    let mut cells = Vec::new();
    let cell = |group, policy: &Policy, attack: &'static Attack, share, horizon, noise| Cell {
        group,
        policy: policy.clone(),
        attack,
        share,
        horizon,
        noise,
        providers: campaign.providers.clamp(10, PROVIDERS_MAX),
        lives: campaign.lives.clamp(20, LIVES_MAX),
        seed: campaign.seed,
    };
    for &horizon in &campaign.horizons {
        for &share in &campaign.shares {
            let attacks = ATTACKS.iter().filter(|a| meets(horizon, a.name));
            let attacks: Vec<&Attack> = if share > 0.0 {
                attacks.collect()
            } else {
                vec![&NOBODY]
            };
            for policy in &policies {
                let row = |attack| cell("main", policy, attack, share, horizon, campaign.noise);
                cells.extend(attacks.iter().map(|attack| row(attack)));
            }
        }
    }
    if campaign.sweeps {
        for share in [0.1, 0.3] {
            let worst: &'static Attack = &attack::COLLUDING;
            for policy in policies::sweep(&campaign.params) {
                let horizon = policy.horizon.unwrap_or(longest);
                cells.push(cell(
                    "sweep",
                    &policy,
                    worst,
                    share,
                    horizon,
                    campaign.noise,
                ));
            }
            for (policy, silent) in policies::pardons(&campaign.params) {
                let noise = Noise {
                    silent,
                    ..campaign.noise
                };
                cells.push(cell("noise", &policy, worst, share, longest, noise));
            }
        }
    }
    cells
}
