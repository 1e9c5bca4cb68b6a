//! How far a provider is trusted: integer points that fade towards the middle.
//!
//! Good work moves a score up a little, bad work down a lot, and time alone brings a demoted provider
//! back, since it gets no work to improve by. A score says nothing about stake.

use jobs::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The best score, in points.
pub const SCORE_MAX: u32 = 1_000_000;
/// Where everyone starts, and what every score fades to, in points.
pub const SCORE_NEUTRAL: u32 = 500_000;
/// Below this many points a provider gets no work.
pub const SCORE_ELIGIBLE_MIN: u32 = 250_000;
/// Milliseconds in which the distance to the middle halves: one day.
pub const HALF_LIFE_MS: u64 = 24 * 3600 * 1000;

/// Steps in which a half-life is applied.
const STEPS: u64 = 64;
/// Milliseconds of one step.
const STEP_MS: u64 = HALF_LIFE_MS / STEPS;
/// 2^(-1/64) in units of 2^-16.
const STEP_FACTOR: i64 = 64_830;
/// Half-lives after which nothing is left of any score.
const HALF_LIVES_MAX: u64 = 32;

/// What a deed is worth, in points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Among the agreeing.
    Agreed,
    /// Turned an assignment down.
    Refused,
    /// Did not answer an assignment.
    NotAccepted,
    /// Accepted and did not commit in time.
    Overdue,
    /// Went away with work in hand.
    Lost,
    /// Failed by its own account.
    Failed,
    /// Blamed a guest that others executed.
    BlamedGuest,
    /// Committed and did not reveal.
    RevealFailed,
    /// Revealed outputs that are not what they claim.
    OutputsInvalid,
    /// Lost a vote.
    Dissented,
}

impl Deed {
    const fn points(self) -> i64 {
        match self {
            Self::Agreed => 4_000,
            Self::Refused => -1_000,
            Self::NotAccepted => -10_000,
            Self::Overdue => -40_000,
            Self::Lost => -10_000,
            Self::Failed => -30_000,
            Self::BlamedGuest => -100_000,
            Self::RevealFailed => -80_000,
            Self::OutputsInvalid | Self::Dissented => -300_000,
        }
    }
}

/// A score as of some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    points: u32,
    as_of: Timestamp,
}

impl Score {
    /// The middle.
    pub(crate) const fn neutral(now: Timestamp) -> Self {
        Self {
            points: SCORE_NEUTRAL,
            as_of: now,
        }
    }

    /// Points at `now`, 0 to [`SCORE_MAX`].
    #[must_use]
    pub fn points(&self, now: Timestamp) -> u32 {
        self.faded(now).points
    }

    /// Whether a provider with this score is given work at `now`.
    #[must_use]
    pub fn is_eligible(&self, now: Timestamp) -> bool {
        self.points(now) >= SCORE_ELIGIBLE_MIN
    }

    /// Records a deed. Returns whether the provider thereby fell below [`SCORE_ELIGIBLE_MIN`].
    pub(crate) fn record(&mut self, now: Timestamp, deed: Deed) -> bool {
        let before = self.faded(now);
        let points = i64::from(before.points).saturating_add(deed.points());
        let points = points.clamp(0, i64::from(SCORE_MAX));
        *self = Self {
            points: u32::try_from(points).unwrap_or(SCORE_NEUTRAL),
            ..before
        };
        before.points >= SCORE_ELIGIBLE_MIN && self.points < SCORE_ELIGIBLE_MIN
    }

    /// Applies whole steps only, and keeps the rest of the time for later: however often a score is
    /// looked at, it fades at the same pace.
    fn faded(self, now: Timestamp) -> Self {
        let steps = now.since_ms(self.as_of).checked_div(STEP_MS).unwrap_or(0);
        let halvings = steps.checked_div(STEPS).unwrap_or(0);
        if halvings >= HALF_LIVES_MAX {
            return Self::neutral(now);
        }
        let neutral = i64::from(SCORE_NEUTRAL);
        let mut distance = i64::from(self.points).saturating_sub(neutral);
        for _ in 0..halvings {
            distance = distance.checked_div(2).unwrap_or(0);
        }
        for _ in 0..steps.checked_rem(STEPS).unwrap_or(0) {
            distance = distance
                .saturating_mul(STEP_FACTOR)
                .checked_div(1 << 16)
                .unwrap_or(0);
        }
        let points = neutral.saturating_add(distance);
        Self {
            points: u32::try_from(points).unwrap_or(SCORE_NEUTRAL),
            as_of: self.as_of.plus_ms(steps.saturating_mul(STEP_MS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(deeds: &[Deed]) -> Score {
        let mut score = Score::neutral(Timestamp(0));
        for &deed in deeds {
            score.record(Timestamp(0), deed);
        }
        score
    }

    #[test]
    fn one_lost_vote_demotes_a_newcomer_and_time_brings_it_back() {
        let mut score = Score::neutral(Timestamp(0));
        assert!(score.record(Timestamp(0), Deed::Dissented), "fell below");
        assert!(!score.record(Timestamp(0), Deed::Refused), "was below");
        assert!(!score.is_eligible(Timestamp(HALF_LIFE_MS / 8)));
        assert!(score.is_eligible(Timestamp(HALF_LIFE_MS / 2)));
    }

    #[test]
    fn the_distance_to_the_middle_halves() {
        for (deeds, distance) in [
            (vec![Deed::Dissented], -300_000),
            (vec![Deed::Agreed; 50], 200_000),
        ] {
            let score = after(&deeds);
            for (half_lives, divisor) in [(0, 1), (1, 2), (2, 4), (5, 32), (40, i64::MAX)] {
                let points = score.points(Timestamp(half_lives * HALF_LIFE_MS));
                let left = i64::from(points) - i64::from(SCORE_NEUTRAL);
                assert!(
                    (left - distance / divisor).abs() <= 1,
                    "{half_lives}: {left}"
                );
            }
        }
    }

    #[test]
    fn looking_often_does_not_change_the_pace() {
        let (mut often, once) = (after(&[Deed::Dissented]), after(&[Deed::Dissented]));
        for hour in 0..24 * 7 {
            for second in 0..60 {
                often = often.faded(Timestamp((hour * 3600 + second * 60) * 1000));
            }
        }
        let now = Timestamp(7 * HALF_LIFE_MS);
        let (often, once) = (often.points(now), once.points(now));
        assert!(often.abs_diff(once) <= 100, "{often} {once}");
    }

    #[test]
    fn scores_stay_within_bounds() {
        assert_eq!(after(&[Deed::Agreed; 1000]).points(Timestamp(0)), SCORE_MAX);
        assert_eq!(after(&[Deed::Dissented; 9]).points(Timestamp(0)), 0);
    }
}
