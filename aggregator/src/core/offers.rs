//! Which providers may come in, and who is put out by the operator.

use std::collections::BTreeMap;

use jobs::ids::ProviderId;
use jobs::offer::{CAPACITY_MAX, DEVICE_NAME_MAX, Offer};
use jobs::time::Timestamp;
use policy::finality::Standing;

use super::action::{Action, Evidence};
use super::admission::{full, out_of_bounds};
use super::refusal::Refusal;
use super::reputation::Score;
use super::state::{Answers, Provider, Tally};
use super::{Core, Effects};

impl Core {
    pub(super) fn offer(&mut self, offer: Offer, prefix: u64, fx: &mut Effects) {
        let id = offer.provider;
        let bounded = offer.fingerprint.is_bounded() && offer.device.name.len() <= DEVICE_NAME_MAX;
        if !bounded {
            let refusal = out_of_bounds("offer text", u64::MAX, 0, DEVICE_NAME_MAX as u64);
            fx.push(refused(id, refusal));
            return;
        }
        let (capacity, capacity_max) = (u64::from(offer.capacity), u64::from(CAPACITY_MAX));
        if !(1..=capacity_max).contains(&capacity) {
            let refusal = out_of_bounds("capacity", capacity, 1, capacity_max);
            fx.push(refused(id, refusal));
            return;
        }
        let now = self.now;
        if let Some(known) = self.providers.get_mut(&id) {
            if known.banned.is_some() {
                fx.push(refused(id, Refusal::Banned));
                return;
            }
            let connects = !std::mem::replace(&mut known.online, true);
            known.seen = now;
            known.prefix = prefix;
            fx.fill = true;
            if offer.issued >= known.offer.issued {
                known.class = offer.fingerprint.digest();
                known.granted = u32::from(offer.capacity).max(known.busy);
                known.offer = offer;
            }
            if connects {
                self.forgive_refusals(id);
            }
            return;
        }
        if !self.make_room_for_provider() {
            let max = u64::from(self.config.providers_max);
            fx.push(refused(id, full("providers", max)));
            return;
        }
        let provider = Provider {
            class: offer.fingerprint.digest(),
            prefix,
            online: true,
            seen: now,
            cooldown: Timestamp::default(),
            refusals: 0,
            score: Score::neutral(now),
            banned: None,
            live: Default::default(),
            busy: 0,
            granted: u32::from(offer.capacity),
            tally: Tally::default(),
            answers: Answers::default(),
            provisional: BTreeMap::new(),
            game: None,
            offer,
        };
        self.providers.insert(id, provider);
        fx.fill = true;
    }

    /// What a provider refused before it went away says nothing of what it takes now.
    fn forgive_refusals(&mut self, id: ProviderId) {
        if let Some(known) = self.providers.get_mut(&id) {
            known.refusals = 0;
            known.cooldown = self.now;
        }
        for job in self.open.values() {
            if let Some(job) = self.jobs.get_mut(job) {
                job.refusals.remove(&id);
            }
        }
    }

    /// Forgets the provider that has been away longest, holds nothing and is not accused. A ban is forgotten last:
    /// what it cost to be banned is the stake, a new name is free.
    fn make_room_for_provider(&mut self) -> bool {
        if self.providers.len() < self.config.providers_max as usize {
            return true;
        }
        let absent = self.providers.iter().filter(|(_, p)| !p.online);
        let free = |id| self.accusations_of(id) == 0 && !self.is_convicted(&id);
        let idle = absent.filter(|(id, p)| p.live.is_empty() && free(**id));
        let oldest = idle.min_by_key(|(id, p)| (p.banned.is_some(), p.seen, **id));
        match oldest.map(|(id, _)| *id) {
            Some(id) => self.providers.remove(&id).is_some(),
            None => false,
        }
    }

    pub(super) fn set_banned(&mut self, provider: ProviderId, banned: bool, fx: &mut Effects) {
        if banned {
            self.ban(provider, Evidence::Operator, fx);
        } else if let Some(known) = self.providers.get_mut(&provider) {
            known.banned = None;
            known.online = false;
            if known.answers.standing() == Standing::Banned {
                // Its record is gone with what it lost: it begins again, checked as a newcomer is.
                known.answers = Answers::default();
            }
        }
    }
}

fn refused(provider: ProviderId, refusal: Refusal) -> Action {
    Action::OfferRefused { provider, refusal }
}
