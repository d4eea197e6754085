//! Targets inside text: prose, shell commands, templates, and base64 or hex of those. They are mentions: something only
//! when the host makes that request.
//!
//! A text is walked once, from slash to slash: what stands before a slash may be a host, what follows two of them an
//! authority. Only what turns out to be a metadata service's is looked at further.

use super::search::{Document, PER_LOOK_ALIKE, PER_URL, Search};
use super::{is_target, markup};
use crate::bytes::{byte_table, find};
use crate::detect::canonical::{self, Parsed, entities, json_unescape, percent_stable};
use crate::detect::content::{self, Coding};
use crate::detect::{CandidateKind, Place};
use crate::text::{b64, hex};

/// Longest URL in text that is read, in bytes.
const URL: usize = 1024;
/// Longest path of an ordinary host that is compared with those of metadata services.
const LIKELY: usize = 256;
/// Steps that a host costs besides its bytes, where it is written plainly and where it is not.
const PER_HOST: usize = 32;
const PER_DISGUISE: usize = 512;
/// Steps that it takes to compare a path with those of metadata services, besides its bytes.
const PER_PATH: usize = 160;
/// Steps that it takes to begin to inflate something.
const PER_INFLATE: usize = 1024;

/// Least characters of deflated data in base64, and of its text that are looked at.
const DEFLATED: usize = 64;
/// How `http` begins in base64.
pub(super) const BASE64_URL: &[u8] = b"aHR0c";

