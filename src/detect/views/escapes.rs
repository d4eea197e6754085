//! Escapes undone: percent-encoding, JSON, HTML, decimal ones of DNS, soft line breaks of quoted-printable.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::{View, Visitor};

/// Whether there is a soft line break of quoted-printable.
pub(super) fn has_soft_break(text: &[u8]) -> bool {
    let is_break = |at: usize| matches!(text.get(at..), Some([_, b'\n' | b'\r', ..]));
    memchr::memchr_iter(b'=', text).any(is_break)
}

/// The text without its escapes: `%2F`, `\/`, `\u002f`, `\x2f`, `\047` (decimal, as names of DNS are shown), `&#47;`,
/// `&quot;`, and the soft line breaks of quoted-printable. `None` where there are none.
pub(super) fn unescaped<V: Visitor>(text: &[u8]) -> Option<View<'static>> {
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
