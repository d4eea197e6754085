//! Targets that header fields name. Some name hosts as a matter of course, and are only mentions.

use super::search::{Document, Search};
use super::{Hosts, text};
use crate::bytes::{find, lossy};
use crate::detect::canonical::{self, Parsed, Scheme, normalise_path};
use crate::detect::request::is_host_field;
use crate::detect::{CandidateKind, Place};
use crate::proto::http::Message;
use crate::text::b64;

/// Shortest token with a URL in its header.
const JWT_LEAST: usize = 64;
/// Longest header part of a token that is read.
const JWT: usize = 4096;
/// Tokens of one field that are read.
const TOKENS: usize = 8;

impl Search<'_> {
    pub(super) fn headers(&mut self, request: &Message, hosts: Hosts) {
        // in most heads nothing is, so that no value need be looked at for it
        let is_any_veiled = text::is_veiled(&request.head.raw);
        let is_ordinary = |name: &[u8], value: &[u8]| {
            hosts == Hosts::Ordinary && is_host_field(name) && memchr::memchr(b'@', value).is_none()
        };
        for (name, value) in request.head.fields() {
            if value.len() < 4 {
                continue;
            }
            if !self.budget.spend(value.len() / 2) {
                return;
            }
            match header_kind(name) {
                HeaderKind::Host if hosts == Hosts::Own || is_ordinary(name, value) => {}
                HeaderKind::Host => self.host_header(request, value, CandidateKind::Attempt, &Place::Host),
                HeaderKind::ForwardedHost => {
                    let place = Place::Header(lower(name));
                    self.host_header(request, value, CandidateKind::Mention, &place);
                    self.note_field(value);
                }
                HeaderKind::Excluded if text::may_mention(value) && !self.is_plain_url(value) => {
                    let decoded = if is_any_veiled { canonical::percent_stable(value) } else { value.into() };
                    self.urls_in(&|| Place::Header(lower(name)), &decoded, CandidateKind::Mention);
                }
                HeaderKind::Other if is_any_veiled && text::is_veiled(value) || text::begins_or_holds_url(value) => {
                    self.value(&|| Place::Header(lower(name)), value, Document::No);
                }
                HeaderKind::Other if may_be_part_of_url(name) => self.note_field(value),
                HeaderKind::Excluded | HeaderKind::Other => {}
            }
            if value.len() >= JWT_LEAST && header_kind(name) != HeaderKind::Host {
                self.tokens(&|| Place::Header(lower(name)), value);
            }
        }
    }

    /// URLs in the header part of JSON web tokens (`jku`, `x5u`: RFC 7515 section 4.1), from which keys are fetched before
    /// anything is verified.
    pub(super) fn tokens(&mut self, place: &dyn Fn() -> Place, value: &[u8]) {
        for at in memchr::memmem::find_iter(value, b"eyJ").take(TOKENS) {
            let token = value.get(at..).unwrap_or_default();
            // others put JSON into base64 without more
            let is_in = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_');
            let end = token.iter().take(JWT).take_while(is_in).count();
            let header = token.get(..end).unwrap_or_default();
            if !self.budget.spend(header.len().saturating_mul(2)) {
                return;
            }
            let Some(header) = b64::decode(header).filter(|header| memchr::memchr(b'/', header).is_some()) else {
                continue;
            };
            self.mentions(place, &header);
        }
    }

    /// A Host header that names a metadata service: the target's path is what it asks for.
    fn host_header(&mut self, request: &Message, value: &[u8], kind: CandidateKind, place: &Place) {
        let Some((host, port)) = canonical::canonical_authority(value) else { return };
        let target = request.head.target();
        let path = normalise_path(target);
        let path = (path != "/").then_some(path);
        let parsed = Parsed { scheme: Scheme::Named, host, port, path, method: None, disguised: false };
        if !self.is_service(&parsed) {
            return;
        }
        let mut url = b"http://".to_vec();
        url.extend_from_slice(value);
        url.extend_from_slice(if target.first() == Some(&b'/') { target } else { b"/" });
        self.push(kind, &|| place.clone(), parsed, &url);
    }

    /// Whether a header value is a plainly written URL of an ordinary host: nothing to be found in it.
    fn is_plain_url(&self, value: &[u8]) -> bool {
        let Some(rest) = value.strip_prefix(b"https://").or_else(|| value.strip_prefix(b"http://")) else {
            return false;
        };
        let is_of_name = |b: &u8| b.is_ascii_alphabetic() || matches!(b, b'.' | b'-');
        let end = rest.iter().position(|b| !is_of_name(b)).unwrap_or(rest.len());
        let (host, after) = rest.split_at_checked(end).unwrap_or((rest, b""));
        let goes_on = after.first().is_some_and(u8::is_ascii_digit);
        let is_name = host.last().is_some_and(u8::is_ascii_alphabetic) && !goes_on;
        let is_simple = is_name && find(after, b"//").is_none() && memchr::memchr(b'%', after).is_none();
        is_simple
            && str::from_utf8(host)
                .is_ok_and(|name| self.catalogue.endpoints_named(&name.to_ascii_lowercase()).is_empty())
    }
}

