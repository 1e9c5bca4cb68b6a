//! Which addresses count as one network: for what one network may ask over HTTP, and for which providers are apart. And
//! which addresses an operator means by a range of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

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

/// Addresses that share their first bits, as an operator writes them: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// The lowest of them.
    first: IpAddr,
    /// How many bits they share.
    bits: u32,
}

impl AddressRange {
    /// Whether `address` is one of them. An IPv4 address that is written as one of IPv6 is the IPv4 address.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => {
                let differ = first.to_bits() ^ ip.to_bits();
                differ.leading_zeros() >= self.bits
            }
            (IpAddr::V6(first), IpAddr::V6(ip)) => {
                let differ = first.to_bits() ^ ip.to_bits();
                differ.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

/// Text that is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is no range of addresses: {reason}")]
pub struct RangeError {
    /// The text, cut at 80 characters.
    value: String,
    reason: String,
}

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let wrong = |reason: String| RangeError {
            value: text.chars().take(80).collect(),
            reason,
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let form = "write it as ADDRESS or ADDRESS/BITS, such as 127.0.0.1 or 10.0.0.0/8";
        let first: IpAddr = address.parse().map_err(|_| wrong(form.into()))?;
        if first != first.to_canonical() {
            return Err(wrong("write IPv4 addresses as IPv4 addresses".into()));
        }
        let (lowest, most) = match first {
            IpAddr::V4(ip) => (ip.to_bits().trailing_zeros(), u32::BITS),
            IpAddr::V6(ip) => (ip.to_bits().trailing_zeros(), u128::BITS),
        };
        let Some(bits) = bits else {
            return Ok(Self { first, bits: most });
        };
        let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = bits.parse().ok().filter(|bits| digits && *bits <= most);
        let bits: u32 = bits.ok_or_else(|| wrong(format!("it has 0 to {most} bits")))?;
        // Whoever means the one address must not be understood to mean all around it.
        if lowest < most.saturating_sub(bits) {
            return Err(wrong(format!("{first} has bits beyond the first {bits}")));
        }
        Ok(Self { first, bits })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
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

    #[test]
    fn a_range_holds_the_addresses_that_share_its_bits_and_no_others() {
        for (range, address, holds) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("127.0.0.1", "::1", false),
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("192.0.2.128/25", "192.0.2.127", false),
            ("192.0.2.128/25", "192.0.2.200", true),
            ("0.0.0.0/0", "203.0.113.7", true),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("2001:db8::1/128", "2001:db8::2", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
        ] {
            let address = address.parse().unwrap();
            let range: AddressRange = range.parse().unwrap();
            assert_eq!(range.contains(address), holds, "{range} {address}");
        }
    }

    #[test]
    fn text_that_is_no_range_is_named_with_what_is_wrong() {
        for (text, said) in [
            ("", "write it as"),
            ("localhost", "write it as"),
            ("10.0.0", "write it as"),
            ("127.0.0.1:80", "write it as"),
            ("/8", "write it as"),
            ("10.0.0.0/33", "0 to 32 bits"),
            ("10.0.0.0/", "0 to 32 bits"),
            ("10.0.0.0/+8", "0 to 32 bits"),
            ("10.0.0.0/8/8", "0 to 32 bits"),
            ("10.0.0.0/255.0.0.0", "0 to 32 bits"),
            ("2001:db8::/129", "0 to 128 bits"),
            ("10.0.0.5/8", "10.0.0.5 has bits beyond the first 8"),
            ("2001:db8::1/64", "has bits beyond the first 64"),
            ("::ffff:10.0.0.1", "as IPv4 addresses"),
        ] {
            let error = text.parse::<AddressRange>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{text:?} is no range")),
                "{error}"
            );
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
