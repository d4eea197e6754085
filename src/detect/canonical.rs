//! One canonicaliser for everything that may be a URL: bytes in any disguise → the hosts that some server would fetch
//! from them, with scheme, port and path.
//!
//! Where URL parsers are known to disagree (several `@`, back slashes, fragments and white space in the authority,
//! leading zeros, layers of percent-encoding) every reading is returned. Input beyond [`INPUT`] bytes is not looked
//! at, and at most [`HOSTS`] readings come back. Nothing here knows which hosts are metadata services.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

mod host;
mod text;

use std::borrow::Cow;
use std::net::IpAddr;

pub use host::canonical_ip;
pub use text::{entities, fold, json_unescape, percent_once, percent_stable};

use super::HostRef;
use crate::bytes::{byte_table, find, lossy};

/// Most bytes of a value that are looked at.
pub const INPUT: usize = 8192;
/// Most readings of one value.
pub const HOSTS: usize = 24;

/// How a URL begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`, `https` and the like: a URL by itself.
    Named,
    /// `gopher`: the path holds a request of its own.
    Gopher,
    /// `//host/…`.
    Relative,
    /// Neither: a host, perhaps with a port and a path.
    Bare,
}

/// One reading of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// How it begins.
    pub scheme: Scheme,
    /// Canonical host.
    pub host: HostRef,
    /// Port, if one is named.
    pub port: Option<u16>,
    /// Normalised path (of the embedded request for gopher); `None` where there is none or only `/`.
    pub path: Option<String>,
    /// Method of the request that a gopher URL embeds.
    pub method: Option<String>,
    /// The host was not written plainly.
    pub disguised: bool,
}

/// Every reading of `value` as a URL; as a bare host with a path only if it is no URL.
pub fn hosts(value: &[u8]) -> Vec<Parsed> {
    read(value, true)
}

/// Every reading of `value` as a URL: with a scheme or two slashes.
pub fn urls(value: &[u8]) -> Vec<Parsed> {
    if begins_otherwise(trim(value)) { Vec::new() } else { read(value, false) }
}

/// The only reading of a URL in the usual spelling, which most are: `http`, `https` or two slashes, a host that is
/// [plain](plain_authority), and a path. `None` says nothing.
pub fn plain_url(value: &[u8]) -> Option<Parsed> {
    let is_plain = |byte: &u8| {
        matches!(byte, b'!'..=b'~') & !matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'`' | b'%' | b'&' | b'@' | b'\\')
    };
    let (scheme, rest) = match value {
        [b'/', b'/', rest @ ..] => (Scheme::Relative, rest),
        _ => {
            let (scheme, rest) = value.split_at_checked(find(value, b"://").filter(|at| *at <= 5)?)?;
            let is_known = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
            (Scheme::Named, rest.get(3..).filter(|_| is_known)?)
        }
    };
    if value.len() > INPUT || !value.iter().all(is_plain) {
        return None;
    }
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#' | b',' | b';' | b'|')).unwrap_or(rest.len());
    let (authority, after) = rest.split_at_checked(end).filter(|(_, after)| matches!(after, [] | [b'/', ..]))?;
    let (host, port) = plain_authority(authority)?;
    let path = normalise_path(after);
    Some(Parsed { scheme, host, port, path: (path != "/").then_some(path), method: None, disguised: false })
}

/// Whether `value` may be a URL by how it begins; says yes rather than no. Looks at a few bytes.
pub fn may_begin_url(value: &[u8]) -> bool {
    !begins_otherwise(trim(value))
}

/// Whether `value` begins neither with a scheme nor with two slashes in whatever disguise: with a word that something else
/// than a colon or an escape follows, or with what no URL begins with. Bodies that are no text do.
fn begins_otherwise(value: &[u8]) -> bool {
    // control characters are dropped anywhere in a URL
    let is_of_word = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.' | 0..=0x1F);
    let word = value.iter().take(WORD).take_while(is_of_word).count();
    let rest = value.get(word..).unwrap_or_default();
    match rest {
        [] => true,
        [b':' | b'%' | b'\\' | b'&', ..] => false,
        [b'/', b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'~', ..] => true,
        [b'/', ..] => word > 0,
        [b' '..=b'~', ..] => true,
        [0x80..=0xFF, ..] => {
            rest.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next()).is_none_or(is_foreign)
        }
        _ => false,
    }
}

/// Longest word that a URL may begin with: a scheme, behind a prefix of it.
const WORD: usize = 64;

