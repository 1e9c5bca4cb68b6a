//! Whose request it is, where a proxy passes it on.
//!
//! A proxy writes at the end of `X-Forwarded-For` whom it heard the request from; what stands before that was said by
//! others. So the list is read from its end, for as long as those who wrote it are trusted.

use std::net::IpAddr;

use axum::http::HeaderMap;

use crate::network::{AddressRange, Prefix};

/// Header in which proxies say whom they heard a request from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Who asks; put into a request's extensions by the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The network whose request it is.
    pub(crate) network: Prefix,
    /// Whether it came over a trusted proxy's connection, which counts for no network.
    pub(crate) proxied: bool,
}

/// The proxies whose word is taken for whose request it is.
#[derive(Debug)]
pub(crate) struct Proxies(pub(crate) Vec<AddressRange>);

impl Proxies {
    /// Whether `address` is one of them.
    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(address))
    }

    /// Who asks, by the address at the other end of a connection and the headers of a request.
    pub(crate) fn peer(&self, address: IpAddr, headers: &HeaderMap) -> Peer {
        let proxied = self.trust(address);
        let client = proxied.then(|| self.client(headers)).flatten();
        Peer {
            network: Prefix::of(client.unwrap_or(address)),
            proxied,
        }
    }

    /// The last one in the list whom we do not trust. None if there is no list, or it cannot be read so far.
    fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        let mut addresses = entries.map(parse);
        addresses.find(|address| !address.is_some_and(|address| self.trust(address)))?
    }
}

/// An address, or one with a port, as some proxies write it.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let address = text.parse().ok();
    address.or_else(|| Some(text.parse::<std::net::SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    /// Whose request it is that comes from `peer` with these lines.
    fn whose(peer: &str, lines: &[&str]) -> Peer {
        let ranges = ["127.0.0.1", "10.0.0.0/8", "2001:db8:ffff::/48"];
        let proxies = Proxies(ranges.map(|range| range.parse().unwrap()).to_vec());
        let mut headers = HeaderMap::new();
        for line in lines {
            let line = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append(FORWARDED_FOR, line);
        }
        proxies.peer(peer.parse().unwrap(), &headers)
    }

    #[test]
    fn the_last_address_that_no_trusted_proxy_has_is_the_clients() {
        let proxy = "127.0.0.1";
        for (lines, client) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (&["192.0.2.1:4711"], "192.0.2.1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            (&[" 192.0.2.1\t"], "192.0.2.1"),
            // What a client says of itself stands before what a proxy says.
            (&["198.51.100.1, 192.0.2.1"], "192.0.2.1"),
            (&["127.0.0.1, 10.1.1.1, 192.0.2.1"], "192.0.2.1"),
            (&["nonsense, , 192.0.2.1"], "192.0.2.1"),
            (&["\u{e9}, 192.0.2.1"], "192.0.2.1"),
            // One proxy behind another.
            (&["192.0.2.1, 10.1.1.1"], "192.0.2.1"),
            (
                &["8.8.8.8, 192.0.2.1,10.1.1.1,2001:db8:ffff::7"],
                "192.0.2.1",
            ),
            // Lines are one list.
            (&["192.0.2.1", "10.1.1.1"], "192.0.2.1"),
            (&["198.51.100.1", "192.0.2.1"], "192.0.2.1"),
            (
                &["198.51.100.1", "192.0.2.1, 10.1.1.1", "10.2.2.2"],
                "192.0.2.1",
            ),
            // Nothing that could be read: the proxy itself.
            (&[], proxy),
            (&[""], proxy),
            (&["unknown"], proxy),
            (&["192.0.2.1, _hidden"], proxy),
            (&["192.0.2.1,"], proxy),
            (&["192.0.2.1", "\u{e9}"], proxy),
            (&["192.0.2.1.5, 10.1.1.1"], proxy),
            // Nobody but proxies.
            (&["10.1.1.1, 127.0.0.1"], proxy),
        ] {
            let peer = whose(proxy, lines);
            let network = Prefix::of(client.parse().unwrap());
            assert_eq!((peer.network, peer.proxied), (network, true), "{lines:?}");
        }
    }

    #[test]
    fn what_a_stranger_says_of_itself_is_not_read() {
        for stranger in ["192.0.2.9", "::1", "11.0.0.1"] {
            let peer = whose(stranger, &["198.51.100.1", "127.0.0.1"]);
            let network = Prefix::of(stranger.parse().unwrap());
            assert_eq!((peer.network, peer.proxied), (network, false));
        }
    }
}
