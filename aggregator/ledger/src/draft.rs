//! Changes not yet made: what a group of transfers would do, read through to the ledger beneath.
//!
//! A group is applied to a draft and the draft is merged only when every transfer was accepted, so a
//! refused group has touched nothing that would need undoing.

use std::collections::BTreeMap;

use jobs::money::{AMOUNT_MAX, Amount};

use crate::{
    Account, Balance, Head, JOURNAL_ENTRIES_MAX, JournalEntry, Ledger, Pending, PendingState,
    Rejection, Transfer, TransferId,
};

/// The overlay over a ledger.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    base: &'a Ledger,
    head: Head,
    changes: Changes,
}

/// Everything a draft changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) balances: BTreeMap<Account, Balance>,
    pub(crate) pendings: BTreeMap<TransferId, Pending>,
    pub(crate) applied: BTreeMap<TransferId, (u64, Transfer)>,
    pub(crate) entries: Vec<JournalEntry>,
}

/// What applying one transfer came to.
pub(crate) enum Step {
    New(JournalEntry),
    Repeated(u64),
}

impl<'a> Draft<'a> {
    pub(crate) fn new(base: &'a Ledger) -> Self {
        Self {
            base,
            head: base.head(),
            changes: Changes::default(),
        }
    }

    pub(crate) fn finish(self) -> Changes {
        self.changes
    }

    /// Applies one transfer. After a rejection the draft must be thrown away.
    pub(crate) fn apply(&mut self, transfer: Transfer) -> Result<Step, Rejection> {
        if let Some((seq, before)) = self.applied(&transfer.id()) {
            return match before.difference(&transfer) {
                None => Ok(Step::Repeated(seq)),
                Some(field) => Err(Rejection::Exists { field }),
            };
        }
        match transfer {
            Transfer::Post {
                from, to, amount, ..
            } => self.post(from, to, amount)?,
            Transfer::Pend {
                id,
                from,
                to,
                amount,
            } => self.pend(id, from, to, amount)?,
            Transfer::PostPending {
                pending, amount, ..
            } => self.post_pending(pending, amount)?,
            Transfer::VoidPending { pending, .. } => {
                self.release(pending, PendingState::Voided)?;
            }
            Transfer::Expire { pending, .. } => {
                self.release(pending, PendingState::Expired)?;
            }
            Transfer::Close { account, .. } => self.close(account)?,
        }
        let entry = JournalEntry::after(&self.head, transfer).ok_or(Rejection::JournalFull {
            entries: JOURNAL_ENTRIES_MAX,
        })?;
        self.head = entry.head();
        let applied = (entry.seq, transfer);
        self.changes.applied.insert(transfer.id(), applied);
        self.changes.entries.push(entry);
        Ok(Step::New(entry))
    }

    fn applied(&self, id: &TransferId) -> Option<(u64, Transfer)> {
        let here = self.changes.applied.get(id);
        here.copied().or_else(|| self.base.applied_transfer(id))
    }

    fn balance(&self, account: &Account) -> Balance {
        let here = self.changes.balances.get(account);
        here.copied().unwrap_or_else(|| self.base.balance(account))
    }

    fn pending(&self, id: &TransferId) -> Option<Pending> {
        let here = self.changes.pendings.get(id);
        here.copied().or_else(|| self.base.pending(id))
    }

    fn post(&mut self, from: Account, to: Account, amount: Amount) -> Result<(), Rejection> {
        self.check_movement(from, to, amount)?;
        self.change(from, |balance| add(&mut balance.debits_posted, amount))?;
        self.change(to, |balance| add(&mut balance.credits_posted, amount))
    }

    fn pend(
        &mut self,
        id: TransferId,
        from: Account,
        to: Account,
        amount: Amount,
    ) -> Result<(), Rejection> {
        self.check_movement(from, to, amount)?;
        self.change(from, |balance| add(&mut balance.debits_pending, amount))?;
        self.change(to, |balance| add(&mut balance.credits_pending, amount))?;
        let state = PendingState::Open;
        let pending = Pending {
            from,
            to,
            amount,
            state,
        };
        self.changes.pendings.insert(id, pending);
        Ok(())
    }

