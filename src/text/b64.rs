//! Base64 as attackers write it: either alphabet, cut off, without padding, in the middle of other text.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Shortest run that is decoded, in characters (contract section 4, *Mention*).
pub const RUN: usize = 16;

/// Accepts what is cut off or not padded.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Runs in a text that are long enough to be decoded.
pub fn runs(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| !is_symbol(*byte)).filter(|run| run.len() >= RUN)
}

/// A run with the standard alphabet's characters for those of the URL-safe one.
pub fn standard(run: &[u8]) -> Cow<'_, [u8]> {
    let plain = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    };
    match memchr::memchr2(b'-', b'_', run) {
        Some(_) => run.iter().map(plain).collect(),
        None => run.into(),
    }
}

/// What a [standard] run stands for from the symbol `offset` on, in `out`, without what is left of a last group. Whether it
/// stands for anything.
pub fn decode_from(run: &[u8], offset: usize, out: &mut Vec<u8>) -> bool {
    let symbols = run.get(offset..).unwrap_or_default();
    let whole = symbols.len().saturating_sub(usize::from(symbols.len() % 4 == 1));
    out.clear();
    LENIENT.decode_vec(symbols.get(..whole).unwrap_or_default(), out).is_ok()
}

/// A whole text of at least [`RUN`] symbols, padded or not; `None` where it is none.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_end();
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let run = text.get(..text.len().saturating_sub(padding))?;
    let is_run = run.len() >= RUN && run.iter().all(|byte| is_symbol(*byte));
    is_run.then(|| LENIENT.decode(standard(run)).ok())?
}

/// Whether a byte belongs to one of the two alphabets.
fn is_symbol(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_are_read_padded_or_not() {
        for text in ["aHR0cDovL2E/Yj8/Pw==", "aHR0cDovL2E_Yj8_Pw", "aHR0cDovL2E_Yj8_Pw=\n"] {
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(&b"http://a?b???"[..]), "{text}");
        }
        for text in ["aHR0cDovL2E", "aHR0cDovL2E Yj8_Pw==", ""] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn runs_are_found_and_read_from_any_symbol() {
        let found: Vec<_> = runs(b"echo aHR0cDovL2EvYmM | x; short").collect();
        assert_eq!(found, [b"aHR0cDovL2EvYmM"; 0], "fifteen symbols are too few");
        let run = runs(b"<xaHR0cDovL2EvYmMv>").next().map(standard);
        let mut out = Vec::new();
        assert!(run.is_some_and(|run| decode_from(&run, 1, &mut out)));
        assert_eq!(out, b"http://a/bc/");
    }
}
