//! The search of one request: what was found, what may still be spent, and how a value is judged.

use std::borrow::Cow;

use super::budget::Budget;
use super::{field, is_target, is_target_by_path, text};
use crate::bytes::{find, lossy};
use crate::catalogue::Catalogue;
use crate::detect::canonical::{self, Parsed, Scheme, percent_once};
use crate::detect::content::utf16;
use crate::detect::{Candidate, CandidateKind, HostRef, Place};

/// Most candidates of each kind. Harmless ones use up nothing of the others.
pub const ATTEMPTS: usize = 32;
/// Mentions.
pub const MENTIONS: usize = 32;
/// Ordinary URLs.
pub const ORDINARY: usize = 32;
/// Ordinary URLs from which on only new hosts are taken.
const SAME_HOST: usize = 16;
/// Mentions of ordinary hosts with a path that metadata services have.
const LIKELY: usize = 8;
/// Longest URL that is kept, in bytes.
const URL: usize = 1024;
/// Bytes of URLs that are kept of one request.
const TEXT: usize = 16 * 1024;
/// Deepest nesting of documents in strings of documents.
const DEPTH: usize = 5;
/// Steps that a URL costs besides its bytes, in the usual spelling and in others.
const PER_PLAIN: usize = 200;
pub(super) const PER_URL: usize = 640;

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Document {
    /// In a document (JSON, XML), where a URL without a path is only mentioned.
    Yes,
    /// By itself, or where a renderer would load it.
    No,
}

/// Candidates so far, and what may still be spent.
pub(super) struct Search<'c> {
    pub(super) catalogue: &'c Catalogue,
    pub(super) found: Vec<Candidate>,
    pub(super) budget: Budget,
    /// What is read reports what happened, or is configuration being stored: nobody fetches it.
    pub(super) is_record: bool,
    /// The body was found to be such a document.
    pub(super) is_record_body: bool,
    /// Text is a piece of a body: what is a value stands between the marks of one.
    pub(super) is_piece: bool,
    /// What a page's scripts name is followed.
    pub(super) follows: bool,
    /// Documents around the value in hand.
    depth: usize,
    /// Bytes of URLs that may still be kept.
    text: usize,
    pub(super) hosts: Vec<(HostRef, Option<u16>)>,
    pub(super) paths: Vec<String>,
    /// What a page says its relative URLs belong to.
    pub(super) base: Vec<u8>,
}

impl<'c> Search<'c> {
    /// A search of `bytes` bytes.
    pub(super) fn new(catalogue: &'c Catalogue, bytes: usize) -> Self {
        Self {
            catalogue,
            found: Vec::new(),
            budget: Budget::of(bytes),
            is_record: false,
            is_record_body: false,
            is_piece: false,
            follows: false,
            depth: 0,
            text: TEXT,
            hosts: Vec::new(),
            paths: Vec::new(),
            base: Vec::new(),
        }
    }

    /// `name=value` pairs of a query or form.
    pub(super) fn pairs(&mut self, pairs: &[u8], place: &dyn Fn(String) -> Place) {
        self.whole_url(&|| place(String::new()), pairs, Document::No);
        for pair in pairs.split(|b| *b == b'&') {
            let at = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            let (name, value) = pair.split_at_checked(at).unwrap_or((pair, b""));
            // base64 ends in such signs too
            let is_padding = value.iter().all(|b| *b == b'=');
            let (value, unnamed) = if is_padding { (name, true) } else { (value.get(1..).unwrap_or_default(), false) };
            if !self.is_of_interest(value) {
                continue;
            }
            let decoded = form_decode(value);
            let named = || place(if unnamed { String::new() } else { lossy(&form_decode(name)).into_owned() });
            self.value(&named, &decoded, Document::No);
        }
    }

    /// Whether a value is worth a look: it may be a URL or hold one, in whatever form, or be a host or a path.
    pub(super) fn is_of_interest(&mut self, value: &[u8]) -> bool {
        value.len() >= MIN
            && self.budget.spend(value.len() / 4)
            && (text::may_mention(value)
                || text::may_be_url(value)
                || text::may_be_base64(value)
                || field::may_be_one(value))
    }

