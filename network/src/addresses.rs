//! Where peers can be reached, as far as we heard. Bounded; the longest unheard-of peer is forgotten
//! first.

use std::collections::{HashMap, VecDeque};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::Error;
use crate::config::{ADDRESSES_PER_PEER_MAX, KNOWN_PEERS_MAX};

#[derive(Debug, Default)]
pub(crate) struct AddressBook {
    peers: HashMap<PeerId, VecDeque<Multiaddr>>,
    /// Peers in the order in which they were first heard of.
    order: VecDeque<PeerId>,
}

impl AddressBook {
    /// Remembers that `peer` may be reached at `address`; the newest address comes first.
    pub(crate) fn add(&mut self, peer: PeerId, address: Multiaddr) {
        let Ok(address) = address.with_p2p(peer) else {
            return; // It names another peer.
        };
        if !self.peers.contains_key(&peer) {
            if self.order.len() >= KNOWN_PEERS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.peers.remove(&oldest);
            }
            self.order.push_back(peer);
        }
        let known = self.peers.entry(peer).or_default();
        known.retain(|other| *other != address);
        known.push_front(address);
        known.truncate(ADDRESSES_PER_PEER_MAX);
    }

    /// Where `peer` may be reached, each ending in `/p2p/<peer>`.
    pub(crate) fn of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let known = self.peers.get(peer);
        known.into_iter().flatten().cloned().collect()
    }
}

/// Parses text as a multiaddress.
pub(crate) fn parse(text: &str) -> Result<Multiaddr, Error> {
    text.parse().map_err(|error| Error::address(text, error))
}

/// The peer an address names at its end.
pub(crate) fn peer_in(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::keypair;

    fn peer(index: u16) -> PeerId {
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&index.to_le_bytes());
        keypair(seed).unwrap().public().to_peer_id()
    }

    fn address(port: u16) -> Multiaddr {
        parse(&format!("/ip4/127.0.0.1/tcp/{port}")).unwrap()
    }

    #[test]
    fn the_newest_addresses_of_a_peer_are_kept() {
        let mut book = AddressBook::default();
        for port in (1..=20).chain([15]) {
            book.add(peer(1), address(port));
        }
        let known = book.of(&peer(1));
        assert_eq!(known.len(), ADDRESSES_PER_PEER_MAX);
        assert_eq!(known[0], address(15).with_p2p(peer(1)).unwrap());
        assert_eq!(known[1], address(20).with_p2p(peer(1)).unwrap());
    }

    #[test]
    fn the_oldest_peer_is_forgotten_first() {
        let mut book = AddressBook::default();
        for index in 0..=KNOWN_PEERS_MAX as u16 {
            book.add(peer(index), address(1));
        }
        assert!(book.of(&peer(0)).is_empty());
        assert_eq!(book.of(&peer(1)).len(), 1);
        assert_eq!(book.peers.len(), KNOWN_PEERS_MAX);
    }

    #[test]
    fn an_address_of_another_peer_is_not_believed() {
        let mut book = AddressBook::default();
        book.add(peer(1), address(1).with_p2p(peer(2)).unwrap());
        assert!(book.of(&peer(1)).is_empty());
    }
}
