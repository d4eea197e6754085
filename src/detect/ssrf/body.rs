//! Values inside request bodies: forms, JSON, multipart, XML, pages, archives of those. Readers are tolerant: what is cut
//! off, nested or slightly wrong is read as far as it makes sense. Anything else is searched as text.

use std::borrow::Cow;

use super::search::{Document, Search};
use super::{later, markup, protobuf, records};
use crate::bytes::lossy;
use crate::detect::Place;
use crate::detect::canonical::json_unescape;
use crate::detect::content::{MAX_DECODED, allowance, documents, documents_and_rest};
use crate::proto::http::Message;
use crate::proto::http::later::FOUND;
use crate::text::{b64, hex};

/// Longest head of a part of a multipart body.
const PART_HEAD: usize = 4096;
/// Longest key that is shown.
const KEY: usize = 128;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Form,
    Json,
    Multipart,
    Xml,
    Text,
}

impl Search<'_> {
    /// The request's body.
    pub(super) fn body(&mut self, request: &Message) {
        let (head, captured) = (&request.head, &request.body.captured);
        if captured.is_empty() {
            return;
        }
        let content_type = head.field("content-type").unwrap_or_default();
        self.later(request);
        let limit = MAX_DECODED.min(allowance(captured.len())).max(captured.len());
        if protobuf::is_grpc(content_type) {
            let before = self.found.len();
            self.grpc(head, captured);
            if self.found.len() > before && records::is_record(content_type, head.target(), captured) {
                self.only_reported(before);
            }
        }
        let catalogue = self.catalogue;
        let mut found = Vec::new();
        let mut look = |block: &[u8], effort| {
            if found.len() < FOUND {
                later::look(catalogue, block, effort, &mut found);
            }
        };
        let mut read = |document: &[u8]| {
            // to decode it took some work already
            if document.len() == captured.len() || self.budget.spend(document.len() / 2) {
                self.document(content_type, head.target(), document);
            }
        };
        documents_and_rest(captured, head.encodings().as_deref(), limit, &mut read, &mut look);
        self.found_later(&found);
    }

    /// What a body holds beyond the part that was captured.
    fn later(&mut self, request: &Message) {
        let Some(later) = &request.body.later else { return };
        self.found_later(later.found());
        let rest = later::narrow(later.rest());
        self.piece(&rest);
        self.note_fields(&rest);
    }

    /// What was found in it piece by piece.
    fn found_later(&mut self, found: &[u8]) {
        for line in found.split(|b| *b == b'\n') {
            match line.split_first() {
                Some((&later::VALUE, url)) => {
                    self.whole_url(&|| Place::Body, url, Document::No);
                }
                Some((&(later::HOST | later::PATH), value)) => self.note_field(value),
                Some((_, url)) => self.mentions(&|| Place::Body, url),
                None => {}
            }
        }
        if found.len() >= FOUND {
            self.budget.pass_over();
        }
    }

    /// A body, or a document inside it.
    fn document(&mut self, content_type: &[u8], target: &[u8], body: &[u8]) {
        if body.len() < 8 {
            return;
        }
        let before = self.found.len();
        self.read(content_type, body);
        // of what was cut, the rest is read literally
        let names_any = self.found.len() > before || self.budget.is_cut();
        if names_any && records::is_record(content_type, target, body) {
            self.is_record_body = true;
            self.only_reported(before);
        }
    }

    fn read(&mut self, content_type: &[u8], body: &[u8]) {
        match kind(content_type, body) {
            Kind::Form => self.pairs(body, &Place::Form),
            Kind::Json => {
                let before = self.found.len();
                self.json(body);
                // other quotes, or text that only begins so
                if self.found.len() == before && self.names_literally(body) {
                    self.mentions(&|| Place::Body, body);
                }
            }
            Kind::Xml => self.xml(body),
            Kind::Multipart => self.multipart(content_type, body),
            Kind::Text if protobuf::is_message(content_type) && self.message(body, 0) => {}
            Kind::Text if memchr::memchr(b'\n', body.trim_ascii()).is_none() => {
                self.value(&|| Place::Body, body, Document::No);
            }
            Kind::Text if self.inner_document(&|| Place::Body, body) => {}
            Kind::Text if self.is_of_interest(body) => self.mentions(&|| Place::Body, body),
            Kind::Text => {}
        }
    }

    /// A document inside a value; whether it is one.
    pub(super) fn inner_document(&mut self, place: &dyn Fn() -> Place, value: &[u8]) -> bool {
        let value = value.trim_ascii();
        match value.first() {
            Some(b'{' | b'[') if memchr::memchr(b'"', value).is_some() => self.json(value),
            Some(b'<') if is_xml(value) => self.xml(value),
            Some(_) if markup::is_playlist(value) => self.playlist(place, value),
            Some(_) if markup::is_loading(value) => self.page(place, value),
            _ => return false,
        }
        // what the reader of documents passed over (keys, comments, bare words, links) may still mention something
        self.mentions(place, value);
        true
    }

    /// Strings of JSON text: values and keys, escapes undone. Takes any number of documents, and cut-off ones.
    pub(super) fn json(&mut self, text: &[u8]) {
        let mut rest = text;
        let mut key = &b""[..];
        let mut in_environment = false;
        while let Some(at) = memchr::memchr(b'"', rest) {
            let Some(after) = rest.get(at.saturating_add(1)..) else { return };
            let len = string_len(after);
            let (string, tail) = after.split_at_checked(len).unwrap_or((after, b""));
            rest = tail.get(1..).unwrap_or_default();
            if !self.budget.spend(at.saturating_add(len) / 4) {
                return;
            }
            let is_key = rest.trim_ascii_start().first() == Some(&b':');
            if is_key {
                key = string.get(..KEY).unwrap_or(string);
                in_environment = records::is_environment(key) || in_environment && records::is_of_variable(key);
            }
            if !self.is_of_interest(string) {
                continue;
            }
            let plain = json_unescape(string).map_or(Cow::Borrowed(string), Cow::Owned);
            let place = || Place::Json(lossy(key).into_owned());
            if is_key {
                self.mentions(&place, &plain);
            } else {
                let before = self.is_record;
                self.is_record |= in_environment;
                self.value(&place, &plain, Document::Yes);
                self.is_record = before;
            }
        }
    }

    /// Parts of a multipart body (RFC 7578).
    fn multipart(&mut self, content_type: &[u8], body: &[u8]) {
        let named = parameter(content_type, b"boundary");
        let guessed = || body.strip_prefix(b"--").and_then(|body| body.split(|b| matches!(b, b'\r' | b'\n')).next());
        let Some(boundary) = named.or_else(guessed).filter(|boundary| !boundary.is_empty()) else { return };
        if !self.budget.spend(body.len()) {
            return;
        }
        let delimiter = [b"--", boundary].concat();
        let finder = memchr::memmem::Finder::new(&delimiter);
        let mut ends = finder.find_iter(body).skip(1).chain([body.len()]);
        for start in finder.find_iter(body) {
            let end = ends.next().unwrap_or(body.len());
            let part = body.get(start.saturating_add(delimiter.len())..end).unwrap_or_default();
            self.part(part);
        }
    }

    fn part(&mut self, part: &[u8]) {
        let part = part.strip_prefix(b"\r").unwrap_or(part);
        let part = part.strip_prefix(b"\n").unwrap_or(part);
        let head = part.get(..PART_HEAD).unwrap_or(part);
        let blank = memchr::memmem::find(head, b"\r\n\r\n").map(|at| (at, 4usize));
        let Some((at, gap)) = blank.or_else(|| memchr::memmem::find(head, b"\n\n").map(|at| (at, 2))) else { return };
        let (headers, content) = part.split_at_checked(at).unwrap_or((part, b""));
        let content = content.get(gap..).unwrap_or_default().trim_ascii();
        if !self.budget.spend(headers.len().saturating_mul(2)) || content.len() < super::search::MIN {
            return;
        }
        let lower = headers.to_ascii_lowercase();
        let says = |what: &[u8]| memchr::memmem::find(&lower, what).is_some();
        let name = || parameter(headers, b"name").map(|name| lossy(name).into_owned());
        let place = || Place::Multipart(name().unwrap_or_default());
        let content: Cow<'_, [u8]> = match () {
            () if !says(b"content-transfer-encoding:") => content.into(),
            () if says(b"quoted-printable") && self.budget.spend(content.len()) => unquote(content).into(),
            () if says(b"base64") && self.budget.spend(content.len()) => {
                unbase64_lines(content).unwrap_or_default().into()
            }
            () => content.into(),
        };
        documents(&content, None, MAX_DECODED, &mut |document| {
            if self.is_of_interest(document) {
                self.value(&place, document, Document::No);
            }
        });
    }
}