    /// One whole value: a URL, a document in a string, or text that mentions some; a host or a path by itself.
    pub(super) fn value(&mut self, place: &dyn Fn() -> Place, value: &[u8], document: Document) {
        if self.whole_url(place, value, document) {
            return;
        }
        if value.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"jdbc:")) {
            self.database(place, value);
        }
        if memchr::memchr(0, value).is_some()
            && let Some(text) = utf16(value)
        {
            return self.inside(|search| search.value(place, &text, document));
        }
        self.note_field(value);
        if self.inside(|search| search.inner_document(place, value)) {
            return;
        }
        if memchr::memchr(b'\n', value).is_some() {
            for line in value.split(|b| *b == b'\n') {
                self.whole_url(place, line, document);
            }
        }
        self.mentions(place, value);
    }

    /// A driver's URL: what its options load, or the host behind `@`.
    fn database(&mut self, place: &dyn Fn() -> Place, url: &[u8]) {
        self.carries(place, url.get(5..).unwrap_or_default(), CandidateKind::Attempt);
        let Some(at) = memchr::memrchr(b'@', url) else { return };
        let rest = url.get(at.saturating_add(1)..).unwrap_or_default();
        let slash = memchr::memchr(b'/', rest).unwrap_or(rest.len());
        let (host, path) = rest.split_at_checked(slash).unwrap_or((rest, b""));
        if self.budget.spend(PER_URL) {
            self.host_then_path(host, path, CandidateKind::Attempt);
        }
    }

    /// Reads a document inside another; nothing if that is nested too deeply.
    pub(super) fn inside<T: Default>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        if self.depth >= DEPTH {
            return T::default();
        }
        self.depth = self.depth.saturating_add(1);
        let result = read(self);
        self.depth = self.depth.saturating_sub(1);
        result
    }

    /// Takes `value` if it begins as a URL, in any disguise, whatever follows.
    pub(super) fn whole_url(&mut self, place: &dyn Fn() -> Place, value: &[u8], document: Document) -> bool {
        let parsed = self.readings(value);
        if parsed.is_empty() {
            return false;
        }
        let target = parsed.iter().position(|parsed| self.names_target(parsed));
        if target.is_none() && text::is_prose(value) {
            return false;
        }
        let Some(mut parsed) = parsed.into_iter().nth(target.unwrap_or(0)) else { return false };
        if let Some(end) = parsed.path.as_ref().and_then(|path| path.find(['\r', '\n'])) {
            // what follows is put into the request's head
            parsed.path = parsed.path.map(|path| path.get(..end).unwrap_or_default().to_owned());
        }
        let kind = match (target, document, &parsed.path) {
            (None, ..) => CandidateKind::Url,
            (Some(_), Document::Yes, None) => CandidateKind::Mention,
            (Some(_), ..) => CandidateKind::Attempt,
        };
        self.push_read(kind, place, parsed, value);
        self.inside_url(place, value, target.is_some());
        true
    }

    /// Every reading of a value that begins as a URL, as far as there is work left for it.
    fn readings(&mut self, value: &[u8]) -> Vec<Parsed> {
        if !canonical::may_begin_url(value) {
            return Vec::new();
        }
        match canonical::plain_url(value) {
            Some(plain) if self.budget.spend(PER_PLAIN.saturating_add(value.len().saturating_mul(2))) => vec![plain],
            None if self.budget.spend(cost(value)) => canonical::urls(value),
            _ => Vec::new(),
        }
    }

    /// Takes a candidate, and what is left of its path for a server that ends it at a mark in it or drops one.
    pub(super) fn push_read(&mut self, kind: CandidateKind, place: &dyn Fn() -> Place, parsed: Parsed, url: &[u8]) {
        let others = match &parsed.path {
            Some(path) if path.contains(MARKS) && self.names_target(&parsed) => {
                let ended = path.split(MARKS).next().unwrap_or_default().to_owned();
                let joined = path.contains('\t').then(|| path.replace('\t', ""));
                [Some(ended).filter(|path| path.len() > 1), joined]
            }
            _ => [None, None],
        };
        let others = others.map(|path| path.map(|path| Parsed { path: Some(path), ..parsed.clone() }));
        self.push(kind, place, parsed, url);
        others.into_iter().flatten().for_each(|other| self.push(kind, place, other, url));
    }

    /// URLs that a URL carries: those of redirectors and converters are fetched in the end; what stands behind a blank or
    /// is encoded is mentioned.
    fn inside_url(&mut self, place: &dyn Fn() -> Place, url: &[u8], is_target: bool) {
        let Some(authority) = find(url, b"//").map(|at| at.saturating_add(2)).or(Some(1)) else { return };
        let Some(rest) = url.get(authority.min(url.len())..) else { return };
        if memchr::memchr3(b'?', b'#', b'%', rest).is_some() || rest.contains(&b' ') {
            let kind = if is_target { CandidateKind::Mention } else { CandidateKind::Attempt };
            self.carries(place, url.get(1..).unwrap_or_default(), kind);
        } else if find(rest, b"//").is_some() || find(rest, b":/").is_some() {
            self.urls_in(place, rest, CandidateKind::Attempt);
        }
    }

    /// Whether a reading names a metadata service, by its host or by a path that only such services have.
    pub(super) fn names_target(&self, parsed: &Parsed) -> bool {
        self.is_service(parsed) || parsed.path.as_ref().is_some_and(|path| self.is_metadata_path(path))
    }

    /// Whether a reading names a metadata service by its host. Others have names of one label and addresses in shared space
    /// too: such a host counts only with a path of its service.
    pub(super) fn is_service(&self, parsed: &Parsed) -> bool {
        is_target(self.catalogue, &parsed.host, parsed.port)
            || is_target_by_path(self.catalogue, &parsed.host, parsed.path.as_deref())
    }

    pub(super) fn is_metadata_path(&self, path: &str) -> bool {
        self.catalogue.is_credential_like_anywhere(path)
    }

    /// Whether the services that `host` is an address or a name of have a path, as more than a wildcard says.
    pub(super) fn is_path_of(&self, host: &HostRef, path: &str) -> bool {
        let endpoints = crate::detect::request::endpoints_of(host, self.catalogue);
        let is_own = |found: &crate::catalogue::PathMatch| {
            found.fit.literals > 0
                && found.path.endpoints.iter().any(|own| endpoints.iter().any(|known| std::ptr::eq(*own, *known)))
        };
        self.is_metadata_path(path) || self.catalogue.paths_like(path, b"").iter().any(is_own)
    }

    /// Whether some metadata service has a path, as more than a wildcard says.
    pub(super) fn is_known_path(&self, path: &str) -> bool {
        self.is_metadata_path(path) || self.catalogue.paths_like(path, b"").iter().any(|found| found.fit.literals > 0)
    }

    /// Puts hosts and paths of fields of their own together.
    pub(super) fn join_fields(&mut self) {
        let hosts = std::mem::take(&mut self.hosts);
        let paths = std::mem::take(&mut self.paths);
        for (host, port) in &hosts {
            for path in &paths {
                let url = format!("http://{}{path}", host_text(host));
                let parsed = Parsed {
                    scheme: Scheme::Bare,
                    host: host.clone(),
                    port: *port,
                    path: Some(path.clone()),
                    method: None,
                    disguised: false,
                };
                let before = self.found.len();
                self.push(CandidateKind::Mention, &|| Place::Body, parsed, url.as_bytes());
                self.found.iter_mut().skip(before).for_each(|candidate| candidate.while_open = true);
            }
        }
    }

    /// What was found from `from` on stands in a record: it is only mentioned, and confirmed only while the request is open.
    pub(super) fn only_reported(&mut self, from: usize) {
        let mut at = 0usize;
        self.found.retain_mut(|candidate| {
            let is_reported = at >= from;
            at = at.saturating_add(1);
            if !is_reported {
                return true;
            }
            candidate.while_open = true;
            let is_url = candidate.kind == CandidateKind::Url;
            candidate.kind = CandidateKind::Mention;
            candidate.path.is_some() && !is_url
        });
    }

    /// Takes a candidate. Mentions without a path confirm nothing and are dropped.
    pub(super) fn push(&mut self, kind: CandidateKind, place: &dyn Fn() -> Place, parsed: Parsed, url: &[u8]) {
        let kind = match kind {
            CandidateKind::Attempt if self.is_record => CandidateKind::Mention,
            CandidateKind::Url if self.is_record => return,
            kind => kind,
        };
        if kind == CandidateKind::Mention && parsed.path.is_none() {
            return;
        }
        let same = |known: &Candidate| known.host == parsed.host && known.path == parsed.path && known.kind >= kind;
        if kind != CandidateKind::Attempt && self.found.iter().any(same) {
            return;
        }
        let is_metadata = kind == CandidateKind::Attempt || self.names_target(&parsed);
        if !self.has_room(kind, is_metadata, &parsed.host) {
            // harmless ones are expected to be many
            if is_metadata {
                self.budget.pass_over();
            }
            return;
        }
        let url = readable(lossy(url.get(..URL).unwrap_or(url)).trim());
        let Some(left) = self.text.checked_sub(url.len()) else { return self.budget.pass_over() };
        self.text = left;
        let Parsed { host, port, path, disguised, .. } = parsed;
        let while_open = self.is_record;
        self.found.push(Candidate { kind, place: place(), url, host, port, path, disguised, is_metadata, while_open });
    }

    /// Whether another ordinary URL would be taken.
    pub(super) fn has_room_for_url(&self) -> bool {
        self.found.iter().filter(|known| known.kind == CandidateKind::Url).count() < SAME_HOST
    }

    fn has_room(&self, kind: CandidateKind, is_metadata: bool, host: &HostRef) -> bool {
        let of_kind = || self.found.iter().filter(|known| known.kind == kind);
        match kind {
            CandidateKind::Attempt => of_kind().count() < ATTEMPTS,
            CandidateKind::Mention if is_metadata => of_kind().filter(|known| known.is_metadata).count() < MENTIONS,
            CandidateKind::Mention => of_kind().filter(|known| !known.is_metadata).count() < LIKELY,
            CandidateKind::Url => match of_kind().count() {
                few if few < SAME_HOST => true,
                some => some < ORDINARY && of_kind().all(|known| known.host != *host),
            },
        }
    }
}

