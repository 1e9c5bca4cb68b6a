//! The game's invariants: rewards are never more than the pot, follow the points, are paid once, and
//! nothing of it grows without bound.

use jobs::game::score::POINTS_MAX;
use jobs::ids::ProviderId;
use jobs::money::Amount;
use ledger::{Account, Transfer};

use super::super::Core;
use super::super::epoch::{Closing, EPOCHS_KEPT, VALIDATORS_MAX, reward_id};
use super::{Violation, within};

impl Core {
    pub(super) fn check_epochs(&self) -> Result<(), Violation> {
        let (pot, owed) = (self.ledger.balance(&Account::Rewards), self.owed());
        if pot.available() < Some(owed) {
            return wrong(self.epoch(), "owes more rewards than the pot holds");
        }
        // The epoch under way, and those that are remembered.
        let kept = EPOCHS_KEPT.saturating_add(1);
        within("epochs with reports", self.epochs.reports.len(), kept)?;
        within("closed epochs", self.epochs.closed.len(), kept)?;
        within(
            "listed validators",
            self.config.validators.len(),
            VALIDATORS_MAX as u64,
        )?;
        for (epoch, closing) in &self.epochs.closed {
            self.check_closing(*epoch, closing)?;
        }
        for (epoch, id) in self.epochs.owed.keys() {
            let closing = self.epochs.closed.get(epoch);
            if closing.is_some_and(|closing| !closing.awards.contains_key(id)) {
                return wrong(*epoch, "owes what it did not award");
            }
        }
        let standings = self.providers.values().filter_map(|provider| provider.game);
        for standing in standings {
            if standing.points > POINTS_MAX || standing.epoch > self.epoch() {
                return wrong(standing.epoch, "gave points that cannot be");
            }
        }
        Ok(())
    }

    fn check_closing(&self, epoch: u64, closing: &Closing) -> Result<(), Violation> {
        let awards = closing.awards.values();
        let sum = awards.fold(Amount::ZERO, |sum, award| {
            sum.checked_add(*award).unwrap_or(Amount(u128::MAX))
        });
        if sum > closing.pot {
            return wrong(epoch, "awarded more than its pot");
        }
        let mut ranked: Vec<(u16, Amount)> = Vec::new();
        for (id, award) in &closing.awards {
            let Some(points) = closing.points.get(id).filter(|points| **points > 0) else {
                return wrong(epoch, "awarded somebody without points");
            };
            ranked.push((*points, *award));
            self.check_award(epoch, *id, *award)?;
        }
        ranked.sort_unstable();
        let mut pairs = ranked.iter().zip(ranked.iter().skip(1));
        if pairs.any(|(less, more)| less.1 > more.1) {
            return wrong(epoch, "awarded more for fewer points");
        }
        Ok(())
    }

    /// An award is owed or paid, or was lost to a ban; never two of these.
    fn check_award(&self, epoch: u64, id: ProviderId, award: Amount) -> Result<(), Violation> {
        let owed = self.epochs.owed.get(&(epoch, id));
        let id_of_it = reward_id(self.epochs.generation, epoch, id);
        let paid = self.ledger.applied_transfer(&id_of_it);
        let paid = paid.map(|(_, transfer)| transfer);
        match (owed, paid) {
            (Some(owed), None) if *owed == award => Ok(()),
            (None, None) => Ok(()),
            (
                None,
                Some(Transfer::Post {
                    from: Account::Rewards,
                    to: Account::Provider(to),
                    amount,
                    ..
                }),
            ) if to == id && amount == award => Ok(()),
            _ => wrong(epoch, "paid another reward than it awarded"),
        }
    }
}

const fn wrong(epoch: u64, what: &'static str) -> Result<(), Violation> {
    Err(Violation::Reward { epoch, what })
}