/// Quoted-printable undone (RFC 2045 section 6.7): `=2F`, and line ends behind `=` dropped.
fn unquote(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'=', rest) {
        let (plain, escape) = rest.split_at_checked(at).unwrap_or((rest, b""));
        out.extend_from_slice(plain);
        let (byte, used) = match escape {
            [_, b'\r', b'\n', ..] => (None, 3),
            [_, b'\n', ..] => (None, 2),
            [_, high, low, ..] => hex::pair(*high, *low).map_or((Some(b'='), 1), |byte| (Some(byte), 3)),
            _ => (Some(b'='), 1),
        };
        out.extend(byte);
        rest = escape.get(used..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// Base64 in lines (RFC 2045 section 6.8).
fn unbase64_lines(text: &[u8]) -> Option<Vec<u8>> {
    let joined: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    b64::decode(&joined)
}

fn kind(content_type: &[u8], body: &[u8]) -> Kind {
    let content_type = content_type.to_ascii_lowercase();
    let says = |what: &[u8]| memchr::memmem::find(&content_type, what).is_some();
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii_start();
    match body.first() {
        _ if says(b"multipart/") => Kind::Multipart,
        Some(b'{' | b'[' | b'"') => Kind::Json,
        Some(b'<') if says(b"xml") && !markup::is_page(body) || is_xml(body) => Kind::Xml,
        _ if says(b"json") => Kind::Json,
        _ if says(b"x-www-form-urlencoded") => Kind::Form,
        _ if content_type.is_empty() && is_form(body) => Kind::Form,
        _ => Kind::Text,
    }
}

/// `name=value` from the beginning on, without blanks.
fn is_form(body: &[u8]) -> bool {
    let name = body.iter().position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'[' | b']')));
    name.is_some_and(|at| at > 0 && body.get(at) == Some(&b'='))
        && memchr::memchr2(b' ', b'\n', body.trim_ascii()).is_none()
}

