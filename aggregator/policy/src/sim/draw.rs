//! Random numbers: a stream of its own for every life, the same for every policy and adversary.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// A waiting time that nobody lives to see.
pub(super) const NEVER: u64 = u64::MAX >> 8;
/// Below this many expected successes a binomial draw counts waiting times, which is exact; above, the
/// normal approximation is off by less than the noise.
const EXACT_MAX: f64 = 32.0;

/// A stream of draws.
#[derive(Debug)]
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream of life `life` under `seed`.
    pub(super) fn new(seed: u64, life: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(life);
        Self(rng)
    }

    /// Uniform between 0 and 1, neither included.
    pub(super) fn uniform(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Tries until the first success, that one included.
    pub(super) fn geometric(&mut self, probability: f64) -> u64 {
        if probability >= 1.0 {
            return 1;
        }
        if probability <= 0.0 {
            return NEVER;
        }
        let tries = (self.uniform().ln() / (-probability).ln_1p()).ceil();
        if tries >= NEVER as f64 {
            NEVER
        } else {
            (tries as u64).max(1)
        }
    }

    /// Successes among `tries`.
    pub(super) fn binomial(&mut self, tries: u64, probability: f64) -> u64 {
        if probability <= 0.0 || tries == 0 {
            return 0;
        }
        if probability > 0.5 {
            return tries - self.binomial(tries, 1.0 - probability);
        }
        let mean = tries as f64 * probability;
        if mean <= EXACT_MAX {
            let (mut successes, mut at) = (0, 0u64);
            loop {
                at = at.saturating_add(self.geometric(probability));
                if at > tries {
                    return successes;
                }
                successes += 1;
            }
        }
        let deviation = (mean * (1.0 - probability)).sqrt();
        let drawn = (mean + deviation * self.normal()).round();
        drawn.clamp(0.0, tries as f64) as u64
    }

    fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.uniform(), self.uniform());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let four = |seed, life| {
            let mut draw = Draw::new(seed, life);
            [0; 4].map(|_| draw.uniform())
        };
        assert_eq!(four(1, 2), four(1, 2));
        assert_ne!(four(1, 2), four(1, 3));
        assert_ne!(four(1, 2), four(2, 2));
    }

    #[test]
    fn waiting_times_and_counts_have_the_right_mean() {
        let mut draw = Draw::new(7, 0);
        let rounds = 20_000u32;
        for probability in [1.0, 0.5, 0.03] {
            let sum: u64 = (0..rounds).map(|_| draw.geometric(probability)).sum();
            let (mean, expected) = (sum as f64 / f64::from(rounds), 1.0 / probability);
            let deviation = (1.0 - probability).sqrt() / probability / f64::from(rounds).sqrt();
            assert!(
                (mean - expected).abs() <= 5.0 * deviation,
                "{probability}: {mean}"
            );
        }
        for (tries, probability) in [
            (10, 0.2),
            (1_000, 0.01),
            (100_000, 0.3),
            (50, 0.9),
            (7, 1.0),
        ] {
            let sum: u64 = (0..rounds).map(|_| draw.binomial(tries, probability)).sum();
            let (mean, expected) = (sum as f64 / f64::from(rounds), tries as f64 * probability);
            let deviation = (expected * (1.0 - probability) / f64::from(rounds)).sqrt();
            assert!(
                (mean - expected).abs() <= 5.0 * deviation,
                "{tries} {probability}: {mean}"
            );
        }
        assert_eq!((draw.geometric(0.0), draw.binomial(9, 0.0)), (NEVER, 0));
    }
}
