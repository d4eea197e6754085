//! Hides credentials that were issued on the wire in the text of later events (contract section 3, "Secrets").
//!
//! In: any text that came from the wire, before it is cut to a length. Out: the same text with every 16 or more characters
//! in a row of an issued secret replaced by `xxxxx`, in whatever encoding ([`views`](crate::detect::views)). Secrets are
//! known by hashes alone. Costs one branch while nothing was issued. Bound: a piece of [`PIECE`] bytes at a time.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use zeroize::Zeroizing;

use super::doc::Text;
use crate::alert::Sentence;
use crate::detect::IssuedSecrets;
use crate::detect::secret::GRAM;
use crate::detect::tokens::MIN_TOKEN;
use crate::detect::views::{Visitor, visit};
use crate::memo::{Memo, PrivateDigest};

/// What stands in the place of a secret.
pub const HIDDEN: &str = "xxxxx";

/// Bytes of a text that are searched together.
const PIECE: usize = 64 * 1024;
/// Bytes at the end of a piece that are searched with the next one too: 16 characters in several encodings.
const OVERLAP: usize = 2 * 1024;

/// Texts that are remembered, and the longest of them in bytes: most are short. Most places in one.
const SHORT: usize = 256;
const SHORT_ONES: usize = 1024;
const LONGEST: usize = 8 * 1024;
const LONG_ONES: usize = 128;
const MOST_FOUND: usize = 256;

/// Finds issued secrets in text.
#[derive(Clone, Copy, Default)]
pub struct Masker<'m> {
    issued: Option<&'m IssuedSecrets>,
    searched: Option<&'m Searched>,
}

/// Texts met lately and where secrets stand in them, until a secret is issued that may be in one of them: an exchange and
/// its alerts say the same several times, and the next one too. Clean texts are compared byte by byte; of those that hold
/// secrets nothing but a keyed hash is kept. Bound: [`SHORT_ONES`] of [`SHORT`] bytes and [`LONG_ONES`] of [`LONGEST`], with
/// [`MOST_FOUND`] places in each.
#[derive(Debug, Default)]
pub struct Searched {
    short: RefCell<Memo<Known, SHORT_ONES>>,
    long: RefCell<Memo<Known, LONG_ONES>>,
    digest: PrivateDigest,
}

/// A text or its digest, where secrets stand in it, and which [revision](IssuedSecrets::revision) of them that was.
#[derive(Debug, Default)]
struct Known {
    text: Vec<u8>,
    digest: u128,
    found: Vec<Range<usize>>,
    revision: u64,
}

impl Searched {
    /// Where secrets of `issued` stand in `text`, of [`LONGEST`] at most, as it is known or as `search` tells.
    fn find(
        &self,
        text: &[u8],
        issued: &IssuedSecrets,
        search: impl FnOnce() -> Vec<Range<usize>>,
    ) -> Vec<Range<usize>> {
        match text.len() <= SHORT {
            true => self.find_at(self.short.borrow_mut().place(text), text, issued, search),
            false => self.find_at(self.long.borrow_mut().place(text), text, issued, search),
        }
    }

    fn find_at(
        &self,
        place: &mut Option<Known>,
        text: &[u8],
        issued: &IssuedSecrets,
        search: impl FnOnce() -> Vec<Range<usize>>,
    ) -> Vec<Range<usize>> {
        let is_same = |known: &Known| match known.found.is_empty() {
            true => known.text == text,
            false => known.digest == self.digest.of(&[text]),
        };
        if let Some(known) = place.as_ref().filter(|known| known.revision == issued.revision() && is_same(known)) {
            return known.found.clone();
        }
        issued.make_room();
        let found = search();
        if found.len() <= MOST_FOUND {
            let known = place.get_or_insert_default();
            known.text.clear();
            match found.is_empty() {
                true => known.text.extend_from_slice(text),
                false => known.digest = self.digest.of(&[text]),
            }
            known.found.clone_from(&found);
            known.revision = issued.revision();
        }
        found
    }
}

impl fmt::Debug for Masker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").field("active", &self.issued.is_some()).finish()
    }
}

impl<'m> Masker<'m> {
    /// Hides what is in `issued`.
    pub fn new(issued: &'m IssuedSecrets) -> Self {
        Self { issued: Some(issued).filter(|issued| !issued.is_empty()), searched: None }
    }

    /// The same, with what other maskers found.
    pub fn remembering(self, searched: &'m Searched) -> Self {
        Self { searched: Some(searched), ..self }
    }

    /// Whether nothing needs to be hidden in `text`, nor in what follows from it by decoding.
    pub fn is_clean(&self, text: &[u8]) -> bool {
        self.secrets_in(text).is_empty()
    }

