//! The PROXY protocol, versions 1 and 2: a header that a load balancer writes before what it forwards, with the ends of its
//! client's connection (the specification of HAProxy, section 2).
//!
//! In: the first bytes of the side that connects. Out: the client's end, unless the header says that there is none. Bound:
//! [`MAX`] bytes.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Next;
use super::probe::{Kind, Probe};
use crate::bytes::Reader;
use crate::conn::Endpoint;
use crate::stream::Dir;

/// Bytes of a header at most: addresses and more (TLVs) in version 2.
const MAX: usize = 4096;
/// Bytes of a line of version 1, its end included.
const MAX_LINE: usize = 107;
/// What version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with.
#[cfg(test)]
const NAME: &[u8] = b"PROXY ";

/// Whether bytes begin with a header.
pub(super) fn probe(bytes: &[u8]) -> Probe {
    let families: [&[u8]; 3] = [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"];
    let begins = |whole: &&[u8]| bytes.starts_with(whole);
    let may_begin = |whole: &&[u8]| whole.starts_with(bytes);
    match () {
        () if begins(&SIGNATURE) || families.iter().any(begins) => Probe::Is(Kind::Proxy),
        () if bytes.is_empty() => Probe::No,
        () if may_begin(&SIGNATURE) || families.iter().any(may_begin) => Probe::More,
        () => Probe::No,
    }
}

/// A header as far as it was seen.
#[derive(Default)]
pub(super) struct Header {
    bytes: Vec<u8>,
}

impl Header {
    /// Feeds bytes of one side; `origin` takes the client's end.
    pub(super) fn feed(&mut self, dir: Dir, bytes: &[u8], origin: &mut Option<Box<Endpoint>>) -> Next {
        if dir == Dir::ToClient {
            return Next::Stay; // nobody answers a header
        }
        self.bytes.extend_from_slice(bytes);
        match parse(&self.bytes) {
            Parsed::Header { len, client } => {
                *origin = client.map(Box::new).or(origin.take());
                Next::Inner { client: self.bytes.split_off(len.min(self.bytes.len())), server: Vec::new() }
            }
            Parsed::More if self.bytes.len() <= MAX => Next::Stay,
            Parsed::More | Parsed::No => Next::Text,
        }
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity().saturating_add(size_of::<Self>())
    }
}

/// What bytes are.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    More,
    No,
    /// So many bytes are a header.
    Header {
        len: usize,
        client: Option<Endpoint>,
    },
}

fn parse(bytes: &[u8]) -> Parsed {
    match () {
        () if bytes.starts_with(SIGNATURE) => version2(bytes),
        () if SIGNATURE.starts_with(bytes) => Parsed::More,
        () => version1(bytes),
    }
}

/// `PROXY TCP4 CLIENT SERVER CLIENT-PORT SERVER-PORT`, or `PROXY UNKNOWN` and anything.
fn version1(bytes: &[u8]) -> Parsed {
    let Some(end) = memchr::memchr(b'\n', bytes.get(..bytes.len().min(MAX_LINE)).unwrap_or_default()) else {
        return if bytes.len() < MAX_LINE { Parsed::More } else { Parsed::No };
    };
    let line = bytes.get(..end).and_then(|line| std::str::from_utf8(line).ok());
    let Some(line) = line.and_then(|line| line.strip_suffix('\r').unwrap_or(line).strip_prefix("PROXY ")) else {
        return Parsed::No;
    };
    Parsed::Header { len: end.saturating_add(1), client: words(line) }
}

fn words(line: &str) -> Option<Endpoint> {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    words.next().filter(|family| *family != "UNKNOWN")?;
    let ip = words.next()?.parse().ok()?;
    let port = words.nth(1)?.parse().ok()?;
    Some(Endpoint { ip, port })
}

/// Signature, version and command, family, length, and so many bytes that begin with both ends.
fn version2(bytes: &[u8]) -> Parsed {
    let mut reader = Reader::new(bytes.get(SIGNATURE.len()..).unwrap_or_default());
    let (Some(command), Some(family), Some(len)) = (reader.u8(), reader.u8(), reader.u16()) else {
        return Parsed::More;
    };
    if command >> 4 != 2 || usize::from(len) > MAX {
        return Parsed::No;
    }
    let Some(mut ends) = reader.sub(usize::from(len)) else { return Parsed::More };
    // a local connection (0) is the balancer's own
    let client = if command & 0x0f == 1 { client(family >> 4, &mut ends) } else { None };
    Parsed::Header { len: bytes.len().saturating_sub(reader.len()), client }
}

fn client(family: u8, ends: &mut Reader<'_>) -> Option<Endpoint> {
    let ip = match family {
        1 => {
            let ip = IpAddr::V4(Ipv4Addr::from(ends.array::<4>()?));
            ends.skip(4)?;
            ip
        }
        2 => {
            let ip = IpAddr::V6(Ipv6Addr::from(ends.array::<16>()?));
            ends.skip(16)?;
            ip
        }
        _ => return None,
    };
    Some(Endpoint { ip, port: ends.u16()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: &[u8]) -> (usize, Option<String>) {
        match parse(bytes) {
            Parsed::Header { len, client } => (len, client.map(|end| format!("{} {}", end.ip, end.port))),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn headers_of_both_versions_name_the_client() {
        let line = b"PROXY TCP4 203.0.113.7 10.0.0.5 56324 443\r\nGET / HTTP/1.1\r\n";
        assert_eq!(header(line), (43, Some("203.0.113.7 56324".to_owned())));
        let line = b"PROXY TCP6 2001:db8::7 fd00::5 56324 443\r\n";
        assert_eq!(header(line), (line.len(), Some("2001:db8::7 56324".to_owned())));
        assert_eq!(header(b"PROXY UNKNOWN\r\n"), (15, None));
        let v4 = [SIGNATURE, b"\x21\x11\0\x0c\xcb\0\x71\x07\x0a\0\0\x05\xdc\x04\x01\xbb", b"GET"].concat();
        assert_eq!(header(&v4), (28, Some("203.0.113.7 56324".to_owned())));
        let local = [SIGNATURE, b"\x20\0\0\x03\x04\0\0"].concat();
        assert_eq!(header(&local), (19, None));
    }

    #[test]
    fn headers_are_known_by_their_beginning_and_bounded() {
        let v2 = [SIGNATURE, b"\x21\x11\0\x0c"].concat();
        for (bytes, told) in [
            (&b"PRO"[..], Probe::More),
            (b"PROXY TCP4 1", Probe::Is(Kind::Proxy)),
            (b"PROXY /x HTTP/1.1", Probe::No),
            (b"\r\n\r", Probe::More),
            (b"\r\n\r\nGET", Probe::No),
            (&v2, Probe::Is(Kind::Proxy)),
            (b"", Probe::No),
        ] {
            assert_eq!(probe(bytes), told, "{bytes:?}");
        }
        assert_eq!(parse(&v2), Parsed::More);
        assert_eq!(parse(&[SIGNATURE, b"\x21\x11\xff\xff"].concat()), Parsed::No);
        assert_eq!(parse(&[NAME, &[b'1'; 200]].concat()), Parsed::No);
    }
}
