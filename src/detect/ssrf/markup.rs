//! Documents for a renderer: what XML, HTML, SVG, style sheets and playlists make whoever reads them load.
//!
//! In HTML only what is loaded without anybody's doing counts (frames, images, scripts, imports, refreshes); a link is
//! only mentioned. Each document is walked once.

use std::borrow::Cow;

use super::search::{Document, Search};
use super::{is_target, text};
use crate::bytes::find;
use crate::detect::canonical::{self, Parsed, Scheme, entities};
use crate::detect::{CandidateKind, HostRef, Place};
use crate::text::b64;

/// Bytes in which a page says that it is one.
const HEAD: usize = 512;
/// Attributes of one tag that are read.
const ATTRIBUTES: usize = 64;
/// Longest URL that relative ones are joined with.
const URL: usize = 1024;
/// What a page's own script may send its reader to.
const FOLLOWED: [&str; 2] = ["action", "formaction"];

/// Whether text holds a tag, so that something in it may be loaded.
pub(super) fn is_loading(text: &[u8]) -> bool {
    let is_tag = |at: usize| text.get(at.saturating_add(1)).is_some_and(|b| b.is_ascii_alphabetic() || *b == b'?');
    memchr::memchr_iter(b'<', text).any(is_tag)
}

/// Whether markup is a page for people, also behind a declaration or a comment.
pub(super) fn is_page(text: &[u8]) -> bool {
    let head = text.get(..HEAD).unwrap_or(text).to_ascii_lowercase();
    [&b"<html"[..], b"<!doctype html"].iter().any(|tag| memchr::memmem::find(&head, tag).is_some())
}

/// Whether text is a playlist (RFC 8216, or PLS).
pub(super) fn is_playlist(text: &[u8]) -> bool {
    text.starts_with(b"#EXTM3U") || is_pls(text)
}

fn is_pls(text: &[u8]) -> bool {
    text.get(..10).is_some_and(|head| head.eq_ignore_ascii_case(b"[playlist]"))
}

