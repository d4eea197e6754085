//! Hides credentials that were issued on the wire in the text of later events (contract section 3, "Secrets").
//!
//! In: any text that came from the wire. Out: the same text with every issued secret replaced by `xxxxx`. The masker
//! knows secrets only through two questions about tokens, never by value. Costs one branch while nothing was issued,
//! and one search per text afterwards.

use std::fmt;

use super::doc::Text;

/// What stands in the place of a secret.
pub const HIDDEN: &str = "xxxxx";

/// Shortest token that can be a secret, in bytes.
const SHORTEST: usize = 16;

/// A run of more parts than this is hidden whole when a secret is in it.
const MAX_PARTS: usize = 24;

/// Finds issued secrets in text.
#[derive(Clone, Copy, Default)]
pub struct Masker<'m> {
    secrets: Option<Secrets<'m>>,
}

#[derive(Clone, Copy)]
struct Secrets<'m> {
    is_issued: &'m dyn Fn(&[u8]) -> bool,
    holds: &'m dyn Fn(&[u8]) -> bool,
}

impl fmt::Debug for Masker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").field("active", &self.secrets.is_some()).finish()
    }
}

impl<'m> Masker<'m> {
    /// Hides what two questions find: `is_issued` tells whether exactly these bytes are a secret that was issued,
    /// `holds` whether such a secret is anywhere in a text, in any spelling that is searched for. Leave it at
    /// [`Masker::default`] while nothing was issued.
    pub fn new(is_issued: &'m dyn Fn(&[u8]) -> bool, holds: &'m dyn Fn(&[u8]) -> bool) -> Self {
        Self { secrets: Some(Secrets { is_issued, holds }) }
    }

    /// Whether nothing needs to be hidden in `text`, nor in what follows from it by decoding.
    pub fn is_clean(&self, text: &[u8]) -> bool {
        self.secrets.is_none_or(|secrets| text.len() < SHORTEST || !secrets.is_in(text))
    }

    /// The text without issued secrets.
    pub fn text<'a>(&self, text: Text<'a>) -> Text<'a> {
        match self.secrets {
            Some(secrets) if text.len() >= SHORTEST && secrets.is_in(text.as_bytes()) => secrets.hide(&text).into(),
            _ => text,
        }
    }
}

impl Secrets<'_> {
    /// Whether a secret is in the text, or in it once the dots of a name are taken out.
    fn is_in(&self, text: &[u8]) -> bool {
        if (self.holds)(text) {
            return true;
        }
        let names = text.split(|byte| !is_name_byte(*byte));
        names.filter(|name| name.len() > SHORTEST && name.contains(&b'.')).any(|name| {
            let joined: Vec<u8> = name.iter().copied().filter(|byte| *byte != b'.').collect();
            (self.holds)(&joined)
        })
    }

    /// Replaces the secrets; where one cannot be told from its surroundings, all of the text.
    fn hide(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.bytes().position(is_run_byte) {
            let (before, from) = rest.split_at(start);
            let len = from.bytes().position(|byte| !is_run_byte(byte)).unwrap_or(from.len());
            let (run, after) = from.split_at(len);
            out.push_str(before);
            self.hide_in_run(run, &mut out);
            rest = after;
        }
        out.push_str(rest);
        if self.is_in(out.as_bytes()) {
            return HIDDEN.to_owned();
        }
        out
    }

    /// Replaces the secrets in a run without blanks and quotes: exactly where they stand as they were issued, also glued
    /// to a path, and the whole run where they are spelt otherwise.
    fn hide_in_run(&self, run: &str, out: &mut String) {
        if run.len() < SHORTEST || !self.is_in(run.as_bytes()) {
            return out.push_str(run);
        }
        let mut borders: Vec<usize> = run.match_indices(['/', '.']).map(|(at, _)| at).collect();
        if borders.len() >= MAX_PARTS {
            return out.push_str(HIDDEN);
        }
        borders.push(run.len());
        let mut hidden = String::new();
        let mut start = 0;
        while start < run.len() {
            let ends = borders.iter().rev().filter(|end| **end >= start + SHORTEST);
            let found = ends.copied().find(|end| run.get(start..*end).is_some_and(|t| (self.is_issued)(t.as_bytes())));
            let end = found.or_else(|| borders.iter().copied().find(|end| *end >= start)).unwrap_or(run.len());
            match found {
                Some(_) => hidden.push_str(HIDDEN),
                None => hidden.push_str(run.get(start..end).unwrap_or_default()),
            }
            hidden.push_str(run.get(end..end + 1).unwrap_or_default()); // the border itself
            start = end + 1;
        }
        out.push_str(if self.is_in(hidden.as_bytes()) { HIDDEN } else { &hidden });
    }
}

/// Characters of tokens, and those that spell them otherwise (percent-encoding, JSON escapes).
fn is_run_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_' | b'-' | b'.' | b'~' | b'%' | b'\\')
}

/// Characters of host names.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    #[track_caller]
    fn masked(text: &str, expected: &str) {
        let encoded = KEY.replace('/', "%2F");
        let is_issued = |token: &[u8]| token == KEY.as_bytes();
        let holds = |text: &[u8]| {
            let find = |needle: &str| memchr::memmem::find(text, needle.as_bytes()).is_some();
            find(KEY) || find(&encoded) || find("bPxRfiCYEXAMPLEKEY")
        };
        assert_eq!(Masker::new(&is_issued, &holds).text(text.into()), expected);
    }

    #[test]
    fn hides_exactly_what_was_issued() {
        masked(KEY, "xxxxx");
        masked(&format!("/in/{KEY}?a=b"), "/in/xxxxx?a=b");
        masked(&format!("k={KEY}&l=2"), "k=xxxxx&l=2");
        masked(&format!("{KEY} and {KEY}."), "xxxxx and xxxxx.");
        masked("/latest/meta-data/iam/security-credentials/", "/latest/meta-data/iam/security-credentials/");
    }

    #[test]
    fn hides_the_run_where_a_secret_is_spelt_otherwise() {
        masked(&format!("/x?k={}&l=2", KEY.replace('/', "%2F")), "/x?k=xxxxx&l=2");
        masked("é bPxRfiCYEXAMPLEKEY", "é xxxxx");
        masked("bPxRfiCY.EXAMPLEKEY.evil.example", "xxxxx");
        masked(&format!("{}{KEY}", "a/".repeat(40)), "xxxxx");
    }

    #[test]
    fn does_nothing_while_nothing_was_issued() {
        assert!(matches!(Masker::default().text(KEY.into()), Text::Borrowed(KEY)));
        assert!(Masker::default().is_clean(KEY.as_bytes()));
    }
}