impl Search<'_> {
    /// Every target that `text` mentions, plainly or encoded.
    pub(super) fn mentions(&mut self, place: &dyn Fn() -> Place, text: &[u8]) {
        self.carries(place, text, CandidateKind::Mention);
    }

    /// The same, where whole URLs are of `kind`.
    pub(super) fn carries(&mut self, place: &dyn Fn() -> Place, text: &[u8], kind: CandidateKind) {
        let is_plain = memchr::memchr3(b'%', b'\\', b'&', text).is_none();
        // five rounds of decoding, if there is anything to decode, and a look for runs of base64
        let cost = if is_plain { text.len() } else { text.len().saturating_mul(6) };
        if !self.budget.spend(cost) {
            return;
        }
        let mut text = percent_stable(text);
        for undo in [json_unescape, entities] {
            if let Some(plainer) = undo(&text) {
                text = plainer.into();
            }
        }
        self.urls_in(place, &text, kind);
        for run in b64::runs(&text) {
            self.encoded(place, run);
        }
    }

    /// A run of base64 (or hex): decoded at each of the four places where a group of it may begin.
    fn encoded(&mut self, place: &dyn Fn() -> Place, run: &[u8]) {
        let in_hex = hex::decode(run);
        let is_hex = in_hex.is_some();
        if let Some(decoded) = in_hex
            && self.budget.spend(run.len())
        {
            self.urls_in(place, &decoded, CandidateKind::Mention);
        }
        let run = b64::standard(run);
        let mut decoded = Vec::with_capacity(run.len());
        if !is_hex && self.is_deflated(place, &run) {
            return;
        }
        for offset in 0..4 {
            if !self.budget.spend(run.len() / 2) {
                return;
            }
            let before = self.found.len();
            if !b64::decode_from(&run, offset, &mut decoded) {
                continue;
            }
            self.decoded(place, &mut decoded);
            if self.found.len() > before {
                return;
            }
        }
    }

    /// Raw deflate in base64 (SAML's redirects): nothing says so but that text comes of it.
    fn is_deflated(&mut self, place: &dyn Fn() -> Place, run: &[u8]) -> bool {
        let may_be = run.len() >= DEFLATED && self.budget.spend(run.len().saturating_add(PER_INFLATE));
        let Some(packed) = may_be.then(|| b64::decode(run)).flatten() else { return false };
        let is_other = |head: &[u8]| str::from_utf8(head).is_ok() || !may_be_deflated(head);
        if packed.get(..16).is_none_or(is_other) || Coding::begins(&packed).is_some() {
            return false;
        }
        let (text, _) = content::decode(Coding::Deflate, &packed, content::MAX_DECODED);
        let is_text =
            text.len() >= packed.len() && text.get(..DEFLATED).is_some_and(|head| str::from_utf8(head).is_ok());
        if is_text && self.budget.spend(text.len() / 2) {
            self.inside(|search| search.value(place, &text, Document::Yes));
        }
        is_text
    }

    /// What base64 stood for: text that mentions something, or a document for a renderer.
    fn decoded(&mut self, place: &dyn Fn() -> Place, decoded: &mut Vec<u8>) {
        if content::archive::is_archive(decoded) || Coding::begins(decoded).is_some() {
            return self.inside(|search| search.packed(place, decoded));
        }
        // UTF-16, as PowerShell takes its commands
        if let Some(text) = content::utf16(decoded) {
            *decoded = text;
        }
        if decoded.starts_with(BASE64_URL)
            && self.budget.spend(decoded.len())
            && let Some(mut inner) = b64::decode(decoded.trim_ascii())
        {
            return self.inside(|search| search.decoded(place, &mut inner));
        }
        if memchr::memchr2(b'/', b'\\', decoded).is_none() {
            return;
        }
        if markup::is_loading(decoded) {
            self.page(place, decoded);
        }
        self.urls_in(place, decoded, CandidateKind::Mention);
    }

    /// Documents in compressed data or an archive.
    fn packed(&mut self, place: &dyn Fn() -> Place, packed: &[u8]) {
        content::documents(packed, None, content::MAX_DECODED, &mut |document| {
            if self.budget.spend(document.len() / 2) && self.is_of_interest(document) {
                self.value(place, document, Document::No);
            }
        });
    }

    /// Every target that `bytes` name plainly: whole URLs as `kind`, hosts with a path as mentions.
    pub(super) fn urls_in(&mut self, place: &dyn Fn() -> Place, bytes: &[u8], kind: CandidateKind) {
        if !self.budget.spend(bytes.len() / 4) {
            return;
        }
        // where the last authority ended: nothing before it is part of another
        let mut floor = 0;
        // the first delimiter behind the last host: each byte is looked at once for all hosts before it
        let mut delimiter = 0;
        for slash in memchr::memchr_iter(b'/', bytes) {
            if slash < floor {
                continue;
            }
            let Some(before) = bytes.get(floor..slash) else { continue };
            let start = before.iter().rposition(|b| !is_host_byte(*b)).map_or(0, |at| at.saturating_add(1));
            let mut start = floor.saturating_add(start);
            let run = bytes.get(start..slash).unwrap_or_default();
            floor = slash.saturating_add(1);
            let is_url = bytes.get(floor) == Some(&b'/');
            if is_url {
                start = start.saturating_add(before_scheme(run));
            }
            if is_url {
                floor = floor.saturating_add(authority_len(bytes.get(floor..).unwrap_or_default()));
            } else if !(may_be_host(run) && is_text(run)) {
                continue;
            }
            let end = if is_url { floor } else { slash };
            if delimiter < end {
                let rest = bytes.get(end..).unwrap_or_default();
                delimiter = end.saturating_add(rest.iter().position(|b| is_delimiter(*b)).unwrap_or(rest.len()));
            }
            let url = bytes.get(start..end.saturating_add(URL).min(delimiter)).unwrap_or_default();
            let before = start.checked_sub(1).and_then(|before| bytes.get(before));
            let is_value = !self.is_piece || before.is_some_and(|b| matches!(b, b'"' | b'\'' | b'=' | b'>' | b'\n'));
            let kind = if is_url && is_value { kind } else { CandidateKind::Mention };
            if !self.url_in(place, url, end.saturating_sub(start), kind, is_url) {
                return;
            }
        }
    }

    /// A URL or host with a path in text, up to its end: `authority` bytes up to the end of its host. `false` when no more
    /// is to be read.
    fn url_in(
        &mut self,
        place: &dyn Fn() -> Place,
        url: &[u8],
        authority: usize,
        kind: CandidateKind,
        is_url: bool,
    ) -> bool {
        let (host, rest) = url.split_at_checked(authority).unwrap_or((url, b""));
        if !self.budget.spend(PER_HOST.saturating_add(host.len())) {
            return false;
        }
        let written = if is_url { after_slashes(host) } else { host };
        let is_there = |parsed: &Parsed| is_target(self.catalogue, &parsed.host, parsed.port);
        let is_service = match canonical::plain_authority(written) {
            Some((host, port)) => is_target(self.catalogue, &host, port),
            None if !self.budget.spend(disguise_cost(host)) => return false,
            None => canonical::hosts(host).iter().any(is_there),
        };
        if is_service {
            if !self.budget.spend(PER_URL.saturating_add(url.len().saturating_mul(4))) {
                return false;
            }
            let readings = canonical::hosts(url);
            if let Some(parsed) = readings.into_iter().find(|parsed| self.is_service(parsed)) {
                self.push_read(kind, place, parsed, url);
            }
        } else if is_url && is_deep(rest) {
            let path = rest.get(..rest.len().min(LIKELY)).unwrap_or_default();
            if !self.budget.spend(PER_PATH.saturating_add(path.len().saturating_mul(2))) {
                return false;
            }
            if !self.may_lead_there(path) {
                return true;
            }
            if !self.budget.spend(PER_URL.saturating_add(url.len().saturating_mul(4))) {
                return false;
            }
            let readings = canonical::hosts(url);
            if let Some(parsed) = readings.into_iter().next() {
                let kind = if self.names_target(&parsed) { kind } else { CandidateKind::Mention };
                // no metadata service speaks TLS, under whatever name
                if kind != CandidateKind::Mention || !begins_https(host) {
                    self.push(kind, place, parsed, url);
                }
            }
        }
        true
    }

    /// Whether a [deep](is_deep) path is one that a metadata service has, so that an ordinary host before it may be a name
    /// that leads to one: by more than a wildcard alone.
    fn may_lead_there(&self, rest: &[u8]) -> bool {
        let path = rest.split(|b| matches!(b, b'?' | b'#')).next().unwrap_or_default();
        let Ok(path) = std::str::from_utf8(path) else { return false };
        let is_known = || self.catalogue.paths_like(path, b"").iter().any(|found| found.fit.literals > 0);
        self.is_metadata_path(path) || is_known()
    }
}

