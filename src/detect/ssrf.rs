//! Targets that a request to some server names: what makes it an attempt at request forgery, or may yet (contract
//! section 4, "SSRF").
//!
//! In: a request and the catalogue. Out: at most [`FOUND`] candidates, each a host in canonical form with its path. A
//! request without anything like a URL in its values costs a few searches and no allocation. Bodies are looked at up to
//! [`BODY`] bytes. Never fails; what cannot be read is passed over.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

mod body;
mod prose;

use std::borrow::Cow;

use super::canonical::{self, Parsed, Scheme, normalise_path, percent_once};
use super::request::{endpoints_perhaps_of, is_host_field};
use super::{Candidate, CandidateKind, HostRef, Imds, Leg, Place, Verdict};
use crate::bytes::{find, lossy};
use crate::catalogue::{Catalogue, PathMatch, is_shared};
use crate::proto::http::{Message, Transaction};

/// Most candidates of one request.
pub const FOUND: usize = 32;
/// Most of them that are ordinary URLs.
const ORDINARY: usize = 16;
/// Most bytes of a body that are looked at.
pub const BODY: usize = 65_536;
/// Most values of one request that are looked at closely.
const VALUES: usize = 1024;
/// Longest URL that is kept, in bytes.
const URL: usize = 1024;

/// What is known of the hosts that a request's Host fields name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hosts {
    /// They were not looked up.
    Unknown,
    /// None is a metadata service, user information (`user@`) aside.
    Ordinary,
}

/// The part of a verdict that is about other targets than the server: what the request names, and where the response
/// sends its client. A request to a metadata service itself names no other target.
pub fn judge(tx: &Transaction, imds: Option<&Imds>, catalogue: &Catalogue) -> Verdict {
    judge_knowing(Hosts::Unknown, tx, imds, catalogue)
}

/// The same where something may be known of the request's Host fields.
pub(super) fn judge_knowing(hosts: Hosts, tx: &Transaction, imds: Option<&Imds>, catalogue: &Catalogue) -> Verdict {
    let mut verdict = Verdict::default();
    let Some(request) = &tx.request else { return verdict };
    let is_local_service =
        || tx.conn.server.ip.is_loopback() && catalogue.path_endpoints_on(tx.conn.server.port).next().is_some();
    match imds.map(|imds| imds.leg) {
        Some(Leg::Address | Leg::Path) => return verdict,
        // an agent on the host itself to which requests for the service are diverted
        Some(Leg::Named) if is_local_service() => return verdict,
        _ => {}
    }
    let mut candidates = candidates(request, hosts, catalogue);
    let is_connect = request.head.is_connect();
    let tunnel = tx.via.as_deref().or(is_connect.then_some(request.head.target()));
    let leads_there = |(host, port): (HostRef, Option<u16>)| is_target(catalogue, &host, port);
    if tunnel.and_then(canonical::canonical_authority).is_some_and(leads_there) {
        // A client's own tunnel to the service: the Host names the server that it goes to.
        candidates.retain(|candidate| candidate.place != Place::Host);
    }
    verdict.candidates = candidates;
    let names = |response: &&Message| ["location", "refresh"].iter().any(|name| response.head.field(name).is_some());
    let response = tx.response.as_ref().filter(names);
    if response.is_some() || !verdict.candidates.is_empty() {
        verdict.own_url = own_url(request).map(Box::new);
    }
    let asked = verdict.own_url.as_ref().map(|own| &own.0);
    verdict.redirect = response.and_then(|response| redirect(response, asked, catalogue)).map(Box::new);
    verdict
}

/// Targets that `request` names. The caller leaves out requests to a metadata service itself.
fn candidates(request: &Message, hosts: Hosts, catalogue: &Catalogue) -> Vec<Candidate> {
    let mut search = Search::new(catalogue);
    search.target(request);
    search.headers(request, hosts);
    search.body(request);
    search.found
}

