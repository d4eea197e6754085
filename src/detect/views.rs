//! What a text means when its encodings are undone: percent-encoding, JSON and HTML escapes, base64 (both alphabets, any
//! alignment, in lines), hex, base32, UTF-16, labels of names, compressed data.
//!
//! In: bytes. Out: every reading of them, handed to a [`Visitor`]; what it finds there is mapped back to the bytes that
//! say so. Bounds: [`DEPTH`] encodings inside each other, [`WORK`] bytes read for each byte of the text.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::cell::Cell;
use std::ops::{Deref, DerefMut, Range};

use super::content;
use super::content::inflate::Wrapping;

/// Encodings inside each other that are undone.
const DEPTH: u8 = 4;
/// Bytes of all readings, for each byte of the text.
const WORK: usize = 16;
/// The same for the shortest texts.
const WORK_LEAST: usize = 8 * 1024;
/// Most bytes that compressed data may become.
const MAX_UNPACKED: usize = 64 * 1024;
/// Places at which compressed data known by two bytes is tried, and what it has to give.
const ZLIB_TRIES: usize = 4;
const GOOD: usize = 32;
/// Characters in a row that a reading must have to tell anything: those of which secrets are compared.
const MIN_LEGIBLE: usize = 16;
/// Characters that 16 characters are in base64, base32 and hex at least.
const MIN_BASE64: usize = 22;
const MIN_BASE32: usize = 26;
const MIN_HEX: usize = 32;
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
    if memchr::memchr3(b'%', b'\\', b'&', text).is_some() || has_soft_break(text) {
        unescaped::<V>(text).iter().for_each(&mut *take);
    }
    if memchr::memchr(0, text).is_some() {
        take(&narrow::<V>(text));
    }
    if is_packed(text) {
        unpacked(text, work.get()).iter().for_each(&mut *take);
    }
    joined_labels::<V>(text, take);
    let mut from = 0;
    while let Some(run) = next_encoded(text, from).filter(|_| work.get() > 0) {
        from = run.end;
        decoded::<V>(text, run, take);
    }
}

/// Whether there is a soft line break of quoted-printable.
fn has_soft_break(text: &[u8]) -> bool {
    let is_break = |at: usize| matches!(text.get(at..), Some([_, b'\n' | b'\r', ..]));
    memchr::memchr_iter(b'=', text).any(is_break)
}

/// The text without its escapes: `%2F`, `\/`, `\u002f`, `\x2f`, `\047` (decimal, as names of DNS are shown), `&#47;`,
/// `&quot;`, and the soft line breaks of quoted-printable. `None` where there are none.
fn unescaped<V: Visitor>(text: &[u8]) -> Option<View<'static>> {
    let mut view = View::new(text.len());
    let mut at = 0usize;
    let mut is_same = true;
    // where the next soft line break may be: there are few, and each search for it goes beyond what is in hand
    let mut equals = 0usize;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if equals < at || equals == 0 {
            equals = memchr::memchr(b'=', rest).map_or(text.len(), |found| at.saturating_add(found));
        }
        let mark = memchr::memchr3(b'%', b'\\', b'&', rest).unwrap_or(rest.len());
        let plain = mark.min(equals.saturating_sub(at));
        view.extend::<V>(rest.get(..plain).unwrap_or_default(), at);
        at = at.saturating_add(plain);
        let Some(escape) = rest.get(plain..).filter(|escape| !escape.is_empty()) else { break };
        let (byte, len) = match unescape(escape) {
            Some((byte, len)) => {
                is_same = false;
                (byte, len)
            }
            None => (escape.first().copied(), 1),
        };
        if let Some(byte) = byte {
            view.push::<V>(byte, at, at.saturating_add(len));
        }
        at = at.saturating_add(len);
    }
    Some(view).filter(|_| !is_same)
}

