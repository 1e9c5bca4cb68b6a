//! Plain voting: every item twice, a third where they differ; or three times, two of which must agree.
//!
//! There is no memory, so what happens to an item has a fixed probability, and a network's items are drawn at
//! once. Colluders know one another's items: they give the same wrong answer to the same items.

use super::draw::Draw;
use super::world::{Honest, Tally, World};

/// Networks per cell: each is a cluster.
const NETWORKS: u64 = 16;

/// How many copies are sent out at first; two that agree decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copies {
    Two,
    Three,
}

/// Per item: the probability of a wrong answer, and executions.
pub(super) fn outcome(copies: Copies, world: &World<'_>) -> (f64, f64) {
    let (attack, f, mismatch) = (world.attack, world.active(), world.noise.mismatch);
    let (s, told) = (world.wrong_rate(), attack.told_apart);
    let base = match copies {
        Copies::Two => 2.0,
        Copies::Three => 3.0,
    };
    if attack.aggregator {
        // Whoever sends all copies to its own needs no luck.
        return (s, base);
    }
    let (pair, mixed) = (f * f, 2.0 * f * (1.0 - f));
    let two_of_three = pair * f + 3.0 * pair * (1.0 - f);
    // Who is not told apart agrees with the honest one, and its answer may be the one that is kept.
    let blurred = |probability: f64| probability * (1.0 - told) * 0.5;
    let (wrong, more) = match copies {
        _ if attack.all_copies => match copies {
            Copies::Two => (s * pair, mismatch),
            Copies::Three => (s * pair * f, 0.0),
        },
        _ if !attack.colludes => {
            let right = 1.0 - f * s;
            return (blurred(s * mixed), base.max(2.0 / right) + mismatch);
        }
        // Sent one after another without commitments, a copy sees what it copies: the first is made up.
        Copies::Two if attack.copies => {
            let differ = f * (1.0 - f);
            (s * (pair + differ * f * 0.5), s * differ + mismatch)
        }
        Copies::Two => {
            let wrong = pair + mixed * (told * f) + blurred(mixed);
            (s * wrong, s * mixed * told + mismatch)
        }
        Copies::Three => (
            s * (two_of_three + blurred(3.0 * f * (1.0 - f) * (1.0 - f))),
            0.0,
        ),
    };
    (wrong, base + more)
}

pub(super) fn run(copies: Copies, world: &World<'_>) -> Tally {
    let (probability, executions) = outcome(copies, world);
    let mut tally = Tally::default();
    let awake = 1.0 - world.attack.sleeps;
    let items = world.providers.saturating_mul(world.horizon);
    let attacked = (items as f64 * awake) as u64;
    for network in 0..NETWORKS {
        let mut draw = Draw::new(world.seed, network);
        tally.add_wrong(draw.binomial(attacked, probability) as f64);
        tally.items += items as f64;
        tally.executions += items as f64 * executions;
        let lives = world.providers as f64 * world.active();
        tally.lives += lives;
        tally.cheats += lives * world.horizon as f64 * awake * world.wrong_rate();
    }
    tally
}

/// Nobody is banned or slashed here, and two honest copies are hardly ever wrong alike.
pub(super) fn honest(copies: Copies, world: &World<'_>) -> Honest {
    let base = match copies {
        Copies::Two => 2.0 + world.noise.mismatch,
        Copies::Three => 3.0,
    };
    Honest {
        lives: world.providers,
        executions: base + world.noise.faults,
        ..Honest::default()
    }
}

/// The probability that the first of two camps to `needed` votes is the wrong one, when each vote is wrong with
/// probability `wrong`, and alike: Sarmenta's m-first voting.
#[must_use]
pub fn majority_error(wrong: f64, needed: u32) -> f64 {
    let votes = 2 * u64::from(needed.max(1)) - 1;
    super::stats::binomial_tail(votes, wrong, u64::from(needed.max(1)))
}
