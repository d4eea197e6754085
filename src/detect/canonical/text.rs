//! Undoing what hides text: percent-encoding in any number of layers and Unicode look-alikes of ASCII.
//!
//! Bytes go in, bytes or text come out; nothing is longer than its input but for compatibility decompositions (NFKC:
//! at most 18 times, and inputs are bounded by the callers).

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// How often percent-encoding is undone at most.
pub const ROUNDS: usize = 5;

/// One layer of percent-encoding (`%XX`, and IIS's `%uXXXX`) undone; `None` if there is nothing to undo.
pub fn percent_once(bytes: &[u8]) -> Option<Vec<u8>> {
    let first = memchr::memchr_iter(b'%', bytes).find(|&at| bytes.get(at..).and_then(escape).is_some())?;
    let (clean, mut rest) = bytes.split_at_checked(first)?;
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(clean);
    while let Some((&byte, tail)) = rest.split_first() {
        match (byte == b'%').then(|| escape(rest)).flatten() {
            Some((value, len)) => {
                let mut utf8 = [0; 4];
                match value {
                    Escape::Byte(byte) => out.push(byte),
                    Escape::Unit(c) => out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes()),
                }
                rest = rest.get(len..).unwrap_or_default();
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    Some(out)
}

/// Percent-encoding undone until nothing changes, at most [`ROUNDS`] times.
pub fn percent_stable(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Cow::Borrowed(bytes);
    for _ in 0..ROUNDS {
        match percent_once(&out) {
            Some(next) => out = Cow::Owned(next),
            None => break,
        }
    }
    out
}

/// What a percent escape stands for.
enum Escape {
    Byte(u8),
    Unit(char),
}

/// The escape that `bytes` begins with, and its length.
fn escape(bytes: &[u8]) -> Option<(Escape, usize)> {
    match bytes {
        [b'%', b'u' | b'U', a, b, c, d, ..] => {
            let unit = [a, b, c, d].into_iter().try_fold(0u32, |sum, digit| Some(sum << 4 | hex(*digit)?))?;
            Some((Escape::Unit(char::from_u32(unit)?), 6))
        }
        [b'%', high, low, ..] => Some((Escape::Byte((hex(*high)? << 4 | hex(*low)?) as u8), 3)),
        _ => None,
    }
}

/// Value of a hexadecimal digit.
pub fn hex(digit: u8) -> Option<u32> {
    char::from(digit).to_digit(16)
}

/// Escapes of JSON and JavaScript strings undone (`\\/`, `\\u002e`, `\\x2e`, `\\n`, …); `None` if there are none.
pub fn json_unescape(text: &str) -> Option<String> {
    let first = memchr::memchr(b'\\', text.as_bytes())?;
    let (clean, mut rest) = text.split_at_checked(first)?;
    let mut out = String::with_capacity(text.len());
    out.push_str(clean);
    let mut undone = false;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (plain, escape) = rest.split_at_checked(at)?;
        out.push_str(plain);
        let (c, len) = match escape.as_bytes() {
            [_, b'u', ..] => (code(escape, 2, 6), 6),
            [_, b'x', ..] => (code(escape, 2, 4), 4),
            [_, b'/', ..] => (Some('/'), 2),
            [_, b'"', ..] => (Some('"'), 2),
            [_, b'\\', ..] => (Some('\\'), 2),
            [_, b'n', ..] => (Some('\n'), 2),
            [_, b'r', ..] => (Some('\r'), 2),
            [_, b't', ..] => (Some('\t'), 2),
            _ => (None, 1),
        };
        match (c, escape.get(len..)) {
            (Some(c), Some(tail)) => {
                undone = true;
                out.push(c);
                rest = tail;
            }
            _ => {
                out.push('\\');
                rest = escape.get(1..)?;
            }
        }
    }
    out.push_str(rest);
    undone.then_some(out)
}

/// The character whose hexadecimal code stands at `from..to`.
fn code(text: &str, from: usize, to: usize) -> Option<char> {
    let digits = text.get(from..to)?;
    let value = digits.bytes().try_fold(0u32, |sum, digit| Some(sum << 4 | hex(digit)?))?;
    char::from_u32(value)
}

/// HTML and XML character references undone; `None` if there are none.
pub fn entities(text: &str) -> Option<String> {
    let refers = |at: &usize| text.get(*at..).and_then(entity).is_some();
    let first = memchr::memchr_iter(b'&', text.as_bytes()).find(refers)?;
    let (clean, mut rest) = text.split_at_checked(first)?;
    let mut out = String::with_capacity(text.len());
    out.push_str(clean);
    let mut undone = false;
    while let Some(at) = memchr::memchr(b'&', rest.as_bytes()) {
        let (plain, reference) = rest.split_at_checked(at)?;
        out.push_str(plain);
        match entity(reference) {
            Some((c, len)) => {
                undone = true;
                out.push(c);
                rest = reference.get(len..)?;
            }
            None => {
                out.push('&');
                rest = reference.get(1..)?;
            }
        }
    }
    out.push_str(rest);
    undone.then_some(out)
}

/// The character that a reference at the start of `text` stands for, and the reference's length.
fn entity(text: &str) -> Option<(char, usize)> {
    const NAMED: &[(&str, char)] = &[
        ("&amp;", '&'),
        ("&colon;", ':'),
        ("&sol;", '/'),
        ("&period;", '.'),
        ("&quot;", '"'),
        ("&apos;", '\''),
        ("&lt;", '<'),
        ("&gt;", '>'),
        ("&commat;", '@'),
        ("&num;", '#'),
        ("&quest;", '?'),
        ("&lowbar;", '_'),
    ];
    if let Some((name, c)) = NAMED.iter().find(|(name, _)| text.starts_with(name)) {
        return Some((*c, name.len()));
    }
    let digits = text.strip_prefix("&#")?;
    let (base, prefix) = if digits.starts_with(['x', 'X']) { (16, 3usize) } else { (10, 2) };
    let digits = text.get(prefix..)?;
    let len = digits.find(|c: char| !c.is_digit(base)).unwrap_or(digits.len());
    let c = u32::from_str_radix(digits.get(..len)?, base).ok().and_then(char::from_u32)?;
    let end = prefix.checked_add(len)?;
    let semicolon = text.as_bytes().get(end) == Some(&b';');
    Some((c, end.checked_add(usize::from(semicolon))?))
}

/// Unicode look-alikes folded to ASCII as resolvers fold them: compatibility forms (NFKC: full-width, circled,
/// superscript, …), ideographic full stops, digits of all scripts by their decimal value, and characters that IDNA
/// mapping ignores dropped (UTS #46 section 4).
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let visible = text.chars().filter(|c| !ignorable(*c));
    Cow::Owned(visible.nfkc().filter(|c| !ignorable(*c)).map(plain).collect())
}

