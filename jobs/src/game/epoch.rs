//! Epochs, and the reward of one.

use crate::ids::ProviderId;
use crate::money::Amount;
use crate::time::Timestamp;

/// Shortest epoch in milliseconds: one second, for tests.
pub const EPOCH_MS_MIN: u64 = 1_000;
/// Longest epoch in milliseconds: 30 days.
pub const EPOCH_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

/// The epoch that `time` lies in. Epochs are counted from the Unix epoch, so that all who know their
/// length agree on them; one of no length is taken for one of a millisecond.
pub fn epoch_of(time: Timestamp, epoch_ms: u64) -> u64 {
    time.0.checked_div(epoch_ms.max(1)).unwrap_or(0)
}

/// When an epoch begins, which is when the one before it ends.
pub const fn start_of(epoch: u64, epoch_ms: u64) -> Timestamp {
    Timestamp(epoch.saturating_mul(epoch_ms))
}

/// What each gets of `pot`, in proportion to its points and rounded down, in the order given; whoever
/// would get nothing is left out. Their sum is never more than the pot: what rounding leaves stays there.
pub fn split(pot: Amount, points: &[(ProviderId, u16)]) -> Vec<(ProviderId, Amount)> {
    let sum = points.iter().fold(0_u128, |sum, (_, points)| {
        sum.saturating_add((*points).into())
    });
    let share = |points: u16| share_of(pot, points.into(), sum);
    let shares = points.iter().map(|(id, points)| (*id, share(*points)));
    shares.filter(|(_, share)| !share.is_zero()).collect()
}

/// `pot × points ÷ sum`, rounded down, without overflow: the whole part of the division first. Nothing
/// where there are no points.
fn share_of(pot: Amount, points: u128, sum: u128) -> Amount {
    let (Some(each), Some(rest)) = (pot.0.checked_div(sum), pot.0.checked_rem(sum)) else {
        return Amount::ZERO;
    };
    // The rest is less than the sum of points, which is small.
    let of_rest = rest.saturating_mul(points).checked_div(sum).unwrap_or(0);
    Amount(each.saturating_mul(points).saturating_add(of_rest))
}
