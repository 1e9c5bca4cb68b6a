//! Money: integer micro-units of one asset, with checked arithmetic only.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::spelling::text_for_people;

/// Micro-units in one unit.
pub const MICROS_PER_UNIT: u128 = 1_000_000;

/// The largest amount that any single field may carry: 10^15 units. Sums of many of them still fit
/// a `u128`.
pub const AMOUNT_MAX: Amount = Amount(1_000_000_000_000_000 * MICROS_PER_UNIT);

/// A non-negative amount in micro-units, written in units with up to six decimals (`"1.25"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(pub u128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The sum, or `None` on overflow.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, or `None` if it would be negative.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(rest) => Some(Self(rest)),
            None => None,
        }
    }

    /// The difference, or zero if it would be negative.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self × numerator ÷ denominator`, rounded down; `None` on overflow or division by zero.
    pub const fn checked_mul_div(self, numerator: u128, denominator: u128) -> Option<Self> {
        match self.0.checked_mul(numerator) {
            Some(product) => match product.checked_div(denominator) {
                Some(quotient) => Some(Self(quotient)),
                None => None,
            },
            None => None,
        }
    }

    /// Whether this is zero.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// Basis points in a whole.
pub const BPS_PER_WHOLE: u16 = 10_000;

/// The aggregator's fee on what the replicas of one shard were paid, at `bps` basis points, rounded up
/// to the next micro-unit. A job's fee is the sum of its shards' fees, each rounded by itself.
///
/// Rates above a whole count as a whole, so a fee is never more than the payment and cannot
/// overflow.
pub const fn fee(amount: Amount, bps: u16) -> Amount {
    let bps = if bps > BPS_PER_WHOLE {
        BPS_PER_WHOLE as u128
    } else {
        bps as u128
    };
    const WHOLE: u128 = BPS_PER_WHOLE as u128;
    // Splitting first keeps the products small; none of these can saturate.
    let (wholes, rest) = divide(amount.0, WHOLE);
    let wholes = wholes.saturating_mul(bps);
    let rest = rest.saturating_mul(bps).div_ceil(WHOLE);
    Amount(wholes.saturating_add(rest))
}

/// Quotient and remainder by a constant, which is never zero.
const fn divide(value: u128, by: u128) -> (u128, u128) {
    match (value.checked_div(by), value.checked_rem(by)) {
        (Some(quotient), Some(rest)) => (quotient, rest),
        _ => (0, 0),
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, micros) = divide(self.0, MICROS_PER_UNIT);
        write!(f, "{units}.{micros:06}")
    }
}

impl FromStr for Amount {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Amount {
            value: text.chars().take(80).collect(),
        };
        let (units, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if units.is_empty() || decimals.len() > 6 || !digits(units) || !digits(decimals) {
            return Err(bad());
        }
        let units: u128 = units.parse().map_err(|_| bad())?;
        let micros: u128 = format!("{decimals:0<6}").parse().map_err(|_| bad())?;
        let total = units
            .checked_mul(MICROS_PER_UNIT)
            .and_then(|whole| whole.checked_add(micros));
        match total.map(Self) {
            Some(amount) if amount <= AMOUNT_MAX => Ok(amount),
            _ => Err(bad()),
        }
    }
}

text_for_people!(Amount, u128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fees_round_up_and_never_exceed_the_payment() {
        for (bps, amount, expected) in [
            (100, 0, 0),
            (0, 999, 0),
            (50, 1, 1),
            (50, 200, 1),
            (50, 201, 2),
            (100, 10_001, 101),
            (10_000, 77, 77),
            (u16::MAX, 77, 77),
            (200, u128::MAX, u128::MAX / 50 + 1),
        ] {
            let actual = fee(Amount(amount), bps);
            assert_eq!(actual, Amount(expected), "{bps} of {amount}");
        }
    }

    #[test]
    fn arithmetic_is_checked() {
        let (max, one) = (Amount(u128::MAX), Amount(1));
        assert_eq!(max.checked_add(one), None);
        assert_eq!(Amount::ZERO.checked_sub(one), None);
        assert_eq!(Amount::ZERO.saturating_sub(one), Amount::ZERO);
        assert_eq!(max.checked_mul_div(2, 2), None);
        assert_eq!(one.checked_mul_div(2, 0), None);
        assert_eq!(Amount(7).checked_mul_div(1, 2), Some(Amount(3)));
    }

    #[test]
    fn text_form() {
        for (text, micros) in [
            ("0", 0),
            ("1", 1_000_000),
            ("1.25", 1_250_000),
            ("0.000001", 1),
        ] {
            assert_eq!(text.parse::<Amount>().unwrap(), Amount(micros), "{text}");
        }
        assert_eq!(Amount(1_250_000).to_string(), "1.250000");
        for text in [
            "",
            ".5",
            "-1",
            "1.0000001",
            "1e3",
            "9999999999999999",
            "1.2.3",
        ] {
            let error = text.parse::<Amount>().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