/// Whether a character beyond ASCII stands for nothing that a URL begins with.
fn is_foreign(c: char) -> bool {
    let mut bytes = [0; 4];
    let folded = fold(c.encode_utf8(&mut bytes));
    folded.chars().next().is_some_and(|c| !c.is_ascii())
}

fn read(value: &[u8], bare: bool) -> Vec<Parsed> {
    let mut out = Vec::new();
    let value = trim(value.get(..INPUT).unwrap_or(value));
    let mut level = Cow::Borrowed(value);
    for round in 0..=text::ROUNDS {
        read_url(&lossy(&level), &mut out);
        for plainer in [json_unescape(&level), entities(&level)].into_iter().flatten() {
            read_url(&lossy(&plainer), &mut out);
        }
        match percent_once(&level) {
            Some(next) if round < text::ROUNDS => level = Cow::Owned(next),
            _ => break,
        }
    }
    if !bare && level.is_ascii() {
        return out;
    }
    let text = lossy(&level);
    let folded = fold(&text);
    if !text.is_ascii() {
        read_url(&folded, &mut out);
    }
    if bare && out.is_empty() {
        read_authority(Scheme::Bare, trim_str(&folded), &mut out);
    }
    out
}

/// The commonest reading of a host with an optional port (a Host header, an authority).
pub fn canonical_host(authority: &[u8]) -> Option<HostRef> {
    canonical_authority(authority).map(|(host, _)| host)
}

/// The same with the port, if one is written.
pub fn canonical_authority(authority: &[u8]) -> Option<(HostRef, Option<u16>)> {
    let (written, port) = plain_port(authority);
    if let Some(host) = host::plain(written) {
        return Some((host, port));
    }
    let text = lossy(trim(authority.get(..INPUT).unwrap_or(authority)));
    let (host, port) = split_port(&text);
    host::read(host).into_iter().next().map(|host| (host, port))
}

/// The only reading of an authority in the usual spelling, which most are; `None` says nothing.
pub fn plain_authority(authority: &[u8]) -> Option<(HostRef, Option<u16>)> {
    let (written, port) = plain_port(authority);
    host::plain(written).map(|host| (host, port))
}

/// Splits a port in the usual spelling off: one to five digits that do not begin with 0.
fn plain_port(authority: &[u8]) -> (&[u8], Option<u16>) {
    let digits = authority.iter().rev().take(5).take_while(|b| b.is_ascii_digit()).count();
    let split = authority.split_at_checked(authority.len().saturating_sub(digits));
    let port = |digits: &[u8]| std::str::from_utf8(digits).ok().filter(|d| !d.starts_with('0'))?.parse().ok();
    match split.and_then(|(head, digits)| Some((head.strip_suffix(b":")?, port(digits)?))) {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    }
}

