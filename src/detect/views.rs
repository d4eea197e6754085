//! What a text means when its encodings are undone: percent-encoding, JSON and HTML escapes, base64 (both alphabets, any
//! alignment, in lines), hex, base32, UTF-16, labels of names, compressed data.
//!
//! In: bytes. Out: every reading of them, handed to a [`Visitor`]; what it finds there is mapped back to the bytes that
//! say so. Bounds: [`DEPTH`] encodings inside each other, [`WORK`] bytes read for each byte of the text.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

mod escapes;
mod symbols;
mod unpacked;

use std::cell::Cell;
use std::ops::{Deref, DerefMut, Range};

use self::symbols::Symbols;

/// Encodings inside each other that are undone.
const DEPTH: u8 = 4;
/// Bytes of all readings, for each byte of the text.
const WORK: usize = 16;
/// The same for the shortest texts.
const WORK_LEAST: usize = 8 * 1024;
/// Characters in a row that a reading must have to tell anything: those of which secrets are compared.
const MIN_LEGIBLE: usize = 16;
/// A shorter line is the last one of a text in base64 or hex, or belongs to none.
const MIN_LINE: usize = 20;
/// Longest name whose labels are read together.
const MAX_NAME: usize = 1024;

/// Looks at the readings of a text.
pub trait Visitor {
    /// Whether it asks where in the text its finds are; that costs.
    const TRACES: bool;

    /// Takes one reading, and appends what it finds there, if it [traces](Self::TRACES).
    fn read(&mut self, text: &[u8], found: &mut Vec<Range<usize>>);

    /// Whether it has seen enough.
    fn is_done(&self) -> bool {
        false
    }
}

/// Shows `text` and all that it stands for to the visitor. What was found, as ranges of `text`, in no order.
pub fn visit<V: Visitor>(text: &[u8], visitor: &mut V) -> Vec<Range<usize>> {
    let work = Cell::new(text.len().saturating_mul(WORK).max(WORK_LEAST));
    level(text, DEPTH, &work, visitor)
}

fn level<V: Visitor>(text: &[u8], depth: u8, work: &Cell<usize>, visitor: &mut V) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    visitor.read(text, &mut found);
    if depth == 0 || visitor.is_done() {
        return found;
    }
    each_view::<V>(text, work, &mut |view| {
        let left = work.get().checked_sub(view.bytes.len());
        work.set(left.unwrap_or(0));
        if left.is_none() || visitor.is_done() || !is_legible(&view.bytes) {
            return;
        }
        let inner = level(&view.bytes, depth.saturating_sub(1), work, visitor);
        found.extend(inner.into_iter().filter_map(|range| view.source(&range)));
    });
    found
}

/// Bytes that are wiped when they are dropped: those that are there, in one go.
struct Wiped(Vec<u8>);

impl Drop for Wiped {
    fn drop(&mut self) {
        zeroize::zeroize_bytes(&mut self.0);
    }
}

impl Deref for Wiped {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

/// A text that another stands for.
struct View<'s> {
    bytes: Wiped,
    origin: Origin<'s>,
}

/// Where in the other text the bytes of a [`View`] come from.
enum Origin<'s> {
    /// Of each byte, in order; empty where nobody asks.
    Each(Vec<(u32, u32)>),
    /// They are packed in symbols of `width` bits each, from the symbol `first` on.
    Packed { symbols: &'s Symbols<'s>, first: usize, width: usize },
    /// Single bytes cannot be told apart.
    Whole(Range<usize>),
}

impl View<'_> {
    fn new(capacity: usize) -> Self {
        Self { bytes: Wiped(Vec::with_capacity(capacity)), origin: Origin::Each(Vec::new()) }
    }

    /// Appends a byte that stands for `from..to`.
    fn push<V: Visitor>(&mut self, byte: u8, from: usize, to: usize) {
        self.bytes.push(byte);
        if let Origin::Each(spans) = &mut self.origin
            && V::TRACES
        {
            spans.push((from as u32, to as u32));
        }
    }

    /// Appends bytes that stand for themselves, from `from` on.
    fn extend<V: Visitor>(&mut self, bytes: &[u8], from: usize) {
        self.bytes.extend_from_slice(bytes);
        if let Origin::Each(spans) = &mut self.origin
            && V::TRACES
        {
            let places = (from..).zip(bytes).map(|(at, _)| (at as u32, at.saturating_add(1) as u32));
            spans.extend(places);
        }
    }

    fn source(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let last = range.end.checked_sub(1)?;
        match &self.origin {
            Origin::Each(spans) => Some(spans.get(range.start)?.0 as usize..spans.get(last)?.1 as usize),
            Origin::Packed { symbols, first, width } => {
                let symbol = |bit: usize| symbols.place(bit.checked_div(*width)?.checked_add(*first)?);
                let start = symbol(range.start.checked_mul(8)?)?;
                let end = symbol(range.end.checked_mul(8)?.checked_sub(1)?)?;
                Some(start..end.checked_add(1)?)
            }
            Origin::Whole(range) => Some(range.clone()),
        }
    }
}

