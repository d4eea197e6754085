//! Hides credentials that were issued on the wire in the text of later events (contract section 3, "Secrets").
//!
//! In: any text that came from the wire. Out: the same text with every issued secret replaced by `xxxxx`. The masker
//! knows secrets only through a question ("was this token issued?"), never by value. Costs one branch while nothing was
//! issued.

use std::fmt;

use super::doc::Text;

/// What stands in the place of a secret.
pub const HIDDEN: &str = "xxxxx";

/// Shortest token that can be a secret, in bytes.
const SHORTEST: usize = 16;

/// Asks of each credential-shaped token of a text whether it was issued.
#[derive(Clone, Copy, Default)]
pub struct Masker<'m> {
    issued: Option<&'m dyn Fn(&[u8]) -> bool>,
}

impl fmt::Debug for Masker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").field("active", &self.issued.is_some()).finish()
    }
}

impl<'m> Masker<'m> {
    /// Hides the tokens for which `issued` says yes. Leave it at [`Masker::default`] while nothing was issued.
    pub fn new(issued: &'m dyn Fn(&[u8]) -> bool) -> Self {
        Self { issued: Some(issued) }
    }

    /// The text without issued secrets.
    pub fn text<'a>(&self, text: Text<'a>) -> Text<'a> {
        let Some(issued) = self.issued else {
            return text;
        };
        let mut out = String::new();
        let mut kept = 0;
        for (start, end) in tokens(text.as_bytes()) {
            let Some(token) = text.as_bytes().get(start..end) else { continue };
            if issued(token) {
                out.push_str(text.get(kept..start).unwrap_or_default());
                out.push_str(HIDDEN);
                kept = end;
            }
        }
        if kept == 0 {
            return text;
        }
        out.push_str(text.get(kept..).unwrap_or_default());
        out.into()
    }
}

/// Ranges of the runs of credential characters that are long enough.
fn tokens(bytes: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + bytes.get(at..)?.iter().position(|byte| is_credential_byte(*byte))?;
            let run = bytes.get(start..)?.iter().position(|byte| !is_credential_byte(*byte));
            at = run.map_or(bytes.len(), |len| start + len);
            if at - start >= SHORTEST {
                return Some((start, at));
            }
        }
    })
}

/// Characters of base64, base64url, JWTs and keys.
fn is_credential_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-' | b'.' | b'%')
}