/// A target's path as it is compared (contract, `imds.path`): scheme and authority dropped, cut at the first raw `?` or
/// `#`, percent-decoded until stable, empty and dot segments resolved, no trailing `/`. At least `/`.
pub fn normalise_path(target: &[u8]) -> String {
    let target = target.get(..INPUT).unwrap_or(target);
    let path = match find(target, b"://") {
        Some(at) if target.get(..at).is_some_and(|scheme| is_scheme(&lossy(scheme))) => {
            let rest = target.get(at.saturating_add(3)..).unwrap_or_default();
            let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
            rest.get(end..).unwrap_or_default()
        }
        _ => target,
    };
    let end = memchr::memchr2(b'?', b'#', path).unwrap_or(path.len());
    let path = path.get(..end).unwrap_or_default();
    let decoded = percent_stable(path);
    let text = lossy(&decoded);
    if is_normal(&text) {
        return text.into_owned();
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let mut out = String::with_capacity(text.len().saturating_add(1));
    for segment in segments {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

/// Whether a path, percent-encoding undone, has no segments to drop.
pub(super) fn is_normal(path: &str) -> bool {
    let is_dropped = |bytes: &[u8]| matches!(bytes, [b'/', b'/' | b'.']);
    path == "/" || path.starts_with('/') && !path.ends_with('/') && !path.as_bytes().windows(2).any(is_dropped)
}

/// What a URL asks its host for: path and query as written, without fragment; `/` where there is nothing.
pub fn target_of(url: &str) -> &str {
    let rest = url.split_once("//").map_or(url, |(_, rest)| rest);
    let target = rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or("/");
    target.split('#').next().unwrap_or(target)
}

/// Reads `text` as a URL with a scheme or `//`, if it is one.
fn read_url(text: &str, out: &mut Vec<Parsed>) {
    if let Some((scheme, rest)) = split_scheme(trim_str(text)) {
        read_authority(scheme, rest, out);
    }
    // browsers and many libraries drop tabs and line ends anywhere in a URL
    if text.contains(['\t', '\r', '\n']) {
        let joined: String = text.chars().filter(|c| !matches!(c, '\t' | '\r' | '\n')).collect();
        if let Some((scheme, rest)) = split_scheme(trim_str(&joined)) {
            read_authority(scheme, rest, out);
        }
    }
}

/// Splits scheme (wrappers like `view-source:` undone) and slashes off.
fn split_scheme(mut text: &str) -> Option<(Scheme, &str)> {
    for _ in 0..4 {
        // most schemes begin as none of them
        if !text.bytes().next().is_some_and(|b| b"ubvjznfwe".contains(&b.to_ascii_lowercase())) {
            break;
        }
        let Some(rest) = WRAPPERS.iter().find_map(|wrapper| strip_prefix_ignore_case(text, wrapper)) else { break };
        // what follows `!/` is an entry of the archive that the URL before it names
        text = trim_str(rest.split_once("!/").map_or(rest, |(archive, _)| archive));
    }
    let slashes = |text: &str| text.len().saturating_sub(text.trim_start_matches(['/', '\\']).len());
    if slashes(text) >= 2 {
        return Some((Scheme::Relative, text.trim_start_matches(['/', '\\'])));
    }
    let (scheme, rest) = text.split_once(':')?;
    if !is_scheme(scheme) {
        return None;
    }
    let special = SPECIAL.iter().any(|name| scheme.eq_ignore_ascii_case(name));
    let count = slashes(rest);
    let local = scheme.eq_ignore_ascii_case("file") && count > 2;
    if local || (!special && count < 2) {
        return None;
    }
    let scheme = if scheme.eq_ignore_ascii_case("gopher") { Scheme::Gopher } else { Scheme::Named };
    Some((scheme, rest.trim_start_matches(['/', '\\'])))
}

/// Prefixes that some clients put before the URL that is fetched.
const WRAPPERS: &[&str] =
    &["url:", "view-source:", "jar:", "jdbc:", "zip:", "nested:", "netdoc:", "feed:", "blob:", "wrap:", "exec:"];
/// Schemes whose slashes may be missing.
const SPECIAL: &[&str] = &["http", "https", "ws", "wss", "ftp", "gopher"];

fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    (1..=32).contains(&text.len())
        && bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// Most pieces between `@` of one authority that are read besides the first two and the last: those in which a delimiter
/// stands, where some parser ends the authority.
const PIECES: usize = 8;

/// Reads what follows scheme and slashes: every host that some parser finds in the authority, each with what follows.
fn read_authority(scheme: Scheme, rest: &str, out: &mut Vec<Parsed>) {
    let slash = rest.find('/').unwrap_or(rest.len());
    let (authority, after) = rest.split_at_checked(slash).unwrap_or((rest, ""));
    let mut reading = Reading { scheme, user: authority.contains('@'), path: None };
    if delimiter_in(authority).is_none() {
        let last = authority.rsplit('@').next();
        let second = authority.split('@').nth(1).filter(|second| !last.is_some_and(|last| std::ptr::eq(*second, last)));
        second.into_iter().chain(last).for_each(|host| reading.host(host, "", after, out));
        return;
    }
    let mut pieces = authority.split('@').enumerate().peekable();
    let mut delimited = 0usize;
    while let Some((nth, piece)) = pieces.next() {
        let is_last = pieces.peek().is_none();
        let (host, tail) = delimiter_in(piece).and_then(|at| piece.split_at_checked(at)).unwrap_or((piece, ""));
        delimited = delimited.saturating_add(usize::from(!tail.is_empty()));
        // what stands before the first @ is a user name, unless a delimiter ends the authority before it
        let is_host = nth == 1 || is_last || !tail.is_empty() && (nth == 0 || delimited <= PIECES);
        if is_host {
            let path = if tail.starts_with('\\') && is_last { after_backslash(rest, tail) } else { after };
            reading.host(host, tail, path, out);
        }
    }
}

/// Bytes at which an authority may end: marks, and what characters beyond ASCII begin with.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // evaluated by the compiler
static MAY_END: [bool; 256] = byte_table!(byte => {
    matches!(byte, b'?' | b'#' | b'\\' | b'&' | b',' | b';' | b'|' | b'\0' | b'\t'..=b'\r' | b' ' | 0x80..)
});

/// Where some parser ends an authority: at a mark, or at white space of whatever script.
fn delimiter_in(text: &str) -> Option<usize> {
    let may_end = |byte: u8| MAY_END.get(usize::from(byte)).copied().unwrap_or_default();
    let at = text.bytes().position(may_end)?;
    let rest = text.get(at..)?;
    let ends = |c: char| !c.is_ascii() && c.is_whitespace() || c.is_ascii() && may_end(c as u8);
    rest.find(ends).map(|found| at.saturating_add(found))
}

/// `rest` from the back slash on with which `tail` begins, for parsers that take it for a slash.
fn after_backslash<'a>(rest: &'a str, tail: &str) -> &'a str {
    rest.find(tail).and_then(|at| rest.get(at..)).unwrap_or_default()
}

/// The reading of one authority.
struct Reading<'t> {
    scheme: Scheme,
    /// There is user information.
    user: bool,
    /// What followed the last host that was read, with the method and the path in it: the same for nearly all.
    path: Option<(&'t str, Option<String>, String)>,
}

impl<'t> Reading<'t> {
    fn host(&mut self, authority: &str, tail: &str, after: &'t str, out: &mut Vec<Parsed>) {
        if authority.is_empty() {
            return;
        }
        let (written, port) = split_port(authority);
        for host in host::read(written) {
            if out.len() >= HOSTS {
                return;
            }
            if out.iter().any(|known| known.host == host && known.port == port) {
                continue;
            }
            let (method, path) = self.path(if tail.starts_with(['?', '#']) { "" } else { after });
            out.push(Parsed {
                scheme: self.scheme,
                disguised: self.user || !is_plain(written, &host),
                host,
                port,
                path: (path != "/").then_some(path),
                method,
            });
        }
    }

    fn path(&mut self, after: &'t str) -> (Option<String>, String) {
        match &self.path {
            Some((same, method, path)) if std::ptr::eq(*same, after) => (method.clone(), path.clone()),
            _ => {
                let (method, path) = match self.scheme {
                    Scheme::Gopher => embedded_request(after),
                    _ if after.contains('\\') => (None, normalise_path(after.replace('\\', "/").as_bytes())),
                    _ => (None, normalise_path(after.as_bytes())),
                };
                self.path = Some((after, method.clone(), path.clone()));
                (method, path)
            }
        }
    }
}

/// Whether `written` is the usual spelling of `host`.
fn is_plain(written: &str, host: &HostRef) -> bool {
    match host {
        HostRef::Name(name) => written.eq_ignore_ascii_case(name),
        // only the usual spelling is parsed
        HostRef::Address(IpAddr::V4(v4)) => written.parse() == Ok(*v4),
        HostRef::Address(IpAddr::V6(v6)) => written.trim_matches(['[', ']']).eq_ignore_ascii_case(&v6.to_string()),
    }
}

/// Splits a port off: digits of any script, padded at will.
fn split_port(authority: &str) -> (&str, Option<u16>) {
    let (host, port) = match authority.rfind(']').and_then(|at| authority.split_at_checked(at.saturating_add(1))) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match authority.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            // `host:80:80` is no IPv6 address
            Some((host, port)) if host.contains('.') => (host, port.split(':').next()),
            _ => (authority, None),
        },
    };
    let port = port.map(|port| lossy(&percent_stable(port.as_bytes())).into_owned());
    let port = port.as_deref().map(fold).and_then(|port| port.trim().trim_start_matches('0').parse().ok());
    (host, port)
}

