//! Networks in CIDR notation (RFC 4632, RFC 4291 section 2.3).

use std::fmt;
use std::net::IpAddr;

/// An address with the number of leading bits that count; IPv4-mapped addresses are IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// `10.0.0.0/8`, `fd00::/8`, or a single address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, Some(bits.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        Self::new(address, bits)
    }

    /// A network of `bits` leading bits; without, the address alone. `None` where the address has fewer.
    pub fn new(address: IpAddr, bits: Option<u8>) -> Option<Self> {
        let width = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width(address));
        let canonical = address.to_canonical();
        match canonical {
            // `::ffff:10.0.0.0/104` is 10.0.0.0/8; shorter than the mapped prefix, it is IPv6 as written
            IpAddr::V4(_) if address.is_ipv6() && (96..=128).contains(&bits) => {
                Some(Self { address: canonical, bits: bits.saturating_sub(96) })
            }
            _ => (bits <= width(address)).then_some(Self { address, bits }),
        }
    }

    /// The network of one address.
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The smallest network that holds both, if it has at least so many leading bits (IPv4, IPv6).
    pub fn joined(self, other: Self, least: (u8, u8)) -> Option<Self> {
        let common = |a: u128, b: u128, width: u32| (a ^ b).leading_zeros().saturating_sub(128 - width) as u8;
        let (bits, least) = match (self.address, other.address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (common(u32::from(a).into(), u32::from(b).into(), 32), least.0),
            (IpAddr::V6(a), IpAddr::V6(b)) => (common(a.into(), b.into(), 128), least.1),
            _ => return None,
        };
        let bits = bits.min(self.bits).min(other.bits);
        (bits >= least).then(|| Self { address: masked(self.address, bits), bits })
    }

    /// Whether `address` lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u32| {
            let ignored = width.saturating_sub(u32::from(self.bits));
            (a ^ b).checked_shr(ignored).unwrap_or(0) == 0
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
            _ => false,
        }
    }
}

/// An address with all but its leading bits taken out.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lie_in_their_networks_however_they_are_written() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.20.0.10", true),
            ("10.0.0.0/8", "::ffff:10.20.0.10", true),
            ("::ffff:10.0.0.0/104", "10.20.0.10", true),
            ("::ffff:10.0.0.0/104", "::ffff:11.0.0.1", false),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.20.0.10", "::ffff:10.20.0.10", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "fe80::1", false),
            ("::/0", "fe80::1", true),
            ("::/0", "1.2.3.4", false),
            ("fd00::/8", "fd12::1", true),
            ("100.64.0.0/10", "100.128.0.1", false),
        ] {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), inside, "{network} {address}");
        }
        for bad in ["10.0.0.0/33", "fd00::/129", "::ffff:10.0.0.0/129", "10.0.0.0/", "all", "", "10.0.0.0/8/8"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
        assert_eq!(Network::parse("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
    }
}
