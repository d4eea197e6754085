//! What is kept when most is thrown away: whoever floods a link must not hide a theft behind it.
//!
//! In: captured packets. Out: whether one is to or from an address at which metadata is served, known by the bytes of the
//! address among those of its headers, whatever tags and tunnels stand before them. Cost: [`HEADERS`] bytes are looked at,
//! only while detection is behind.

use std::net::IpAddr;

use aho_corasick::AhoCorasick;

use crate::catalogue::Catalogue;

/// Bytes in which headers are, with two tunnels around them.
const HEADERS: usize = 192;

/// The addresses of metadata services, as they stand in packets.
pub struct Urgent {
    /// `None` where a catalogue knows no address.
    addresses: Option<AhoCorasick>,
}

impl Urgent {
    /// Those that the catalogue tells by address.
    pub fn new(catalogue: &Catalogue) -> Self {
        let by_address = catalogue.endpoints().iter().filter(|endpoint| endpoint.by_address());
        let bytes = by_address.flat_map(|endpoint| &endpoint.addresses).map(|address| match address.to_canonical() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        });
        Self { addresses: AhoCorasick::new(bytes).ok().filter(|addresses| addresses.patterns_len() > 0) }
    }

    /// Whether a packet is to be kept.
    pub fn has(&self, packet: &[u8]) -> bool {
        let headers = packet.get(..HEADERS).unwrap_or(packet);
        self.addresses.as_ref().is_some_and(|addresses| addresses.is_match(headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_metadata_services_are_urgent_in_tunnels_too() {
        let urgent = Urgent::new(&Catalogue::builtin().unwrap());
        let packet = |to: &[u8], before: usize| [&vec![2; before], to, &[0; 600]].concat();
        let v6 = "fd00:ec2::254".parse::<std::net::Ipv6Addr>().unwrap().octets();
        assert!(urgent.has(&packet(&[169, 254, 169, 254], 30)) && urgent.has(&packet(&v6, 38)));
        assert!(urgent.has(&packet(&[169, 254, 169, 254], 80)));
        assert!(!urgent.has(&packet(&[203, 0, 113, 9], 30)) && !urgent.has(&packet(&[169, 254, 169, 254], 400)));
        assert!(!urgent.has(&[169, 254]));
    }
}
