//! Base64 of either alphabet, base32 and hex, from any symbol on and in lines.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::ops::Range;

use super::{MIN_LINE, Origin, View, Visitor, Wiped};
use crate::detect::tokens;

/// Characters that 16 characters are in base64, base32 and hex at least.
const MIN_BASE64: usize = 22;
const MIN_BASE32: usize = 26;
const MIN_HEX: usize = 32;

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
pub(super) fn next_encoded(text: &[u8], from: usize) -> Option<Range<usize>> {
    let rest = text.get(from..)?;
    let (run, _) = tokens::next_run_of(rest, MIN_LINE, is_encoded)?;
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
pub(super) struct Symbols<'t> {
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
    pub(super) fn place(&self, nth: usize) -> Option<usize> {
        match &self.places {
            Places::From(start) => start.checked_add(nth),
            Places::Each(at) => at.get(nth).map(|at| *at as usize),
        }
    }
}

/// All that a run may stand for.
pub(super) fn decoded<V: Visitor>(text: &[u8], run: Range<usize>, take: &mut dyn FnMut(&View<'_>)) {
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
        let (run, after) = tokens::next_run_of(rest, min, belongs)?;
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