/// Shows what a text stands for, no more of it than there is `work` left for.
fn each_view<V: Visitor>(text: &[u8], work: &Cell<usize>, take: &mut dyn FnMut(&View<'_>)) {
    if memchr::memchr3(b'%', b'\\', b'&', text).is_some() || escapes::has_soft_break(text) {
        escapes::unescaped::<V>(text).iter().for_each(&mut *take);
    }
    if memchr::memchr(0, text).is_some() {
        take(&narrow::<V>(text));
    }
    if unpacked::is_packed(text) {
        // to make a byte of it takes as long as to read one
        if let Some(view) = unpacked::unpacked(text, work.get() / 2) {
            work.set(work.get().saturating_sub(view.bytes.len()));
            take(&view);
        }
    }
    joined_labels::<V>(text, take);
    let mut from = 0;
    while let Some(run) = symbols::next_encoded(text, from).filter(|_| work.get() > 0) {
        from = run.end;
        symbols::decoded::<V>(text, run, take);
    }
}

/// Text of wide characters without their zeros, in whatever order of bytes.
fn narrow<V: Visitor>(text: &[u8]) -> View<'static> {
    let mut view = View::new(text.len());
    for (at, byte) in text.iter().enumerate().filter(|(_, byte)| **byte != 0) {
        view.push::<V>(*byte, at, at.saturating_add(1));
    }
    view
}

