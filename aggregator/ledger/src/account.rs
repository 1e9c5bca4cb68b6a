//! Accounts and what stands on them.

use std::fmt;
use std::str::FromStr;

use jobs::ids::{ClientId, JobId, ProviderId};
use jobs::money::Amount;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use store::Key;

use crate::LedgerError;

/// Whose money it is. Written as `client:<id>`, `escrow:<job>`, `provider:<id>`, `stake:<id>`, or the
/// bare words `outside`, `fee`, `slashed`, `rewards`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// The world beyond this ledger: the counter-account of deposits and withdrawals, and the only
    /// account without a floor. Its debits less its credits are what the ledger owes in total.
    Outside,
    /// A client's free money.
    Client(ClientId),
    /// Money set aside for one job.
    Escrow(JobId),
    /// A provider's earnings.
    Provider(ProviderId),
    /// A provider's stake.
    Stake(ProviderId),
    /// The aggregator's fees.
    Fee,
    /// Stake taken for objective evidence.
    Slashed,
    /// What the operator set aside for providers that do well in games.
    Rewards,
}

impl Account {
    /// Whether the account must never stand below zero.
    #[must_use]
    pub const fn has_floor(&self) -> bool {
        !matches!(self, Self::Outside)
    }

    const fn tag(&self) -> u8 {
        match self {
            Self::Outside => 0,
            Self::Client(_) => 1,
            Self::Escrow(_) => 2,
            Self::Provider(_) => 3,
            Self::Stake(_) => 4,
            Self::Fee => 5,
            Self::Slashed => 6,
            Self::Rewards => 7,
        }
    }
}

/// One byte for the kind, then the identifier: rows sort by kind, as the accounts themselves do.
impl Key for Account {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.tag());
        match self {
            Self::Outside | Self::Fee | Self::Slashed | Self::Rewards => {}
            Self::Client(id) => id.encode(out),
            Self::Escrow(id) => id.encode(out),
            Self::Provider(id) | Self::Stake(id) => id.encode(out),
        }
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Some(match u8::decode(input)? {
            0 => Self::Outside,
            1 => Self::Client(Key::decode(input)?),
            2 => Self::Escrow(Key::decode(input)?),
            3 => Self::Provider(Key::decode(input)?),
            4 => Self::Stake(Key::decode(input)?),
            5 => Self::Fee,
            6 => Self::Slashed,
            7 => Self::Rewards,
            _ => return None,
        })
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside => f.write_str("outside"),
            Self::Client(id) => write!(f, "client:{id}"),
            Self::Escrow(id) => write!(f, "escrow:{id}"),
            Self::Provider(id) => write!(f, "provider:{id}"),
            Self::Stake(id) => write!(f, "stake:{id}"),
            Self::Fee => f.write_str("fee"),
            Self::Slashed => f.write_str("slashed"),
            Self::Rewards => f.write_str("rewards"),
        }
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside => f.write_str("Outside"),
            Self::Client(id) => write!(f, "Client({})", id.0.short()),
            Self::Escrow(id) => write!(f, "Escrow({})", id.0.short()),
            Self::Provider(id) => write!(f, "Provider({})", id.short()),
            Self::Stake(id) => write!(f, "Stake({})", id.short()),
            Self::Fee => f.write_str("Fee"),
            Self::Slashed => f.write_str("Slashed"),
            Self::Rewards => f.write_str("Rewards"),
        }
    }
}

impl FromStr for Account {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<Self, LedgerError> {
        let bad = || LedgerError::Account {
            value: text.chars().take(120).collect(),
        };
        let (kind, id) = text.split_once(':').unwrap_or((text, ""));
        Ok(match (kind, id.is_empty()) {
            ("outside", true) => Self::Outside,
            ("fee", true) => Self::Fee,
            ("slashed", true) => Self::Slashed,
            ("rewards", true) => Self::Rewards,
            ("client", false) => Self::Client(id.parse().map_err(|_| bad())?),
            ("escrow", false) => Self::Escrow(id.parse().map_err(|_| bad())?),
            ("provider", false) => Self::Provider(id.parse().map_err(|_| bad())?),
            ("stake", false) => Self::Stake(id.parse().map_err(|_| bad())?),
            _ => return Err(bad()),
        })
    }
}

/// Text for people and JSON, key bytes for the store.
impl Serialize for Account {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.to_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(de::Error::custom)
        } else {
            deserializer.deserialize_bytes(AccountBytes)
        }
    }
}

/// Reads an account from its key bytes.
struct AccountBytes;

impl de::Visitor<'_> for AccountBytes {
    type Value = Account;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key bytes of an account")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Account, E> {
        Account::from_bytes(bytes)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Bytes(bytes), &self))
    }
}

/// Everything that was ever debited and credited, and what is reserved right now. Sums only grow, so
/// that a balance is a claim about history and not just a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Balance {
    /// Money that left, for good.
    pub debits_posted: Amount,
    /// Money that arrived, for good.
    pub credits_posted: Amount,
    /// Money reserved to leave by open pending transfers. It cannot be spent otherwise.
    pub debits_pending: Amount,
    /// Money that open pending transfers may bring. It cannot be spent yet.
    pub credits_pending: Amount,
    /// Whether the account was closed; no transfer touches it any more.
    pub closed: bool,
}

impl Balance {
    /// Credits less debits, reserved money included; `None` when below zero.
    #[must_use]
    pub const fn posted(&self) -> Option<Amount> {
        self.credits_posted.checked_sub(self.debits_posted)
    }

    /// What may be spent: credits less debits less reservations; `None` when below zero, which only
    /// [`Account::Outside`] may be.
    #[must_use]
    pub const fn available(&self) -> Option<Amount> {
        match self.posted() {
            Some(posted) => posted.checked_sub(self.debits_pending),
            None => None,
        }
    }

    /// Whether nothing stands on the account and nothing is reserved in either direction.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.credits_posted == self.debits_posted
            && self.debits_pending.is_zero()
            && self.credits_pending.is_zero()
    }
}