fn plain(c: char) -> char {
    match c {
        '\u{3002}' | '\u{FF61}' | '\u{FF0E}' | '\u{FE52}' | '\u{2024}' => '.',
        '\u{2044}' | '\u{2215}' | '\u{29F8}' => '/',
        _ if c.is_ascii() => c,
        _ => digit(c).unwrap_or(c),
    }
}

/// Default-ignorable characters that are dropped before a name is looked up.
fn ignorable(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{34F}' | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{E0000}'..='\u{E0FFF}')
}

/// The ASCII digit that a digit of another script stands for.
fn digit(c: char) -> Option<char> {
    let code = u32::from(c);
    let at = DIGIT_RUNS.partition_point(|&(first, ..)| first <= code).checked_sub(1)?;
    let &(first, len, value) = DIGIT_RUNS.get(at)?;
    let offset = code.checked_sub(first).filter(|offset| *offset < len)?;
    char::from_digit(value.saturating_add(offset), 10)
}

/// Runs of digits outside ASCII that NFKC leaves alone: first code point, number of code points, value of the first
/// (Unicode 14: `Numeric_Type` Decimal and Digit).
#[rustfmt::skip]
const DIGIT_RUNS: &[(u32, u32, u32)] = &[
    (0x0660, 10, 0), (0x06F0, 10, 0), (0x07C0, 10, 0), (0x0966, 10, 0), (0x09E6, 10, 0), (0x0A66, 10, 0),
    (0x0AE6, 10, 0), (0x0B66, 10, 0), (0x0BE6, 10, 0), (0x0C66, 10, 0), (0x0CE6, 10, 0), (0x0D66, 10, 0),
    (0x0DE6, 10, 0), (0x0E50, 10, 0), (0x0ED0, 10, 0), (0x0F20, 10, 0), (0x1040, 10, 0), (0x1090, 10, 0),
    (0x1369, 9, 1), (0x17E0, 10, 0), (0x1810, 10, 0), (0x1946, 10, 0), (0x19D0, 10, 0), (0x19DA, 1, 1),
    (0x1A80, 10, 0), (0x1A90, 10, 0), (0x1B50, 10, 0), (0x1BB0, 10, 0), (0x1C40, 10, 0), (0x1C50, 10, 0),
    (0x24F5, 9, 1), (0x24FF, 1, 0), (0x2776, 9, 1), (0x2780, 9, 1), (0x278A, 9, 1), (0xA620, 10, 0),
    (0xA8D0, 10, 0), (0xA900, 10, 0), (0xA9D0, 10, 0), (0xA9F0, 10, 0), (0xAA50, 10, 0), (0xABF0, 10, 0),
    (0x104A0, 10, 0), (0x10A40, 4, 1), (0x10D30, 10, 0), (0x10E60, 9, 1), (0x11052, 9, 1), (0x11066, 10, 0),
    (0x110F0, 10, 0), (0x11136, 10, 0), (0x111D0, 10, 0), (0x112F0, 10, 0), (0x11450, 10, 0), (0x114D0, 10, 0),
    (0x11650, 10, 0), (0x116C0, 10, 0), (0x11730, 10, 0), (0x118E0, 10, 0), (0x11950, 10, 0), (0x11C50, 10, 0),
    (0x11D50, 10, 0), (0x11DA0, 10, 0), (0x16A60, 10, 0), (0x16AC0, 10, 0), (0x16B50, 10, 0), (0x1E140, 10, 0),
    (0x1E2F0, 10, 0), (0x1E950, 10, 0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_to_a_fixed_point() {
        assert_eq!(percent_once(b"plain"), None);
        assert_eq!(percent_once(b"100%"), None);
        assert_eq!(percent_once(b"%zz%41"), Some(b"%zzA".to_vec()));
        assert_eq!(percent_once(b"a%u002Eb"), Some(b"a.b".to_vec()));
        assert_eq!(percent_stable(b"%25252e").as_ref(), b".");
        // six layers: one stays
        assert_eq!(percent_stable(b"%2525252525252e").as_ref(), b"%252e");
    }

    #[test]
    fn digit_runs_are_sorted_and_stay_within_a_digit() {
        assert!(DIGIT_RUNS.is_sorted_by_key(|run| run.0));
        assert!(DIGIT_RUNS.iter().all(|(_, len, value)| len + value <= 10));
    }

    #[test]
    fn escapes_and_references_are_undone() {
        assert_eq!(json_unescape("http:\\/\\/169\\u002e254\\x2e1"), Some("http://169.254.1".into()));
        assert_eq!(json_unescape("C:\\q"), None);
        assert_eq!(json_unescape("\\ud83d\\u00e9\\"), Some("\\ud83dé\\".into()));
        assert_eq!(entities("169&#46;254&#x2e;169&period;2"), Some("169.254.169.2".into()));
        assert_eq!(entities("a=1&b=2&#zz"), None);
    }

    #[test]
    fn look_alikes_fold_to_ascii() {
        assert_eq!(fold("１６９。２５４"), "169.254");
        assert_eq!(fold("⓪ⓧⓐ⑨"), "0xa9");
        assert_eq!(fold("๑๖๙❶➀\u{1D7D1}\u{FE0F}"), "169113");
        assert_eq!(fold("169\u{AD}.\u{200B}2"), "169.2");
    }
}