/// Names in the text without their dots: a secret longer than a label is cut into several.
fn joined_labels<V: Visitor>(text: &[u8], take: &mut dyn FnMut(&View<'_>)) {
    let mut from = 0usize;
    while let Some(dot) = text.get(from..).and_then(|rest| memchr::memchr(b'.', rest)) {
        let dot = from.saturating_add(dot);
        let is_in = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+' | b'/');
        let before = text.get(from..dot).unwrap_or_default().iter().rev().take_while(|byte| is_in(byte)).count();
        let after = text.get(dot..).unwrap_or_default().iter().take_while(|byte| is_in(byte)).count();
        let (start, end) = (dot.saturating_sub(before), dot.saturating_add(after));
        from = end.max(dot.saturating_add(1));
        let name = text.get(start..end).unwrap_or_default();
        let is_web_token = name.starts_with(b"eyJ") && name.iter().filter(|byte| **byte == b'.').count() == 2;
        if !(MIN_LINE..=MAX_NAME).contains(&name.len()) || is_web_token {
            continue;
        }
        let mut view = View::new(name.len());
        for (place, byte) in name.iter().enumerate().filter(|(_, byte)| **byte != b'.') {
            let at = start.saturating_add(place);
            view.push::<V>(*byte, at, at.saturating_add(1));
        }
        take(&view);
    }
}

/// Whether bytes can tell anything: hardly any run that looks like base64 is, and what comes of the others is noise, which
/// need not be read. Readings of a reading are made of its characters, without zeros, line breaks or escapes.
fn is_legible(bytes: &[u8]) -> bool {
    let is_text = |byte: u8| byte > b' ' && byte < 0x7F || matches!(byte, 0 | b'\t' | b'\n' | b'\r');
    super::tokens::next_run_of(bytes, MIN_LEGIBLE, is_text).is_some() || unpacked::is_packed(bytes)
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};

    use super::*;

    /// Finds a word in every reading.
    struct Word(&'static [u8]);

    impl Visitor for Word {
        const TRACES: bool = true;

        fn read(&mut self, text: &[u8], found: &mut Vec<Range<usize>>) {
            found.extend(memchr::memmem::find_iter(text, self.0).map(|at| at..at + self.0.len()));
        }
    }

    /// Where the word is found, as text.
    #[track_caller]
    fn found(text: &str, expected: &[&str]) {
        let mut ranges = visit(text.as_bytes(), &mut Word(b"wJalrXUtnFEMI/K7"));
        ranges.sort_by_key(|range| (range.start, range.end));
        ranges.dedup();
        let shown: Vec<_> = ranges.iter().map(|range| &text[range.clone()]).collect();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn finds_are_mapped_to_the_bytes_that_say_so() {
        let word = "wJalrXUtnFEMI/K7";
        let hex: String = word.bytes().map(|byte| format!("{byte:02X}")).collect();
        let wide: String = word.chars().flat_map(|c| [c, '\0']).collect();
        let in_base64 = BASE64_STANDARD.encode(format!("k: {word}, l"));
        found("a wJalrXUtnFEMI/K7 b", &[word]);
        found("a wJalrXUtnFEMI%2FK7 b%20", &["wJalrXUtnFEMI%2FK7"]);
        found("a wJalrXUtnFEMI%252FK7 b%20", &["wJalrXUtnFEMI%252FK7"]);
        found(r"a wJalrXUtnFEMI\/K7 b", &[r"wJalrXUtnFEMI\/K7"]);
        found(r"a wJalrXUtnFEMI\u002fK7 b", &[r"wJalrXUtnFEMI\u002fK7"]);
        found("a wJalrXUtnFEMI&#x2F;&#75;7 b", &["wJalrXUtnFEMI&#x2F;&#75;7"]);
        found(&format!("x={hex}&"), &[&hex]);
        found(&format!("x={wide}&"), &[wide.trim_end_matches('\0')]);
        found(&format!("/drop/{in_base64}"), &[&in_base64[4..26]]);
        found("x.wJalrXUt.nFEMI/K7.y", &["wJalrXUt.nFEMI/K7"]);
    }

    #[test]
    fn encodings_inside_each_other_are_undone() {
        let word = "wJalrXUtnFEMI/K7";
        let inner = BASE64_URL_SAFE_NO_PAD.encode(format!("{{\"a\":\"{}\"}}", word.replace('/', "\\/")));
        let text = format!("q={}", BASE64_STANDARD.encode(inner.as_bytes()).replace('=', "%3D"));
        assert!(!visit(text.as_bytes(), &mut Word(b"wJalrXUtnFEMI/K7")).is_empty());
        let lines: Vec<String> = BASE64_STANDARD
            .encode(format!("{}{word}", "secret ".repeat(20)))
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
            .collect();
        assert!(!visit(lines.join("\r\n").as_bytes(), &mut Word(b"wJalrXUtnFEMI/K7")).is_empty());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, format!("the key is {word}").as_bytes()).unwrap();
        let text = format!("{{\"d\":\"{}\"}}", BASE64_STANDARD.encode(gzip.finish().unwrap()));
        assert!(!visit(text.as_bytes(), &mut Word(b"wJalrXUtnFEMI/K7")).is_empty());
    }

    #[test]
    fn the_last_symbol_is_read_as_it_is() {
        struct Ends(Vec<u8>, bool);
        impl Visitor for Ends {
            const TRACES: bool = false;
            fn read(&mut self, text: &[u8], _: &mut Vec<Range<usize>>) {
                self.1 |= text == self.0;
            }
        }
        for len in 24..60 {
            let bytes = vec![b'`'; len];
            let mut ends = Ends(bytes.clone(), false);
            visit(BASE64_URL_SAFE_NO_PAD.encode(&bytes).as_bytes(), &mut ends);
            assert!(ends.1, "{len}");
        }
    }

    #[test]
    fn every_alignment_is_read() {
        for before in 0..9 {
            let bytes = format!("{}wJalrXUtnFEMI/K7{}", "a".repeat(before), "b".repeat(5));
            let base32 = data_encoding(bytes.as_bytes());
            for text in [BASE64_STANDARD.encode(&bytes), format!("ab{}", BASE64_STANDARD.encode(&bytes)), base32] {
                assert!(!visit(text.as_bytes(), &mut Word(b"wJalrXUtnFEMI/K7")).is_empty(), "{text}");
            }
        }
    }

    fn data_encoding(bytes: &[u8]) -> String {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
        let groups = bits.as_bytes().chunks(5).map(|group| {
            let digits = format!("{:0<5}", std::str::from_utf8(group).unwrap());
            char::from(alphabet[usize::from_str_radix(&digits, 2).unwrap()])
        });
        groups.collect()
    }

    #[test]
    fn work_is_bounded_by_the_text() {
        struct Count(usize);
        impl Visitor for Count {
            const TRACES: bool = false;
            fn read(&mut self, text: &[u8], _: &mut Vec<Range<usize>>) {
                self.0 += text.len();
            }
        }
        let mut text = b"A".repeat(40_000);
        for _ in 0..3 {
            text = BASE64_STANDARD.encode(&text).into_bytes();
            text.truncate(40_000);
        }
        for text in [text, b"%25".repeat(20_000), b"a.".repeat(20_000), b"2".repeat(50_000)] {
            let mut count = Count(0);
            visit(&text, &mut count);
            assert!(count.0 <= text.len() * (WORK + 1), "{} for {}", count.0, text.len());
        }
    }
}