/// Whether `host` is a metadata service that URLs can name; `port` of the URL, if it names one.
pub fn is_target(catalogue: &Catalogue, host: &HostRef, port: Option<u16>) -> bool {
    match host {
        HostRef::Address(ip) => catalogue.is_metadata(*ip, port.unwrap_or(80)) && !is_shared(*ip),
        HostRef::Name(name) => !catalogue.endpoints_named(name).is_empty(),
    }
}

/// Whether a host that may be somebody else's (a short name, an address in shared space) is a metadata service's by the
/// path that is asked of it.
pub fn is_target_by_path(catalogue: &Catalogue, host: &HostRef, path: Option<&str>) -> bool {
    let endpoints = endpoints_perhaps_of(host, catalogue);
    let theirs = |found: PathMatch| found.fit.literals > 0 && endpoints.iter().any(|e| found.path.is_at(e));
    !endpoints.is_empty() && path.is_some_and(|path| catalogue.paths_like(path, b"").into_iter().any(theirs))
}

/// The whole URL that a request asks for: canonical host, and path and query as sent.
pub fn own_url(request: &Message) -> Option<(HostRef, String)> {
    let target = request.head.target();
    let absolute = absolute_form(target);
    let authority = match &absolute {
        Some(parsed) => Some(parsed.host.clone()),
        None => {
            request.head.field("host").or_else(|| request.head.field(":authority")).and_then(canonical::canonical_host)
        }
    }?;
    let target = lossy(target.get(..URL).unwrap_or(target));
    let target = if absolute.is_some() { canonical::target_of(&target).to_owned() } else { target.into_owned() };
    Some((authority, target))
}

/// Where a response sends its client (Location of a 3xx, Refresh); `asked` is the host that a relative place belongs to.
pub fn redirect(response: &Message, asked: Option<&HostRef>, catalogue: &Catalogue) -> Option<Candidate> {
    let location = response.head.field("location").filter(|_| matches!(response.head.status(), Some(300..=399)));
    let refresh = || {
        let value = response.head.field("refresh")?;
        let at = memchr::memchr(b'=', value)?;
        value.get(at.checked_add(1)?..)
    };
    let (place, url) = match location {
        Some(url) => ("location", url),
        None => ("refresh", refresh()?),
    };
    let mut search = Search::new(catalogue);
    search.value(&|| Place::Header(place.to_owned()), url, Document::No);
    let candidate = search.found.into_iter().next();
    candidate.or_else(|| {
        let url = lossy(url.get(..URL).unwrap_or(url)).trim().to_owned();
        let path = normalise_path(url.as_bytes());
        url.starts_with('/').then_some(asked).flatten().map(|host| Candidate {
            kind: CandidateKind::Url,
            place: Place::Header(place.to_owned()),
            host: host.clone(),
            port: None,
            path: (path != "/").then_some(path),
            disguised: false,
            is_metadata: false,
            url,
        })
    })
}

/// Whether a value stands in a document (JSON, XML), where a URL without a path is only mentioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Document {
    Yes,
    No,
}

/// Candidates so far, and what may still be spent.
struct Search<'c> {
    catalogue: &'c Catalogue,
    found: Vec<Candidate>,
    values: usize,
    /// Bytes of base64 that may still be decoded.
    base64: usize,
}

impl<'c> Search<'c> {
    fn new(catalogue: &'c Catalogue) -> Self {
        Self { catalogue, found: Vec::new(), values: VALUES, base64: BODY }
    }

    /// The request target: absolute form, path from any segment on, query.
    fn target(&mut self, request: &Message) {
        let target = request.head.target();
        if request.head.is_connect() {
            return;
        }
        if let Some(parsed) = absolute_form(target) {
            let kind = if self.names_target(&parsed) { CandidateKind::Attempt } else { CandidateKind::Url };
            if kind == CandidateKind::Attempt {
                self.push(kind, &|| Place::AbsoluteForm, parsed, target);
            }
        }
        let query_at = memchr::memchr(b'?', target).unwrap_or(target.len());
        let (path, query) = target.split_at_checked(query_at).unwrap_or((target, b""));
        self.path(path, target);
        if let Some(query) = query.get(1..) {
            self.pairs(query, &Place::Query);
        }
    }