/// What an escape at the beginning of `text` stands for, if anything, and its length. Characters that are no single byte
/// are none that secrets are made of.
fn unescape(text: &[u8]) -> Option<(Option<u8>, usize)> {
    let number = |from: usize, to: usize, radix: u32| {
        let digits = std::str::from_utf8(text.get(from..to)?).ok().filter(|digits| !digits.starts_with('+'))?;
        u32::from_str_radix(digits, radix).ok()
    };
    let one = |code: u32| Some(u8::try_from(code).unwrap_or(0xFF));
    match text {
        [b'%', ..] => Some((one(number(1, 3, 16)?), 3)),
        [b'\\', b'u', ..] => Some((one(number(2, 6, 16)?), 6)),
        [b'\\', b'x', ..] => Some((one(number(2, 4, 16)?), 4)),
        [b'\\', b'0'..=b'9', ..] => Some((one(number(1, 4, 10)?), 4)),
        [b'\\', b'n' | b'r', ..] => Some((Some(b'\n'), 2)),
        [b'\\', b't', ..] => Some((Some(b'\t'), 2)),
        [b'\\', other, ..] => Some((Some(*other), 2)),
        [b'=', b'\n', ..] => Some((None, 2)),
        [b'=', b'\r', b'\n', ..] => Some((None, 3)),
        [b'&', rest @ ..] => {
            let len = rest.iter().take(9).position(|byte| *byte == b';')?;
            let all = len.checked_add(2)?;
            let code = match rest.get(..len)? {
                [b'#', b'x' | b'X', ..] => number(3, len.checked_add(1)?, 16)?,
                [b'#', ..] => number(2, len.checked_add(1)?, 10)?,
                name => u32::from(named(name)?),
            };
            Some((one(code), all))
        }
        _ => None,
    }
}

/// Characters that HTML has names for, and that stand in or around secrets.
fn named(name: &[u8]) -> Option<u8> {
    Some(match name {
        b"quot" => b'"',
        b"amp" => b'&',
        b"apos" => b'\'',
        b"lt" => b'<',
        b"gt" => b'>',
        b"sol" => b'/',
        b"plus" => b'+',
        b"equals" => b'=',
        b"lowbar" => b'_',
        b"period" => b'.',
        b"colon" => b':',
        b"comma" => b',',
        _ => return None,
    })
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
    super::tokens::next_run_of(bytes, MIN_LEGIBLE, is_text).is_some() || is_packed(bytes)
}

/// Whether there is the beginning of one of [`unpacked`]'s formats.
fn is_packed(bytes: &[u8]) -> bool {
    // asked of every reading: without branches, so that the compiler looks at many bytes at once
    let is_magic = |first: u8, second: u8| {
        (first == 0x1F) & (second == 0x8B)
            | (first == 0x28) & (second == 0xB5)
            | (first == b'P') & (second == b'K')
            | (first == 0x78) & ((second == 0x01) | (second == 0x5E) | (second == 0x9C) | (second == 0xDA))
    };
    bytes.chunks(1024).enumerate().any(|(nth, chunk)| {
        let next = bytes.get(nth.saturating_mul(1024).saturating_add(1)..).unwrap_or_default();
        chunk.iter().zip(next).fold(false, |any, (first, second)| any | is_magic(*first, *second))
    })
}

/// Compressed data and archives in the text, unpacked as far as they go.
fn unpacked(text: &[u8], most: usize) -> Option<View<'static>> {
    let most = most.min(MAX_UNPACKED).min(content::allowance(text.len()));
    const GZIP: &[u8] = &[0x1F, 0x8B, 0x08];
    const ZSTD: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];
    const ZIP: &[u8] = b"PK\x03\x04";
    let from = |magic: &[u8]| memchr::memmem::find(text, magic).and_then(|at| Some((at, text.get(at..)?)));
    if let Some((at, packed)) = from(GZIP) {
        return inflated(Wrapping::Gzip, packed, most, at..text.len());
    }
    if let Some((at, packed)) = from(ZIP) {
        return archive(packed, most, at..text.len());
    }
    if let Some((at, packed)) = from(ZSTD) {
        let (mut bytes, _) = content::decode(content::Coding::Zstd, packed, most);
        return whole(Wiped(std::mem::take(&mut *bytes)), at..text.len());
    }
    zlib(text, most)
}

/// Compressed data by two bytes, which other data has by chance: some of them are tried.
fn zlib(text: &[u8], most: usize) -> Option<View<'static>> {
    let is_magic = |at: &usize| matches!(text.get(*at..), Some([_, 0x01 | 0x5E | 0x9C | 0xDA, ..]));
    let mut starts = memchr::memchr_iter(0x78, text).filter(is_magic).take(ZLIB_TRIES);
    starts.find_map(|at| {
        let view = inflated(Wrapping::Zlib, text.get(at..)?, most, at..text.len())?;
        Some(view).filter(|view| view.bytes.len() >= GOOD)
    })
}

