//! Which addresses count as one network: for what one network may ask over HTTP, and for which providers are apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of an IPv4 address that name its network: what one customer of a provider commonly holds.
const IPV4_BITS: u32 = 24;
/// Bits of an IPv6 address that name its network: what one site is given.
const IPV6_BITS: u32 = 48;

/// The network of an address. An address that is nobody's but its owner's network's (loopback, private, link-local, behind
/// a carrier's translation) counts whole: many machines share such a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpAddr);

impl Prefix {
    /// The network that `address` is in.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(ip) if is_local(ip) => IpAddr::V4(ip),
            IpAddr::V4(ip) => {
                let mask = u32::MAX << (u32::BITS - IPV4_BITS);
                IpAddr::V4((ip.to_bits() & mask).into())
            }
            IpAddr::V6(ip) if is_local_v6(ip) => IpAddr::V6(ip),
            IpAddr::V6(ip) => {
                let mask = u128::MAX << (u128::BITS - IPV6_BITS);
                IpAddr::V6((ip.to_bits() & mask).into())
            }
        })
    }

    /// Its lowest address.
    pub const fn address(self) -> IpAddr {
        self.0
    }
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
    fn addresses_of_one_network_are_one_and_local_ones_are_each_their_own() {
        let of = |text: &str| Prefix::of(text.parse().unwrap());
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
    }
}
