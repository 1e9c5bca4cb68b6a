//! Which peers are here, and what the daemon has yet to hear about it.
//!
//! A lost peer must never go unheard, even while the event queue is full: the news waits here. It
//! is bounded by the peers that are connected plus those the daemon believes to be: a peer that came
//! and went unheard leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};

use jobs::ids::ProviderId;

use crate::Event;

#[derive(Debug, Default)]
pub(crate) struct Presence {
    peers: BTreeMap<ProviderId, Peer>,
    /// Peers about whom there may be news.
    fresh: BTreeSet<ProviderId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    /// Whether the last the daemon heard is that the peer is connected.
    told: bool,
    /// Whether the peer was lost since then.
    lost: bool,
    /// Whether it is connected now.
    here: bool,
}

impl Peer {
    /// The next piece of news about this peer.
    fn news(&self, id: ProviderId) -> Option<Event> {
        match (self.told, self.lost, self.here) {
            (true, true, _) => Some(Event::Lost(id)),
            (false, _, true) => Some(Event::Connected(id)),
            _ => None,
        }
    }
}

impl Presence {
    /// Notes that `peer` has a first connection.
    pub(crate) fn connected(&mut self, peer: ProviderId) {
        self.peers.entry(peer).or_default().here = true;
        self.fresh.insert(peer);
    }

    /// Notes that `peer` has no connection left.
    pub(crate) fn lost(&mut self, peer: ProviderId) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.here = false;
            entry.lost = entry.told;
            if entry.told {
                self.fresh.insert(peer);
            } else {
                self.peers.remove(&peer);
                self.fresh.remove(&peer);
            }
        }
    }

    /// Connected peers.
    pub(crate) fn here(&self) -> Vec<ProviderId> {
        let here = self.peers.iter().filter(|(_, peer)| peer.here);
        here.map(|(id, _)| *id).collect()
    }

    /// The next news the daemon has not heard. A peer that was lost and came back is first lost,
    /// then connected: whatever it promised before may be gone.
    pub(crate) fn news(&mut self) -> Option<Event> {
        while let Some(id) = self.fresh.first().copied() {
            if let Some(event) = self.peers.get(&id).and_then(|peer| peer.news(id)) {
                return Some(event);
            }
            self.fresh.remove(&id);
        }
        None
    }

    /// Notes that the daemon heard `event`.
    pub(crate) fn told(&mut self, event: &Event) {
        match event {
            Event::Connected(id) => {
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.told = true;
                    peer.lost = false;
                }
            }
            Event::Lost(id) => {
                if let Some(peer) = self.peers.get_mut(id) {
                    peer.told = false;
                    peer.lost = false;
                    if !peer.here {
                        self.peers.remove(id);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: ProviderId = ProviderId([1; 32]);

    /// Plays `script` (`+` connected, `-` lost, `.` the daemon drains the queue) and returns what
    /// the daemon heard.
    fn hear(script: &str) -> (String, Presence) {
        let mut presence = Presence::default();
        let mut heard = String::new();
        for step in script.chars() {
            match step {
                '+' => presence.connected(PEER),
                '-' => presence.lost(PEER),
                _ => {
                    while let Some(event) = presence.news() {
                        heard.push(if matches!(event, Event::Lost(_)) {
                            '-'
                        } else {
                            '+'
                        });
                        presence.told(&event);
                    }
                }
            }
        }
        (heard, presence)
    }

    #[test]
    fn the_daemon_hears_what_matters_however_late_it_listens() {
        for (script, expected) in [
            ("+.", "+"),
            ("+.-.", "+-"),
            ("+-.", ""),
            ("+-+.", "+"),
            ("+.-+.", "+-+"),
            ("+.-+-.", "+-"),
            ("+.-+-+-+.", "+-+"),
            ("-.", ""),
        ] {
            assert_eq!(hear(script).0, expected, "{script}");
        }
    }

    #[test]
    fn a_peer_that_is_gone_and_heard_of_leaves_nothing_behind() {
        for script in ["+-", "+.-.", "+.-+-."] {
            let presence = hear(script).1;
            assert!(presence.peers.is_empty(), "{script}");
            assert!(
                presence.fresh.is_empty() || script.ends_with('.'),
                "{script}"
            );
        }
    }
}