/// Whether a header may name a host or a path from which a server makes a URL: one of its own, or called so.
fn may_be_part_of_url(name: &[u8]) -> bool {
    matches!(name, [b'x' | b'X', b'-', ..])
        || [&b"target"[..], b"upstream", b"backend", b"destination", b"endpoint", b"path", b"url"]
            .iter()
            .any(|known| name.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known)))
}

/// What a header may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderKind {
    Host,
    ForwardedHost,
    /// Names URLs as a matter of course, or is set by proxies.
    Excluded,
    Other,
}

pub(super) fn header_kind(name: &[u8]) -> HeaderKind {
    let Some(first) = name.first() else { return HeaderKind::Other };
    let is = |known: &str| known.bytes().zip(name).all(|(known, byte)| known == byte.to_ascii_lowercase());
    let mut as_long = known_headers(name.len(), first.to_ascii_lowercase()).iter();
    as_long.find(|(known, _)| is(known)).map_or(HeaderKind::Other, |(_, kind)| *kind)
}

/// Known headers with names of `len` bytes that begin with `first`: one for most names, and none for most others.
pub(super) fn known_headers(len: usize, first: u8) -> &'static [(&'static str, HeaderKind)] {
    use HeaderKind::{Excluded, ForwardedHost, Host};
    match (len, first) {
        (3, b'v') => &[("via", Excluded)],
        (4, b'h') => &[("host", Host)],
        (6, b'c') => &[("cookie", Excluded)],
        (6, b'o') => &[("origin", Excluded)],
        (6, b'x') => &[("x-host", ForwardedHost)],
        (7, b'r') => &[("referer", Excluded)],
        (9, b'f') => &[("forwarded", Excluded)],
        (9, b'x') => &[("x-real-ip", Excluded)],
        (10, b':') => &[(":authority", Host)],
        (10, b'u') => &[("user-agent", Excluded)],
        (11, b'x') => &[("x-client-ip", Excluded)],
        (13, b'a') => &[("authorization", Excluded)],
        (14, b't') => &[("true-client-ip", Excluded)],
        (15, b'x') => {
            &[("x-forwarded-for", Excluded), ("x-forwarded-uri", Excluded), ("x-original-host", ForwardedHost)]
        }
        (16, b'c') => &[("cf-connecting-ip", Excluded)],
        (16, b'x') => &[("x-forwarded-host", ForwardedHost), ("x-forwarded-port", Excluded)],
        (17, b'x') => &[("x-forwarded-proto", Excluded)],
        (18, b'x') => &[("x-forwarded-server", ForwardedHost), ("x-forwarded-prefix", Excluded)],
        (19, b'p') => &[("proxy-authorization", Excluded)],
        _ => &[],
    }
}

fn lower(name: &[u8]) -> String {
    lossy(name).to_ascii_lowercase()
}
