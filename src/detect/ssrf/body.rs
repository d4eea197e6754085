//! Values inside request bodies: forms, JSON, multipart, XML. Readers are tolerant: what is cut off, nested or slightly
//! wrong is read as far as it makes sense. Anything else is searched as text.

use std::borrow::Cow;

use super::{BODY, Document, Search, may_be_url, prose};
use crate::bytes::lossy;
use crate::detect::Place;
use crate::detect::canonical::{entities, json_unescape};
use crate::detect::content::Content;
use crate::proto::http::Message;

/// Deepest nesting of documents in strings of documents.
const DEPTH: usize = 4;
/// Most parts of a multipart body.
const PARTS: usize = 64;

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
        if request.body.captured.is_empty() {
            return;
        }
        let content = Content::new(&request.body.captured, request.head.field("content-encoding"));
        let body = content.bytes();
        let body = body.get(..BODY).unwrap_or(body);
        if body.len() < 8 {
            return;
        }
        let content_type = request.head.field("content-type").unwrap_or_default();
        if is_log(content_type, request.head.target()) {
            return self.mentions(&|| Place::Body, body);
        }
        match kind(content_type, body) {
            Kind::Form => self.pairs(body, &Place::Form),
            Kind::Json => self.json(body, DEPTH),
            Kind::Xml => self.xml(body),
            Kind::Multipart => self.multipart(content_type, body),
            Kind::Text if memchr::memchr(b'\n', body.trim_ascii()).is_none() => {
                self.value(&|| Place::Body, body, Document::No);
            }
            Kind::Text if prose::may_mention(body) || prose::may_be_base64(body) => {
                self.mentions(&|| Place::Body, body)
            }
            Kind::Text => {}
        }
    }

    /// A document inside a value; whether it is one.
    pub(super) fn nested(&mut self, place: &dyn Fn() -> Place, value: &[u8]) -> bool {
        let value = value.trim_ascii();
        match value.first() {
            Some(b'{' | b'[') if memchr::memchr(b'"', value).is_some() => self.json(value, DEPTH.saturating_sub(1)),
            Some(b'<') if is_xml(value) => self.xml(value),
            _ => return false,
        }
        // what the reader of documents passed over (keys, comments, bare words) may still mention something
        self.mentions(place, value);
        true
    }

    /// Strings of JSON text: values and keys, escapes undone. Takes any number of documents, and cut-off ones.
    fn json(&mut self, text: &[u8], depth: usize) {
        let mut rest = text;
        let mut key = &b""[..];
        while let Some(at) = memchr::memchr(b'"', rest) {
            let Some(after) = rest.get(at.saturating_add(1)..) else { return };
            let len = string_len(after);
            let (string, tail) = after.split_at_checked(len).unwrap_or((after, b""));
            rest = tail.get(1..).unwrap_or_default();
            let is_key = rest.trim_ascii_start().first() == Some(&b':');
            if is_key {
                key = string.get(..128).unwrap_or(string);
            }
            if string.len() < 8 || !(prose::may_mention(string) || may_be_url(string) || prose::may_be_base64(string)) {
                continue;
            }
            let plain = json_unescape(string).map_or(Cow::Borrowed(string), Cow::Owned);
            let place = || Place::Json(lossy(key).into_owned());
            if is_key {
                self.mentions(&place, &plain);
            } else if depth > 0 && is_document(&plain) {
                self.json(&plain, depth.saturating_sub(1));
            } else {
                self.value(&place, &plain, Document::Yes);
            }
        }
    }

    /// Parts of a multipart body (RFC 7578).
    fn multipart(&mut self, content_type: &[u8], body: &[u8]) {
        let named = parameter(content_type, b"boundary");
        let guessed = || body.strip_prefix(b"--").and_then(|body| body.split(|b| matches!(b, b'\r' | b'\n')).next());
        let Some(boundary) = named.or_else(guessed).filter(|boundary| !boundary.is_empty()) else { return };
        let delimiter = [b"--", boundary].concat();
        let mut ends = memchr::memmem::find_iter(body, &delimiter).skip(1).chain([body.len()]);
        for start in memchr::memmem::find_iter(body, &delimiter).take(PARTS) {
            let end = ends.next().unwrap_or(body.len());
            let part = body.get(start.saturating_add(delimiter.len())..end).unwrap_or_default();
            self.part(part);
        }
    }

    fn part(&mut self, part: &[u8]) {
        let part = part.strip_prefix(b"\r").unwrap_or(part);
        let part = part.strip_prefix(b"\n").unwrap_or(part);
        let blank = memchr::memmem::find(part, b"\r\n\r\n").map(|at| (at, 4usize));
        let Some((at, gap)) = blank.or_else(|| memchr::memmem::find(part, b"\n\n").map(|at| (at, 2))) else { return };
        let (headers, content) = part.split_at_checked(at).unwrap_or((part, b""));
        let content = content.get(gap..).unwrap_or_default().trim_ascii();
        let name = || parameter(headers, b"name").map(|name| lossy(name).into_owned());
        let place = || Place::Multipart(name().unwrap_or_default());
        if content.len() >= 8 && (prose::may_mention(content) || may_be_url(content) || prose::may_be_base64(content)) {
            self.value(&place, content, Document::No);
        }
    }

    /// Values of XML: element text, attributes, identifiers of entities and DTDs.
    fn xml(&mut self, text: &[u8]) {
        let mut rest = text;
        while let Some(open) = memchr::memchr(b'<', rest) {
            let (content, tag) = rest.split_at_checked(open).unwrap_or((rest, b""));
            self.xml_value(content);
            if let Some(cdata) = tag.strip_prefix(b"<![CDATA[") {
                let end = memchr::memmem::find(cdata, b"]]>").unwrap_or(cdata.len());
                self.xml_value(cdata.get(..end).unwrap_or_default());
                rest = cdata.get(end..).unwrap_or_default();
                continue;
            }
            if tag.starts_with(b"<!--") {
                let end = memchr::memmem::find(tag, b"-->").unwrap_or(tag.len());
                let (comment, tail) = tag.split_at_checked(end).unwrap_or((tag, b""));
                if prose::may_mention(comment) {
                    self.mentions(&|| Place::Xml, comment);
                }
                rest = tail;
                continue;
            }
            let len = tag_len(tag);
            let (tag, tail) = tag.split_at_checked(len).unwrap_or((tag, b""));
            self.attributes(tag);
            rest = tail;
        }
        self.xml_value(rest);
    }

    /// Quoted strings of a tag or declaration.
    fn attributes(&mut self, tag: &[u8]) {
        let mut rest = tag;
        while let Some(at) = memchr::memchr2(b'"', b'\'', rest) {
            let (quote, after) = match rest.get(at..).and_then(<[u8]>::split_first) {
                Some((quote, after)) => (*quote, after),
                None => return,
            };
            let end = memchr::memchr(quote, after).unwrap_or(after.len());
            let (value, tail) = after.split_at_checked(end).unwrap_or((after, b""));
            self.xml_value(value);
            rest = tail.get(1..).unwrap_or_default();
        }
    }

    fn xml_value(&mut self, value: &[u8]) {
        let value = value.trim_ascii();
        if value.len() < 8 || !(prose::may_mention(value) || may_be_url(value) || prose::may_be_base64(value)) {
            return;
        }
        let plain = entities(value).map_or(Cow::Borrowed(value), Cow::Owned);
        self.value(&|| Place::Xml, &plain, Document::Yes);
    }
}

