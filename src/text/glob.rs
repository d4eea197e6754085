//! Patterns of text: `*` is any run of bytes, `?` one byte; ASCII case is ignored.

use serde::Deserialize;

/// A pattern, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Glob(String);

impl From<String> for Glob {
    fn from(text: String) -> Self {
        Self(text.to_ascii_lowercase())
    }
}

impl Glob {
    /// The text in lower case, if it has no wildcard.
    pub fn literal(&self) -> Option<&str> {
        (!self.0.contains(['*', '?'])).then_some(&self.0)
    }

    /// Whether all of `text` fits.
    pub fn fits(&self, text: &[u8]) -> bool {
        matches(self.0.as_bytes(), text)
    }
}

/// Whether all of `text` fits `pattern`. Time: length of the text times that of the pattern, at most.
pub fn matches(mut pattern: &[u8], mut text: &[u8]) -> bool {
    // Where to go on when what follows the last `*` does not fit: the pattern behind it, and the text it ate up to.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), text.split_first()) {
            (Some((b'*', after)), _) => {
                pattern = after;
                retry = Some((after, text));
            }
            (Some((wanted, after)), Some((byte, rest))) if *wanted == b'?' || wanted.eq_ignore_ascii_case(byte) => {
                pattern = after;
                text = rest;
            }
            (None, None) => return true,
            _ => {
                let Some((after, [_, rest @ ..])) = retry else { return false };
                pattern = after;
                text = rest;
                retry = Some((after, rest));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, fits) in [
            ("curl/*", "curl/8.1", true),
            ("curl/*", "Curl/8.1", true),
            ("curl/*", "libcurl/8", false),
            ("*HashiCorp*", "x hashicorp y", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("*", "", true),
            ("node", "node/1", false),
            ("A?C", "abc", true),
            ("a?c", "ac", false),
            ("?", "", false),
            ("*?", "", false),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
            assert_eq!(Glob::from(pattern.to_owned()).fits(text.as_bytes()), fits, "{pattern} {text}");
        }
        assert_eq!(Glob::from("Node".to_owned()).literal(), Some("node"));
        assert_eq!(Glob::from("n?de".to_owned()).literal(), None);
    }
}
