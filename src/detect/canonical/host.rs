//! The host part of a URL in any spelling → the addresses and names that some resolver or URL parser would make of it.
//!
//! Several readings exist for many spellings (`0250` is 168 or 250), so the result is a list, the commonest reading
//! first, at most [`READINGS`] long. Input is host text without port; brackets around IPv6 are optional.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::text::{fold, percent_stable};
use crate::bytes::{find, lossy};
use crate::detect::HostRef;

/// Most readings of one host.
pub const READINGS: usize = 16;

/// All readings of `host`, the commonest first; empty when it cannot be a host.
pub fn read(host: &str) -> Vec<HostRef> {
    plain(host.as_bytes()).map_or_else(|| readings(host), |plain| vec![plain])
}

fn readings(host: &str) -> Vec<HostRef> {
    let mut out = Readings::default();
    if let Some(address) = zoned(host) {
        out.ipv6(address);
        return out.0;
    }
    let decoded = percent_stable(host.as_bytes());
    let text = lossy(&decoded);
    let mut text = fold(&text).into_owned();
    text.make_ascii_lowercase();
    if let Some(address) = zoned(&text) {
        out.ipv6(address);
        return out.0;
    }
    let name = text.trim_end_matches('.');
    let before = out.0.len();
    ipv4(name, |address| out.push(HostRef::Address(address.into())));
    if out.0.len() == before && is_name(name) {
        let name = if name.is_ascii() { name.to_owned() } else { name.to_lowercase() };
        wildcard(&name, &mut out);
    }
    out.0
}

/// The only reading of a host in the usual spelling, which most are: a dotted quad, or a name in which no address is
/// hidden. `None` says nothing: [`read`] takes all spellings.
pub fn plain(host: &[u8]) -> Option<HostRef> {
    let [first, .., last] = host else { return None };
    if first.is_ascii_digit() {
        let address: Ipv4Addr = std::str::from_utf8(host).ok()?.parse().ok()?;
        return Some(HostRef::Address(address.into()));
    }
    let mut label = 0usize;
    let mut has_digit = false;
    for byte in host {
        label = match byte {
            b'.' if (1..=MAX_LABEL).contains(&label) => 0,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => label.saturating_add(1),
            _ => return None,
        };
        has_digit |= byte.is_ascii_digit();
    }
    let is_plain = host.len() <= MAX_NAME
        && label <= MAX_LABEL
        && first.is_ascii_alphabetic()
        && last.is_ascii_alphanumeric()
        && !(has_digit && may_hide_address(host));
    let name = is_plain.then(|| host.to_ascii_lowercase())?;
    String::from_utf8(name).ok().map(HostRef::Name)
}

/// Longest name and longest label in bytes (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// Whether a name with digits may be one of [`wildcard`]; says yes rather than no.
fn may_hide_address(name: &[u8]) -> bool {
    let is_separator = |b: &u8| matches!(b, b'.' | b'-');
    let numbers = name.split(is_separator).filter(|token| token.first().is_some_and(u8::is_ascii_digit)).count();
    let is_word = |token: &[u8]| matches!(token.len(), 8 | 10) && token.iter().rev().take(8).all(u8::is_ascii_hexdigit);
    numbers >= 4 || name.split(is_separator).any(is_word) || find(name, b"--").is_some()
}

/// Readings so far, without repetition, bounded.
#[derive(Default)]
struct Readings(Vec<HostRef>);

impl Readings {
    fn push(&mut self, host: HostRef) {
        if self.0.len() < READINGS && !self.0.contains(&host) {
            self.0.push(host);
        }
    }

    /// An IPv6 address, and the IPv4 addresses that it carries.
    fn ipv6(&mut self, address: Ipv6Addr) {
        embedded(address, |v4| self.push(HostRef::Address(v4.into())));
        if !stands_for_ipv4(address) {
            self.push(HostRef::Address(address.into()));
        }
    }
}

