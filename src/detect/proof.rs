//! Whether an answer returned a credential, and what of it may be told: identifier, scope, expiry, keyed hashes.
//!
//! In: the answer's parsed body and a catalogue entry. Out: a [`Credential`] without secret values. A body that breaks
//! off is judged by what is there.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::sync::LazyLock;

use hmac::{Hmac, KeyInit, Mac};
use memchr::memmem::Finder;
use sha2::Sha256;

use super::body::{Document, Value};
use super::content::Content;
use super::secret::{Lately, Part, Secret};
use super::{Credential, expiry, tokens};
use crate::bytes::{find, lossy};
use crate::catalogue::{CredentialKeys, Marker, PathEntry, Sensitivity, is_key};
use crate::packet::Timestamp;
use crate::proto::http::Message;
use crate::text::hex;

/// Most secrets of one document.
const MAX_SECRETS: usize = 64;
/// Longest text that is a refusal and nothing else, in bytes.
const SHORT: usize = 80;
/// Most characters of an identifier or scope.
const MAX_TEXT: usize = 512;

/// The body of an answer, as a document.
pub(super) struct Answer<'b> {
    status: u16,
    document: Document<'b>,
    /// Where documents hold what, unless the entry says otherwise.
    keys: &'b CredentialKeys,
    /// Nothing is missing.
    whole: bool,
    empty: bool,
    /// It says that it went wrong.
    error: bool,
    time: Timestamp,
}

impl<'b> Answer<'b> {
    /// `content` is the response's body with its encoding undone.
    pub(super) fn new(response: &Message, content: &'b Content<'_>, keys: &'b CredentialKeys) -> Self {
        let status = response.head.status().unwrap_or(0);
        // A range is as incomplete as a gap.
        let damaged = response.gap || response.cut || status == 206;
        let bytes = content.bytes();
        let document = Document::new(bytes, damaged);
        Self {
            status,
            error: is_error(&document, &keys.refusal),
            document,
            keys,
            whole: !damaged && response.body.whole && response.complete,
            empty: bytes.trim_ascii().is_empty(),
            time: response.last,
        }
    }

    /// 2xx.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the body says that it went wrong, whatever the status.
    pub(super) fn is_error(&self) -> bool {
        self.error
    }

    /// Whether it returned the credential of `entry` (rules at the head of the catalogue).
    pub(super) fn proves(&self, entry: &PathEntry) -> bool {
        if !self.is_success() || self.empty || self.is_error() || self.refuses(entry) {
            return false;
        }
        match (entry.proof.as_slice(), entry.proof_any.as_slice()) {
            ([], []) => true,
            ([], any) => any.iter().any(|marker| self.holds(marker)),
            // Keys of a document: words in a script or page that reads credentials prove nothing.
            _ if !matches!(self.document, Document::Json(_)) => false,
            (all, _) => all.iter().all(|marker| self.holds(marker)) || !self.whole && self.begins(entry, all),
        }
    }

    /// Whether the answer refuses although its status says success: by the entry's words, by saying that it went wrong, by a
    /// page for people where data is due. User data may speak of errors: there only a short text does.
    pub(super) fn is_refusal(&self, entry: Option<&PathEntry>, sensitivity: Sensitivity) -> bool {
        let says_so = match (sensitivity, &self.document) {
            (Sensitivity::Discovery, _) => false,
            (Sensitivity::UserData, Document::Text(text)) => text.len() <= SHORT && self.error,
            (Sensitivity::UserData, Document::Json(_)) => false,
            // of a firewall or a login: user data is a script, a configuration or a package
            (Sensitivity::UserData, Document::Html) => true,
            _ => self.error,
        };
        self.is_success() && (says_so || entry.is_some_and(|entry| self.refuses(entry)))
    }

