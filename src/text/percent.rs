//! Percent-encoding (RFC 3986 section 2.1). Events decode as Go does (`event::url`), detection as careless servers do
//! (`detect::canonical`); this is the plain form.

use std::borrow::Cow;

use super::hex;

/// One layer undone; what is no `%` with two digits stays.
pub fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'%', text) else { return text.into() };
    let (plain, mut rest) = text.split_at_checked(first).unwrap_or((text, b""));
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(plain);
    while let Some((&byte, tail)) = rest.split_first() {
        let decoded = match (byte, tail) {
            (b'%', [high, low, ..]) => hex::pair(*high, *low),
            _ => None,
        };
        out.push(decoded.unwrap_or(byte));
        rest = if decoded.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_layer_is_undone() {
        for (text, want) in [
            ("", ""),
            ("plain", "plain"),
            ("%2Fx%2f", "/x/"),
            ("%252F", "%2F"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%%41", "%A"),
        ] {
            assert_eq!(decode(text.as_bytes()), want.as_bytes(), "{text}");
        }
    }
}
