//! The aggregator's fee.

use jobs::money::Amount;
use serde::{Deserialize, Serialize};

use crate::LedgerError;

/// Basis points in a whole.
pub const BPS_PER_WHOLE: u16 = 10_000;
/// Smallest fee rate, in basis points (0.5 %).
pub const FEE_BPS_MIN: u16 = 50;
/// Largest fee rate, in basis points (2 %).
pub const FEE_BPS_MAX: u16 = 200;

/// A fee rate between [`FEE_BPS_MIN`] and [`FEE_BPS_MAX`] basis points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct FeeBps(u16);

impl FeeBps {
    /// A rate in basis points.
    ///
    /// # Errors
    /// `FeeOutOfBounds` outside the bounds.
    pub const fn new(bps: u16) -> Result<Self, LedgerError> {
        if bps < FEE_BPS_MIN || bps > FEE_BPS_MAX {
            return Err(LedgerError::FeeOutOfBounds { bps });
        }
        Ok(Self(bps))
    }

    /// The rate in basis points.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The fee on `amount`, rounded up to the next micro-unit. Never more than `amount`, never
    /// overflows.
    #[must_use]
    pub fn fee(self, amount: Amount) -> Amount {
        let (whole, bps) = (u128::from(BPS_PER_WHOLE), u128::from(self.0));
        // Splitting first keeps the products small: whole × bps would overflow for huge amounts. None of
        // these can saturate, since bps is at most a fiftieth of a whole.
        let (wholes, rest) = (
            amount.0.checked_div(whole).unwrap_or(0),
            amount.0.checked_rem(whole).unwrap_or(0),
        );
        let rest = rest.saturating_mul(bps).div_ceil(whole);
        Amount(wholes.saturating_mul(bps).saturating_add(rest))
    }
}

impl TryFrom<u16> for FeeBps {
    type Error = LedgerError;

    fn try_from(bps: u16) -> Result<Self, LedgerError> {
        Self::new(bps)
    }
}

impl From<FeeBps> for u16 {
    fn from(fee: FeeBps) -> Self {
        fee.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fees_round_up_and_never_exceed_the_amount() {
        for (bps, amount, fee) in [
            (50, 0, 0),
            (50, 1, 1),
            (50, 200, 1),
            (50, 201, 2),
            (100, 10_000, 100),
            (100, 10_001, 101),
            (200, 999_999, 20_000),
            (200, 49, 1),
            (200, u128::MAX, u128::MAX / 50 + 1),
        ] {
            let rate = FeeBps::new(bps).unwrap();
            assert_eq!(rate.fee(Amount(amount)), Amount(fee), "{bps} of {amount}");
            assert!(fee <= amount);
        }
    }

    #[test]
    fn rates_outside_the_bounds_are_refused_wherever_they_come_from() {
        for bps in [0, 49, 201, u16::MAX] {
            let error = FeeBps::new(bps).unwrap_err();
            let text = format!("fee of {bps} basis points is outside 50 to 200");
            assert_eq!(error.to_string(), text);
            assert!(serde_json::from_str::<FeeBps>(&bps.to_string()).is_err());
        }
        assert_eq!(serde_json::from_str::<FeeBps>("75").unwrap().get(), 75);
    }
}