    /// The rest of the path from any segment on: a URL, or a metadata host followed by one of its paths.
    fn path(&mut self, path: &[u8], target: &[u8]) {
        let start = if is_absolute(path) { find(path, b"://").map_or(0, |at| at.saturating_add(3)) } else { 0 };
        let is_veiled = memchr::memchr2(b'%', b'\\', path).is_some();
        let has_colon = memchr::memchr(b':', path).is_some();
        let mut next = 0usize;
        for segment in path.split(|b| *b == b'/') {
            let at = next;
            next = at.saturating_add(segment.len()).saturating_add(1);
            let Some(slash) = at.checked_sub(1).filter(|slash| *slash >= start) else { continue };
            let Some(rest) = path.get(at..) else { continue };
            let is_doubled = rest.first() == Some(&b'/');
            let is_url = is_doubled || is_veiled || has_colon && memchr::memchr(b':', segment).is_some();
            if is_url && (is_doubled || may_be_url(rest)) {
                let from = if is_doubled { slash } else { at };
                let whole = target.get(from..).unwrap_or(rest);
                if self.whole_url(&|| Place::Path, whole, Document::No) {
                    continue;
                }
            }
            self.host_then_path(segment, rest);
        }
        if is_veiled || has_colon {
            self.mentions(&|| Place::Path, path);
        }
    }

    /// `/HOST/metadata-path`.
    fn host_then_path(&mut self, segment: &[u8], rest: &[u8]) {
        let Some(after) = rest.get(segment.len()..).filter(|after| after.len() > 1) else { return };
        if !prose::may_be_host(segment) {
            return;
        }
        let Some((host, port)) = canonical::canonical_authority(segment) else { return };
        if !is_target(self.catalogue, &host, port) {
            return;
        }
        let path = normalise_path(after);
        let known = !self.catalogue.paths_like(&path, b"").is_empty() || self.is_metadata_path(&path);
        let kind = if known { CandidateKind::Attempt } else { CandidateKind::Mention };
        let path = (path != "/").then_some(path);
        let parsed = Parsed { scheme: Scheme::Bare, host, port, path, method: None, disguised: false };
        self.push(kind, &|| Place::Path, parsed, rest);
    }

    fn headers(&mut self, request: &Message, hosts: Hosts) {
        // in most heads nothing is, so that no value need be looked at for it
        let is_any_veiled = is_veiled(&request.head.raw);
        let is_ordinary = |name: &[u8], value: &[u8]| {
            hosts == Hosts::Ordinary && is_host_field(name) && memchr::memchr(b'@', value).is_none()
        };
        for (name, value) in request.head.fields() {
            if value.len() < 4 {
                continue;
            }
            match header_kind(name) {
                HeaderKind::Host if is_ordinary(name, value) => {}
                HeaderKind::Host => self.host_header(request, value, CandidateKind::Attempt, &Place::Host),
                HeaderKind::ForwardedHost => {
                    let place = Place::Header(lower(name));
                    self.host_header(request, value, CandidateKind::Mention, &place);
                }
                HeaderKind::Excluded if prose::may_mention(value) && !self.is_plain_url(value) => {
                    let decoded = if is_any_veiled { canonical::percent_stable(value) } else { value.into() };
                    self.urls_in(&|| Place::Header(lower(name)), &decoded);
                }
                HeaderKind::Other if is_any_veiled && is_veiled(value) || begins_or_holds_url(value) => {
                    self.value(&|| Place::Header(lower(name)), value, Document::No);
                }
                HeaderKind::Excluded | HeaderKind::Other => {}
            }
        }
    }

