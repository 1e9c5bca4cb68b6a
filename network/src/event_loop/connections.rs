//! How many connections each peer has, and which of them are of a past life.
//!
//! A peer dials us only if it has no connection to us. One that dials although it has one, in our
//! eyes, was restarted, or its network changed: the kernel resets a dead process's TCP connections at
//! once, but nobody resets QUIC's, and requests sent over such a one are lost until it falls silent
//! for too long. So a connection that a peer opens replaces the older ones.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

/// Two peers may dial each other, or one may try several addresses, at the same time: connections this
/// close to one another are of the same life.
const SAME_LIFE: Duration = Duration::from_secs(1);

/// The connections of every peer. Bounded by the caps on established connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    of: HashMap<PeerId, Vec<(ConnectionId, Instant)>>,
    /// Where the far end of each is.
    at: HashMap<ConnectionId, IpAddr>,
}

impl Connections {
    /// Notes a connection that was established at `now`; answers which older ones it replaces.
    pub(super) fn opened(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        incoming: bool,
        now: Instant,
    ) -> Vec<ConnectionId> {
        let open = self.of.entry(peer).or_default();
        let is_past = |opened: Instant| incoming && now.duration_since(opened) > SAME_LIFE;
        let past = open.iter().filter(|(_, opened)| is_past(*opened));
        let past = past.map(|(id, _)| *id).collect();
        open.push((id, now));
        past
    }

    /// Notes where the far end of a connection is.
    pub(super) fn reached(&mut self, id: ConnectionId, at: &Multiaddr) {
        if let Some(address) = ip_of(at) {
            self.at.insert(id, address);
        }
    }

    /// Where the far end of a connection is, if it has an address and is still open.
    pub(super) fn address(&self, id: ConnectionId) -> Option<IpAddr> {
        self.at.get(&id).copied()
    }

    /// Notes that a connection is gone.
    pub(super) fn closed(&mut self, peer: PeerId, id: ConnectionId) {
        self.at.remove(&id);
        if let Some(open) = self.of.get_mut(&peer) {
            open.retain(|(other, _)| *other != id);
            if open.is_empty() {
                self.of.remove(&peer);
            }
        }
    }
}

/// The host that a multiaddress begins with; an IPv4 address in IPv6 clothes is one of IPv4.
fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(IpAddr::from(ip).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connection_that_a_peer_opens_replaces_older_ones() {
        let (peer, start) = (PeerId::random(), Instant::now());
        let id = ConnectionId::new_unchecked;
        let at = |ms| start + Duration::from_millis(ms);
        let mut open = Connections::default();
        assert_eq!(open.opened(peer, id(1), true, at(0)), []);
        assert_eq!(open.opened(peer, id(2), true, at(900)), [], "one life");
        assert_eq!(open.opened(peer, id(3), false, at(5000)), [], "ours");
        assert_eq!(open.opened(PeerId::random(), id(4), true, at(5000)), []);
        open.closed(peer, id(2));
        assert_eq!(open.opened(peer, id(5), true, at(5500)), [id(1)]);
        open.closed(peer, id(1));
        open.closed(peer, id(3));
        open.closed(peer, id(5));
        assert!(!open.of.contains_key(&peer), "nothing is left behind");
    }

    #[test]
    fn the_far_end_of_a_connection_is_known_while_it_is_open() {
        for (text, address) in [
            ("/ip4/192.0.2.7/udp/1/quic-v1", Some("192.0.2.7")),
            ("/ip6/2001:db8::1/tcp/1", Some("2001:db8::1")),
            ("/ip6/::ffff:192.0.2.7/tcp/1", Some("192.0.2.7")),
            ("/memory/1", None),
        ] {
            let (peer, id) = (PeerId::random(), ConnectionId::new_unchecked(1));
            let mut open = Connections::default();
            open.opened(peer, id, true, Instant::now());
            open.reached(id, &text.parse().unwrap());
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(open.address(id), address, "{text}");
            open.closed(peer, id);
            assert_eq!(open.address(id), None, "{text}");
        }
    }
}
