//! Balances and reservations, folded from transfers by a second, simpler hand.

use std::collections::{BTreeMap, BTreeSet};

use jobs::money::{AMOUNT_MAX, Amount};

use super::report::{AccountLine, AuditReport, Finding};
use crate::{Account, Balance, Pending, PendingState, Transfer, TransferId};

/// What a run of transfers comes to.
#[derive(Debug, Default)]
pub(crate) struct Derived {
    balances: BTreeMap<Account, Balance>,
    pendings: BTreeMap<TransferId, Pending>,
    ids: BTreeSet<TransferId>,
}

/// One of a balance's four sums.
type Sum = fn(&mut Balance) -> &mut Amount;

const DEBITS: Sum = |balance| &mut balance.debits_posted;
const CREDITS: Sum = |balance| &mut balance.credits_posted;
const DEBITS_HELD: Sum = |balance| &mut balance.debits_pending;
const CREDITS_HELD: Sum = |balance| &mut balance.credits_pending;

impl Derived {
    pub(crate) fn balance(&self, account: &Account) -> Option<Balance> {
        self.balances.get(account).copied()
    }

    pub(crate) fn balances(&self) -> impl Iterator<Item = (&Account, &Balance)> {
        self.balances.iter()
    }

    pub(crate) fn pending(&self, id: &TransferId) -> Option<Pending> {
        self.pendings.get(id).copied()
    }

    pub(crate) fn pendings(&self) -> impl Iterator<Item = (&TransferId, &Pending)> {
        self.pendings.iter()
    }

    /// Folds in one transfer; says which rule it broke, if any.
    pub(crate) fn apply(&mut self, transfer: &Transfer) -> Result<(), String> {
        let id = transfer.id();
        if !self.ids.insert(id) {
            return Err(format!("transfer {id} appears twice"));
        }
        match *transfer {
            Transfer::Post {
                from, to, amount, ..
            } => {
                self.movable(from, to, amount)?;
                self.add(from, DEBITS, amount)?;
                self.add(to, CREDITS, amount)?;
                self.floor(from)
            }
            Transfer::Pend {
                from, to, amount, ..
            } => {
                self.movable(from, to, amount)?;
                self.add(from, DEBITS_HELD, amount)?;
                self.add(to, CREDITS_HELD, amount)?;
                let state = PendingState::Open;
                let pending = Pending {
                    from,
                    to,
                    amount,
                    state,
                };
                self.pendings.insert(id, pending);
                self.floor(from)
            }
            Transfer::PostPending {
                pending, amount, ..
            } => {
                let held = self.resolve(pending, PendingState::Posted(amount))?;
                if amount.is_zero() || amount > held.amount {
                    return Err(format!("posts {amount} of {} reserved", held.amount));
                }
                self.add(held.from, DEBITS, amount)?;
                self.add(held.to, CREDITS, amount)
            }
            Transfer::VoidPending { pending, .. } => {
                self.resolve(pending, PendingState::Voided).map(|_| ())
            }
            Transfer::Expire { pending, .. } => {
                self.resolve(pending, PendingState::Expired).map(|_| ())
            }
            Transfer::Close { account, .. } => {
                let balance = self.balances.entry(account).or_default();
                let sound = matches!(account, Account::Escrow(_))
                    && !balance.closed
                    && balance.is_settled();
                balance.closed = true;
                sound
                    .then_some(())
                    .ok_or_else(|| format!("closes {account}, which cannot be closed"))
            }
        }
    }

    fn movable(&self, from: Account, to: Account, amount: Amount) -> Result<(), String> {
        if amount.is_zero() || amount > AMOUNT_MAX || from == to {
            return Err(format!("moves {amount} from {from} to {to}"));
        }
        let closed = |account| self.balance(account).is_some_and(|balance| balance.closed);
        match [from, to].iter().find(|account| closed(account)) {
            Some(account) => Err(format!("touches {account}, which is closed")),
            None => Ok(()),
        }
    }

    fn resolve(&mut self, id: TransferId, state: PendingState) -> Result<Pending, String> {
        let Some(pending) = self.pendings.get_mut(&id) else {
            return Err(format!("resolves {id}, which does not exist"));
        };
        if pending.state != PendingState::Open {
            return Err(format!("resolves {id} a second time"));
        }
        pending.state = state;
        let held = *pending;
        self.take(held.from, DEBITS_HELD, held.amount)?;
        self.take(held.to, CREDITS_HELD, held.amount)?;
        Ok(held)
    }

    fn add(&mut self, account: Account, sum: Sum, amount: Amount) -> Result<(), String> {
        let sum = sum(self.balances.entry(account).or_default());
        *sum = sum
            .checked_add(amount)
            .ok_or_else(|| format!("overflows {account}"))?;
        Ok(())
    }

    fn take(&mut self, account: Account, sum: Sum, amount: Amount) -> Result<(), String> {
        let sum = sum(self.balances.entry(account).or_default());
        *sum = sum
            .checked_sub(amount)
            .ok_or_else(|| format!("releases more than {account} has reserved"))?;
        Ok(())
    }

    fn floor(&self, account: Account) -> Result<(), String> {
        let broken = self
            .balance(&account)
            .is_some_and(|balance| balance.available().is_none());
        if broken && account.has_floor() {
            return Err(format!("takes {account} below zero"));
        }
        Ok(())
    }

    /// Fills in the report's counts, sums and lists.
    pub(crate) fn totals(&self, report: &mut AuditReport) {
        let mut overflow = false;
        let mut add = |sum: &mut Amount, amount| match sum.checked_add(amount) {
            Some(total) => *sum = total,
            None => overflow = true,
        };
        for (account, balance) in &self.balances {
            add(&mut report.debits_posted, balance.debits_posted);
            add(&mut report.credits_posted, balance.credits_posted);
            report.accounts = report.accounts.saturating_add(1);
            if matches!(account, Account::Escrow(_)) && !balance.is_settled() {
                report.list_escrow(AccountLine {
                    account: *account,
                    balance: *balance,
                });
            }
        }
        let outside = self.balance(&Account::Outside).unwrap_or_default();
        report.deposited = outside.debits_posted;
        report.withdrawn = outside.credits_posted;
        for pending in self.pendings.values() {
            if pending.state == PendingState::Open {
                report.open_pendings = report.open_pendings.saturating_add(1);
                add(&mut report.reserved, pending.amount);
            }
        }
        if overflow || report.debits_posted != report.credits_posted {
            report.find(Finding::Unbalanced {
                debits: report.debits_posted,
                credits: report.credits_posted,
            });
        }
    }
}
