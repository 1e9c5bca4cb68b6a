//! One cell: the search for the worst rate, and the row.

use super::Row;
use super::attack::Attack;
use super::policies::Policy;
use super::stats::{interval, quantile};
use super::world::{Honest, Noise, Tally, World};

/// Least points of the search over the rate of wrong items.
const POINTS_MIN: usize = 9;
/// Malicious lives of each point of the search.
pub(super) const PILOT_LIVES: u64 = 250;
/// Rounds of looking between the best point and its neighbours.
const REFINEMENTS: u32 = 2;
/// Slashes that a point needs to say something about the stake that deters.
const SLASHES_MIN: f64 = 10.0;
/// Wrong items that a point needs to say something about profit: fines are rare and large.
const CHEATS_MIN: f64 = 2_000.0;

/// One policy, one adversary, one share, one horizon.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) group: &'static str,
    pub(super) policy: Policy,
    pub(super) attack: &'static Attack,
    pub(super) share: f64,
    pub(super) horizon: u64,
    pub(super) noise: Noise,
    pub(super) providers: u64,
    pub(super) lives: u64,
    pub(super) seed: u64,
}

/// What a rate came to in the search.
#[derive(Clone, Copy, Debug)]
struct Point {
    rate: f64,
    error: f64,
    profit: Option<f64>,
    stake_min: Option<f64>,
}

impl Cell {
    fn world(&self, rate: f64, seed: u64, lives: u64) -> World<'_> {
        World {
            params: &self.policy.params,
            noise: self.noise,
            attack: self.attack,
            providers: self.providers,
            share: self.share,
            horizon: self.horizon,
            rate,
            seed,
            lives,
        }
    }

    /// Searches with one set of seeds, reports with another.
    pub(super) fn run(&self) -> Row {
        // Other honest lives in each cell, so that a campaign has many.
        let name = blake3::hash(self.attack.name.as_bytes());
        let world = self.world(0.0, self.seed ^ crate::audit::first_u64(&name), 0);
        let honest_lives = (self.providers as f64 * (1.0 - self.share)) as u64;
        let honest = self.policy.honest(&world, honest_lives);
        if self.share <= 0.0 {
            let tally = Tally {
                clusters: 1.0,
                items: self.providers as f64 * self.horizon as f64,
                executions: self.providers as f64 * self.horizon as f64 * honest.executions,
                ..Tally::default()
            };
            return self.row(
                &tally,
                &honest,
                &[Point {
                    rate: 0.0,
                    error: 0.0,
                    profit: None,
                    stake_min: None,
                }],
            );
        }
        let mut points = self.search(&honest);
        points.sort_by(|a, b| b.error.total_cmp(&a.error));
        let rate = points.first().map_or(0.0, |point| point.rate);
        let world = self.world(rate, self.seed ^ FRESH, self.lives);
        let tally = self.policy.attacked(&world, &honest);
        self.row(&tally, &honest, &points)
    }

    fn search(&self, honest: &Honest) -> Vec<Point> {
        let decades = (self.horizon as f64).log10();
        let count = POINTS_MIN.max((decades * 2.0) as usize + 1);
        let grid = (0..count).map(|i| 10f64.powf(-decades * i as f64 / (count - 1) as f64));
        let mut points: Vec<Point> = grid.map(|rate| self.point(rate, honest)).collect();
        let mut step = 10f64.powf(decades / (count - 1) as f64 / 2.0);
        for _ in 0..REFINEMENTS {
            let best = points.iter().max_by(|a, b| a.error.total_cmp(&b.error));
            let Some(rate) = best.map(|best| best.rate) else {
                break;
            };
            for rate in [rate * step, rate / step] {
                points.push(self.point(rate.min(1.0), honest));
            }
            step = step.sqrt();
        }
        points
    }

    fn point(&self, rate: f64, honest: &Honest) -> Point {
        let world = self.world(rate, self.seed, PILOT_LIVES);
        let tally = self.policy.attacked(&world, honest);
        let gain = self.gain(&tally);
        let slashes = tally.slashed.max(0.0);
        let stake = self.stake();
        Point {
            rate,
            error: tally.wrong / tally.items,
            profit: (tally.cheats >= CHEATS_MIN)
                .then(|| (gain - slashes * stake) / tally.lives.max(1.0)),
            stake_min: (slashes >= SLASHES_MIN).then(|| (gain / slashes).max(0.0)),
        }
    }

    /// The stake, in rewards.
    fn stake(&self) -> f64 {
        self.in_rewards(self.policy.params.stake)
    }

    fn in_rewards(&self, money: u128) -> f64 {
        money as f64 / (self.policy.params.reward.max(1)) as f64
    }

    /// What cheating brought before any stake is lost, in rewards: saved costs and gains, less fines and the
    /// rewards of items that never became final.
    fn gain(&self, tally: &Tally) -> f64 {
        let params = &self.policy.params;
        tally.cheats * self.in_rewards(params.cost) + tally.wrong * self.in_rewards(params.gain)
            - tally.fined * self.in_rewards(params.fine)
            - tally.forfeited
    }

    fn row(&self, tally: &Tally, honest: &Honest, points: &[Point]) -> Row {
        let mut delays = tally.delays.clone();
        delays.sort_by(f64::total_cmp);
        let executions = tally.executions / tally.items;
        let profit = (self.gain(tally) - tally.slashed * self.stake()) / tally.lives.max(1.0);
        let profits = points.iter().filter_map(|point| point.profit);
        let stakes = points.iter().filter_map(|point| point.stake_min);
        let window = self.policy.window().min(self.horizon);
        let (low, high) = interval(
            tally.wrong,
            tally.wrong_squared,
            tally.clusters,
            tally.items,
        );
        Row {
            group: self.group,
            policy: self.policy.name.clone(),
            adversary: self.attack.name,
            share: self.share,
            horizon: self.horizon,
            rate: digits(points.first().map_or(0.0, |point| point.rate)),
            executions: digits(executions),
            sent: digits(executions / (1.0 - self.noise.no_reply)),
            error: digits(tally.wrong / tally.items),
            error_ci95: (digits(low), digits(high)),
            error_faults: digits(honest.error),
            slashed_honest: honest.slashed,
            fined_honest: honest.fined,
            honest_lives: honest.lives,
            finality_p50: window.min(self.horizon / 2),
            finality_p99: window,
            delay_p50: quantile(&delays, 0.5),
            delay_p99: quantile(&delays, 0.99),
            profit: digits(profit),
            profit_max: digits(profits.fold(profit, f64::max)),
            stake_min: stakes.reduce(f64::max).map(digits),
            clusters: tally.clusters as u64,
        }
    }
}

/// A figure with five digits, which is more than any of them is worth.
fn digits(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(4 - value.abs().log10().floor() as i32);
    if scale.is_finite() && scale > 0.0 {
        (value * scale).round() / scale
    } else {
        value
    }
}

/// Turns the seed of the search into that of the report.
const FRESH: u64 = 0x5eed_0000_0000_0000;
