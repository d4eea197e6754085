//! Targets that a request's own target names: absolute form, path from any segment on, query.
//!
//! The path is walked once, segment by segment: a segment may be an authority (behind `//` or a scheme), a URL of its own
//! (percent-encoded, in hex or base64), or a host that the rest of the path belongs to.

use super::search::{Document, PER_URL, Search};
use super::{absolute_form, is_absolute, is_target, text};
use crate::bytes::find;
use crate::detect::canonical::{self, Parsed, Scheme, normalise_path, percent_stable};
use crate::detect::{CandidateKind, Place};
use crate::proto::http::Message;
use crate::text::{b64, hex};

/// Most bytes of a path that are read behind a host in it.
const REST: usize = 2048;
/// Steps that a segment costs besides its bytes.
const PER_SEGMENT: usize = 8;
/// The same, where it may be a host.
const PER_HOST: usize = 128;

impl Search<'_> {
    /// The request target.
    pub(super) fn target(&mut self, request: &Message) {
        let target = request.head.target();
        if request.head.is_connect() {
            return;
        }
        if let Some(parsed) = absolute_form(target)
            && self.names_target(&parsed)
        {
            self.push(CandidateKind::Attempt, &|| Place::AbsoluteForm, parsed, target);
        }
        self.after_at(target);
        let query_at = memchr::memchr(b'?', target).unwrap_or(target.len());
        let (path, query) = target.split_at_checked(query_at).unwrap_or((target, b""));
        self.path(path, target);
        if let Some(query) = query.get(1..) {
            self.pairs(query, &Place::Query);
        }
    }

    /// A target that begins with `@` or `:port@`: a proxy that appends it to its upstream's authority goes elsewhere.
    fn after_at(&mut self, target: &[u8]) {
        let slash = memchr::memchr(b'/', target).unwrap_or(target.len());
        let (authority, after) = target.split_at_checked(slash).unwrap_or((target, b""));
        let Some(at) = memchr::memrchr(b'@', authority) else { return };
        let Some(host) = authority.get(at.saturating_add(1)..) else { return };
        if is_absolute(target) || !self.budget.spend(PER_HOST.saturating_add(host.len())) {
            return;
        }
        self.host_then_path(host, after, CandidateKind::Attempt);
    }

    /// The rest of the path from any segment on: a URL, or a metadata host followed by one of its paths.
    fn path(&mut self, path: &[u8], target: &[u8]) {
        let start = if is_absolute(path) { find(path, b"://").map_or(0, |at| at.saturating_add(3)) } else { 0 };
        // what went before says that an authority follows: an empty segment, or a scheme
        let mut url_from = None;
        let mut next = 0usize;
        for segment in path.split(|b| *b == b'/') {
            let at = next;
            next = at.saturating_add(segment.len()).saturating_add(1);
            let Some(slash) = at.checked_sub(1).filter(|slash| *slash >= start) else { continue };
            if !self.budget.spend(segment.len().saturating_add(PER_SEGMENT)) {
                return;
            }
            if segment.is_empty() {
                url_from = url_from.or(Some(slash));
                continue;
            }
            let is_scheme = segment.ends_with(b":") && segment.len() > 2;
            let from = url_from.take();
            if is_scheme {
                url_from = Some(at);
                continue;
            }
            match from {
                Some(from) => self.url_in_path(target, from, next),
                None if segment.starts_with(text::BASE64_URL) => {
                    self.segment(segment, at, target);
                    self.segments(path.get(at..).unwrap_or_default());
                }
                None => self.segment(segment, at, target),
            }
            // user information aside: some proxies put their own host before it
            let host = memchr::memrchr(b'@', segment).and_then(|at| segment.get(at.saturating_add(1)..));
            self.host_then_path(
                host.unwrap_or(segment),
                path.get(next.saturating_sub(1)..).unwrap_or_default(),
                CandidateKind::Mention,
            );
        }
    }

    /// A URL that begins at `from`, the authority of which ends before `end`.
    fn url_in_path(&mut self, target: &[u8], from: usize, end: usize) {
        let authority = target.get(from..end).unwrap_or_default();
        let whole = target.get(from..end.saturating_add(REST).min(target.len())).unwrap_or_default();
        if !self.budget.spend(authority.len().saturating_mul(4).saturating_add(PER_URL)) {
            return;
        }
        let is_service =
            canonical::urls(authority).iter().any(|parsed| is_target(self.catalogue, &parsed.host, parsed.port));
        let path = target.get(end.saturating_sub(1)..).unwrap_or_default();
        if is_service || self.has_room_for_url() || self.ends_as_metadata(path) {
            self.whole_url(&|| Place::Path, whole, Document::No);
        }
    }

    /// Whether what follows has a path that only metadata services have: looked at while little follows.
    fn ends_as_metadata(&mut self, path: &[u8]) -> bool {
        let path = path.get(..REST).unwrap_or(path);
        self.budget.spend(path.len()) && self.is_metadata_path(&crate::bytes::lossy(path))
    }

    /// A segment that may be a URL of its own in disguise.
    fn segment(&mut self, segment: &[u8], at: usize, target: &[u8]) {
        let is_veiled = memchr::memchr2(b'%', b'\\', segment).is_some();
        if is_veiled || memchr::memchr(b':', segment).is_some() {
            if !self.budget.spend(segment.len().saturating_mul(if is_veiled { 6 } else { 2 })) {
                return;
            }
            let decoded = percent_stable(segment);
            let begins = canonical::may_begin_url(&decoded) && !canonical::urls(&decoded).is_empty();
            let whole = target.get(at..at.saturating_add(segment.len()).saturating_add(REST).min(target.len()));
            if begins && self.whole_url(&|| Place::Path, whole.unwrap_or(segment), Document::No) {
                return;
            }
            if is_veiled {
                self.mentions(&|| Place::Path, segment);
            }
        }
        if segment.len() < 16 || !self.budget.spend(segment.len().saturating_mul(2)) {
            return;
        }
        if segment.starts_with(b"eyJ") {
            self.tokens(&|| Place::Path, segment);
        }
        // image proxies put an extension behind it, and `0x` before it
        let name = segment.split(|b| *b == b'.').next().unwrap_or(segment);
        let name = name.strip_prefix(b"0x").unwrap_or(name);
        for decoded in [hex::decode(name), b64::decode(name)].into_iter().flatten() {
            if text::begins_or_holds_url(&decoded) {
                self.value(&|| Place::Path, &decoded, Document::No);
                return;
            }
        }
    }

    /// A URL in base64 that is cut into segments, as some image proxies take it.
    fn segments(&mut self, path: &[u8]) {
        let path = path.get(..REST).unwrap_or(path);
        if memchr::memchr(b'/', path).is_none() || !self.budget.spend(path.len().saturating_mul(2)) {
            return;
        }
        let end = memchr::memchr(b'.', path).unwrap_or(path.len());
        let joined: Vec<u8> = path.iter().take(end).copied().filter(|byte| *byte != b'/').collect();
        if let Some(decoded) = b64::decode(&joined) {
            self.value(&|| Place::Path, &decoded, Document::No);
        }
    }

    /// `/HOST/metadata-path`: an attempt where the host's service has that path. (Inventories are asked about addresses.)
    pub(super) fn host_then_path(&mut self, segment: &[u8], after: &[u8], least: CandidateKind) {
        if after.len() <= 1 {
            return self.note_field(segment);
        }
        if !text::may_be_host(segment) || !self.budget.spend(PER_HOST) {
            return;
        }
        let Some((host, port)) = canonical::canonical_authority(segment) else { return };
        if !is_target(self.catalogue, &host, port) {
            return;
        }
        let after = after.get(..REST).unwrap_or(after);
        if !self.budget.spend(after.len().saturating_mul(4)) {
            return;
        }
        let path = normalise_path(after);
        let kind = if self.is_path_of(&host, &path) { CandidateKind::Attempt } else { least };
        let path = (path != "/").then_some(path);
        let parsed = Parsed { scheme: Scheme::Bare, host, port, path, method: None, disguised: false };
        let url = [segment, after].concat();
        self.push_read(kind, &|| Place::Path, parsed, &url);
    }
}
