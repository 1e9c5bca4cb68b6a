//! Probabilities as integers, in parts per billion.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What a certain event's rate is, in parts per billion.
pub const BILLION: u32 = 1_000_000_000;

/// A probability or share, in parts per billion, at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Ppb(u32);

impl<'de> Deserialize<'de> for Ppb {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parts = u32::deserialize(deserializer)?;
        Self::new(parts).map_err(serde::de::Error::custom)
    }
}

impl Ppb {
    /// Never.
    pub const ZERO: Self = Self(0);
    /// Always.
    pub const ONE: Self = Self(BILLION);

    /// `parts` of a billion.
    ///
    /// # Errors
    /// [`Error::Rate`] if it is more than a whole.
    pub const fn new(parts: u32) -> Result<Self, Error> {
        if parts > BILLION {
            return Err(Error::Rate { parts });
        }
        Ok(Self(parts))
    }

    /// `parts` of a billion, at most one.
    #[must_use]
    pub const fn billionths(parts: u32) -> Self {
        Self(if parts > BILLION { BILLION } else { parts })
    }

    /// `parts` of a million, at most one.
    #[must_use]
    pub const fn millionths(parts: u32) -> Self {
        Self::billionths(parts.saturating_mul(1_000))
    }

    /// Parts of a billion.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// One less this.
    #[must_use]
    pub const fn complement(self) -> Self {
        Self(BILLION.saturating_sub(self.0))
    }

    /// Both of two independent events, rounded down.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(u32::try_from(self.of(u128::from(other.0))).unwrap_or(BILLION))
    }

    /// Either of two events that exclude one another, at most one.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        let sum = self.0.saturating_add(other.0);
        Self(if sum > BILLION { BILLION } else { sum })
    }

    /// This share of an amount, rounded down.
    #[must_use]
    pub fn of(self, amount: u128) -> u128 {
        let billion = u128::from(BILLION);
        let (whole, rest) = (
            amount.checked_div(billion).unwrap_or(0),
            amount.checked_rem(billion).unwrap_or(0),
        );
        let rest = rest.saturating_mul(u128::from(self.0));
        let whole = whole.saturating_mul(u128::from(self.0));
        whole.saturating_add(rest.checked_div(billion).unwrap_or(0))
    }

    /// Whether an event of this rate happens, for 64 bits that anything could be. Exact: of the 2^64 draws,
    /// this share (rounded up to a whole draw) says yes.
    #[must_use]
    pub fn happens(self, draw: u64) -> bool {
        let scaled = (u128::from(draw)).saturating_mul(u128::from(BILLION));
        scaled.checked_shr(64).unwrap_or(0) < u128::from(self.0)
    }
}

impl fmt::Display for Ppb {
    /// As a percentage, without trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (
            self.0.checked_div(10_000_000).unwrap_or(0),
            self.0.checked_rem(10_000_000).unwrap_or(0),
        );
        let digits = format!("{rest:07}");
        match digits.trim_end_matches('0') {
            "" => write!(f, "{whole} %"),
            digits => write!(f, "{whole}.{digits} %"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_beyond_a_whole_is_refused_wherever_it_comes_from() {
        assert_eq!(Ppb::new(BILLION), Ok(Ppb::ONE));
        let parts = BILLION + 1;
        assert_eq!(Ppb::new(parts), Err(Error::Rate { parts }));
        assert!(serde_json::from_str::<Ppb>("1000000001").is_err());
        assert_eq!(Ppb::millionths(2_000_000), Ppb::ONE);
    }

    #[test]
    fn shares_round_down_and_never_overflow() {
        for (parts, amount, share) in [
            (0, u128::MAX, 0),
            (BILLION, 7, 7),
            (BILLION, u128::MAX / 2, u128::MAX / 2),
            (500_000_000, 3, 1),
            (1, 999_999_999, 0),
            (1, 1_000_000_000, 1),
        ] {
            assert_eq!(Ppb(parts).of(amount), share, "{parts} of {amount}");
        }
    }

    #[test]
    fn a_draw_says_yes_as_often_as_the_rate_says() {
        for (parts, draw, yes) in [
            (0, 0, false),
            (BILLION, u64::MAX, true),
            (500_000_000, (1 << 63) - 1, true),
            (500_000_000, 1 << 63, false),
            (1, 0, true),
            (1, u64::MAX / 1_000_000_000 + 1, false),
        ] {
            assert_eq!(Ppb(parts).happens(draw), yes, "{parts} {draw}");
        }
    }

    #[test]
    fn rates_read_as_percentages() {
        for (parts, text) in [
            (0, "0 %"),
            (BILLION, "100 %"),
            (50_000_000, "5 %"),
            (12_500_000, "1.25 %"),
            (1, "0.0000001 %"),
        ] {
            assert_eq!(Ppb(parts).to_string(), text);
        }
    }
}