/// The files of an archive, one after the other.
fn archive(packed: &[u8], most: usize, range: Range<usize>) -> Option<View<'static>> {
    let mut bytes = Wiped(Vec::with_capacity(most));
    content::archive::entries(packed, &Cell::new(most), &mut |_, file| {
        let room = most.saturating_sub(bytes.len()).saturating_sub(1);
        bytes.extend_from_slice(file.get(..file.len().min(room)).unwrap_or_default());
        bytes.push(b'\n');
    });
    whole(bytes, range)
}

fn whole(bytes: Wiped, range: Range<usize>) -> Option<View<'static>> {
    Some(View { bytes, origin: Origin::Whole(range) }).filter(|view| !view.bytes.is_empty())
}

fn inflated(wrapping: Wrapping, packed: &[u8], most: usize, range: Range<usize>) -> Option<View<'static>> {
    let mut inflated = content::inflate::inflate(wrapping, packed, most).bytes;
    whole(Wiped(std::mem::take(&mut *inflated)), range)
}

/// Value of a byte in base64 of either alphabet; 64 of those that are none.
const SEXTET: [u8; 256] = {
    let urlsafe = values(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", [64; 256]);
    values(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", urlsafe)
};
/// The same of base32 (RFC 4648 section 6), in any case, and of hex; 0 of those that are none.
const QUINTET: [u8; 256] =
    values(b"abcdefghijklmnopqrstuvwxyz234567", values(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", [0; 256]));
const NIBBLE: [u8; 256] = values(b"0123456789abcdef", values(b"0123456789ABCDEF", [0; 256]));

/// A table with the place of each letter in an alphabet.
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // evaluated by the compiler
const fn values(alphabet: &[u8], mut table: [u8; 256]) -> [u8; 256] {
    let mut at = 0;
    while at < alphabet.len() {
        table[alphabet[at] as usize] = at as u8;
        at += 1;
    }
    table
}

fn is_encoded(byte: u8) -> bool {
    value(&SEXTET, byte) < 64
}

/// The next run from `from` on that may be text in base64, base32 or hex, with the line breaks in it.
fn next_encoded(text: &[u8], from: usize) -> Option<Range<usize>> {
    let rest = text.get(from..)?;
    let (run, _) = super::tokens::next_run_of(rest, MIN_LINE, is_encoded)?;
    // both are parts of one text
    let start = from.checked_add((run.as_ptr() as usize).checked_sub(rest.as_ptr() as usize)?)?;
    let mut end = start.checked_add(run.len())?;
    let mut line = run.len();
    while line >= MIN_LINE {
        let after = text.get(end..)?;
        let len = match after {
            [b'\r', b'\n', ..] => 2,
            [b'\n' | b'\r', ..] => 1,
            _ => break,
        };
        line = after.get(len..)?.iter().take_while(|byte| is_encoded(**byte)).count();
        if line == 0 {
            break;
        }
        end = end.checked_add(len)?.checked_add(line)?;
    }
    Some(start..end)
}

/// Symbols of a run, and where each stands.
struct Symbols<'t> {
    chars: Chars<'t>,
    places: Places,
}

/// A run in one piece, or its lines joined.
enum Chars<'t> {
    Run(&'t [u8]),
    Joined(Wiped),
}

enum Places {
    /// One behind the other, from here on.
    From(usize),
    Each(Vec<u32>),
}

impl<'t> Symbols<'t> {
    /// Of a run that begins at `start`.
    fn new<V: Visitor>(run: &'t [u8], start: usize) -> Self {
        if memchr::memchr2(b'\r', b'\n', run).is_none() {
            return Self { chars: Chars::Run(run), places: Places::From(start) };
        }
        let mut chars = Wiped(Vec::with_capacity(run.len()));
        let mut at = Vec::new();
        for (place, byte) in run.iter().enumerate().filter(|(_, byte)| is_encoded(**byte)) {
            chars.push(*byte);
            if V::TRACES {
                at.push(start.saturating_add(place) as u32);
            }
        }
        Self { chars: Chars::Joined(chars), places: Places::Each(at) }
    }

    fn chars(&self) -> &[u8] {
        match &self.chars {
            Chars::Run(run) => run,
            Chars::Joined(chars) => chars,
        }
    }

    /// Where a symbol stands.
    fn place(&self, nth: usize) -> Option<usize> {
        match &self.places {
            Places::From(start) => start.checked_add(nth),
            Places::Each(at) => at.get(nth).map(|at| *at as usize),
        }
    }
}

/// All that a run may stand for.
fn decoded<V: Visitor>(text: &[u8], run: Range<usize>, take: &mut dyn FnMut(&View<'_>)) {
    let Some(chars) = text.get(run.clone()) else { return };
    let symbols = Symbols::new::<V>(chars, run.start);
    let chars = symbols.chars();
    let all = 0..chars.len();
    if all.len() >= MIN_BASE64 {
        packed::<6>(&symbols, all, &SEXTET, take);
    }
    for part in stretches(chars, MIN_HEX, |byte| byte.is_ascii_hexdigit()) {
        packed::<4>(&symbols, part, &NIBBLE, take);
    }
    let upper = |byte: u8| matches!(byte, b'A'..=b'Z' | b'2'..=b'7');
    let lower = |byte: u8| matches!(byte, b'a'..=b'z' | b'2'..=b'7');
    for part in stretches(chars, MIN_BASE32, upper).chain(stretches(chars, MIN_BASE32, lower)) {
        packed::<5>(&symbols, part, &QUINTET, take);
    }
}

/// Stretches of at least `min` symbols that belong to it.
fn stretches(chars: &[u8], min: usize, belongs: impl Fn(u8) -> bool + Copy) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0usize;
    std::iter::from_fn(move || {
        let rest = chars.get(from..)?;
        let (run, after) = super::tokens::next_run_of(rest, min, belongs)?;
        let end = chars.len().checked_sub(after.len())?;
        from = end;
        Some(end.checked_sub(run.len())?..end)
    })
}

/// What symbols of `WIDTH` bits each stand for, from each of them on that may be the first: the bits in a row are the same
/// for all, so that they are put together once and shifted for the others.
fn packed<const WIDTH: usize>(
    symbols: &Symbols<'_>,
    part: Range<usize>,
    values: &[u8; 256],
    take: &mut dyn FnMut(&View<'_>),
) {
    let chars = symbols.chars().get(part.clone()).unwrap_or_default();
    let bits = joined_bits::<WIDTH>(chars, values);
    let mut bytes = Wiped(Vec::with_capacity(bits.len()));
    let alignments = 8usize >> WIDTH.trailing_zeros();
    for skip in 0..alignments {
        let (start, shift) = (skip.saturating_mul(WIDTH) / 8, skip.saturating_mul(WIDTH) % 8);
        let len = chars.len().saturating_sub(skip).saturating_mul(WIDTH) / 8;
        let from = bits.get(start..).unwrap_or_default();
        let pairs = from.iter().zip(from.get(1..).unwrap_or_default()).take(len);
        bytes.clear();
        bytes.extend(pairs.map(|(high, low)| (u16::from_be_bytes([*high, *low]) << shift >> 8) as u8));
        let first = part.start.saturating_add(skip);
        let view = View { bytes, origin: Origin::Packed { symbols, first, width: WIDTH } };
        take(&view);
        bytes = view.bytes;
    }
}

/// The bits of all symbols in a row, and a byte more.
fn joined_bits<const WIDTH: usize>(chars: &[u8], values: &[u8; 256]) -> Wiped {
    let len = chars.len().div_ceil(8).saturating_mul(WIDTH).saturating_add(8);
    let mut bits = Wiped(Vec::with_capacity(len));
    let mut append = |group: &[u8; 8]| {
        // what stands for nothing, as behind the last symbol, has no bits
        let own = |byte: &u8| u64::from(value(values, *byte)) & (1u64 << WIDTH).wrapping_sub(1);
        let sum = group.iter().fold(0u64, |sum, byte| sum << WIDTH | own(byte));
        let bytes = (sum << (64usize.saturating_sub(WIDTH.saturating_mul(8)))).to_be_bytes();
        bits.extend_from_slice(bytes.get(..WIDTH).unwrap_or_default());
    };
    let (groups, rest) = chars.as_chunks::<8>();
    groups.iter().for_each(&mut append);
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    append(&last);
    bits.push(0);
    bits
}

#[allow(clippy::indexing_slicing)] // there is a place for each byte
const fn value(values: &[u8; 256], byte: u8) -> u8 {
    values[byte as usize]
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
