//! The targets in the text of a command line, in whatever disguise.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use aho_corasick::AhoCorasick;

use super::{LINE, cut};
use crate::bytes::{find, lossy};
use crate::catalogue::{Catalogue, Recognised};
use crate::detect::canonical::{self, Parsed, Scheme, entities, json_unescape, percent_stable};
use crate::detect::content::inflate::{Wrapping, inflate};
use crate::detect::ssrf::{is_target, is_target_by_path};
use crate::detect::{HostRef, normalise_path};
use crate::text::{b64, hex};

/// Most of what a command line names that is kept, in bytes.
pub(super) const NAMED: usize = 1024;
/// Most bytes of arguments that are read.
const TEXT: usize = 256 * 1024;
/// Most of a URL or host that is looked at.
const URL: usize = 2048;
/// Most targets that are weighed against each other.
const FOUND: usize = 64;
/// Layers of base64 and hexadecimal that are undone.
const LAYERS: usize = 3;
/// Where a task's credentials are, and the variable that holds their path: shells put it in only later.
const TASKS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2));
const TASK_PATH: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";

/// A place that a command line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Where there is one; else only the path is a metadata service's.
    pub(super) host: Option<HostRef>,
    pub(super) port: Option<u16>,
    /// Path and query.
    pub(super) target: String,
    /// As it stands there.
    pub(super) named: String,
    pub(super) disguised: bool,
    pub(super) is_mention: bool,
}

/// Targets so far, and what may still be spent.
pub(super) struct Search<'c> {
    catalogue: &'c Catalogue,
    pub(super) found: Vec<Target>,
    /// Bytes that may still be tried as a host.
    tries: usize,
    /// Bytes that may still be decoded.
    budget: usize,
}

impl<'c> Search<'c> {
    pub(super) fn new(catalogue: &'c Catalogue) -> Self {
        Self { catalogue, found: Vec::new(), tries: 2 * URL, budget: 0 }
    }

    pub(super) fn all(&mut self, texts: &[&str]) {
        let mut left = TEXT;
        for text in texts {
            let text = text.as_bytes();
            let text = text.get(..left.min(text.len())).unwrap_or_default();
            left = left.saturating_sub(text.len());
            self.budget = self.budget.saturating_add(text.len().saturating_mul(16));
            self.tries = self.tries.saturating_add(text.len().saturating_mul(8));
            self.text(text, 0);
        }
    }

    /// Addresses and names that stand alone or in the middle of something, as they are usually written.
    pub(super) fn literals(&mut self, texts: &[&str]) {
        let Some(known) = self.catalogue.literals() else { return };
        for text in texts {
            let text = text.get(..text.floor_char_boundary(TEXT)).unwrap_or(text);
            for found in known.find_iter(text).filter(|found| stands_alone(text, found.range())) {
                let named = text.get(found.range()).unwrap_or_default();
                let host = named.parse().map_or_else(
                    |_| HostRef::Name(named.to_ascii_lowercase()),
                    |address| HostRef::Address(canonical::canonical_ip(address)),
                );
                self.add(Target {
                    host: Some(host),
                    port: None,
                    target: "/".to_owned(),
                    named: named.to_owned(),
                    disguised: false,
                    is_mention: true,
                });
            }
        }
    }

    /// What the whole command line says of what was found in it.
    pub(super) fn complete(&mut self, line: &str, only_names: bool) {
        for target in &mut self.found {
            let is_bare = target.is_mention || target.target == "/" || target.target.contains(TASK_PATH);
            if is_bare && target.host == Some(HostRef::Address(TASKS)) && line.contains(TASK_PATH) {
                target.target = format!("/v2/credentials/{TASK_PATH}");
                target.is_mention = false;
            }
            target.is_mention |= only_names;
        }
    }

    /// One text in all its readings.
    fn text(&mut self, text: &[u8], layer: usize) {
        let mut plain = percent_stable(text);
        for undo in [json_unescape, entities] {
            if let Some(plainer) = undo(&plain) {
                self.places(&plain, layer > 0);
                plain = plainer.into();
            }
        }
        let changed = layer > 0 || *plain != *text;
        self.places(&plain, changed);
        if let Some(joined) = unquoted(&plain) {
            self.places(&joined, true);
        }
        if layer < LAYERS {
            self.encoded(&plain, layer);
        }
    }

    /// Every URL, host and path that stands in `text`.
    fn places(&mut self, text: &[u8], disguised: bool) {
        for word in text.split(|b| is_delimiter(*b)).filter(|word| word.len() >= 4) {
            if self.tries == 0 || self.found.len() >= FOUND {
                return;
            }
            let has_url = find(word, b"//").is_some();
            if has_url {
                self.urls(word, disguised);
            } else {
                self.bare(word, disguised);
            }
            self.path_alone(word, disguised);
        }
    }