/// Characters of a path at which some servers end it.
const MARKS: [char; 7] = [' ', '\0', '\t', ';', '&', '|', '!'];

/// Shortest value that can name a host with its scheme.
pub(super) const MIN: usize = 7;

/// Steps that a byte beyond ASCII costs: its character is looked up in the tables of Unicode.
pub(super) const PER_LOOK_ALIKE: usize = 28;

/// Steps that it takes to read a value as a URL: more where it has to be decoded in rounds.
fn cost(value: &[u8]) -> usize {
    let len = value.len().min(canonical::INPUT);
    let rounds = match memchr::memchr(b'%', value) {
        Some(_) => 8,
        None if value.is_ascii() => 4,
        None => PER_LOOK_ALIKE,
    };
    len.saturating_mul(rounds).saturating_add(PER_URL)
}

pub(super) fn host_text(host: &HostRef) -> String {
    match host {
        HostRef::Address(std::net::IpAddr::V6(v6)) => format!("[{v6}]"),
        HostRef::Address(v4) => v4.to_string(),
        HostRef::Name(name) => name.clone(),
    }
}

/// A URL as a person would read it: percent-encoding undone where the whole of it was encoded.
fn readable(url: &str) -> String {
    if url.contains("//") {
        return url.to_owned();
    }
    let decoded = canonical::percent_stable(url.as_bytes());
    lossy(&decoded).into_owned()
}

/// `+` is a space, then one layer of percent-encoding.
pub(super) fn form_decode(bytes: &[u8]) -> Cow<'_, [u8]> {
    let spaced: Cow<'_, [u8]> = match memchr::memchr(b'+', bytes) {
        Some(_) => Cow::Owned(bytes.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect()),
        None => Cow::Borrowed(bytes),
    };
    match percent_once(&spaced) {
        Some(decoded) => Cow::Owned(decoded),
        None => spaced,
    }
}