/// An IPv4 or IPv6 address as it is compared: an IPv6 address that stands for an IPv4 address becomes that address.
#[inline]
pub fn canonical_ip(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if stands_for_ipv4(v6) => {
            let mut first = None;
            embedded(v6, |v4| first = first.or(Some(v4)));
            first.map_or(address, IpAddr::V4)
        }
        _ => address,
    }
}

/// `text` as a name of DNS or of a hosts file: labels of letters, digits, `-` and `_`; other scripts pass.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c.is_alphanumeric())
    };
    text.len() <= MAX_NAME && text.split('.').all(label)
}

/// Every reading of an IPv4 address in the manner of inet_aton: one to four parts, each decimal, octal (leading 0) or
/// hexadecimal (0x), the last one filling the bytes that are left. Leading zeros are read as octal and as decimal;
/// numbers that are too large lose their high bits, as with parsers that truncate.
fn ipv4(text: &str, mut found: impl FnMut(Ipv4Addr)) {
    let mut parts = [[0u64; 2]; 4];
    let mut count = 0usize;
    for part in text.split('.') {
        let (Some(slot), Some(values)) = (parts.get_mut(count), number(part)) else { return };
        *slot = values;
        count = count.saturating_add(1);
    }
    let Some((last, lead)) = parts.get(..count).and_then(<[_]>::split_last) else { return };
    for choice in 0..1usize << count {
        let pick = |at: usize, [commonest, other]: [u64; 2]| if choice >> at & 1 == 0 { commonest } else { other };
        let high = lead.iter().enumerate().fold(0u64, |sum, (at, values)| sum << 8 | (pick(at, *values) & 0xFF));
        let room = 32usize.saturating_sub(lead.len().saturating_mul(8));
        let low = pick(lead.len(), *last) & (u64::MAX >> 64usize.saturating_sub(room));
        found(Ipv4Addr::from((high << room | low) as u32));
    }
}

/// The one or two readings of a number, each modulo 2^64: octal or hexadecimal by its prefix, and decimal.
fn number(part: &str) -> Option<[u64; 2]> {
    let in_base = |digits: &str, base: u32| {
        digits.chars().try_fold(0u64, |sum, c| {
            let digit = c.to_digit(base)?;
            Some(sum.wrapping_mul(u64::from(base)).wrapping_add(u64::from(digit)))
        })
    };
    if part.is_empty() {
        return None;
    }
    if let Some(digits) = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        return in_base(digits, 16).map(|value| [value; 2]);
    }
    let decimal = in_base(part, 10)?;
    let octal = part.strip_prefix('0').and_then(|digits| in_base(digits, 8));
    Some([octal.unwrap_or(decimal), decimal])
}

/// An IPv6 address in any spelling, brackets and zone dropped.
fn zoned(text: &str) -> Option<Ipv6Addr> {
    memchr::memchr(b':', text.as_bytes())?; // most hosts have none
    let text = text.strip_prefix('[').unwrap_or(text);
    let end = text.find(|c: char| !(c.is_ascii_hexdigit() || matches!(c, ':' | '.' | 'x' | 'X'))).unwrap_or(text.len());
    let (address, rest) = text.split_at_checked(end)?;
    (rest.is_empty() || rest.starts_with(['%', ']'])).then(|| ipv6(address)).flatten()
}

/// An IPv6 address (RFC 4291 section 2.2): groups may be padded with any number of zeros, and the last 32 bits written
/// as an IPv4 address in any spelling.
fn ipv6(text: &str) -> Option<Ipv6Addr> {
    memchr::memchr_iter(b':', text.as_bytes()).nth(1)?;
    let mut all = [0u16; 8];
    match text.split_once("::") {
        None => {
            let groups = groups(text)?;
            (groups.len() == all.len()).then(|| all.copy_from_slice(&groups))?;
        }
        Some((head, tail)) => {
            let (head, tail) = (groups(head)?, groups(tail)?);
            all.get_mut(..head.len())?.copy_from_slice(&head);
            let start = all.len().checked_sub(tail.len()).filter(|start| *start >= head.len())?;
            all.get_mut(start..)?.copy_from_slice(&tail);
        }
    }
    Some(Ipv6Addr::from(all))
}

