//! Two addresses as a table's key holds them: as numbers in a fixed order, quick to hash and to compare.
//!
//! In: the addresses of both ends, put in order by the caller. Out: the same addresses. 32 bytes.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address as a number that is in order among its version's; IPv4 in the first four of sixteen bytes.
#[inline]
pub fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Two addresses of the same version, which is not kept here.
#[derive(Clone, Copy, Debug, Default, Eq)]
pub struct AddressPair {
    /// Upper halves of both numbers: all there is of IPv4 addresses.
    upper: [u64; 2],
    lower: [u64; 2],
}

impl AddressPair {
    /// From two [`number`]s.
    #[inline]
    pub fn new(first: u128, second: u128) -> Self {
        Self { upper: [(first >> 64) as u64, (second >> 64) as u64], lower: [first as u64, second as u64] }
    }

    /// The addresses, of this version.
    pub fn addresses(&self, v4: bool) -> (IpAddr, IpAddr) {
        let address = |upper: u64, lower: u64| -> IpAddr {
            if v4 {
                Ipv4Addr::from_bits((upper >> 32) as u32).into()
            } else {
                Ipv6Addr::from_bits(u128::from(upper) << 64 | u128::from(lower)).into()
            }
        };
        let ([a, b], [c, d]) = (self.upper, self.lower);
        (address(a, c), address(b, d))
    }
}

impl PartialEq for AddressPair {
    /// In a few instructions, where arrays would be compared by a call.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let ([a, b], [c, d]) = (self.upper, self.lower);
        let ([e, f], [g, h]) = (other.upper, other.lower);
        (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) == 0
    }
}

impl Hash for AddressPair {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ([a, b], [c, d]) = (self.upper, self.lower);
        state.write_u64(a);
        state.write_u64(b);
        if c | d != 0 {
            state.write_u64(c);
            state.write_u64(d);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_were() {
        for [a, b] in [["10.0.0.1", "255.1.2.3"], ["fd00::1", "2001:db8::"], ["::", "::1"]] {
            let (a, b): (IpAddr, IpAddr) = (a.parse().unwrap(), b.parse().unwrap());
            let pair = AddressPair::new(number(a), number(b));
            assert_eq!(pair.addresses(a.is_ipv4()), (a, b));
            assert_ne!(pair, AddressPair::new(number(b), number(a)));
            assert_eq!(number(a) < number(b), a < b);
        }
    }
}