    /// A Host header that names a metadata service: the target's path is what it asks for.
    fn host_header(&mut self, request: &Message, value: &[u8], kind: CandidateKind, place: &Place) {
        let Some((host, port)) = canonical::canonical_authority(value) else { return };
        let target = request.head.target();
        let path = normalise_path(target);
        if !is_target(self.catalogue, &host, port) && !is_target_by_path(self.catalogue, &host, Some(&path)) {
            return;
        }
        let path = (path != "/").then_some(path);
        let mut url = b"http://".to_vec();
        url.extend_from_slice(value);
        url.extend_from_slice(if target.first() == Some(&b'/') { target } else { b"/" });
        let parsed = Parsed { scheme: Scheme::Named, host, port, path, method: None, disguised: false };
        self.push(kind, &|| place.clone(), parsed, &url);
    }

    /// `name=value` pairs of a query or form.
    fn pairs(&mut self, pairs: &[u8], place: &dyn Fn(String) -> Place) {
        if may_be_url(pairs) {
            self.whole_url(&|| place(String::new()), pairs, Document::No);
        }
        for pair in pairs.split(|b| *b == b'&') {
            let at = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            let (name, value) = pair.split_at_checked(at).unwrap_or((pair, b""));
            let (value, unnamed) =
                if value.is_empty() { (name, true) } else { (value.get(1..).unwrap_or_default(), false) };
            if value.len() < 8 || !(prose::may_mention(value) || may_be_url(value) || prose::may_be_base64(value)) {
                continue;
            }
            let decoded = form_decode(value);
            let named = || place(if unnamed { String::new() } else { lossy(&form_decode(name)).into_owned() });
            self.value(&named, &decoded, Document::No);
        }
    }

    /// One whole value: a URL, lines of URLs, a document in a string, or text that mentions some.
    fn value(&mut self, place: &dyn Fn() -> Place, value: &[u8], document: Document) {
        self.values = match self.values.checked_sub(1) {
            Some(left) if self.found.len() < FOUND => left,
            _ => return,
        };
        if self.whole_url(place, value, document) {
            return;
        }
        if self.nested(place, value) {
            return;
        }
        if memchr::memchr(b'\n', value).is_some() {
            for line in value.split(|b| *b == b'\n').take(64) {
                if may_be_url(line) {
                    self.whole_url(place, line, document);
                }
            }
        }
        self.mentions(place, value);
    }

    /// Takes `value` if the whole of it is a URL, in any disguise.
    fn whole_url(&mut self, place: &dyn Fn() -> Place, value: &[u8], document: Document) -> bool {
        if !may_be_url(value) {
            return false;
        }
        let parsed = canonical::urls(value);
        if parsed.is_empty() || prose::is_prose(value) {
            return false;
        }
        let target = parsed.iter().position(|parsed| self.names_target(parsed));
        let first = parsed.into_iter().nth(target.unwrap_or(0));
        let Some(parsed) = first else { return false };
        let kind = match (target, document, &parsed.path) {
            (None, ..) => CandidateKind::Url,
            (Some(_), Document::Yes, None) => CandidateKind::Mention,
            (Some(_), ..) => CandidateKind::Attempt,
        };
        self.push(kind, place, parsed, value);
        if memchr::memchr3(b'?', b'#', b'%', value).is_some() {
            self.mentions(place, value.get(1..).unwrap_or_default());
        }
        true
    }

    /// Whether a reading names a metadata service, by its host or by a path that only such services have.
    fn names_target(&self, parsed: &Parsed) -> bool {
        is_target(self.catalogue, &parsed.host, parsed.port)
            || is_target_by_path(self.catalogue, &parsed.host, parsed.path.as_deref())
            || parsed.path.as_ref().is_some_and(|path| self.is_metadata_path(path))
    }