/// Method and path of the request that follows the item type of a gopher URL's path.
fn embedded_request(after: &str) -> (Option<String>, String) {
    let decoded = percent_stable(after.as_bytes());
    let text = lossy(&decoded);
    let selector = text.strip_prefix('/').unwrap_or(&text);
    let typed = selector.char_indices().nth(1).and_then(|(at, _)| selector.get(at..));
    for request in [typed, Some(selector)].into_iter().flatten() {
        let mut words = request.split_ascii_whitespace();
        let (Some(method), Some(target)) = (words.next(), words.next()) else { continue };
        if method.len() <= 16 && method.bytes().all(|b| b.is_ascii_alphabetic()) && target.contains('/') {
            return (Some(method.to_owned()), normalise_path(target.as_bytes()));
        }
    }
    (None, normalise_path(after.as_bytes()))
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Without the white space, control characters and quotes around it.
fn trim_str(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '<' | '>' | '`'))
}

fn trim(bytes: &[u8]) -> &[u8] {
    let junk = |b: &u8| *b <= b' ' || matches!(b, b'"' | b'\'' | b'<' | b'>' | b'`');
    let start = bytes.iter().position(|b| !junk(b)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|b| !junk(b)).map_or(start, |at| at.saturating_add(1));
    bytes.get(start..end).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests;
