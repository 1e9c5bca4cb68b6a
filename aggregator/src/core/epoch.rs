//! The game: what validators report of an epoch, and what comes of it.
//!
//! The operator lists validators. Each may report once an epoch, in it or in the one after; another
//! report for the same epoch is refused and makes that validator's word void. When all have reported,
//! or the time is over, the epoch is closed: if more than half of the validators have a valid report,
//! every provider that more than half of those scored gets the lower median of its points, and the
//! epoch's reward is split in proportion to them. Rewards are transfers from one account that the
//! operator funds, never more than stands there.
//!
//! Points weigh in who is given work, and fade; they say nothing about what a right answer is.

use std::collections::BTreeMap;

use jobs::digest::Digest;
use jobs::game::epoch::{epoch_of, split, start_of};
use jobs::game::report::ROWS_MAX;
use jobs::game::score::POINTS_MAX;
use jobs::ids::ProviderId;
use jobs::money::Amount;
use jobs::time::Timestamp;
use jobs::verdict::lower_median;
use ledger::{Account, Transfer, TransferId};
use serde::{Deserialize, Serialize};

use super::action::Reply;
use super::event::{Code, RequestId};
use super::refusal::Refusal;
use super::{Core, Effects};

/// Closed epochs that are remembered, in epochs.
pub const EPOCHS_KEPT: u64 = 8;
/// Most validators that an operator may list.
pub const VALIDATORS_MAX: usize = 64;
/// Epochs after its own in which an epoch can be reported on.
pub const REPORT_EPOCHS: u64 = 1;

/// Weight in routing of a provider that has no points, and of one with half of them.
pub(super) const FACTOR_NEUTRAL: u64 = 10_000;
/// Weight of a provider with no point: half of the neutral one. With all points it is one and a half.
const FACTOR_LEAST: u64 = 5_000;
/// Epochs after which points have faded to nothing.
const FADED_AFTER: u64 = 14;

/// What is remembered of the game.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Epochs {
    /// Reports by epoch and validator.
    pub(super) reports: BTreeMap<u64, BTreeMap<ProviderId, Report>>,
    /// The latest closed epochs.
    pub(super) closed: BTreeMap<u64, Closing>,
    /// Rewards not yet paid.
    pub(super) owed: BTreeMap<(u64, ProviderId), Amount>,
    /// How often the length of an epoch changed: the same number is then another epoch.
    pub(super) generation: u32,
}

/// A validator's report of one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What names it.
    pub digest: Digest,
    /// Points, ascending by provider; dropped when the epoch is closed.
    pub scores: Vec<(ProviderId, u16)>,
    /// Another report for the same epoch: the validator contradicted itself, and neither counts.
    pub contradicted: Option<Digest>,
}

/// What came of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Closing {
    /// Validators whose reports counted.
    pub reporters: u32,
    /// The median of their points, by provider.
    pub points: BTreeMap<ProviderId, u16>,
    /// What there was to give.
    pub pot: Amount,
    /// Who gets what of it. What is missing stays in the pot.
    pub awards: BTreeMap<ProviderId, Amount>,
}

/// What the game says of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Its points in the latest epoch that scored it, 0 to [`POINTS_MAX`].
    pub points: u16,
    /// Which epoch that was.
    pub epoch: u64,
    /// What it was paid in all.
    pub rewarded: Amount,
}

impl Standing {
    /// Its weight in routing: between half and one and a half of [`FACTOR_NEUTRAL`]. The distance
    /// halves with every epoch that brought no new points.
    pub(super) fn factor(&self, current: u64) -> u64 {
        let age = current.saturating_sub(self.epoch).saturating_sub(1);
        let divisor = 1_u64 << age.min(FADED_AFTER);
        let full = FACTOR_LEAST.saturating_add(u64::from(self.points));
        let distance = full.abs_diff(FACTOR_NEUTRAL).checked_div(divisor);
        let distance = distance.unwrap_or(0);
        match full > FACTOR_NEUTRAL {
            true => FACTOR_NEUTRAL.saturating_add(distance),
            false => FACTOR_NEUTRAL.saturating_sub(distance),
        }
    }
}

