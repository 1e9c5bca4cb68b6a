//! What lies between aggregator and providers: loss, doubling, delay, cuts, crashes.

use jobs::assignment::Assignment;
use jobs::commitment::Commitment;
use jobs::ids::ProviderId;
use jobs::time::Timestamp;

use super::{Deed, Event, Item, OFFER_EVERY_MS, RETRY_MS, TRIES, ToPeer, World};

/// Commitments on the wire that a copier can see.
const SEEN_MAX: usize = 256;

impl World {
    /// The aggregator sends; `tries` counts down what is left.
    pub(super) fn send(&mut self, to: ProviderId, message: ToPeer, tries: u8) {
        if let Some(peer) = self.index.get(&to).copied() {
            self.send_to_peer(peer, message, tries);
        }
    }

    pub(super) fn send_to_peer(&mut self, peer: usize, message: ToPeer, tries: u8) {
        for delay in self.delays(peer) {
            self.at(delay, Item::Deliver(peer, message.clone()));
        }
        if tries > 1 {
            let again = Item::Resend(self.node.epoch, peer, message, tries.saturating_sub(1));
            self.at(RETRY_MS, again);
        }
    }

    /// A provider sends; `tries` counts down what is left.
    pub(super) fn send_from_peer(&mut self, peer: usize, event: Event, tries: u8) {
        if let Event::Committed { commitment } = &event {
            self.see(*commitment);
        }
        for delay in self.delays(peer) {
            self.at(delay, Item::Arrive(Box::new(event.clone())));
        }
        let boot = self.peers.get(peer).map_or(0, |p| p.boot);
        if tries > 1 {
            let again = Item::Repeat(peer, boot, Box::new(event), tries.saturating_sub(1));
            self.at(RETRY_MS, again);
        }
    }

    fn see(&mut self, commitment: Commitment) {
        if self.commitments.len() < SEEN_MAX && !self.commitments.contains(&commitment) {
            self.commitments.push(commitment);
        }
    }

    /// After how long a message arrives: not at all, once, or twice.
    fn delays(&mut self, peer: usize) -> Vec<u64> {
        let cut = self.peers.get(peer).is_none_or(|p| self.now < p.cut_until);
        if cut || (self.faulty() && self.dice.chance(40)) {
            self.fault();
            return Vec::new();
        }
        let mut delays = vec![self.dice.range(2, 250)];
        if self.faulty() && self.dice.chance(40) {
            self.fault();
            delays.push(self.dice.range(2, 9_000));
        }
        if self.faulty() && self.dice.chance(30) {
            self.fault();
            delays = vec![self.dice.range(250, 9_000)];
        }
        delays
    }

    pub(super) fn deliver(&mut self, index: usize, message: ToPeer) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        if peer.up && now >= peer.cut_until {
            let deeds = peer.receive(message, &mut self.dice, &mut self.counts.faults);
            self.do_deeds(index, deeds);
        }
    }

    fn do_deeds(&mut self, index: usize, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Send(event) => self.send_from_peer(index, event, 1),
                Deed::SendOften(event) => self.send_from_peer(index, event, TRIES),
                Deed::Work(assignment) => {
                    let boot = self.peers.get(index).map_or(0, |p| p.boot);
                    let takes = self.dice.range(300, 9_000);
                    self.at(takes, Item::Work(index, boot, assignment));
                }
            }
        }
    }

    pub(super) fn work_done(&mut self, index: usize, boot: u64, assignment: &Assignment) {
        let job = self.jobs.iter().find(|plan| plan.id == assignment.job);
        let (Some(peer), Some(job)) = (self.peers.get_mut(index), job) else {
            return;
        };
        if !peer.up || peer.boot != boot {
            return;
        }
        let faults = &mut self.counts.faults;
        let deeds = peer.finish(job, assignment, &self.commitments, &mut self.dice, faults);
        self.do_deeds(index, deeds);
    }

    pub(super) fn announce(&mut self, index: usize) {
        let soon = self.dice.range(OFFER_EVERY_MS / 2, OFFER_EVERY_MS);
        self.at(soon, Item::Announce(index));
        self.announce_now(index);
    }

    fn announce_now(&mut self, index: usize) {
        let now = Timestamp(self.now);
        let Some(peer) = self.peers.get_mut(index).filter(|peer| peer.up) else {
            return;
        };
        peer.offer.issued = now;
        let offer = Box::new(peer.offer.clone());
        let prefix = peer.prefix;
        self.send_from_peer(index, Event::Offer { offer, prefix }, 1);
    }

    pub(super) fn crash_peer(&mut self, index: usize) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        peer.crash();
        self.fault();
        let away = self.dice.range(500, 60_000);
        self.at(away, Item::PeerBoot(index));
        // The aggregator notices late, perhaps after the provider is back.
        self.lose(index, 8_000);
    }

    pub(super) fn boot_peer(&mut self, index: usize) {
        if let Some(peer) = self.peers.get_mut(index) {
            peer.up = true;
        }
        self.announce_now(index);
    }

    pub(super) fn cut_off_somebody(&mut self) {
        let last = self.peers.len().saturating_sub(1) as u64;
        let index = usize::try_from(self.dice.range(0, last)).unwrap_or(0);
        let until = self.now.saturating_add(self.dice.range(1_000, 30_000));
        self.fault();
        if let Some(peer) = self.peers.get_mut(index) {
            peer.cut_until = until;
        }
        if self.dice.chance(500) {
            self.lose(index, 15_000);
        }
    }

    fn lose(&mut self, index: usize, within_ms: u64) {
        let Some(provider) = self.peers.get(index).map(|peer| peer.id()) else {
            return;
        };
        let noticed = self.dice.range(500, within_ms);
        let event = Box::new(Event::ProviderLost { provider });
        self.at(noticed, Item::Arrive(event));
    }
}
