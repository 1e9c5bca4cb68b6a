//! Which addresses count as one network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jobs::digest::Digest;

/// Bits of an IPv4 address that name its network: what one customer of a provider commonly holds.
const IPV4_BITS: u32 = 24;
/// Bits of an IPv6 address that name its network: what one site is given.
const IPV6_BITS: u32 = 48;

/// A number for the network of an address: the hash of its prefix. An address that is nobody's but its
/// owner's network's (loopback, private, link-local) counts whole; all without an address count as one.
pub(super) fn of(address: Option<IpAddr>) -> u64 {
    let masked = match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(ip)) if is_local(ip) => IpAddr::V4(ip),
        Some(IpAddr::V4(ip)) => {
            let mask = u32::MAX << (u32::BITS - IPV4_BITS);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        Some(IpAddr::V6(ip)) if is_local_v6(ip) => IpAddr::V6(ip),
        Some(IpAddr::V6(ip)) => {
            let mask = u128::MAX << (u128::BITS - IPV6_BITS);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let digest = Digest::of(masked.to_string().as_bytes());
    let first = digest.as_bytes().first_chunk();
    first.map_or(0, |first| u64::from_be_bytes(*first))
}

fn is_local(ip: Ipv4Addr) -> bool {
    // 100.64/10 is shared by the customers behind one carrier's translation.
    let [first, second, ..] = ip.octets();
    let shared = first == 100 && second & 0xc0 == 64;
    ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared
}

const fn is_local_v6(ip: Ipv6Addr) -> bool {
    ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_have_one_number() {
        let of = |text: &str| of(Some(text.parse().unwrap()));
        for (left, right, same) in [
            ("192.0.2.1", "192.0.2.254", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("192.0.2.1", "::ffff:192.0.2.9", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", true),
            ("2001:db8:1::1", "2001:db8:2::1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.0.0.1", "10.0.0.2", false),
            ("192.168.1.1", "192.168.1.2", false),
            ("100.64.0.1", "100.64.0.2", false),
            ("100.128.0.1", "100.128.0.2", true),
            ("fe80::1", "fe80::2", false),
            ("fd00::1", "fd00::2", false),
            ("::1", "::2", false),
        ] {
            assert_eq!(of(left) == of(right), same, "{left} {right}");
        }
        assert_ne!(super::of(None), of("192.0.2.1"));
    }
}