    /// The same for texts that are written one behind the other.
    pub fn are_clean(&self, texts: &[&[u8]]) -> bool {
        self.issued.is_none() || self.is_clean(&Zeroizing::new(texts.concat()))
    }

    /// The text without issued secrets.
    pub fn text<'a>(&self, text: Text<'a>) -> Text<'a> {
        let secrets = self.secrets_in(text.as_bytes());
        if secrets.is_empty() { text } else { hide(&text, &secrets).into() }
    }

    /// The message of an alert without issued secrets. What it quotes was mostly searched before.
    pub fn sentence<'a>(&self, sentence: &'a Sentence) -> Text<'a> {
        if self.issued.is_none() {
            return Text::Borrowed(sentence);
        }
        let of = |quoted: &Range<usize>| {
            let start = quoted.start;
            let secrets = self.secrets_in(&sentence.as_bytes()[quoted.clone()]);
            secrets.into_iter().map(move |secret| start + secret.start..start + secret.end)
        };
        let secrets: Vec<_> = sentence.quoted().iter().flat_map(of).collect();
        if secrets.is_empty() { Text::Borrowed(sentence) } else { hide(sentence, &secrets).into() }
    }

    /// Where secrets stand: in order, apart from each other.
    fn secrets_in(&self, text: &[u8]) -> Vec<Range<usize>> {
        let Some(issued) = self.issued.filter(|_| text.len() >= MIN_TOKEN) else {
            return Vec::new();
        };
        match self.searched {
            Some(searched) if text.len() <= LONGEST => searched.find(text, issued, || search::<true>(text, issued)),
            _ => search::<false>(text, issued),
        }
    }
}

/// Where secrets stand: in order, apart from each other. `NOTE`: the answer is remembered.
fn search<const NOTE: bool>(text: &[u8], issued: &IssuedSecrets) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(piece) = text.get(start..).filter(|rest| !rest.is_empty()) {
        let piece = &piece[..piece.len().min(PIECE)];
        // Most texts are clean, and to know that takes less than to know where something stands.
        let mut probe = Probe::<NOTE> { issued, is_clean: true };
        visit(piece, &mut probe);
        if !probe.is_clean {
            let here = visit(piece, &mut Search::<NOTE> { issued });
            found.extend(here.into_iter().map(|range| start + range.start..start + range.end));
        }
        start += if start + piece.len() < text.len() { PIECE - OVERLAP } else { PIECE };
    }
    joined(found)
}

struct Search<'m, const NOTE: bool> {
    issued: &'m IssuedSecrets,
}

impl<const NOTE: bool> Visitor for Search<'_, NOTE> {
    const TRACES: bool = true;

    fn read(&mut self, text: &[u8], found: &mut Vec<Range<usize>>) {
        let mut open: Option<Range<usize>> = None;
        for at in self.issued.starts::<NOTE>(text) {
            match &mut open {
                Some(range) if at <= range.end => range.end = at + GRAM,
                _ => found.extend(open.replace(at..at + GRAM)),
            }
        }
        found.extend(open);
    }
}

/// Asks only whether there is anything.
struct Probe<'m, const NOTE: bool> {
    issued: &'m IssuedSecrets,
    is_clean: bool,
}

impl<const NOTE: bool> Visitor for Probe<'_, NOTE> {
    const TRACES: bool = false;

    fn read(&mut self, text: &[u8], _: &mut Vec<Range<usize>>) {
        self.is_clean = self.is_clean && self.issued.starts::<NOTE>(text).next().is_none();
    }

    fn is_done(&self) -> bool {
        !self.is_clean
    }
}