/// A JSON object or array in a string.
fn is_document(text: &[u8]) -> bool {
    matches!(text.trim_ascii_start().first(), Some(b'{' | b'[')) && memchr::memchr(b'"', text).is_some()
}

fn kind(content_type: &[u8], body: &[u8]) -> Kind {
    let content_type = content_type.to_ascii_lowercase();
    let says = |what: &[u8]| memchr::memmem::find(&content_type, what).is_some();
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii_start();
    match body.first() {
        _ if says(b"multipart/") => Kind::Multipart,
        Some(b'{' | b'[' | b'"') => Kind::Json,
        Some(b'<') if says(b"xml") || is_xml(body) => Kind::Xml,
        _ if says(b"json") => Kind::Json,
        _ if says(b"x-www-form-urlencoded") => Kind::Form,
        _ if content_type.is_empty() && is_form(body) => Kind::Form,
        _ => Kind::Text,
    }
}

/// Records on their way to a store: their fields tell of URLs, nobody fetches them.
fn is_log(content_type: &[u8], target: &[u8]) -> bool {
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    memchr::memmem::find(&content_type.to_ascii_lowercase(), b"ndjson").is_some() || path.ends_with(b"/_bulk")
}

/// `name=value` from the beginning on, without blanks.
fn is_form(body: &[u8]) -> bool {
    let name = body.iter().position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'[' | b']')));
    name.is_some_and(|at| at > 0 && body.get(at) == Some(&b'='))
        && memchr::memchr2(b' ', b'\n', body.trim_ascii()).is_none()
}

/// XML or SVG by its first bytes; HTML is text here, because its links are not fetched by themselves.
fn is_xml(body: &[u8]) -> bool {
    let head = body.get(..256).unwrap_or(body).to_ascii_lowercase();
    let has = |what: &[u8]| memchr::memmem::find(&head, what).is_some();
    if has(b"<!doctype html") || has(b"<html") {
        return false;
    }
    [&b"<?xml"[..], b"<!doctype", b"<!entity", b"<svg", b"<soap", b"<rss", b"<feed"]
        .iter()
        .any(|start| head.starts_with(start))
        || has(b"xmlns")
}

/// Bytes up to the quote that ends a JSON string.
fn string_len(text: &[u8]) -> usize {
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

/// Bytes of a tag or declaration, its `>` included; a document type with an internal subset ends at its first `[`, so
/// that the declarations inside are tags of their own.
fn tag_len(tag: &[u8]) -> usize {
    let mut quote = None;
    for (at, byte) in tag.iter().enumerate() {
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            (None, b'>' | b'[') => return at.saturating_add(1),
            _ => {}
        }
    }
    tag.len()
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