/// XML or SVG by its first bytes; not HTML, because its links are not fetched by themselves.
pub(super) fn is_xml(body: &[u8]) -> bool {
    let head = body.get(..256).unwrap_or(body).to_ascii_lowercase();
    let has = |what: &[u8]| memchr::memmem::find(&head, what).is_some();
    if markup::is_page(body) {
        return false;
    }
    [&b"<?xml"[..], b"<!doctype", b"<!entity", b"<svg", b"<soap", b"<rss", b"<feed"]
        .iter()
        .any(|start| head.starts_with(start))
        || has(b"xmlns")
}

/// Bytes up to the quote that ends a JSON string.
pub(super) fn string_len(text: &[u8]) -> usize {
    let mut at = 0usize;
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        let here = at.saturating_add(found);
        match text.get(here) {
            Some(b'"') => return here,
            _ => at = here.saturating_add(2),
        }
    }
    text.len()
}

/// Value of `name=value` or `name="value"` in a header.
fn parameter<'a>(header: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let lower = header.to_ascii_lowercase();
    let at = memchr::memmem::find_iter(&lower, name).find(|at| {
        let before = at.checked_sub(1).and_then(|before| lower.get(before));
        before.is_none_or(|b| matches!(b, b' ' | b';' | b'\t'))
            && lower.get(at.saturating_add(name.len())) == Some(&b'=')
    })?;
    let value = header.get(at.saturating_add(name.len()).saturating_add(1)..)?;
    match value.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|b| *b == b'"').next(),
        None => value.split(|b| matches!(b, b';' | b' ' | b'\r' | b'\n')).next(),
    }
}
