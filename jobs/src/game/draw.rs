//! How rounds are drawn: which items of the pool, in which order, after which pause. The validator
//! draws a secret seed; whoever does not know it cannot tell a round before it comes.

use super::Rounds;
use crate::digest::{Digest, Domain};

/// One round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Positions in the pool, each at most once, in the order in which they are asked.
    pub items: Vec<u32>,
    /// Milliseconds to wait before it.
    pub pause_ms: u64,
}

/// The `number`-th round under `seed` over a pool of so many items.
pub fn round(rounds: &Rounds, pool: u32, seed: &[u8; 32], number: u32) -> Round {
    let mut chance = Chance::new(seed, number);
    let pause_ms = chance.range(rounds.pause_ms_min, rounds.pause_ms_max);
    let count = chance.range(rounds.items_min.into(), rounds.items_max.into());
    let mut deck: Vec<u32> = (0..pool).collect();
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(deck.len());
    // The first steps of a Fisher-Yates shuffle.
    for at in 0..count {
        let last = deck.len().saturating_sub(1);
        let other = chance.range(at as u64, last as u64);
        deck.swap(at, usize::try_from(other).unwrap_or(at).min(last));
    }
    deck.truncate(count);
    Round {
        items: deck,
        pause_ms,
    }
}

/// A stream of numbers that only who knows the seed can foresee.
#[derive(Debug)]
pub struct Chance {
    seed: [u8; 32],
    stream: u32,
    drawn: u64,
}

impl Chance {
    /// The `stream`-th stream of a seed.
    pub const fn new(seed: &[u8; 32], stream: u32) -> Self {
        Self {
            seed: *seed,
            stream,
            drawn: 0,
        }
    }

    /// A number from `low` to `high`, both included; `low` if there is none. Of ranges far smaller than
    /// 2^64, as all here are, every number is equally likely but for less than one in 2^40.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        let counter = self.drawn.to_le_bytes();
        self.drawn = self.drawn.saturating_add(1);
        let stream = self.stream.to_le_bytes();
        let digest = Digest::bind(Domain::GameDraw, &[&self.seed, &stream, &counter]);
        let mut bytes = [0; 8];
        for (byte, drawn) in bytes.iter_mut().zip(digest.as_bytes()) {
            *byte = *drawn;
        }
        let width = high.saturating_sub(low).saturating_add(1);
        let offset = u64::from_le_bytes(bytes).checked_rem(width).unwrap_or(0);
        low.saturating_add(offset)
    }
}
