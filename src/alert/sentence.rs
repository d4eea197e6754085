//! The message of an alert: words of our own, and what it quotes of others.

use std::fmt;
use std::ops::{Deref, Range};

/// One sentence. It knows which of it came from others: a secret can be in that alone, and the same is quoted many times.
/// Between two quotations stands something of our own that no secret has in it, a space at least.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sentence {
    text: String,
    quoted: Vec<Range<usize>>,
}

impl Sentence {
    /// None yet, with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), quoted: Vec::with_capacity(4) }
    }

    /// Adds words of our own.
    pub fn say(&mut self, words: &str) -> &mut Self {
        self.text.push_str(words);
        self
    }

    /// Adds what came from others.
    pub fn quote(&mut self, text: &str) -> &mut Self {
        let start = self.text.len();
        self.text.push_str(text);
        if !text.is_empty() {
            self.quoted.push(start..self.text.len());
        }
        self
    }

    /// Where it quotes: in order, apart from each other.
    pub fn quoted(&self) -> &[Range<usize>] {
        &self.quoted
    }
}

/// A text of which it is not known what in it came from others: all may have.
impl<T: AsRef<str>> From<T> for Sentence {
    fn from(text: T) -> Self {
        let mut sentence = Self::default();
        sentence.quote(text.as_ref());
        sentence
    }
}

impl Deref for Sentence {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// Words of our own: numbers, addresses and the like.
impl fmt::Write for Sentence {
    fn write_str(&mut self, words: &str) -> fmt::Result {
        self.text.push_str(words);
        Ok(())
    }
}
