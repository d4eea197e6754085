//! The built-in kernel filter, for runs that need nothing but traffic of metadata services and DNS.
//!
//! In: the catalogue and the user's own expression. Out: an expression in tcpdump's language.

use std::collections::BTreeSet;

use crate::catalogue::Catalogue;

/// Expressions that let through connections with metadata services and DNS and nothing else; of these, only what
/// `words` let through. The first also finds them behind one or two VLAN tags; the second is for links where libpcap
/// gives the word `vlan` no meaning.
///
/// Services that are told by their paths alone are let through by their ports, save the ports of the whole web. Of
/// datagrams in fragments, as long answers of DNS are, only the first shows its ports: the others are let through.
pub fn for_metadata_only(catalogue: &Catalogue, words: &[String]) -> [String; 2] {
    let mut parts = BTreeSet::new();
    for endpoint in catalogue.endpoints() {
        if endpoint.by_address() {
            parts.extend(endpoint.addresses.iter().map(|ip| format!("host {}", ip.to_canonical())));
        } else {
            let ports = endpoint.ports.iter().filter(|port| !matches!(port, 80 | 443 | 8080));
            parts.extend(ports.map(|port| format!("tcp port {port}")));
        }
    }
    parts.extend(["port 53", "port 5353", FRAGMENT, FRAGMENT_V6].map(str::to_owned));
    let plain = parts.into_iter().collect::<Vec<_>>().join(" or ");
    // The word `vlan` moves all offsets of what follows it, so that the tagged forms stand last.
    let any = format!("({plain}) or (vlan and (({plain}) or (vlan and ({plain}))))");
    [any, plain].map(|all| if words.is_empty() { all } else { format!("({}) and ({all})", words.join(" ")) })
}

/// UDP, other than the first fragment.
const FRAGMENT: &str = "(ip proto 17 and ip[6:2] & 0x1fff != 0)";

/// UDP behind a fragment header, the first fragment too: `port` looks behind no header of IPv6.
const FRAGMENT_V6: &str = "(ip6[6] = 44 and ip6[40] = 17)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Filter;
    use crate::packet::LinkType;

    /// A frame with these tags that carries a TCP or UDP header of nothing but ports.
    fn frame(tags: usize, protocol: u8, to: [u8; 4], port: u16) -> Vec<u8> {
        let mut frame = vec![0; 12];
        for _ in 0..tags {
            frame.extend([0x81, 0, 0, 7]);
        }
        frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1]);
        frame.extend(to);
        frame.extend([0xc0, 0]);
        frame.extend(port.to_be_bytes());
        frame.extend([0; 16]);
        frame
    }

    fn passes(words: &[&str], frame: &[u8]) -> bool {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let catalogue = Catalogue::builtin().unwrap();
        let [tagged, _] = for_metadata_only(&catalogue, &words);
        let mut filter = Filter::compile(&[tagged]).unwrap();
        filter.matches(LinkType::ETHERNET, frame, frame.len() as u32).unwrap()
    }

    #[test]
    fn metadata_and_dns_pass_with_any_number_of_tags_up_to_two() {
        for tags in 0..3 {
            assert!(passes(&[], &frame(tags, 6, [169, 254, 169, 254], 80)), "{tags}");
            assert!(passes(&[], &frame(tags, 17, [8, 8, 8, 8], 53)), "{tags}");
            assert!(!passes(&[], &frame(tags, 6, [8, 8, 8, 8], 80)), "{tags}");
        }
    }

    #[test]
    fn datagrams_in_fragments_pass_whole() {
        for tags in 0..3 {
            let mut later = frame(tags, 17, [8, 8, 8, 8], 4000);
            let offset = 14 + 4 * tags + 6;
            assert!(!passes(&[], &later), "a datagram of its own, {tags}");
            later[offset + 1] = 185;
            assert!(passes(&[], &later), "{tags}");
            later[offset + 3] = 6;
            assert!(!passes(&[], &later), "of a TCP segment, {tags}");
        }
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 44, 64]);
        frame.extend([0x20; 32]);
        frame.extend([17, 0, 5, 0xc8, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(passes(&[], &frame));
        frame[54] = 6;
        assert!(!passes(&[], &frame), "of a TCP segment");
    }

    #[test]
    fn words_narrow_it() {
        assert!(passes(&["tcp", "port", "80"], &frame(0, 6, [169, 254, 169, 254], 80)));
        assert!(!passes(&["tcp", "port", "80"], &frame(0, 17, [8, 8, 8, 8], 53)));
    }
}
