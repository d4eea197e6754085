//! Targets inside text: prose, shell commands, templates, and base64 of those. They are mentions: something only when the
//! host makes that request.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Search;
use crate::bytes::find;
use crate::detect::canonical::{self, Parsed, Scheme, entities, json_unescape, percent_stable};
use crate::detect::{CandidateKind, Place};

/// Most places of one text that are tried.
const TRIES: usize = 512;
/// Shortest run of base64 that is decoded (contract section 4).
const RUN: usize = 16;

impl Search<'_> {
    /// Every target that `text` mentions, plainly or in base64.
    pub(super) fn mentions(&mut self, place: &dyn Fn() -> Place, text: &[u8]) {
        let mut text = percent_stable(text);
        for undo in [json_unescape, entities] {
            if let Some(plainer) = undo(&text) {
                text = plainer.into();
            }
        }
        self.urls_in(place, &text);
        for run in text.split(|b| !is_base64(*b)).filter(|run| run.len() >= RUN) {
            self.base64(place, run);
        }
    }

    /// A run of base64: decoded at each of the four places where a group of it may begin.
    fn base64(&mut self, place: &dyn Fn() -> Place, run: &[u8]) {
        let run: Vec<u8> = run.iter().map(|b| standard(*b)).collect();
        let mut decoded = Vec::with_capacity(run.len());
        for offset in 0..4 {
            let Some(left) = self.base64.checked_sub(run.len()) else { return };
            self.base64 = left;
            let before = self.found.len();
            let bytes = run.get(offset..).unwrap_or_default();
            let whole = bytes.len().saturating_sub(usize::from(bytes.len() % 4 == 1));
            decoded.clear();
            if LENIENT.decode_vec(bytes.get(..whole).unwrap_or_default(), &mut decoded).is_err() {
                continue;
            }
            // UTF-16, as PowerShell takes its commands
            if decoded.get(1) == Some(&0) && decoded.get(3) == Some(&0) {
                decoded.retain(|b| *b != 0);
            }
            if memchr::memchr2(b'/', b'\\', &decoded).is_some() {
                self.urls_in(place, &decoded);
            }
            if self.found.len() > before {
                return;
            }
        }
    }

    /// Every target that `bytes` mention plainly: URLs, and hosts with a path.
    pub(super) fn urls_in(&mut self, place: &dyn Fn() -> Place, bytes: &[u8]) {
        let mut next = 0;
        for slash in memchr::memchr_iter(b'/', bytes).take(TRIES) {
            if slash < next {
                continue;
            }
            let is_url = bytes.get(slash.saturating_add(1)) == Some(&b'/');
            let Some(before) = bytes.get(..slash) else { continue };
            let start = before.iter().rposition(|b| !is_host_byte(*b)).map_or(0, |at| at.saturating_add(1));
            let run = before.get(start..).unwrap_or_default();
            if !(is_url || may_be_host(run) && is_text(run)) {
                continue;
            }
            let rest = bytes.get(start..).unwrap_or_default();
            let end = rest.iter().position(|b| is_delimiter(*b)).unwrap_or(rest.len());
            let url = rest.get(..end).unwrap_or_default();
            if is_url {
                next = slash.saturating_add(2);
            }
            let target = canonical::hosts(url).into_iter().find(|p| self.names_target(p) || self.has_known_path(p));
            if let Some(parsed) = target {
                next = start.saturating_add(end);
                self.push(CandidateKind::Mention, place, parsed, url);
            }
        }
    }
}

impl Search<'_> {
    /// Whether a metadata service has the path: the host may be a name that leads to one.
    fn has_known_path(&self, parsed: &Parsed) -> bool {
        let deep = |path: &&String| path.matches('/').count() > 1;
        parsed.scheme != Scheme::Bare
            && parsed.path.as_ref().filter(deep).is_some_and(|path| !self.catalogue.paths_like(path, b"").is_empty())
    }
}

/// Accepts what is cut off or not padded.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The standard alphabet's character for one of the URL-safe alphabet.
fn standard(byte: u8) -> u8 {
    match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    }
}

/// Whether a byte belongs to one of the two alphabets.
fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// Bytes that a host (with scheme, user and port) before a slash may consist of.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'.' | b':' | b'-' | b'_' | b'[' | b']' | b'%' | b'@')
        || byte >= 0x80
}

/// Bytes that end a URL in text.
fn is_delimiter(byte: u8) -> bool {
    byte <= b' '
        || matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | b'(' | b')' | b'|' | b';' | b'{' | b'}' | b'$' | b',')
}

/// Whether bytes before a slash may be a host that somebody disguised or named: not a mere word.
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

/// Whether text holds a run of base64 that is long enough.
pub(super) fn may_be_base64(text: &[u8]) -> bool {
    text.len() >= RUN && text.split(|b| !is_base64(*b)).any(|run| run.len() >= RUN)
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
