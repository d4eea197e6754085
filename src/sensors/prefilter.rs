//! Which lines of a file may have to do with metadata, told from their bytes without parsing them.
//!
//! In: the raw bytes of many lines. Out: those that have to be parsed. What is guaranteed: a line is taken when it holds
//!
//! * an address of the catalogue in its usual spelling, with the hexadecimal, octal, decimal, dashed and mapped spellings
//!   of the IPv4 ones, and the usual spellings of an IPv6 one's first groups;
//! * a name of the catalogue that has a dot, or a path that only metadata services have, in any case;
//! * a URL, also with `\/`, percent-encoded, in base64 (at any alignment, UTF-16 as well) or in hexadecimal, whose host is
//!   anything but an ordinary name or a plain IPv4 address;
//! * a character of a host or path written as a `\u` escape, or a percent sign that is percent-encoded.
//!
//! So what it misses is a bare disguised address without scheme and path in a spelling not among those above, and names
//! without a dot that are no part of a URL.

use std::collections::BTreeSet;
use std::net::IpAddr;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Match};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::catalogue::Catalogue;

/// Literals, and what follows from each.
#[derive(Debug)]
pub struct Prefilter {
    literals: AhoCorasick,
    /// Literals before this one are beginnings of URLs, whose host decides.
    urls: usize,
    wildcard: Vec<String>,
    /// Names without a dot, which are a metadata service's only in a URL.
    single: BTreeSet<String>,
}

/// What stands between the scheme and the host of a URL.
const URLS: [&str; 5] = ["://", ":\\/\\/", "%3a%2f%2f", "%3a//", ":%2f%2f"];

/// Paths that only metadata services have: those of the source rule, and the catalogue's credential paths.
const PATHS: [&str; 11] = [
    "metadata/instance",
    "metadata\\/instance",
    "metadata/identity",
    "metadata\\/identity",
    "security-credentials",
    "latest/meta-data",
    "latest\\/meta-data",
    "latest/dynamic",
    "instance-identity",
    "computemetadata",
    "metadata/v1",
];

/// Escapes of characters that hosts and paths are made of.
const ESCAPES: [&str; 18] = [
    "\\u0025", "\\u002e", "\\u002f", "\\u0030", "\\u0031", "\\u0032", "\\u0033", "\\u0034", "\\u0035", "\\u0036",
    "\\u0037", "\\u0038", "\\u0039", "\\u003a", "\\u004", "\\u005", "\\u006", "\\u007",
];

impl Prefilter {
    /// For the services of `catalogue`.
    pub fn new(catalogue: &Catalogue) -> Option<Self> {
        let mut literals: Vec<String> = URLS.iter().map(|url| (*url).to_owned()).collect();
        let urls = literals.len();
        let mut others: BTreeSet<String> = BTreeSet::new();
        others.extend(PATHS.iter().chain(&ESCAPES).map(|text| (*text).to_owned()));
        others.extend(["%25", "latest/user-data", "\\\\u00"].map(str::to_owned));
        others.extend(encoded_urls());
        let mut single = BTreeSet::new();
        for endpoint in catalogue.endpoints().iter().filter(|endpoint| endpoint.by_address()) {
            endpoint.addresses.iter().for_each(|ip| spellings(*ip, &mut others));
            for domain in &endpoint.domains {
                let name = domain.literal().map(str::to_ascii_lowercase);
                match name {
                    Some(name) if !name.contains('.') => drop(single.insert(name)),
                    Some(name) => drop(others.insert(name)),
                    None => drop(others.insert("instance-data.".to_owned())),
                }
            }
        }
        literals.extend(others);
        let literals = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(literals)
            .ok()?;
        Some(Self { literals, urls, wildcard: catalogue.wildcard_dns().to_vec(), single })
    }

    /// Places where something stands that may matter, in order; [`Self::matters`] looks closer.
    pub(super) fn places<'b>(&'b self, bytes: &'b [u8]) -> impl Iterator<Item = Match> + 'b {
        self.literals.find_iter(bytes)
    }

    /// Whether a line has to be parsed for what stands at `found`; `rest` is the line from its end on.
    pub(super) fn matters(&self, found: &Match, rest: &[u8]) -> bool {
        found.pattern().as_usize() >= self.urls || !self.is_ordinary(rest)
    }

    /// Whether any place of a text matters.
    pub fn takes(&self, text: &[u8]) -> bool {
        self.places(text).any(|found| self.matters(&found, text.get(found.end()..).unwrap_or_default()))
    }

