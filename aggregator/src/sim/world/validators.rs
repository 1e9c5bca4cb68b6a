//! Validators: two that tell the truth and a third that favours liars, contradicts itself and reports
//! on epochs it may not; and a stranger whom the operator does not list.

use jobs::digest::Digest;
use jobs::game::epoch::epoch_of;
use jobs::game::score::POINTS_MAX;
use jobs::ids::ProviderId;
use jobs::money::Amount;
use jobs::time::Timestamp;

use super::{Event, Item, Movement, RequestId, World, plan};
use crate::core::Config;

/// Length of a simulated epoch in milliseconds.
const EPOCH_MS: u64 = 30_000;
/// Those the operator lists; the last one lies.
const LISTED: usize = 3;
/// One more than is listed.
const REPORTERS: usize = 4;

/// The game's part of the configuration.
pub(super) fn configure(config: &mut Config) {
    config.validators = (0..LISTED).map(validator).collect();
    config.epoch_ms = EPOCH_MS;
    config.epoch_reward = Amount(1_000);
}

fn validator(index: usize) -> ProviderId {
    ProviderId(*plan::name("validator", 0, index as u64).as_bytes())
}

/// What an honest validator finds: anything, but every one the same.
fn found(epoch: u64, provider: ProviderId) -> u16 {
    let [low, high, ..] = *Digest::of(&[&provider.0[..], &epoch.to_le_bytes()].concat()).as_bytes();
    let points = u16::from_le_bytes([low, high]);
    points
        .checked_rem(POINTS_MAX.saturating_add(1))
        .unwrap_or(0)
}

impl World {
    /// The pot is smaller than what all epochs could give, so that it runs dry now and then.
    pub(super) fn schedule_reports(&mut self) {
        let pot = self.dice.range(100, 8_000);
        self.plan_move(Movement::Reward, Amount(pot.into()));
        for validator in 0..REPORTERS {
            let soon = self.dice.range(5_000, 40_000);
            self.at(soon, Item::Report(validator));
        }
    }

    pub(super) fn report(&mut self, index: usize) {
        let pause = self.dice.range(3_000, 35_000);
        self.at(pause, Item::Report(index));
        let current = epoch_of(Timestamp(self.now), EPOCH_MS);
        let honest = index.saturating_add(1) < LISTED;
        let epoch = match self.dice.range(0, 9) {
            0 => current.saturating_add(1),
            1 => current.saturating_sub(3),
            2..=5 => current.saturating_sub(1),
            _ => current,
        };
        let mut ids: Vec<ProviderId> = self.peers.iter().map(super::Peer::id).collect();
        ids.sort_unstable();
        let favour = self.dice.range(0, u64::from(POINTS_MAX));
        let favour = u16::try_from(favour).unwrap_or(POINTS_MAX);
        let points = |id: &ProviderId| if honest { found(epoch, *id) } else { favour };
        let scores: Vec<(ProviderId, u16)> = ids.iter().map(|id| (*id, points(id))).collect();
        let digest = Digest::of(format!("{epoch} {scores:?}").as_bytes());
        self.requested = self.requested.saturating_add(1);
        let event = Event::Scores {
            request: RequestId(self.requested),
            validator: validator(index),
            epoch,
            digest,
            scores,
        };
        let lost = self.faulty() && self.dice.chance(100);
        if !lost {
            self.feed(event);
        }
    }

    /// One liar of three raises nobody above what the honest found.
    pub(super) fn check_closings(&mut self) {
        let closed = self.node.core.closed_epochs().iter();
        let points = closed.flat_map(|(epoch, closing)| {
            let each = closing.points.iter();
            each.map(|(id, points)| (*epoch, *id, *points))
        });
        let mut unfair = points.filter(|(epoch, id, points)| *points > found(*epoch, *id));
        if let Some((epoch, id, points)) = unfair.next() {
            let what =
                format!("epoch {epoch}: {id} got {points} points, more than the honest found");
            self.fail(Err(what));
        }
    }

    pub(super) fn count_rewards(&mut self) {
        let views = self.node.core.view_providers().into_iter();
        let rewarded = views
            .filter_map(|view| view.game)
            .filter(|game| !game.rewarded.is_zero());
        self.counts.rewarded = rewarded.count() as u64;
    }
}