/// Ranges that meet, as one.
fn joined(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut out: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

/// Replaces ranges of a text, each with the padding behind it.
fn hide(text: &str, secrets: &[Range<usize>]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for secret in secrets {
        let (start, end) = (text.floor_char_boundary(secret.start), text.ceil_char_boundary(secret.end));
        if start < done {
            done = done.max(end); // it ends within the padding of the one before, or in one character with it
            continue;
        }
        out.push_str(&text[done..start]);
        out.push_str(HIDDEN);
        let rest = &text[end..];
        let padding = rest.len() - rest.trim_start_matches('=').len();
        let is_padding = padding <= 6 && !rest[padding..].starts_with(|next: char| next.is_ascii_alphanumeric());
        done = if is_padding { end + padding } else { end };
    }
    out.push_str(&text[done.min(text.len())..]);
    out
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine as _};

    use super::*;
    use crate::detect::{Part, Secret};

    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLE0TOKEN";

    fn issued() -> IssuedSecrets {
        let mut issued = IssuedSecrets::new(0);
        for secret in [KEY, TOKEN] {
            issued.add(&Secret::new(secret.as_bytes(), Part::Key).unwrap());
        }
        issued
    }

    #[track_caller]
    fn masked(text: &str, expected: &str) {
        let issued = issued();
        let mask = Masker::new(&issued);
        assert_eq!(mask.text(text.into()), expected);
        assert_eq!(mask.is_clean(text.as_bytes()), text == expected);
    }

    #[test]
    fn hides_exactly_what_was_issued() {
        masked(KEY, "xxxxx");
        masked(&format!("/in/{KEY}?a=b"), "/in/xxxxx?a=b");
        masked(&format!("k={KEY}&l=2"), "k=xxxxx&l=2");
        masked(&format!("{KEY} and {TOKEN}."), "xxxxx and xxxxx.");
        masked(&format!("http://{TOKEN}.evil.example/x"), "http://xxxxx.evil.example/x");
        masked(&format!("{}{KEY}", "a/".repeat(40)), &format!("{}xxxxx", "a/".repeat(40)));
        masked("/latest/meta-data/iam/security-credentials/", "/latest/meta-data/iam/security-credentials/");
    }

    #[test]
    fn hides_parts_of_sixteen_characters_and_no_shorter_ones() {
        masked(&format!("k={}&", &KEY[10..26]), "k=xxxxx&");
        masked(&format!("k={}&", &KEY[10..25]), &format!("k={}&", &KEY[10..25]));
    }

    #[test]
    fn hides_what_is_spelt_otherwise_where_it_stands() {
        masked(&format!("/x?k={}&l=2", KEY.replace('/', "%2F")), "/x?k=xxxxx&l=2");
        masked(
            &format!("k={}&l=2", BASE64_STANDARD.encode(format!("key is {TOKEN}, ok?"))),
            "k=a2V5IGlzIxxxxxLCBvaz8=&l=2",
        );
        masked(&format!("/drop/{}/x", BASE64_STANDARD.encode(KEY)), "/drop/xxxxx/x");
        masked(&format!(r#"{{\"t\":\"{TOKEN}\",\"u\":\"{KEY}\"}}"#), r#"{\"t\":\"xxxxx\",\"u\":\"xxxxx\"}"#);
        masked("IQoJb3JpZ2luX2Vj.EXAMPLE0TOKEN.evil.example", "xxxxx.evil.example");
        masked("é\u{0}wJalrXUtnFEMI/K7MDENGé", "é\u{0}xxxxxé");
    }

    #[test]
    fn a_sentence_hides_what_it_quotes() {
        let (mut sentence, issued) = (Sentence::default(), issued());
        sentence.say("10.0.0.1 asked for ").quote(&format!("/in/{KEY}")).say(" with ").quote("curl");
        assert_eq!(Masker::new(&issued).sentence(&sentence), "10.0.0.1 asked for /in/xxxxx with curl");
        let whole = Sentence::from(format!("{TOKEN} was named"));
        assert_eq!(Masker::new(&issued).sentence(&whole), "xxxxx was named");
    }

    #[test]
    fn long_texts_are_searched_in_pieces() {
        for at in [0, PIECE - 60, PIECE - OVERLAP - 3, PIECE, 3 * PIECE] {
            let text = format!("{}{KEY} {}", " ".repeat(at), "z ".repeat(PIECE));
            assert!(!Masker::new(&issued()).text(text.into()).contains("K7MDENG"), "{at}");
        }
    }

    #[test]
    fn what_was_clean_is_looked_at_again_once_a_secret_was_issued() {
        let searched = Searched::default();
        let text = format!("a={KEY}");
        let mut issued = IssuedSecrets::new(1);
        issued.add(&Secret::new(b"another/secret/that+was+issued/0123456789", Part::Key).unwrap());
        for _ in 0..2 {
            assert!(Masker::new(&issued).remembering(&searched).is_clean(text.as_bytes()));
        }
        issued.add(&Secret::new(KEY.as_bytes(), Part::Key).unwrap());
        for _ in 0..2 {
            let shown = Masker::new(&issued).remembering(&searched).text(text.as_str().into());
            assert_eq!(shown, format!("a={HIDDEN}"));
        }
    }

    #[test]
    fn nothing_is_hidden_while_nothing_was_issued() {
        assert_eq!(Masker::default().text(KEY.into()), KEY);
        assert!(Masker::new(&IssuedSecrets::new(1)).is_clean(KEY.as_bytes()));
    }
}
