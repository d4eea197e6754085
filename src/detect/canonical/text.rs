//! Undoing what hides text: percent-encoding in any number of layers and Unicode look-alikes of ASCII.
//!
//! Bytes go in, bytes or text come out; nothing is longer than its input.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

use crate::text::hex;

/// How often percent-encoding is undone at most.
pub const ROUNDS: usize = 5;

/// One layer of percent-encoding (`%2E`, and `%u002E` as IIS takes it) undone; `None` if there is nothing to undo.
pub fn percent_once(bytes: &[u8]) -> Option<Vec<u8>> {
    undo(bytes, b'%', percent)
}

/// Escapes of JSON and JavaScript strings undone (`\\/`, `\\u002e`, `\\x2e`, `\\n`, …); `None` if there are none.
pub fn json_unescape(bytes: &[u8]) -> Option<Vec<u8>> {
    undo(bytes, b'\\', backslash)
}

/// HTML and XML character references undone; `None` if there are none.
pub fn entities(bytes: &[u8]) -> Option<Vec<u8>> {
    undo(bytes, b'&', entity)
}

/// What an escape stands for.
enum Escape {
    Byte(u8),
    Char(char),
}

/// Every escape undone that begins with `mark` and that `read` takes, which tells its length too; `None` if there is
/// none. No escape is shorter than what it stands for.
fn undo(bytes: &[u8], mark: u8, read: fn(&[u8]) -> Option<(Escape, usize)>) -> Option<Vec<u8>> {
    let first = memchr::memchr_iter(mark, bytes).find(|&at| bytes.get(at..).and_then(read).is_some())?;
    let (clean, mut rest) = bytes.split_at_checked(first)?;
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(clean);
    while !rest.is_empty() {
        let used = match read(rest) {
            Some((Escape::Byte(byte), len)) => {
                out.push(byte);
                len
            }
            Some((Escape::Char(c), len)) => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                len
            }
            None => {
                out.push(mark);
                1
            }
        };
        rest = rest.get(used..).unwrap_or_default();
        let next = memchr::memchr(mark, rest).unwrap_or(rest.len());
        let (plain, from_mark) = rest.split_at_checked(next)?;
        out.extend_from_slice(plain);
        rest = from_mark;
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

/// The percent escape that `bytes` begin with.
fn percent(bytes: &[u8]) -> Option<(Escape, usize)> {
    match bytes {
        [b'%', b'u' | b'U', digits @ ..] => Some((Escape::Char(code(digits.get(..4)?)?), 6)),
        [b'%', high, low, ..] => Some((Escape::Byte(hex::pair(*high, *low)?), 3)),
        _ => None,
    }
}

/// The escape of JSON or JavaScript that `bytes` begin with.
fn backslash(bytes: &[u8]) -> Option<(Escape, usize)> {
    let byte = match bytes {
        [b'\\', b'u', digits @ ..] => return Some((Escape::Char(code(digits.get(..4)?)?), 6)),
        [b'\\', b'x', digits @ ..] => return Some((Escape::Char(code(digits.get(..2)?)?), 4)),
        [b'\\', same @ (b'/' | b'"' | b'\\'), ..] => *same,
        [b'\\', b'n', ..] => b'\n',
        [b'\\', b'r', ..] => b'\r',
        [b'\\', b't', ..] => b'\t',
        _ => return None,
    };
    Some((Escape::Byte(byte), 2))
}

/// The character reference that `bytes` begin with.
fn entity(bytes: &[u8]) -> Option<(Escape, usize)> {
    const NAMED: &[(&[u8], u8)] = &[
        (b"&amp;", b'&'),
        (b"&colon;", b':'),
        (b"&sol;", b'/'),
        (b"&period;", b'.'),
        (b"&quot;", b'"'),
        (b"&apos;", b'\''),
        (b"&lt;", b'<'),
        (b"&gt;", b'>'),
        (b"&commat;", b'@'),
        (b"&num;", b'#'),
        (b"&quest;", b'?'),
        (b"&lowbar;", b'_'),
    ];
    if let Some((name, byte)) = NAMED.iter().find(|(name, _)| bytes.starts_with(name)) {
        return Some((Escape::Byte(*byte), name.len()));
    }
    let (base, digits) = match bytes {
        [b'&', b'#', b'x' | b'X', digits @ ..] => (16, digits),
        [b'&', b'#', digits @ ..] => (10, digits),
        _ => return None,
    };
    let len = digits.iter().take_while(|b| char::from(**b).is_digit(base)).count();
    let (digits, behind) = digits.split_at_checked(len)?;
    let c = u32::from_str_radix(str::from_utf8(digits).ok()?, base).ok().and_then(char::from_u32)?;
    let behind = behind.strip_prefix(b";").unwrap_or(behind);
    Some((Escape::Char(c), bytes.len().saturating_sub(behind.len())))
}

/// The character whose code these hexadecimal digits are.
fn code(digits: &[u8]) -> Option<char> {
    digits.iter().try_fold(0u32, |sum, digit| Some(sum << 4 | u32::from(hex::digit(*digit)?))).and_then(char::from_u32)
}

/// Unicode look-alikes folded to ASCII as resolvers fold them: compatibility forms (NFKC: full-width, circled,
/// superscript, …), ideographic full stops, digits of all scripts by their decimal value, and characters that IDNA
/// mapping ignores dropped (UTS #46 section 4).
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let visible = text.chars().filter(|c| !ignorable(*c));
    let mut out = String::with_capacity(text.len());
    for c in visible.nfkc().filter(|c| !ignorable(*c)).map(plain) {
        // look-alikes of ASCII take more bytes than what they stand for; what grows is none
        if out.len().saturating_add(c.len_utf8()) > text.len() {
            break;
        }
        out.push(c);
    }
    Cow::Owned(out)
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
        assert_eq!(json_unescape(b"http:\\/\\/169\\u002e254\\x2e1"), Some("http://169.254.1".into()));
        assert_eq!(json_unescape(b"C:\\q"), None);
        assert_eq!(json_unescape(b"\\ud83d\\u00e9\\"), Some("\\ud83dé\\".into()));
        assert_eq!(entities(b"169&#46;254&#x2e;169&period;2"), Some("169.254.169.2".into()));
        assert_eq!(entities(b"a=1&b=2&#zz"), None);
    }

    #[test]
    fn look_alikes_fold_to_ascii() {
        assert_eq!(fold("１６９。２５４"), "169.254");
        assert_eq!(fold("⓪ⓧⓐ⑨"), "0xa9");
        assert_eq!(fold("๑๖๙❶➀\u{1D7D1}\u{FE0F}"), "169113");
        assert_eq!(fold("169\u{AD}.\u{200B}2"), "169.2");
    }
}
