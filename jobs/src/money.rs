//! Money: integer micro-units of one asset, with checked arithmetic only.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Error;

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

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Division by a non-zero constant cannot fail.
        let (units, micros) = (self.0 / MICROS_PER_UNIT, self.0 % MICROS_PER_UNIT);
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

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(de::Error::custom)
        } else {
            u128::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