/// Whether bytes begin as a block of RFC 1951: of a known kind, and if stored, with its length twice.
fn may_be_deflated(bytes: &[u8]) -> bool {
    match *bytes {
        [first, a, b, c, d, ..] if first >> 1 & 3 == 0 => u16::from_le_bytes([a, b]) == !u16::from_le_bytes([c, d]),
        [first, ..] => first >> 1 & 3 != 3,
        [] => false,
    }
}

/// Steps that it takes to read a host that is not written plainly.
fn disguise_cost(host: &[u8]) -> usize {
    let per_byte = if host.is_ascii() { 4 } else { PER_LOOK_ALIKE };
    PER_DISGUISE.saturating_add(host.len().saturating_mul(per_byte))
}

/// Whether a path begins as one of more than one segment.
fn is_deep(rest: &[u8]) -> bool {
    let mut slashes = memchr::memchr3_iter(b'/', b'?', b'#', rest);
    let is_slash = |at: usize| rest.get(at) == Some(&b'/');
    slashes.next().is_some_and(is_slash) && slashes.next().is_some_and(|at| at > 1 && is_slash(at))
}

/// Bytes of an authority behind the slashes that `text` begins with, those included.
fn authority_len(text: &[u8]) -> usize {
    let slashes = text.iter().take_while(|b| **b == b'/').count();
    let rest = text.get(slashes..).unwrap_or_default();
    let end = rest.iter().position(|b| *b == b'/' || is_delimiter(*b)).unwrap_or(rest.len());
    slashes.saturating_add(end)
}