    /// Whether a URL goes on with an ordinary name or a plain IPv4 address: neither is a metadata service unless a literal
    /// says so.
    fn is_ordinary(&self, rest: &[u8]) -> bool {
        let is_of_host = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let length = rest.iter().take(256).take_while(|b| is_of_host(b)).count();
        let (host, after) = rest.split_at_checked(length).unwrap_or((rest, b""));
        let is_end = |b: u8| {
            matches!(
                b,
                b'/' | b'"' | b'?' | b'#' | b' ' | b'\'' | b'\\' | b'<' | b'>' | b')' | b',' | b';' | b'}' | b'&'
            )
        };
        let authority = after.iter().take(256).take_while(|b| !is_end(**b)).count();
        let authority = after.get(..authority).unwrap_or_default();
        let port = authority.strip_prefix(b":").unwrap_or(authority);
        let is_escape =
            after.get(authority.len()..).is_some_and(|tail| tail.starts_with(b"\\u") || tail.starts_with(b"\\\\"));
        // what follows a percent-encoded URL's host is percent-encoded too
        let is_port = port.iter().all(u8::is_ascii_digit);
        let is_encoded_end = port.len() >= 3 && port.starts_with(b"%") && is_encoded_delimiter(port);
        if host.is_empty() || is_escape || !(is_port || is_encoded_end) {
            return false;
        }
        let Ok(host) = str::from_utf8(host) else { return false };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let last = host.rsplit('.').next().unwrap_or_default();
        if last.starts_with(|c: char| c.is_ascii_digit()) {
            return is_plain_quad(&host);
        }
        let is_wildcard = self.wildcard.iter().any(|suffix| host.ends_with(suffix.as_str()));
        !is_wildcard && !self.single.contains(&host)
    }
}

/// `%2F`, `%3F`, `%26`, `%22`, `%3A` and a port's digits: a host ends there.
fn is_encoded_delimiter(bytes: &[u8]) -> bool {
    let code = bytes.get(1..3).map(|code| code.to_ascii_lowercase());
    matches!(code.as_deref(), Some(b"2f" | b"3f" | b"26" | b"22" | b"23" | b"27" | b"20"))
}

/// Four numbers of at most three digits without leading zeros.
fn is_plain_quad(host: &str) -> bool {
    let is_plain = |part: &str| {
        (1..=3).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part.len() == 1 || !part.starts_with('0'))
    };
    host.split('.').count() == 4 && host.split('.').all(is_plain)
}

/// What `://` looks like inside base64 at each alignment, in ASCII and UTF-16, and inside hexadecimal: characters of four
/// bytes whose bits are all known, or every one that those before or behind can make them.
fn encoded_urls() -> Vec<String> {
    let coded = |bytes: &[u8], range: std::ops::Range<usize>| {
        STANDARD_NO_PAD.encode(bytes).get(range).unwrap_or_default().to_owned()
    };
    let mut out = vec!["3a2f2f".to_owned(), coded(b"://", 0..4)];
    out.extend((0..4).map(|before| coded(&[before, b':', b'/', b'/'], 1..5)));
    let behind = [0, 64, 128, 192].map(|behind| coded(&[0, 0, b':', b'/', b'/', behind], 3..7));
    out.extend(behind.iter().map(|text| text.replace('+', "-").replace('/', "_")));
    out.extend(behind);
    out.push(coded(b":\0/\0/\0", 0..8));
    out.push(coded(b"\0:\0/\0/\0", 2..9));
    out.push(coded(b"\0\0:\0/\0/\0", 3..10));
    out
}

/// Spellings of an address that stand in logs and commands without a scheme before them.
fn spellings(ip: IpAddr, out: &mut BTreeSet<String>) {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            let number = u32::from(v4);
            let (low24, low16) = (number & 0x00ff_ffff, number & 0xffff);
            out.insert(v4.to_string());
            out.insert(format!("{a}-{b}-{c}-{d}"));
            out.insert(format!("{number:08x}"));
            out.insert(format!("{:04x}:{:04x}", number >> 16, low16));
            out.insert(number.to_string());
            out.insert(format!("{a}.{low24}"));
            out.insert(format!("{a}.{b}.{low16}"));
            out.insert(format!("{a:#x}.{b:#x}"));
            out.insert(format!("0{a:o}.0{b:o}."));
            for before in 0..3_usize {
                let text = format!("{}{v4}", " ".repeat(before));
                let coded = STANDARD_NO_PAD.encode(&text);
                let first = before.saturating_mul(8).div_ceil(6);
                let last = text.len().saturating_mul(8) / 6;
                out.extend(coded.get(first..last).map(str::to_owned));
            }
        }
        IpAddr::V6(v6) => {
            let [first, second, .., before_last, last] = v6.segments();
            if second == 0 {
                out.insert(format!("{before_last:x}:{last:x}"));
            } else {
                out.insert(format!("{first:x}:{second:x}:"));
                out.insert(format!("{first:04x}:{second:04x}:"));
            }
        }
    }
}