impl Core {
    /// The epoch that the latest event lies in.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        epoch_of(self.now, self.config.epoch_ms)
    }

    /// Whether the operator lists this validator.
    ///
    /// # Errors
    /// [`Refusal::UnknownValidator`] if not.
    pub fn is_validator(&self, validator: ProviderId) -> Result<(), Refusal> {
        let listed = &self.config.validators;
        if listed.contains(&validator) {
            return Ok(());
        }
        let listed = u32::try_from(listed.len()).unwrap_or(u32::MAX);
        Err(Refusal::UnknownValidator { validator, listed })
    }

    /// What came of the latest closed epochs.
    #[must_use]
    pub const fn closed_epochs(&self) -> &BTreeMap<u64, Closing> {
        &self.epochs.closed
    }

    /// What stands in the rewards pot and is not owed to anybody.
    #[must_use]
    pub fn rewards_left(&self) -> Amount {
        let pot = self.ledger.balance(&Account::Rewards);
        let pot = pot.available().unwrap_or_default();
        pot.saturating_sub(self.owed())
    }

    /// Epochs are counted in their length, so another length begins a new count: what was reported and
    /// not closed is dropped, what was awarded and not paid stays in the pot, and points fade at once.
    pub(super) fn recount_epochs(&mut self) {
        let generation = self.epochs.generation.saturating_add(1);
        self.epochs = Epochs {
            generation,
            ..Epochs::default()
        };
        for provider in self.providers.values_mut() {
            if let Some(standing) = &mut provider.game {
                standing.epoch = 0;
            }
        }
    }

    pub(super) fn scores(
        &mut self,
        request: RequestId,
        validator: ProviderId,
        epoch: u64,
        digest: Digest,
        scores: Vec<(ProviderId, u16)>,
        fx: &mut Effects,
    ) {
        let reply = self.take_report(validator, epoch, digest, scores);
        fx.reply(request, reply);
        self.close_epochs(fx);
    }

    fn take_report(
        &mut self,
        validator: ProviderId,
        epoch: u64,
        digest: Digest,
        scores: Vec<(ProviderId, u16)>,
    ) -> Result<Reply, Refusal> {
        self.is_validator(validator)?;
        check_scores(&scores)?;
        let known = self.epochs.reports.get_mut(&epoch);
        if let Some(first) = known.and_then(|known| known.get_mut(&validator)) {
            let contradicts = first.digest != digest;
            if contradicts && first.contradicted.is_none() {
                first.contradicted = Some(digest);
            }
            return Ok(Reply::Scored {
                epoch,
                repeated: true,
                contradicts,
            });
        }
        let latest = self.epoch();
        let earliest = latest.saturating_sub(REPORT_EPOCHS);
        if !(earliest..=latest).contains(&epoch) || self.epochs.closed.contains_key(&epoch) {
            return Err(Refusal::EpochNotOpen {
                epoch,
                earliest,
                latest,
            });
        }
        let report = Report {
            digest,
            scores,
            contradicted: None,
        };
        let reports = self.epochs.reports.entry(epoch).or_default();
        reports.insert(validator, report);
        Ok(Reply::Scored {
            epoch,
            repeated: false,
            contradicts: false,
        })
    }

    /// Closes what can be closed, pays what is owed, and forgets what is old.
    pub(super) fn close_epochs(&mut self, fx: &mut Effects) {
        let (now, config) = (self.now, &self.config);
        let over = |epoch: u64| {
            let after = epoch.saturating_add(REPORT_EPOCHS).saturating_add(1);
            now >= start_of(after, config.epoch_ms)
        };
        let open = self.epochs.reports.iter();
        let open = open.filter(|(epoch, _)| !self.epochs.closed.contains_key(epoch));
        let due = open.filter(|(epoch, reports)| {
            let listed = &config.validators;
            over(**epoch) || listed.iter().all(|id| reports.contains_key(id))
        });
        let due: Vec<u64> = due.map(|(epoch, _)| *epoch).collect();
        for epoch in due {
            self.close_epoch(epoch);
        }
        self.pay_rewards(fx);
        let oldest = self.epoch().saturating_sub(EPOCHS_KEPT);
        self.epochs.reports.retain(|epoch, _| *epoch >= oldest);
        self.epochs.closed.retain(|epoch, _| *epoch >= oldest);
    }

    fn close_epoch(&mut self, epoch: u64) {
        let Some(reports) = self.epochs.reports.get_mut(&epoch) else {
            return;
        };
        let listed = &self.config.validators;
        let mut valid: Vec<Vec<(ProviderId, u16)>> = Vec::new();
        for (validator, report) in reports.iter_mut() {
            let scores = std::mem::take(&mut report.scores);
            if listed.contains(validator) && report.contradicted.is_none() {
                valid.push(scores);
            }
        }
        let mut closing = Closing {
            reporters: u32::try_from(valid.len()).unwrap_or(u32::MAX),
            ..Closing::default()
        };
        if is_most(valid.len(), listed.len()) {
            closing.points = medians(&valid);
            closing.points.retain(|id, _| {
                let known = self.providers.get(id);
                known.is_some_and(|provider| provider.banned.is_none())
            });
            for (id, points) in &closing.points {
                self.note_points(*id, epoch, *points);
            }
            closing.pot = self.config.epoch_reward.min(self.rewards_left());
            let points: Vec<(ProviderId, u16)> = closing
                .points
                .iter()
                .map(|(id, points)| (*id, *points))
                .collect();
            closing.awards = split(self.sabotaged_pot(closing.pot), &points)
                .into_iter()
                .collect();
            for (id, amount) in &closing.awards {
                self.epochs.owed.insert((epoch, *id), *amount);
            }
        }
        self.epochs.closed.insert(epoch, closing);
    }

    fn note_points(&mut self, id: ProviderId, epoch: u64, points: u16) {
        let Some(provider) = self.providers.get_mut(&id) else {
            return;
        };
        let standing = provider.game.get_or_insert_default();
        if epoch >= standing.epoch {
            standing.points = points;
            standing.epoch = epoch;
        }
    }

    /// Pays what is owed, as far as this step has room. Whoever was banned meanwhile gets nothing: its
    /// part stays in the pot.
    fn pay_rewards(&mut self, fx: &mut Effects) {
        while let Some((&(epoch, id), &amount)) = self.epochs.owed.first_key_value() {
            let banned = self.providers.get(&id).is_some_and(|p| p.banned.is_some());
            if banned {
                self.epochs.owed.remove(&(epoch, id));
                continue;
            }
            if !fx.has_room() {
                return;
            }
            fx.spend();
            self.epochs.owed.remove(&(epoch, id));
            let post = Transfer::Post {
                id: reward_id(self.epochs.generation, epoch, id),
                from: Account::Rewards,
                to: Account::Provider(id),
                amount,
            };
            if !self.transfer(&[post], fx) {
                continue;
            }
            if let Some(provider) = self.providers.get_mut(&id) {
                let standing = provider.game.get_or_insert_default();
                let sum = standing.rewarded.checked_add(amount);
                standing.rewarded = sum.unwrap_or(standing.rewarded);
            }
        }
    }

    /// What is awarded and not yet paid.
    pub(super) fn owed(&self) -> Amount {
        let owed = self.epochs.owed.values();
        owed.fold(Amount::ZERO, |sum, amount| {
            sum.checked_add(*amount).unwrap_or(sum)
        })
    }

    #[cfg(any(test, feature = "sabotage"))]
    fn sabotaged_pot(&self, pot: Amount) -> Amount {
        match self.config.sabotage {
            Some(super::Sabotage::OverspendRewards) => Amount(pot.0.saturating_mul(2)),
            _ => pot,
        }
    }

    #[cfg(not(any(test, feature = "sabotage")))]
    #[expect(
        clippy::unused_self,
        reason = "the sabotaged twin reads the configuration"
    )]
    const fn sabotaged_pot(&self, pot: Amount) -> Amount {
        pot
    }
}