    fn is_metadata_path(&self, path: &str) -> bool {
        self.catalogue.is_credential_like_anywhere(path)
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

    /// Keeps a candidate. Mentions without a path confirm nothing and are dropped.
    fn push(&mut self, kind: CandidateKind, place: &dyn Fn() -> Place, parsed: Parsed, url: &[u8]) {
        let ordinary = self.found.iter().filter(|known| known.kind == CandidateKind::Url).count();
        let no_room = self.found.len() >= FOUND || (kind == CandidateKind::Url && ordinary >= ORDINARY);
        if no_room || (kind == CandidateKind::Mention && parsed.path.is_none()) {
            return;
        }
        let same = |known: &Candidate| known.host == parsed.host && known.path == parsed.path && known.kind >= kind;
        if kind != CandidateKind::Attempt && self.found.iter().any(same) {
            return;
        }
        let url = lossy(url.get(..URL).unwrap_or(url)).trim().to_owned();
        let is_metadata = kind == CandidateKind::Attempt || self.names_target(&parsed);
        let Parsed { host, port, path, disguised, .. } = parsed;
        let url = readable(url);
        self.found.push(Candidate { kind, place: place(), url, host, port, path, disguised, is_metadata });
    }
}

/// A URL as a person would read it: percent-encoding undone where the whole of it was encoded.
fn readable(url: String) -> String {
    if url.contains("//") {
        return url;
    }
    let decoded = canonical::percent_stable(url.as_bytes());
    lossy(&decoded).into_owned()
}

fn absolute_form(target: &[u8]) -> Option<Parsed> {
    is_absolute(target).then(|| canonical::hosts(target).into_iter().next()).flatten()
}

fn is_absolute(target: &[u8]) -> bool {
    target.first().is_some_and(u8::is_ascii_alphabetic) && find(target, b"://").is_some()
}

/// What a header may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeaderKind {
    Host,
    ForwardedHost,
    /// Names URLs as a matter of course, or is set by proxies.
    Excluded,
    Other,
}

fn header_kind(name: &[u8]) -> HeaderKind {
    let Some(first) = name.first() else { return HeaderKind::Other };
    let is = |known: &str| known.bytes().zip(name).all(|(known, byte)| known == byte.to_ascii_lowercase());
    let mut as_long = known_headers(name.len(), first.to_ascii_lowercase()).iter();
    as_long.find(|(known, _)| is(known)).map_or(HeaderKind::Other, |(_, kind)| *kind)
}

/// Known headers with names of `len` bytes that begin with `first`: one for most names, and none for most others.
fn known_headers(len: usize, first: u8) -> &'static [(&'static str, HeaderKind)] {
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

/// Whether bytes may hold a URL in some disguise; cheap, and rarely wrong about ordinary values.
fn may_be_url(bytes: &[u8]) -> bool {
    begins_or_holds_url(bytes) || is_veiled(bytes)
}

/// Whether bytes begin like a URL, or hold what follows a scheme.
fn begins_or_holds_url(bytes: &[u8]) -> bool {
    let begins = |scheme: &[u8; 3]| bytes.first_chunk().is_some_and(|head: &[u8; 3]| head.eq_ignore_ascii_case(scheme));
    let is_scheme = match bytes.first() {
        Some(b'h' | b'H') => begins(b"htt"),
        Some(b'f' | b'F') => begins(b"ftp"),
        Some(b'g' | b'G') => begins(b"gop"),
        Some(b'w' | b'W') => begins(b"ws:") || begins(b"wss"),
        _ => false,
    };
    is_scheme || find(bytes, b"//").is_some()
}

/// Whether bytes hold what may stand for something else: escapes, and look-alikes of ASCII.
fn is_veiled(bytes: &[u8]) -> bool {
    memchr::memchr2(b'%', b'\\', bytes).is_some() || !bytes.is_ascii()
}

/// `+` is a space, then one layer of percent-encoding.
fn form_decode(bytes: &[u8]) -> Cow<'_, [u8]> {
    let spaced: Cow<'_, [u8]> = match memchr::memchr(b'+', bytes) {
        Some(_) => Cow::Owned(bytes.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect()),
        None => Cow::Borrowed(bytes),
    };
    match percent_once(&spaced) {
        Some(decoded) => Cow::Owned(decoded),
        None => spaced,
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests;