/// Whether a URL goes over TLS.
fn begins_https(url: &[u8]) -> bool {
    url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https:"))
}

/// Bytes before the scheme at the end of `run` that do not belong to it: lengths of binary documents, words without a blank.
fn before_scheme(run: &[u8]) -> usize {
    let ends = |scheme: &str| {
        let at = run.len().checked_sub(scheme.len())?;
        let is = run.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(scheme.as_bytes()));
        is.then_some(at)
    };
    ends("https:").or_else(|| ends("http:")).unwrap_or(0)
}

/// What follows scheme and slashes.
fn after_slashes(url: &[u8]) -> &[u8] {
    let at = find(url, b"//").unwrap_or(0);
    let rest = url.get(at..).unwrap_or_default();
    let slashes = rest.iter().take_while(|b| **b == b'/').count();
    rest.get(slashes..).unwrap_or_default()
}

/// Bytes that a host (with scheme, user and port) before a slash may consist of.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'.' | b':' | b'-' | b'_' | b'[' | b']' | b'%' | b'@')
        || byte >= 0x80
}

/// Bytes that end a URL in text.
#[allow(clippy::indexing_slicing)] // there is a place for each byte
pub(super) fn is_delimiter(byte: u8) -> bool {
    DELIMITERS[byte as usize]
}

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // evaluated by the compiler
const DELIMITERS: [bool; 256] = byte_table!(byte => matches!(
    byte,
    0..=b' ' | b'"' | b'\'' | b'`' | b'<' | b'>' | b'(' | b')' | b'|' | b';' | b'{' | b'}' | b'$' | b','
));

/// Whether bytes may be a host that somebody disguised or named: not a mere word.
pub(super) fn may_be_host(run: &[u8]) -> bool {
    let has = |wanted: fn(&u8) -> bool| run.iter().any(wanted);
    run.len() >= 4
        && (has(|b| matches!(b, b'.' | b'-' | b':' | b'%') || *b >= 0x80)
            || (run.len() >= 8 && run.first().is_some_and(u8::is_ascii_digit)))
}

/// Whether what follows the user in bytes before a slash is text at all: nothing else is a host.
fn is_text(run: &[u8]) -> bool {
    let host = memchr::memrchr(b'@', run).and_then(|at| run.get(at..)).unwrap_or(run);
    str::from_utf8(host).is_ok()
}

/// Whether text may mention a host with a path.
pub(super) fn may_mention(text: &[u8]) -> bool {
    memchr::memchr3(b'/', b'%', b'\\', text).is_some() || find(text, b"&#").is_some()
}

/// Whether bytes may hold a URL in some disguise; cheap, and rarely wrong about ordinary values.
pub(super) fn may_be_url(bytes: &[u8]) -> bool {
    begins_or_holds_url(bytes) || is_veiled(bytes)
}

/// Whether bytes begin like a URL, or hold what follows a scheme.
pub(super) fn begins_or_holds_url(bytes: &[u8]) -> bool {
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
pub(super) fn is_veiled(bytes: &[u8]) -> bool {
    memchr::memchr2(b'%', b'\\', bytes).is_some() || !bytes.is_ascii()
}

/// Whether text holds a run of base64 that is long enough.
pub(super) fn may_be_base64(text: &[u8]) -> bool {
    b64::runs(text).next().is_some()
}

/// Whether what begins like a URL goes on as text: a blank that is no disguise of the authority.
pub(super) fn is_prose(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let Some(blank) = memchr::memchr(b' ', value) else { return false };
    let (head, rest) = value.split_at_checked(blank).unwrap_or((value, b""));
    let carries_request = head.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"gopher:"))
        || rest.get(..6).is_some_and(|rest| rest.eq_ignore_ascii_case(b" http/"));
    let authority = find(head, b"//").map_or(0, |at| at.saturating_add(2));
    let in_authority = head.get(authority..).is_some_and(|host| memchr::memchr(b'/', host).is_none());
    !(carries_request || in_authority && memchr::memchr(b'@', rest).is_some())
}
