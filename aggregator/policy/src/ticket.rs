//! A draw among candidates of unequal weight that anyone can repeat.
//!
//! Every candidate has a ticket: a hash of beacon, occasion and candidate, stretched by its weight. The smallest is
//! drawn. So anyone with the list can check the choice, the order of the list does not matter, and who comes or goes
//! changes nothing about the tickets of the others.

use std::cmp::Ordering;

use crate::audit::first_u64;
use crate::beacon::Beacon;

/// Bits behind the point of a logarithm.
const LOG_BITS: u32 = 40;

/// What is drawn. Tickets of one purpose say nothing about those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Who checks an answer.
    Audit,
    /// Who executes a shard.
    Dispatch,
}

impl Purpose {
    const fn domain(self) -> &'static str {
        match self {
            Self::Audit => "assay policy 2026 auditor rank",
            Self::Dispatch => "assay policy 2026 dispatch ticket",
        }
    }
}

/// A candidate's ticket. The smallest of all is drawn, and with a probability in proportion to its weight.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    rank: u64,
    weight: u64,
    id: [u8; 32],
}

impl Ticket {
    /// The ticket of candidate `id` for draw number `number` about `subject`, an assignment or a job.
    #[must_use]
    pub fn of(
        purpose: Purpose,
        beacon: &Beacon,
        subject: &[u8; 32],
        number: u64,
        id: [u8; 32],
        weight: u64,
    ) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(purpose.domain());
        hasher.update(beacon.seed());
        hasher.update(subject);
        hasher.update(&number.to_le_bytes());
        hasher.update(&id);
        Self {
            rank: minus_log2(first_u64(&hasher.finalize())),
            weight,
            id,
        }
    }
}

impl Ord for Ticket {
    fn cmp(&self, other: &Self) -> Ordering {
        let left = u128::from(self.rank).saturating_mul(u128::from(other.weight));
        let right = u128::from(other.rank).saturating_mul(u128::from(self.weight));
        left.cmp(&right).then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for Ticket {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ticket {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ticket {}

/// `-log2((draw + 1) / 2^64)` with [`LOG_BITS`] bits behind the point, by repeated squaring: the same on
/// every machine. Over weight it is an exponential clock that runs as fast as the weight is large; whose rings first
/// is drawn with a probability in proportion to its weight.
fn minus_log2(draw: u64) -> u64 {
    let value = u128::from(draw).saturating_add(1);
    let whole = value.checked_ilog2().unwrap_or(0);
    // The mantissa, 1 to 2, with 63 bits behind the point.
    let mut mantissa = value
        .checked_shl(63)
        .unwrap_or(0)
        .checked_shr(whole)
        .unwrap_or(0);
    let mut log = u64::from(whole);
    for _ in 0..LOG_BITS {
        mantissa = mantissa.saturating_mul(mantissa) >> 63;
        log <<= 1;
        if mantissa >> 64 != 0 {
            log |= 1;
            mantissa >>= 1;
        }
    }
    (64u64 << LOG_BITS).saturating_sub(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beacon::tests::beacon;

    #[test]
    fn logarithms_are_right() {
        for (draw, log) in [
            (u64::MAX, 0.0),
            ((1 << 63) - 1, 1.0),
            ((1 << 62) - 1, 2.0),
            (0, 64.0),
            (3 << 61, 1.415_037_499_278_844),
        ] {
            let found = minus_log2(draw) as f64 / (1u64 << LOG_BITS) as f64;
            assert!((found - log).abs() < 1e-9, "{draw}: {found} {log}");
        }
    }

    #[test]
    fn who_executes_is_in_proportion_to_weight_and_another_draw_than_who_checks() {
        let weights = [1u64, 2, 3, 4];
        let draw = |purpose: Purpose, number: u64| {
            let tickets = weights.map(|weight| {
                let id = [weight as u8; 32];
                Ticket::of(purpose, &beacon(1), &[2; 32], number, id, weight * 1_000)
            });
            tickets.into_iter().min().unwrap().id[0]
        };
        let draws = 40_000u64;
        let (mut counts, mut alike) = ([0u32; 5], 0u32);
        for number in 0..draws {
            let drawn = draw(Purpose::Dispatch, number);
            counts[usize::from(drawn)] += 1;
            alike += u32::from(drawn == draw(Purpose::Audit, number));
        }
        // Five standard deviations are at most 0.0125.
        for n in 1..5 {
            let share = f64::from(counts[n]) / draws as f64;
            assert!((share - n as f64 / 10.0).abs() < 0.0125, "{counts:?}");
        }
        let alike = f64::from(alike) / draws as f64;
        assert!((alike - 0.3).abs() < 0.0125, "{alike}");
    }
}