/// The 16-bit groups of one side of `::`, at most eight.
fn groups(text: &str) -> Option<Vec<u16>> {
    let mut out = Vec::with_capacity(8);
    if text.is_empty() {
        return Some(out);
    }
    let mut parts = text.split(':').peekable();
    while let Some(part) = parts.next() {
        if part.contains('.') && parts.peek().is_none() {
            let mut first = None;
            ipv4(part, |v4| first = first.or(Some(v4)));
            let [a, b, c, d] = first?.octets();
            out.extend([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]);
        } else {
            let significant = part.trim_start_matches('0');
            let zero = significant.is_empty() && !part.is_empty();
            out.push(if zero { 0 } else { u16::from_str_radix(significant, 16).ok()? });
        }
        if out.len() > 8 {
            return None;
        }
    }
    Some(out)
}

/// Whether the address is only another spelling of an IPv4 address: mapped, compatible, translated, or behind the
/// well-known NAT64 prefix.
fn stands_for_ipv4(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xFFFF, ..] | [0, 0, 0, 0, 0xFFFF, 0, ..] | [0x64, 0xFF9B, 0, 0, 0, 0, ..] => true,
        [0, 0, 0, 0, 0, 0, high, _] => high != 0,
        _ => false,
    }
}

/// The IPv4 addresses that an IPv6 address carries: RFC 4291 (mapped, compatible), RFC 2765 (translated), RFC 6052
/// (NAT64, every place of the local-use prefix of RFC 8215), RFC 3056 (6to4), RFC 5214 (ISATAP), RFC 4380 (Teredo).
fn embedded(address: Ipv6Addr, mut found: impl FnMut(Ipv4Addr)) {
    let [.., a, b, c, d] = address.octets();
    let last = Ipv4Addr::new(a, b, c, d);
    if stands_for_ipv4(address) {
        return found(last);
    }
    match address.octets() {
        [0x00, 0x64, 0xFF, 0x9B, 0x00, 0x01, s6, s7, _, s9, s10, s11, s12, ..] => {
            found(last);
            found(Ipv4Addr::new(s6, s7, s9, s10));
            found(Ipv4Addr::new(s7, s9, s10, s11));
            found(Ipv4Addr::new(s9, s10, s11, s12));
        }
        [0x20, 0x02, s2, s3, s4, s5, ..] => found(Ipv4Addr::new(s2, s3, s4, s5)),
        [0x20, 0x01, 0, 0, ..] => found(Ipv4Addr::from(!u32::from(last))),
        [_, _, _, _, _, _, _, _, 0 | 2, 0, 0x5E, 0xFE, ..] => found(last),
        _ => {}
    }
}