    fn refuses(&self, entry: &PathEntry) -> bool {
        match self.document {
            Document::Text(text) => entry.refusal.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes())),
            _ => false,
        }
    }

    fn holds(&self, marker: &Marker) -> bool {
        match (&self.document, marker) {
            (Document::Json(_), Marker::Word(key)) => {
                // Words that are no keys (`sig=`, `BEGIN PRIVATE KEY`) stand in values.
                self.document.values(key).any(Value::is_something) || !is_key(key) && self.in_values(key)
            }
            (Document::Json(_), Marker::Pair(key, value)) => {
                self.document.values(key).any(|v| v.text() == Some(value.as_bytes()))
            }
            (Document::Text(text), Marker::Word(word)) => memchr::memmem::find(text, word.as_bytes()).is_some(),
            _ => false,
        }
    }

    fn in_values(&self, word: &str) -> bool {
        let Document::Json(pairs) = &self.document else { return false };
        pairs.iter().filter_map(|p| p.value.text()).any(|text| memchr::memmem::find(text, word.as_bytes()).is_some())
    }

    /// A document that breaks off: the secret is there, and nothing that is there speaks against it.
    fn begins(&self, entry: &PathEntry, all: &[Marker]) -> bool {
        let is_secret = |marker: &Marker| match marker {
            Marker::Word(key) => {
                entry.secret.iter().chain(&self.keys.secret).any(|known| known == key)
                    && self.document.text(key).is_some()
            }
            Marker::Pair(..) => false,
        };
        let contradicts = |marker: &Marker| match marker {
            Marker::Pair(key, _) => self.document.values(key).next().is_some() && !self.holds(marker),
            Marker::Word(_) => false,
        };
        all.iter().any(is_secret) && !all.iter().any(contradicts)
    }

    /// What may be told of the credential.
    pub(super) fn credential(&self, entry: &'static PathEntry, fingerprints: &Fingerprints) -> Credential {
        let doc = &self.document;
        let first = |own: &'static [String], usual: &'b [String]| own.iter().chain(usual).find_map(|key| doc.text(key));
        let in_seconds = || {
            let seconds: i64 = std::str::from_utf8(doc.text("expires_in")?).ok()?.trim().parse().ok()?;
            expiry::rfc3339(self.time.seconds().checked_add(seconds)?)
        };
        let parts = self.secret_parts(entry);
        let main = parts.first().filter(|(_, whole, _)| *whole);
        Credential {
            issued: true,
            kind: entry.kind.as_deref(),
            id: first(&entry.identifier, &self.keys.identifier).map(shown),
            scope: first(&[], &self.keys.scope).map(shown),
            expires: first(&entry.expiry, &self.keys.expiry).and_then(expiry::absolute).or_else(in_seconds),
            fingerprint: main.and_then(|(secret, ..)| fingerprints.of(secret)),
        }
    }

    /// The secrets of the document, as hashes.
    pub(super) fn secrets(&self, entry: &PathEntry, lately: &Lately) -> Vec<Secret> {
        // In a text of which no part is known to be the secret it is sought; a key in it is one, all its lines together.
        let is_text = |value: &[u8]| matches!(self.document, Document::Text(text) if text.len() == value.len());
        let new = |value, part| if is_text(value) { lately.in_text(value, part) } else { lately.secret(value, part) };
        let parts = self.secret_parts(entry).into_iter().take(MAX_SECRETS);
        parts.filter_map(|(value, _, part)| new(value, part)).collect()
    }

    /// What stands under the names of secrets in a document that proves no credential, an error's perhaps: to be hidden,
    /// and no more.
    pub(super) fn named_secrets(&self, entry: Option<&PathEntry>, lately: &Lately) -> Vec<Secret> {
        if !matches!(self.document, Document::Json(_)) {
            return Vec::new();
        }
        let own = entry.into_iter().flat_map(|entry| [&entry.secret, &entry.companion]);
        let names = own.chain([&self.keys.secret, &self.keys.companion]).flatten();
        let values = names.flat_map(|key| self.document.values(key)).filter_map(string).take(MAX_SECRETS);
        values.filter_map(|(value, _)| lately.secret(value, Part::Access)).collect()
    }

    /// The secrets of the document, the credential itself first, each with whether it is all there and what it is.
    fn secret_parts(&self, entry: &PathEntry) -> Vec<(&[u8], bool, Part)> {
        match &self.document {
            Document::Json(pairs) => {
                let strings = || pairs.iter().filter_map(|pair| string(&pair.value));
                let own = [&entry.secret, &self.keys.secret].into_iter().flatten().map(|key| (key, false));
                let companions = [&entry.companion, &self.keys.companion].into_iter().flatten().map(|key| (key, true));
                let mut out = Vec::new();
                for (key, is_companion) in own.chain(companions) {
                    let values = self.document.values(key).filter_map(string);
                    out.extend(values.map(|(text, whole)| (text, whole, part(key, is_companion))));
                }
                let keys = strings().filter_map(|(text, _)| private_key(text));
                out.extend(keys.map(|key| (key, true, Part::Key)));
                if out.is_empty() {
                    // Nobody knows which it is: whatever looks like a token.
                    let tokens = strings().filter(|(text, _)| tokens::is_token(text));
                    out.extend(tokens.map(|(text, whole)| (text, whole, Part::Key)));
                }
                out
            }
            Document::Text(text) => {
                let named = entry.secret.iter().find_map(|key| named_value(text, key.as_bytes()));
                match private_key(text).or(named) {
                    Some(part) => vec![(part, true, Part::Key)],
                    None => vec![(*text, self.whole, if is_bearer(text) { Part::Bearer } else { Part::Key })],
                }
            }
            Document::Html => Vec::new(),
        }
    }

    /// The session token that a token path returned, and its lifetime in seconds where the body tells.
    pub(super) fn session_token(&self, entry: Option<&PathEntry>) -> Option<(&[u8], Option<u64>)> {
        if !self.is_success() || self.empty || self.is_error() || !self.whole {
            return None;
        }
        match &self.document {
            Document::Json(_) => {
                let own = entry.into_iter().flat_map(|entry| &entry.secret);
                let token = own.chain(&self.keys.session).find_map(|key| self.document.text(key))?;
                let seconds = self.document.text("expires_in").and_then(number);
                Some((token, seconds))
            }
            Document::Text(text) => Some((text, None)),
            Document::Html => None,
        }
    }
}

