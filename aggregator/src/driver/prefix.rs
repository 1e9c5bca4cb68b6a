//! Networks as the core knows them: by a number.

use std::net::{IpAddr, Ipv4Addr};

use api::network::Prefix;
use jobs::digest::Digest;

/// A number for the network of an address: the hash of its prefix. All without an address count as one.
pub(super) fn of(address: Option<IpAddr>) -> u64 {
    let network = address.map(|address| Prefix::of(address).address());
    let network = network.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let digest = Digest::of(network.to_string().as_bytes());
    let first = digest.as_bytes().first_chunk();
    first.map_or(0, |first| u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_have_one_number() {
        let of = |text: &str| of(Some(text.parse().unwrap()));
        assert_eq!(of("192.0.2.1"), of("192.0.2.254"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_ne!(super::of(None), of("192.0.2.1"));
    }
}