impl Search<'_> {
    /// Values of XML: element text, attributes, identifiers of entities and DTDs.
    pub(super) fn xml(&mut self, text: &[u8]) {
        if !self.budget.spend(text.len()) {
            return;
        }
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
                if text::may_mention(comment) {
                    self.mentions(&|| Place::Xml, comment);
                }
                rest = tail;
                continue;
            }
            let len = tag_len(tag);
            let (tag, tail) = tag.split_at_checked(len).unwrap_or((tag, b""));
            self.quoted(tag);
            rest = tail;
        }
        self.xml_value(rest);
    }

    /// Quoted strings of a tag or declaration.
    fn quoted(&mut self, tag: &[u8]) {
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
        if self.is_of_interest(value) {
            self.value(&|| Place::Xml, &plain(value), Document::Yes);
        }
    }

    /// What a page makes its reader load.
    pub(super) fn page(&mut self, place: &dyn Fn() -> Place, text: &[u8]) {
        if !self.budget.spend(text.len()) {
            return;
        }
        let mut rest = text;
        while let Some(open) = memchr::memchr(b'<', rest) {
            let Some(tag) = rest.get(open.saturating_add(1)..) else { return };
            if tag.starts_with(b"!--") {
                let end = memchr::memmem::find(tag, b"-->").unwrap_or(tag.len());
                rest = tag.get(end..).unwrap_or_default();
                continue;
            }
            let name = tag.iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'?' | b':' | b'-')).count();
            let (name, attributes) = tag.split_at_checked(name).unwrap_or((tag, b""));
            rest = if name.is_empty() { tag } else { self.attributes(place, name, attributes) };
            if name.eq_ignore_ascii_case(b"style") || name.eq_ignore_ascii_case(b"script") {
                let end = find_ignore_case(rest, b"</", name).unwrap_or(rest.len());
                let (inner, tail) = rest.split_at_checked(end).unwrap_or((rest, b""));
                if name.eq_ignore_ascii_case(b"style") {
                    self.style(place, inner);
                } else {
                    self.script(place, inner);
                }
                rest = tail;
            }
        }
    }

    /// The attributes of a tag; gives back what follows it.
    fn attributes<'t>(&mut self, place: &dyn Fn() -> Place, tag: &[u8], text: &'t [u8]) -> &'t [u8] {
        let mut rest = text;
        for _ in 0..ATTRIBUTES {
            let skipped = rest.iter().take_while(|b| b.is_ascii_whitespace() || **b == b'/').count();
            rest = rest.get(skipped..).unwrap_or_default();
            if matches!(rest.first(), None | Some(b'>' | b'<')) {
                break;
            }
            let is_end = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'=' | b'>' | b'/' | b'<');
            let len = rest.iter().position(is_end).unwrap_or(rest.len()).max(1);
            let (name, after) = rest.split_at_checked(len).unwrap_or((rest, b""));
            rest = after;
            let Some(after) = after.trim_ascii_start().strip_prefix(b"=") else { continue };
            let (value, after) = attribute_value(after.trim_ascii_start());
            rest = after;
            self.attribute(place, tag, name, value);
        }
        let end = rest.iter().position(|b| matches!(b, b'>' | b'<')).unwrap_or(rest.len());
        rest.get(end..).unwrap_or_default()
    }

    fn attribute(&mut self, place: &dyn Fn() -> Place, tag: &[u8], name: &[u8], value: &[u8]) {
        let is_followed = || self.follows && FOLLOWED.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        let Some(load) = load_of(tag, name).or_else(|| is_followed().then_some(Load::Url)) else { return };
        let value = plain(value);
        if tag.eq_ignore_ascii_case(b"base") {
            self.base = value.get(..URL).unwrap_or(&value).to_vec();
        }
        match load {
            Load::Url => self.loaded(place, &value),
            Load::Set => value.split(|b| *b == b',').for_each(|one| {
                self.loaded(place, one.trim_ascii_start().split(u8::is_ascii_whitespace).next().unwrap_or_default());
            }),
            Load::Style => self.style(place, &value),
            Load::Document => self.inside(|search| search.page(place, &value)),
            Load::Refresh => {
                if let Some(at) = find_ignore_case(&value, b"", b"url") {
                    let url = value.get(at.saturating_add(3)..).unwrap_or_default().trim_ascii_start();
                    self.loaded(place, url.strip_prefix(b"=").unwrap_or(url));
                } else if self.follows {
                    // the picture of a preview
                    self.loaded(place, &value);
                }
            }
        }
    }

    /// `url(…)` and `@import` of a style sheet.
    pub(super) fn style(&mut self, place: &dyn Fn() -> Place, text: &[u8]) {
        if !self.budget.spend(text.len() / 4) {
            return;
        }
        for open in memchr::memchr_iter(b'(', text) {
            let is_url = text.get(open.saturating_sub(3)..open).is_some_and(|name| name.eq_ignore_ascii_case(b"url"));
            let after = text.get(open.saturating_add(1)..).filter(|_| is_url).unwrap_or_default();
            let end = after.iter().take(1024).position(|b| *b == b')').unwrap_or(0);
            self.loaded(place, after.get(..end).unwrap_or_default());
        }
        for at in memchr::memchr_iter(b'@', text) {
            let rest = text.get(at.saturating_add(1)..).unwrap_or_default();
            let is_import = rest.get(..6).is_some_and(|word| word.eq_ignore_ascii_case(b"import"));
            let rest = rest.get(6..).filter(|_| is_import).unwrap_or_default().trim_ascii_start();
            if matches!(rest.first(), Some(b'"' | b'\'')) {
                self.loaded(place, attribute_value(rest).0);
            }
        }
    }

    /// Strings of a script. What it does with them nobody knows, so that whole URLs are mentioned (as is done with all
    /// text), and what a page makes its reader load only where that is followed.
    pub(super) fn script(&mut self, place: &dyn Fn() -> Place, text: &[u8]) {
        if !self.budget.spend(text.len() / 2) {
            return;
        }
        let mut pieces = Pieces::default();
        let mut rest = text;
        while let Some(at) = memchr::memchr3(b'"', b'\'', b'`', rest) {
            let Some((quote, after)) = rest.get(at..).and_then(<[u8]>::split_first) else { return };
            let end = memchr::memchr2(*quote, b'\n', after).unwrap_or(after.len());
            let (string, tail) = after.split_at_checked(end).unwrap_or((after, b""));
            rest = tail.get(1..).unwrap_or_default();
            if self.follows {
                self.loaded(place, string);
                if string.starts_with(text::BASE64_URL)
                    && self.budget.spend(string.len())
                    && let Some(decoded) = b64::decode(string)
                {
                    self.loaded(place, &decoded);
                }
            }
            pieces.take(string);
        }
        self.pieces(place, &pieces);
    }

    /// Puts a URL together of what stands in strings of its own: numbers that make an address, and a path of its service.
    fn pieces(&mut self, place: &dyn Fn() -> Place, pieces: &Pieces<'_>) {
        let Some(path) = pieces.path.map(canonical::normalise_path) else { return };
        let numbers: Vec<&str> = pieces.numbers.iter().filter_map(|number| str::from_utf8(number).ok()).collect();
        let address = match numbers.as_slice() {
            [high, low] => format!("{high}.{low}.{high}.{low}"),
            numbers => numbers.join("."),
        };
        let Ok(ip) = address.parse::<std::net::Ipv4Addr>() else { return };
        let host = HostRef::Address(ip.into());
        if !is_target(self.catalogue, &host, None) || !self.is_path_of(&host, &path) {
            return;
        }
        let url = format!("http://{address}{path}");
        let parsed = Parsed { scheme: Scheme::Bare, host, port: None, path: Some(path), method: None, disguised: true };
        self.push(CandidateKind::Mention, place, parsed, url.as_bytes());
    }

    /// The lines of a playlist that are no remarks, and the URIs of its tags.
    pub(super) fn playlist(&mut self, place: &dyn Fn() -> Place, text: &[u8]) {
        if !self.budget.spend(text.len()) {
            return;
        }
        let is_pls = is_pls(text);
        for line in text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii) {
            match line.strip_prefix(b"#") {
                None if is_pls => self.loaded(place, line.split(|b| *b == b'=').nth(1).unwrap_or_default()),
                // `concat:` joins several
                None => line.split(|b| *b == b'|').for_each(|url| self.loaded(place, url)),
                Some(tag) => {
                    if let Some(at) = find(tag, b"URI=") {
                        self.loaded(place, attribute_value(tag.get(at.saturating_add(4)..).unwrap_or_default()).0);
                    }
                }
            }
        }
    }

    /// A URL that a renderer loads by itself.
    fn loaded(&mut self, place: &dyn Fn() -> Place, url: &[u8]) {
        if url.len() >= super::search::MIN {
            self.whole_url(place, url, Document::No);
        }
        if !self.base.is_empty() && !url.is_empty() && !canonical::may_begin_url(url) {
            let joined = [self.base.strip_suffix(b"/").unwrap_or(&self.base), b"/", url].concat();
            self.whole_url(place, &joined, Document::No);
        }
    }
}

