//! Balances as an operator sees them.

use anyhow::{Context, Result};
use serde_json::Value;

/// A ledger account, in micro-units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Credits posted.
    pub credits: u128,
    /// Debits posted.
    pub debits: u128,
    /// Debits reserved.
    pub pending: u128,
}

impl Balance {
    /// An account's line of `assay ledger balances --json`, with its name.
    pub(crate) fn parse(line: &Value) -> Result<(String, Self)> {
        let account = line
            .get("account")
            .and_then(Value::as_str)
            .context("a balance without account")?;
        let part = |name: &str| amount(line.get(name).unwrap_or(&Value::Null));
        let balance = Self {
            credits: part("credits")?,
            debits: part("debits")?,
            pending: part("pending")?,
        };
        Ok((account.to_owned(), balance))
    }

    /// Whether nothing is in the account, reserved or not.
    pub fn is_empty(&self) -> bool {
        self.credits == self.debits && self.pending == 0
    }
}

/// An amount in JSON, in micro-units.
///
/// # Errors
/// If it is none.
pub fn amount(value: &Value) -> Result<u128> {
    let text = value
        .as_str()
        .with_context(|| format!("{value} is not an amount"))?;
    let amount: jobs::money::Amount = text.parse()?;
    Ok(amount.0)
}
