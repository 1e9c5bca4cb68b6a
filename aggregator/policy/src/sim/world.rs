//! What is simulated, and what is counted.

use serde::{Deserialize, Serialize};

use super::attack::Attack;
use crate::params::Params;

/// Mishaps that nobody intends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// Executions of an honest provider that fail for all to see, and are done again.
    pub faults: f64,
    /// Executions of an honest provider that are wrong without anybody noticing at the time.
    pub silent: f64,
    /// Comparisons of two right answers that say they differ. Repeated by each confirmation.
    pub mismatch: f64,
    /// Assignments without an answer, which are sent again.
    pub no_reply: f64,
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            faults: 1e-5,
            silent: 1e-9,
            mismatch: 1e-4,
            no_reply: 0.05,
        }
    }
}

/// One cell of the campaign: who attacks what, how many they are, for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct World<'a> {
    pub(super) params: &'a Params,
    pub(super) noise: Noise,
    pub(super) attack: &'a Attack,
    /// Providers.
    pub(super) providers: u64,
    /// Share of them that is malicious.
    pub(super) share: f64,
    /// Items of each provider.
    pub(super) horizon: u64,
    /// Share of the malicious one's items that are wrong.
    pub(super) rate: f64,
    pub(super) seed: u64,
    /// Malicious lives to simulate.
    pub(super) lives: u64,
}

impl World<'_> {
    /// Share of providers that give wrong answers.
    pub(super) const fn active(&self) -> f64 {
        self.share * self.attack.active
    }

    /// Probability that an auditor drawn at random, who may be one of them, tells a wrong answer.
    pub(super) fn peer_finds(&self) -> f64 {
        let covers = if self.attack.colludes {
            self.share
        } else {
            0.0
        };
        self.attack.told_apart * (1.0 - covers) * (1.0 - self.attack.lazy)
    }

    /// The rate of wrong items, none if the answers are right.
    pub(super) const fn wrong_rate(&self) -> f64 {
        if self.attack.right { 0.0 } else { self.rate }
    }

    /// Items during which a malicious provider cheats: from and until.
    pub(super) fn cheats(&self, window: u64) -> (u64, u64) {
        if self.attack.burst {
            return (self.horizon.saturating_sub(window), self.horizon);
        }
        (
            (self.horizon as f64 * self.attack.sleeps) as u64,
            self.horizon,
        )
    }
}

/// What came of it. A cluster is what is drawn independently: a malicious life with its part of the honest
/// rest, or a whole network.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) clusters: f64,
    /// Items of the network.
    pub(super) items: f64,
    /// Executions they took.
    pub(super) executions: f64,
    /// Wrong items among the final ones, and the sum of squares over clusters.
    pub(super) wrong: f64,
    pub(super) wrong_squared: f64,
    /// Wrong items that were found or not, final or not.
    pub(super) cheats: f64,
    /// Malicious providers, in lives.
    pub(super) lives: f64,
    /// Losses of theirs: stakes, fines, items whose reward was lost.
    pub(super) slashed: f64,
    pub(super) fined: f64,
    pub(super) forfeited: f64,
    /// Wrong items given until the first was found, per life in which one was.
    pub(super) delays: Vec<f64>,
}

impl Tally {
    /// Adds a cluster's wrong items.
    pub(super) fn add_wrong(&mut self, wrong: f64) {
        self.clusters += 1.0;
        self.wrong += wrong;
        self.wrong_squared += wrong * wrong;
    }
}

/// What honest providers went through.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Honest {
    pub(super) lives: u64,
    /// Executions per item.
    pub(super) executions: f64,
    /// Lost their stake, or were banned where there is none.
    pub(super) slashed: u64,
    /// Paid a fine.
    pub(super) fined: u64,
    /// Wrong items of theirs among the final ones, per item.
    pub(super) error: f64,
}
