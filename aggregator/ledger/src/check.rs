//! What must hold after every step, whoever called.

use std::collections::BTreeMap;

use jobs::money::Amount;

use crate::{Account, Ledger, Pending, PendingState, TransferId};

/// An invariant that does not hold. There is no way to reach one through transfers; a check that finds
/// one has found a bug or a damaged snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Money was made or lost.
    #[error("posted debits sum to {debits}, posted credits to {credits}")]
    Unbalanced {
        /// Over all accounts.
        debits: Amount,
        /// Over all accounts.
        credits: Amount,
    },
    /// An account stands below its floor.
    #[error("{account} is below zero: {credits} credited, {debits} debited, {reserved} reserved")]
    BelowFloor {
        /// The account.
        account: Account,
        /// Posted credits.
        credits: Amount,
        /// Posted debits.
        debits: Amount,
        /// Reserved debits.
        reserved: Amount,
    },
    /// An account's reserved sums are not those of its open reservations.
    #[error(
        "{account} claims {debits} and {credits} reserved to leave and to come, \
         its open pending transfers {expected_debits} and {expected_credits}"
    )]
    PendingSums {
        /// The account.
        account: Account,
        /// Its reserved debits.
        debits: Amount,
        /// Its reserved credits.
        credits: Amount,
        /// The sum of open reservations from it.
        expected_debits: Amount,
        /// The sum of open reservations for it.
        expected_credits: Amount,
    },
    /// A closed account has money or reservations.
    #[error("{account} is closed and not settled")]
    ClosedNotSettled {
        /// The account.
        account: Account,
    },
    /// A reservation is both open and resolved, posted beyond what it holds, or filed in the wrong place.
    #[error("pending transfer {pending} is in a state it cannot be in")]
    PendingState {
        /// The reservation.
        pending: TransferId,
    },
    /// The journal's number is not that of accepted transfers.
    #[error("the journal ends at {seq}, but {applied} transfers were accepted")]
    JournalCount {
        /// Number of the last entry.
        seq: u64,
        /// Accepted transfers.
        applied: usize,
    },
    /// A sum does not fit.
    #[error("a sum over all accounts overflows")]
    Overflow,
}

impl Ledger {
    /// Checks every invariant of the ledger in one pass over accounts and open reservations.
    ///
    /// # Errors
    /// The first violation found.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_accounts()?;
        self.check_pendings()?;
        let seq = self.head.seq;
        let applied = self.applied.len();
        if u64::try_from(applied) == Ok(seq) {
            Ok(())
        } else {
            Err(Violation::JournalCount { seq, applied })
        }
    }

    fn check_accounts(&self) -> Result<(), Violation> {
        let (mut debits, mut credits) = (Amount::ZERO, Amount::ZERO);
        for (&account, balance) in &self.balances {
            debits = sum(debits, balance.debits_posted)?;
            credits = sum(credits, balance.credits_posted)?;
            if account.has_floor() && balance.available().is_none() {
                return Err(Violation::BelowFloor {
                    account,
                    credits: balance.credits_posted,
                    debits: balance.debits_posted,
                    reserved: balance.debits_pending,
                });
            }
            if balance.closed && !balance.is_settled() {
                return Err(Violation::ClosedNotSettled { account });
            }
        }
        if debits == credits {
            Ok(())
        } else {
            Err(Violation::Unbalanced { debits, credits })
        }
    }

    fn check_pendings(&self) -> Result<(), Violation> {
        let mut reserved: BTreeMap<Account, (Amount, Amount)> = BTreeMap::new();
        for (&id, pending) in &self.open {
            if pending.state != PendingState::Open || self.resolved.contains_key(&id) {
                return Err(Violation::PendingState { pending: id });
            }
            let from = reserved.entry(pending.from).or_default();
            from.0 = sum(from.0, pending.amount)?;
            let to = reserved.entry(pending.to).or_default();
            to.1 = sum(to.1, pending.amount)?;
        }
        if let Some((&id, _)) = self.resolved.iter().find(|(_, p)| !resolved_soundly(p)) {
            return Err(Violation::PendingState { pending: id });
        }
        for &account in self.balances.keys().chain(reserved.keys()) {
            let balance = self.balance(&account);
            let expected = reserved.get(&account).copied().unwrap_or_default();
            if (balance.debits_pending, balance.credits_pending) != expected {
                return Err(Violation::PendingSums {
                    account,
                    debits: balance.debits_pending,
                    credits: balance.credits_pending,
                    expected_debits: expected.0,
                    expected_credits: expected.1,
                });
            }
        }
        Ok(())
    }
}

fn resolved_soundly(pending: &Pending) -> bool {
    match pending.state {
        PendingState::Open => false,
        PendingState::Posted(amount) => !amount.is_zero() && amount <= pending.amount,
        PendingState::Voided | PendingState::Expired => true,
    }
}

fn sum(left: Amount, right: Amount) -> Result<Amount, Violation> {
    left.checked_add(right).ok_or(Violation::Overflow)
}