    /// URLs in a word, one after the other: `--url=http://…`, and those inside another's query.
    fn urls(&mut self, word: &[u8], disguised: bool) {
        for at in memchr::memmem::find_iter(word, b"//") {
            let before = word.get(..at).unwrap_or_default();
            let before = before.strip_suffix(b":").unwrap_or(before);
            let scheme =
                before.iter().rev().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-'));
            let start = before.len().saturating_sub(scheme.count());
            let url = word.get(start..).unwrap_or_default();
            if !self.hosts(url, disguised) {
                return;
            }
        }
    }

    /// A word that is a host by itself, perhaps with port and path.
    fn bare(&mut self, word: &[u8], disguised: bool) {
        let word = word.rsplit(|b| matches!(b, b'=' | b'@' | b',')).next().unwrap_or(word);
        let end = word.iter().position(|b| *b == b'/').unwrap_or(word.len());
        let host = word.get(..end).unwrap_or_default();
        let first = host.first().copied().unwrap_or_default();
        let is_number = first.is_ascii_digit() && (host.len() >= 8 || host.contains(&b'.'));
        let is_name = host.len() >= 8 && first.is_ascii_alphabetic() && host.iter().any(|b| matches!(b, b'.' | b'-'));
        let is_v6 = first == b'[' || host.iter().filter(|b| **b == b':').count() >= 2;
        if is_number || is_name || is_v6 || first >= 0x80 {
            self.hosts(word, disguised);
        }
    }

    /// Tries a text as a host or URL; `false` when no more may be tried.
    fn hosts(&mut self, url: &[u8], disguised: bool) -> bool {
        let url = url.get(..URL).unwrap_or(url);
        let Some(left) = self.tries.checked_sub(url.len()) else { return false };
        self.tries = left;
        for parsed in canonical::hosts(url) {
            if self.names_metadata(&parsed) {
                self.push(&parsed, url, disguised);
            }
        }
        true
    }

    /// By its host, by a path that only metadata services have, or by a loopback service's port and path.
    fn names_metadata(&self, parsed: &Parsed) -> bool {
        let catalogue = self.catalogue;
        let path = parsed.path.as_deref().unwrap_or("/");
        let is_single = matches!(&parsed.host, HostRef::Name(name) if !name.contains('.'));
        if is_target_by_path(catalogue, &parsed.host, parsed.path.as_deref()) {
            return true;
        }
        if is_target(catalogue, &parsed.host, parsed.port) {
            // a mere word is no host, but before a path of the service
            return !(is_single && parsed.scheme == Scheme::Bare && catalogue.paths_like(path, b"").is_empty());
        }
        let is_own = match &parsed.host {
            HostRef::Address(ip) => ip.is_loopback(),
            HostRef::Name(name) => name == "localhost",
        };
        is_own
            && path.len() > 1
            && catalogue.path_endpoints_on(parsed.port.unwrap_or(80)).any(|endpoint| {
                endpoint.by == Recognised::Path
                    && catalogue.paths_like(path, b"").iter().any(|found| found.path.is_at(endpoint))
            })
    }

    fn push(&mut self, parsed: &Parsed, url: &[u8], disguised: bool) {
        let text = lossy(url);
        let target = match parsed.scheme {
            // the path of the request inside a gopher URL
            Scheme::Gopher => parsed.path.clone().unwrap_or_else(|| "/".to_owned()),
            Scheme::Bare => text.find('/').and_then(|at| text.get(at..)).unwrap_or("/").to_owned(),
            _ => target_of(&text, parsed),
        };
        let is_mask = target.len() <= 4 && target.get(1..).is_some_and(|bits| bits.parse::<u8>().is_ok());
        let is_mention = parsed.path.is_none() && parsed.scheme == Scheme::Bare || is_mask;
        self.add(Target {
            host: Some(parsed.host.clone()),
            port: parsed.port,
            target: if is_mention { "/".to_owned() } else { cut(&target, LINE).to_owned() },
            named: cut(&text, NAMED).to_owned(),
            disguised: disguised || parsed.disguised,
            is_mention,
        });
    }

    fn add(&mut self, target: Target) {
        if self.found.len() < FOUND && !self.found.contains(&target) {
            self.found.push(target);
        }
    }

    /// A path that only metadata services have, whatever its host is called: a variable, a proxy, a mount.
    fn path_alone(&mut self, word: &[u8], disguised: bool) {
        let Some(at) = known_path(word) else { return };
        if self.found.iter().any(|known| known.named.as_bytes() == word || find(word, known.named.as_bytes()).is_some())
        {
            return;
        }
        let text = lossy(word);
        let known = |path: &str| {
            let fits = self.catalogue.paths_like(&normalise_path(path.as_bytes()).path, b"");
            fits.iter().map(|found| (found.fit.literals, found.path.entry.sensitivity)).max()
        };
        let slashes = text.match_indices('/').map(|(at, _)| at).take(16);
        let rests = slashes.filter_map(|at| text.get(at..)).map(Cow::Borrowed);
        let own = text.get(at..).map(|rest| Cow::Owned(format!("/{rest}")));
        let best = rests.chain(own).filter_map(|path| Some((known(&path)?, path))).max_by_key(|(fit, _)| *fit);
        let target = best.map_or_else(|| "/".to_owned(), |(_, path)| path.into_owned());
        self.add(Target {
            host: None,
            port: None,
            is_mention: target == "/",
            target,
            named: cut(&text, NAMED).to_owned(),
            disguised,
        });
    }