/// The transfer of a reward: one for each provider and epoch, ever.
pub(super) fn reward_id(generation: u32, epoch: u64, provider: ProviderId) -> TransferId {
    TransferId::derive(&[
        b"reward".as_slice(),
        &generation.to_le_bytes(),
        &epoch.to_le_bytes(),
        &provider.0,
    ])
}

/// The lower median of each provider's points, where more than half of the reports have any. An even
/// number of reports takes the lesser of the two in the middle: one alone raises nobody.
fn medians(reports: &[Vec<(ProviderId, u16)>]) -> BTreeMap<ProviderId, u16> {
    let mut all: BTreeMap<ProviderId, Vec<u64>> = BTreeMap::new();
    for (id, points) in reports.iter().flatten() {
        all.entry(*id).or_default().push(u64::from(*points));
    }
    all.retain(|_, points| is_most(points.len(), reports.len()));
    let medians = all.into_iter().filter_map(|(id, points)| {
        let median = u16::try_from(lower_median(points)?).ok()?;
        Some((id, median))
    });
    medians.collect()
}

/// More than half.
const fn is_most(part: usize, whole: usize) -> bool {
    part.saturating_mul(2) > whole
}

fn check_scores(scores: &[(ProviderId, u16)]) -> Result<(), Refusal> {
    let refuse = |field: &str, value: usize, max: usize| {
        Err(Refusal::OutOfBounds {
            field: Code::new(field),
            value: u64::try_from(value).unwrap_or(u64::MAX),
            min: 0,
            max: u64::try_from(max).unwrap_or(u64::MAX),
        })
    };
    if scores.len() > ROWS_MAX {
        return refuse("scores", scores.len(), ROWS_MAX);
    }
    let mut before = None;
    for ((id, points), at) in scores.iter().zip(0_usize..) {
        if *points > POINTS_MAX {
            return refuse("points", usize::from(*points), usize::from(POINTS_MAX));
        }
        if before.is_some_and(|before| before >= *id) {
            return refuse("scores_out_of_order", at, 0);
        }
        before = Some(*id);
    }
    Ok(())
}

/// When an epoch ends.
#[must_use]
pub const fn ends(epoch: u64, epoch_ms: u64) -> Timestamp {
    start_of(epoch.saturating_add(1), epoch_ms)
}