/// What the value of a key is. What comes along with a key, and is a token, is its session.
fn part(key: &str, is_companion: bool) -> Part {
    let key = key.to_ascii_lowercase();
    match key.contains("token") {
        true if key.starts_with("access") || key.starts_with("id") => Part::Bearer,
        true if is_companion && !key.starts_with("refresh") => Part::Session,
        true if !is_companion => Part::Bearer,
        _ => Part::Key,
    }
}

/// Whether text is a token that services take: a JWT, or Google's.
fn is_bearer(text: &[u8]) -> bool {
    let token = text.strip_prefix(b"access_token ").unwrap_or(text);
    token.starts_with(b"eyJ") || token.starts_with(b"ya29.")
}

/// Whether a document says that something went wrong.
fn is_error(doc: &Document<'_>, words: &[String]) -> bool {
    match doc {
        Document::Html => true,
        Document::Json(_) => {
            let code = ["Code", "code"].into_iter().flat_map(|key| doc.top_values(key)).find_map(Value::text);
            let fine: [&[u8]; 5] = [b"Success", b"success", b"OK", b"200", b"0"];
            code.is_some_and(|code| !fine.contains(&code))
                || ["error", "errors", "Error", "errorCode", "error_code", "__type", "fault"]
                    .into_iter()
                    .any(|key| doc.top_values(key).any(Value::is_something))
        }
        Document::Text(text) => {
            let head = text.get(..256).unwrap_or(text).to_ascii_lowercase();
            words.iter().any(|word| find(&head, word.as_bytes()).is_some())
        }
    }
}

/// A string that holds something, and whether its end was seen.
fn string<'v>(value: &'v Value<'_>) -> Option<(&'v [u8], bool)> {
    match value {
        Value::String(text, whole) if !text.bytes().is_empty() => Some((text.bytes(), *whole)),
        _ => None,
    }
}

fn shown(text: &[u8]) -> String {
    let text = lossy(text);
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned(),
        None => text.into_owned(),
    }
}

/// A decimal number as header fields and bodies write it.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// Content of a PEM private key between its delimiters (RFC 7468).
fn private_key(text: &[u8]) -> Option<&[u8]> {
    static BEGIN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"PRIVATE KEY-----"));
    let begin = BEGIN.find(text)?;
    let inner = text.get(begin.checked_add(16)?..)?;
    inner.get(..memchr::memmem::find(inner, b"-----END").unwrap_or(inner.len()))
}

/// The value of `name` in text: `name: value` or `name=value` on a line, or an XML element.
fn named_value<'t>(text: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let on_line = |mark: &[u8]| line_value(text, &[name, mark].concat());
    on_line(b":").or_else(|| on_line(b"=")).or_else(|| element(text, name))
}

/// What follows `name` on its line.
fn line_value<'t>(text: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let at = memchr::memmem::find(text, name)?;
    let rest = text.get(at.checked_add(name.len())?..)?;
    Some(rest.split(|b| *b == b'\n').next()?.trim_ascii()).filter(|value| !value.is_empty())
}

/// Content of the first XML element `name`.
fn element<'t>(text: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let open = [b"<", name, b">"].concat();
    let at = memchr::memmem::find(text, &open)?;
    let inner = text.get(at.checked_add(open.len())?..)?;
    Some(inner.split(|b| *b == b'<').next()?.trim_ascii()).filter(|value| !value.is_empty())
}

/// Fingerprints of secrets under one key, which is read in once: that costs as much as a secret does.
pub(super) struct Fingerprints(Option<Hmac<Sha256>>);

impl Fingerprints {
    pub(super) fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).ok())
    }

    /// Hex of HMAC-SHA-256 over the secret without white space, cut to 128 bits (RFC 2104 section 5).
    fn of(&self, secret: &[u8]) -> Option<String> {
        let mut mac = self.0.clone()?;
        secret.split(u8::is_ascii_whitespace).for_each(|part| mac.update(part));
        let digest = mac.finalize().into_bytes();
        digest.get(..16).map(hex::encode)
    }
}

impl std::fmt::Debug for Fingerprints {
    /// Never what the key left behind.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fingerprints").finish_non_exhaustive()
    }
}