    /// What stands in base64 and hexadecimal.
    fn encoded(&mut self, text: &[u8], layer: usize) {
        for run in b64::runs(text) {
            if let Some(decoded) = hex::decode(run) {
                self.decoded(decoded, layer);
            }
            self.base64(run, layer);
        }
    }

    /// A run of base64: decoded at each of the four places where a group of it may begin.
    fn base64(&mut self, run: &[u8], layer: usize) {
        let run = b64::standard(run);
        for offset in 0..4 {
            let Some(left) = self.budget.checked_sub(run.len()) else { return };
            self.budget = left;
            let mut decoded = Vec::new();
            if b64::decode_from(&run, offset, &mut decoded) {
                self.decoded(decoded, layer);
            }
        }
    }

    /// Reads on in what was decoded, if that is text.
    fn decoded(&mut self, mut decoded: Vec<u8>, layer: usize) {
        let zeros = decoded.iter().filter(|b| **b == 0).count();
        if zeros.saturating_mul(3) > decoded.len() {
            decoded.retain(|b| *b != 0); // UTF-16, as PowerShell takes its commands
        }
        if decoded.starts_with(&[0x1f, 0x8b]) {
            decoded = inflate(Wrapping::Gzip, &decoded, self.budget.min(TEXT)).bytes.to_vec();
        }
        let printable = decoded.iter().filter(|b| matches!(b, b' '..=b'~' | b'\n' | b'\r' | b'\t')).count();
        let is_text = printable.saturating_mul(8) >= decoded.len().saturating_mul(7);
        let Some(left) = self.budget.checked_sub(decoded.len()).filter(|_| is_text && decoded.len() >= 8) else {
            return;
        };
        self.budget = left;
        self.text(&decoded, layer.saturating_add(1));
    }
}

/// Whether an address or name is not part of a longer one, nor one number of many.
fn stands_alone(text: &str, at: std::ops::Range<usize>) -> bool {
    let (before, after) = (text.get(..at.start).unwrap_or_default(), text.get(at.end..).unwrap_or_default());
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut after = after.chars();
    let is_longer = match after.next() {
        Some('.') => after.next().is_some_and(is_part),
        next => next.is_some_and(is_part),
    };
    let is_tail = before.chars().next_back().is_some_and(|c| is_part(c) || c == '.');
    !is_tail && !is_longer && text.get(at).is_some_and(|found| found.contains(['.', ':']))
}

/// Path and query of a URL as written, in the reading that `parsed` is.
fn target_of(url: &str, parsed: &Parsed) -> String {
    let target = canonical::target_of(url);
    match parsed.path.as_deref() {
        Some(path) if normalise_path(target.as_bytes()).path != path => path.to_owned(),
        _ => target.to_owned(),
    }
}

/// Where a path begins that only metadata services have: the source rule's, and credential paths.
fn known_path(word: &[u8]) -> Option<usize> {
    static KNOWN: std::sync::LazyLock<Option<AhoCorasick>> = std::sync::LazyLock::new(|| {
        AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build([
                "metadata/instance",
                "metadata/identity/oauth2/token",
                "iam/security-credentials",
                "latest/meta-data",
                "latest/dynamic",
                "latest/user-data",
                "instance-identity",
                "computemetadata",
                "metadata/v1",
                "ram/security-credentials",
                "cam/security-credentials",
            ])
            .ok()
    });
    KNOWN.as_ref()?.find(word).map(|found| found.start())
}

/// The text with what shells take away taken away: quotes, escapes and what joins pieces of a string.
fn unquoted(text: &[u8]) -> Option<Vec<u8>> {
    let is_quote = |b: u8| matches!(b, b'\'' | b'"' | b'`' | b'\\' | b'^');
    if !text.iter().any(|b| is_quote(*b)) {
        return None;
    }
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let mut after_quote = false;
    for (at, byte) in text.iter().enumerate() {
        let joins = matches!(byte, b'+' | b'.' | b' ') && after_quote && {
            let mut rest = text.get(at..).unwrap_or_default().iter().take(4).skip_while(|b| matches!(b, b'+' | b' '));
            rest.next().is_some_and(|b| matches!(b, b'\'' | b'"')) && *byte != b'.'
        };
        if !is_quote(*byte) && !joins {
            out.push(*byte);
        }
        after_quote = matches!(byte, b'\'' | b'"') || joins;
    }
    Some(out)
}

/// Bytes that end a URL or a host in a command line.
fn is_delimiter(byte: u8) -> bool {
    byte <= b' ' || matches!(byte, b'"' | b'\'' | b'`' | b'<' | b'>' | b'(' | b')' | b'|' | b';' | b'{' | b'}' | b'$')
}
