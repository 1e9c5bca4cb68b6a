//! Transfers: the only events a ledger knows.

use std::fmt;

use jobs::digest::{Digest, Domain};
use jobs::money::Amount;
use serde::{Deserialize, Serialize};
use store::Key;

use crate::Account;

/// Names a transfer. The caller derives it from what the transfer is for, so that a retry carries the
/// same id and cannot pay twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransferId(pub Digest);

impl TransferId {
    /// The id of the transfer that `parts` describe, for instance `["fund", job]` or
    /// `["pay", assignment]`.
    #[must_use]
    pub fn derive(parts: &[&[u8]]) -> Self {
        Self(Digest::bind(Domain::Transfer, parts))
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransferId({})", self.0.short())
    }
}

impl Key for TransferId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        Key::decode(input).map(Self)
    }
}

/// One change to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transfer {
    /// Moves money at once.
    Post {
        /// Names this transfer.
        id: TransferId,
        /// Debited.
        from: Account,
        /// Credited.
        to: Account,
        /// How much.
        amount: Amount,
    },
    /// Reserves money on `from` for `to`, until posted, voided or expired.
    Pend {
        /// Names this transfer, and the reservation.
        id: TransferId,
        /// To be debited.
        from: Account,
        /// To be credited.
        to: Account,
        /// The most that can be posted.
        amount: Amount,
    },
    /// Moves `amount` of a reservation; the rest returns to its owner.
    PostPending {
        /// Names this transfer.
        id: TransferId,
        /// The reservation.
        pending: TransferId,
        /// How much of it.
        amount: Amount,
    },
    /// Gives a reservation back whole, by decision.
    VoidPending {
        /// Names this transfer.
        id: TransferId,
        /// The reservation.
        pending: TransferId,
    },
    /// Gives a reservation back whole, because its time ran out. The caller knows the time.
    Expire {
        /// Names this transfer.
        id: TransferId,
        /// The reservation.
        pending: TransferId,
    },
    /// Closes a job's settled escrow account for good: the proof that nothing of it is left.
    Close {
        /// Names this transfer.
        id: TransferId,
        /// The escrow account.
        account: Account,
    },
}

impl Transfer {
    /// What names this transfer.
    #[must_use]
    pub const fn id(&self) -> TransferId {
        match self {
            Self::Post { id, .. }
            | Self::Pend { id, .. }
            | Self::PostPending { id, .. }
            | Self::VoidPending { id, .. }
            | Self::Expire { id, .. }
            | Self::Close { id, .. } => *id,
        }
    }

    /// The first field in which two transfers differ; `None` when they are equal.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let (left, right) = (self.fields(), other.fields());
        if left.kind != right.kind {
            return Some("kind");
        }
        let differing = [
            ("id", left.id != right.id),
            ("pending", left.pending != right.pending),
            ("account", left.account != right.account),
            ("from", left.from != right.from),
            ("to", left.to != right.to),
            ("amount", left.amount != right.amount),
        ];
        differing
            .into_iter()
            .find_map(|(name, differs)| differs.then_some(name))
    }

    /// The bytes that the journal hashes: kind, id, then the fields of that kind, each in its
    /// fixed-size or prefix-free encoding.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let fields = self.fields();
        let mut out = vec![fields.kind];
        fields.id.encode(&mut out);
        for account in [fields.account, fields.from, fields.to].iter().flatten() {
            account.encode(&mut out);
        }
        if let Some(pending) = fields.pending {
            pending.encode(&mut out);
        }
        if let Some(amount) = fields.amount {
            amount.0.encode(&mut out);
        }
        out
    }

    fn fields(&self) -> Fields {
        let mut fields = Fields {
            id: self.id(),
            ..Fields::default()
        };
        match *self {
            Self::Post {
                from, to, amount, ..
            }
            | Self::Pend {
                from, to, amount, ..
            } => {
                fields.kind = u8::from(matches!(self, Self::Pend { .. }));
                fields.from = Some(from);
                fields.to = Some(to);
                fields.amount = Some(amount);
            }
            Self::PostPending {
                pending, amount, ..
            } => {
                fields.kind = 2;
                fields.pending = Some(pending);
                fields.amount = Some(amount);
            }
            Self::VoidPending { pending, .. } | Self::Expire { pending, .. } => {
                let expire = matches!(self, Self::Expire { .. });
                fields.kind = if expire { 4 } else { 3 };
                fields.pending = Some(pending);
            }
            Self::Close { account, .. } => {
                fields.kind = 5;
                fields.account = Some(account);
            }
        }
        fields
    }
}

/// A transfer laid flat, for comparing and hashing.
#[derive(Default)]
struct Fields {
    kind: u8,
    id: TransferId,
    pending: Option<TransferId>,
    account: Option<Account>,
    from: Option<Account>,
    to: Option<Account>,
    amount: Option<Amount>,
}

/// A reservation and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// To be debited.
    pub from: Account,
    /// To be credited.
    pub to: Account,
    /// How much is reserved.
    pub amount: Amount,
    /// Whether and how it was resolved.
    pub state: PendingState,
}

/// The life of a reservation: open, then exactly one of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PendingState {
    /// Reserved.
    Open,
    /// This much was moved, the rest returned.
    Posted(Amount),
    /// Returned whole, by decision.
    Voided,
    /// Returned whole, its time ran out.
    Expired,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_the_first_field_that_differs() {
        let id = TransferId::derive(&[b"t"]);
        let (from, to, amount) = (Account::Outside, Account::Fee, Amount(5));
        let post = Transfer::Post {
            id,
            from,
            to,
            amount,
        };
        let pend = Transfer::Pend {
            id,
            from,
            to,
            amount,
        };
        let void = Transfer::VoidPending { id, pending: id };
        let cases = [
            (post, post, None),
            (post, pend, Some("kind")),
            (void, Transfer::Expire { id, pending: id }, Some("kind")),
            (
                post,
                Transfer::Post {
                    id,
                    from: Account::Slashed,
                    to,
                    amount,
                },
                Some("from"),
            ),
            (
                post,
                Transfer::Post {
                    id,
                    from,
                    to,
                    amount: Amount(6),
                },
                Some("amount"),
            ),
            (
                void,
                Transfer::VoidPending {
                    id,
                    pending: TransferId::default(),
                },
                Some("pending"),
            ),
        ];
        for (left, right, expected) in cases {
            assert_eq!(left.difference(&right), expected, "{left:?} {right:?}");
            assert_eq!(right.difference(&left), expected);
            let same_bytes = left.canonical_bytes() == right.canonical_bytes();
            assert_eq!(same_bytes, expected.is_none());
        }
    }
}