/// A name, and the addresses written into it for wildcard and rebinding DNS services: four decimal numbers joined by
/// dots or dashes, a label of eight hexadecimal digits, an IPv6 address with dashes for colons. The suffix does not
/// matter: anyone can run such a service.
fn wildcard(name: &str, out: &mut Readings) {
    out.push(HostRef::Name(name.to_owned()));
    if !name.bytes().any(|b| b.is_ascii_digit()) {
        return;
    }
    let mut window = [None; 4];
    for token in name.split(['.', '-']) {
        window.rotate_left(1);
        window[3] = token.parse::<u8>().ok().filter(|_| token.bytes().all(|b| b.is_ascii_digit()));
        if let [Some(a), Some(b), Some(c), Some(d)] = window {
            out.push(HostRef::Address(Ipv4Addr::new(a, b, c, d).into()));
        }
        let digits = token.strip_prefix("0x").unwrap_or(token);
        if digits.len() == 8
            && let Ok(address) = u32::from_str_radix(digits, 16)
        {
            out.push(HostRef::Address(Ipv4Addr::from(address).into()));
        }
    }
    for label in name.split('.').filter(|label| find(label.as_bytes(), b"--").is_some()) {
        if let Some(address) = ipv6(&label.replace('-', ":")) {
            out.ipv6(address);
        }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn v4(text: &str) -> HostRef {
        HostRef::Address(text.parse().unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), cases: 4096, ..ProptestConfig::default() })]

        /// The short way gives what the long way gives.
        #[test]
        fn plain_hosts_have_one_reading(host in "([a-cx.-]|[0-9]|0x|aaf3|[0-9]{1,3}[.-]){1,12}") {
            if let Some(plain) = plain(host.as_bytes()) {
                prop_assert_eq!(readings(&host), [plain], "{}", host);
            }
        }
    }

    #[test]
    fn ordinary_hosts_are_plain_and_disguises_are_not() {
        for ordinary in ["www2.Example.com", "cdn-1.example.net", "10.0.0.1", "ip-10-0-0.internal", "a1"] {
            assert!(plain(ordinary.as_bytes()).is_some(), "{ordinary}");
        }
        for other in
            ["www.169-254-169-254.x.io", "a9fea9fe.x.io", "x.0xa9fea9fe", "fd00-ec2--254.x.io", "0251.1.1.1", "7"]
        {
            assert!(plain(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn numbers_are_read_in_every_base_and_form() {
        for spelling in [
            "2852039166",
            "7147006462",
            "0xA9FEA9FE",
            "0x41414141A9FEA9FE",
            "025177524776",
            "0xa9.254.0251.0xfe",
            "425.510.425.510",
            "169.254.43518",
            "169.16689662",
            "0251.0xfea9fe",
            "169.254.169.000254",
            "169.254.169.254.",
            "0251.00376.000251.0000376",
        ] {
            assert!(read(spelling).contains(&v4("169.254.169.254")), "{spelling}: {:?}", read(spelling));
        }
        // the strict reading comes first
        assert_eq!(read("010.1.1.1"), [v4("8.1.1.1"), v4("10.1.1.1")]);
        assert_eq!(read("10.1.1.1"), [v4("10.1.1.1")]);
        for other in ["1.2.3.4.5", "", ".", "a b", "x..y", "::", "<b>"] {
            assert!(!read(other).contains(&v4("169.254.169.254")), "{other}");
        }
    }

    #[test]
    fn ipv6_in_every_spelling() {
        let native: HostRef = HostRef::Address("fd00:ec2::254".parse().unwrap());
        for spelling in
            ["[FD00:0EC2:0000::0254]", "fd00:ec2::254", "[fd00:ec2::254%25lo]", "fd00:00000ec2:0:0:0:0:0:254%de0"]
        {
            assert_eq!(read(spelling), std::slice::from_ref(&native), "{spelling}");
        }
        for spelling in ["[::ffff:0251.254.0xa9fe]", "[64:ff9b::a9fe:a9fe]", "[::a9fe:a9fe]", "%5B::ffff:a9fe:a9fe%5D"]
        {
            assert_eq!(read(spelling), [v4("169.254.169.254")], "{spelling}");
        }
        assert_eq!(read("[64:ff9b:1:a9fe:a9:fe00::]")[1], v4("169.254.169.254"));
        assert_eq!(read("[::1]"), [HostRef::Address("::1".parse().unwrap())]);
        for bad in ["[1:2:3:4:5:6:7]", "[1::2::3]", "[1:2:3:4:5:6:7:8:9]", "[12345::]", "[:::]"] {
            assert_eq!(read(bad), [], "{bad}");
        }
    }

    #[test]
    fn wildcard_names_keep_the_name_first() {
        let found = read("www.169-254-169-254.Any.Example.");
        assert_eq!(found, [HostRef::Name("www.169-254-169-254.any.example".into()), v4("169.254.169.254")]);
        assert_eq!(read("fd00-ec2--254.sslip.io")[1], HostRef::Address("fd00:ec2::254".parse().unwrap()));
        assert_eq!(read("www.example.com"), [HostRef::Name("www.example.com".into())]);
        assert_eq!(
            canonical_ip("::ffff:169.254.169.254".parse().unwrap()),
            "169.254.169.254".parse::<IpAddr>().unwrap()
        );
    }
}