    fn post_pending(&mut self, id: TransferId, amount: Amount) -> Result<(), Rejection> {
        if amount.is_zero() {
            return Err(Rejection::ZeroAmount);
        }
        let pending = self.open_pending(id)?;
        if amount > pending.amount {
            return Err(Rejection::ExceedsReserved {
                pending: id,
                amount,
                reserved: pending.amount,
            });
        }
        self.release(id, PendingState::Posted(amount))?;
        self.change(pending.from, |balance| {
            add(&mut balance.debits_posted, amount)
        })?;
        self.change(pending.to, |balance| {
            add(&mut balance.credits_posted, amount)
        })
    }

    /// Takes an open reservation off both accounts and records what became of it.
    fn release(&mut self, id: TransferId, state: PendingState) -> Result<(), Rejection> {
        let pending = self.open_pending(id)?;
        self.change(pending.from, |balance| {
            subtract(&mut balance.debits_pending, pending.amount)
        })?;
        self.change(pending.to, |balance| {
            subtract(&mut balance.credits_pending, pending.amount)
        })?;
        self.changes
            .pendings
            .insert(id, Pending { state, ..pending });
        Ok(())
    }

    fn close(&mut self, account: Account) -> Result<(), Rejection> {
        if !matches!(account, Account::Escrow(_)) {
            return Err(Rejection::NotClosable { account });
        }
        let balance = self.balance(&account);
        if balance.closed {
            return Err(Rejection::AccountClosed { account });
        }
        if !balance.is_settled() {
            let reserved = balance.debits_pending.checked_add(balance.credits_pending);
            return Err(Rejection::NotSettled {
                account,
                posted: balance.posted().unwrap_or_default(),
                reserved: reserved.ok_or(Rejection::Overflow { account })?,
            });
        }
        self.change(account, |balance| {
            balance.closed = true;
            Some(())
        })
    }

    /// What must hold before money moves or is reserved from `from` to `to`.
    fn check_movement(&self, from: Account, to: Account, amount: Amount) -> Result<(), Rejection> {
        if amount.is_zero() {
            return Err(Rejection::ZeroAmount);
        }
        if amount > AMOUNT_MAX {
            let max = AMOUNT_MAX;
            return Err(Rejection::AmountTooLarge { amount, max });
        }
        if from == to {
            return Err(Rejection::SameAccount { account: from });
        }
        for account in [from, to] {
            if self.balance(&account).closed {
                return Err(Rejection::AccountClosed { account });
            }
        }
        let have = self.balance(&from).available().unwrap_or_default();
        if from.has_floor() && have < amount {
            return Err(Rejection::InsufficientFunds {
                account: from,
                have,
                need: amount,
            });
        }
        Ok(())
    }

    fn open_pending(&self, id: TransferId) -> Result<Pending, Rejection> {
        let Some(pending) = self.pending(&id) else {
            return Err(match self.applied(&id) {
                Some(_) => Rejection::NotPending { pending: id },
                None => Rejection::PendingNotFound { pending: id },
            });
        };
        match pending.state {
            PendingState::Open => Ok(pending),
            PendingState::Posted(amount) => Err(Rejection::PendingAlreadyPosted {
                pending: id,
                amount,
            }),
            PendingState::Voided => Err(Rejection::PendingAlreadyVoided { pending: id }),
            PendingState::Expired => Err(Rejection::PendingAlreadyExpired { pending: id }),
        }
    }

    fn change(
        &mut self,
        account: Account,
        edit: impl FnOnce(&mut Balance) -> Option<()>,
    ) -> Result<(), Rejection> {
        let mut balance = self.balance(&account);
        edit(&mut balance).ok_or(Rejection::Overflow { account })?;
        self.changes.balances.insert(account, balance);
        Ok(())
    }
}

fn add(sum: &mut Amount, amount: Amount) -> Option<()> {
    *sum = sum.checked_add(amount)?;
    Some(())
}

fn subtract(sum: &mut Amount, amount: Amount) -> Option<()> {
    *sum = sum.checked_sub(amount)?;
    Some(())
}