/// Pieces of a URL among the strings of a script: some join them only when it runs.
#[derive(Default)]
struct Pieces<'t> {
    numbers: Vec<&'t [u8]>,
    path: Option<&'t [u8]>,
}

impl<'t> Pieces<'t> {
    fn take(&mut self, string: &'t [u8]) {
        let is_number = (1..=15).contains(&string.len())
            && string.first().is_some_and(u8::is_ascii_digit)
            && string.iter().all(|b| b.is_ascii_digit() || *b == b'.');
        if is_number && self.numbers.len() < 8 {
            self.numbers.push(string);
        }
        if string.first() == Some(&b'/') && string.len() > 8 && self.path.is_none() {
            self.path = Some(string);
        }
    }
}

/// What a renderer does with an attribute's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    Url,
    /// URLs with a description each, with commas between.
    Set,
    /// A style sheet's rules.
    Style,
    /// A page.
    Document,
    /// Seconds, and the URL to go to.
    Refresh,
}

/// What a renderer does by itself with an attribute of a tag.
fn load_of(tag: &[u8], name: &[u8]) -> Option<Load> {
    let tag_is = |known: &str| tag.eq_ignore_ascii_case(known.as_bytes());
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match name.first()?.to_ascii_lowercase() {
        b's' if is("src") => Some(Load::Url),
        b's' if is("srcset") => Some(Load::Set),
        b's' if is("srcdoc") => Some(Load::Document),
        b's' if is("style") => Some(Load::Style),
        b'h' if is("href") && !(tag_is("a") || tag_is("area")) => Some(Load::Url),
        b'x' if is("xlink:href") && !tag_is("a") => Some(Load::Url),
        b'd' if is("data") || is("dynsrc") => Some(Load::Url),
        b'c' if is("content") && tag_is("meta") => Some(Load::Refresh),
        b'c' if is("codebase") || is("code") || is("classid") => Some(Load::Url),
        b'a' if is("archive") => Some(Load::Url),
        b'b' if is("background") => Some(Load::Url),
        b'l' if is("lowsrc") => Some(Load::Url),
        b'm' if is("manifest") => Some(Load::Url),
        b'p' if is("poster") => Some(Load::Url),
        _ => None,
    }
}

/// Character references undone.
fn plain(value: &[u8]) -> Cow<'_, [u8]> {
    entities(value).map_or(Cow::Borrowed(value), Cow::Owned)
}

/// The value that `text` begins with, quoted or not, and what follows it.
fn attribute_value(text: &[u8]) -> (&[u8], &[u8]) {
    match text.split_first() {
        Some((quote @ (b'"' | b'\''), after)) => {
            let end = memchr::memchr(*quote, after).unwrap_or(after.len());
            let (value, rest) = after.split_at_checked(end).unwrap_or((after, b""));
            (value, rest.get(1..).unwrap_or_default())
        }
        _ => {
            let end = text.iter().position(|b| b.is_ascii_whitespace() || *b == b'>').unwrap_or(text.len());
            text.split_at_checked(end).unwrap_or((text, b""))
        }
    }
}

/// Where `mark` (as written) with `word` (in any case) behind it begins.
fn find_ignore_case(text: &[u8], mark: &[u8], word: &[u8]) -> Option<usize> {
    let first = mark.first().or(word.first())?;
    let len = mark.len();
    let fits = |at: &usize| {
        let rest = text.get(*at..).unwrap_or_default();
        rest.starts_with(mark)
            && rest.get(len..len.saturating_add(word.len())).is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    memchr::memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), text).find(fits)
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
