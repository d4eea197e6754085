//! Hides credentials that were issued on the wire in the text of later events (contract section 3, "Secrets").
//!
//! In: any text that came from the wire. Out: the same text with every issued secret replaced by `xxxxx`. The masker
//! knows secrets only by asking whether the keyed hash of a token was issued, never by value. Costs one branch while
//! nothing was issued, and one search per text afterwards, in which runs that were met lately need not be taken apart
//! again. Bound: [`PLACES`] runs of at most [`LONGEST`] bytes.

use std::cell::RefCell;
use std::fmt;
use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use zeroize::Zeroize;

use super::doc::Text;
use crate::detect::tokens::{MIN_TOKEN, across_host, is_token_byte, next_run, tokens_in};
use crate::detect::{TokenHash, token_hash};

/// What stands in the place of a secret.
pub const HIDDEN: &str = "xxxxx";

/// A secret is looked for in this many labels of a name.
const MAX_LABELS: usize = 16;

/// A run of more parts than this is hidden whole when a secret is in it.
const MAX_PARTS: usize = 24;

/// Runs that are remembered.
const PLACES: usize = 1024;

/// Longest run that is remembered, in bytes.
const LONGEST: usize = 256;

/// Finds issued secrets in text.
#[derive(Clone, Copy, Default)]
pub struct Masker<'m> {
    secrets: Option<Secrets<'m>>,
    /// Secrets are in the texts in a spelling that is not searched for here.
    hides_all: bool,
}

#[derive(Clone, Copy)]
struct Secrets<'m> {
    issued: &'m dyn Fn(TokenHash) -> bool,
    runs: &'m Runs,
}

impl fmt::Debug for Masker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").field("active", &self.secrets.is_some()).finish()
    }
}

impl<'m> Masker<'m> {
    /// Hides the tokens of which `issued` says that they are secrets that were issued, in every spelling that
    /// [`tokens_in`] undoes. Leave it at [`Masker::default`] while nothing was issued. `runs` outlives the masker, so
    /// that the next one knows what this one met.
    pub fn new(issued: &'m dyn Fn(TokenHash) -> bool, runs: &'m Runs) -> Self {
        Self { secrets: Some(Secrets { issued, runs }), hides_all: false }
    }

    /// For the names of one DNS transaction, in whose labels the matcher found `tokens`: where one of them was issued
    /// and does not show in `name`, all names are hidden but for their last two labels.
    pub(super) fn for_name(self, name: &str, tokens: &[TokenHash]) -> Self {
        let is_hidden = |secrets: Secrets<'_>| {
            tokens.iter().any(|token| (secrets.issued)(*token)) && !secrets.is_in(name.as_bytes())
        };
        Self { hides_all: self.secrets.is_some_and(is_hidden), ..self }
    }

    /// For a request: where a secret begins in its Host and goes on in its target, all texts are hidden.
    pub(super) fn for_request(self, host: &[u8], target: &[u8]) -> Self {
        let is_split = || across_host(host, target).is_some_and(|joined| !self.is_clean(&joined));
        Self { hides_all: self.hides_all || self.secrets.is_some() && is_split(), ..self }
    }

    /// Whether nothing needs to be hidden in `text`, nor in what follows from it by decoding.
    pub fn is_clean(&self, text: &[u8]) -> bool {
        self.secrets.is_none_or(|secrets| text.len() < MIN_TOKEN || !self.hides_all && !secrets.is_in(text))
    }

    /// The text without issued secrets.
    pub fn text<'a>(&self, text: Text<'a>) -> Text<'a> {
        let Some(secrets) = self.secrets.filter(|_| text.len() >= MIN_TOKEN) else {
            return text;
        };
        if self.hides_all {
            let kept = text.rmatch_indices('.').nth(1).and_then(|(dot, _)| text.get(dot..));
            return format!("{HIDDEN}{}", kept.unwrap_or_default()).into();
        }
        match secrets.is_in(text.as_bytes()) {
            true => secrets.hide(&text).into(),
            false => text,
        }
    }
}

impl Secrets<'_> {
    /// Whether a secret is in the text, or spread over the first labels of a name in it. Looks at one run after the
    /// other, so that the bound of [`tokens_in`] does not end the search.
    fn is_in(&self, text: &[u8]) -> bool {
        let mut rest = text;
        while let Some((run, after)) = next_run(rest, is_run_byte) {
            if self.runs.spells(run, self.issued) {
                return true;
            }
            rest = after;
        }
        false
    }

    /// Length of the first labels of a name which together are, or hold, a secret.
    fn labels_of_secret(&self, name: &[u8]) -> Option<usize> {
        first_labels(name, |len, tokens| tokens.iter().any(|token| (self.issued)(*token)).then_some(len))
    }

    fn is_issued(&self, token: &str) -> bool {
        (self.issued)(token_hash(token.as_bytes()))
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
            out.push_str(&self.hide_in_run(run));
            // The padding of what was hidden goes with it.
            let unpadded = after.trim_start_matches('=');
            let is_padding = out.ends_with(HIDDEN) && !unpadded.bytes().next().is_some_and(is_run_byte);
            rest = if is_padding { unpadded } else { after };
        }
        out.push_str(rest);
        if self.is_in(out.as_bytes()) { HIDDEN.to_owned() } else { out }
    }

    /// Replaces the secrets in a run without blanks and quotes: exactly where they stand as they were issued, also glued
    /// to a path; else the labels of a name that they are spread over; else the whole run.
    fn hide_in_run(&self, run: &str) -> String {
        if run.len() < MIN_TOKEN || !self.is_in(run.as_bytes()) {
            return run.to_owned();
        }
        let mut exact = String::with_capacity(run.len());
        for part in run.split_inclusive(['%', '\\']) {
            let token = part.trim_end_matches(['%', '\\']);
            exact.push_str(&self.hide_in_path(token));
            exact.push_str(part.get(token.len()..).unwrap_or_default());
        }
        if !self.is_in(exact.as_bytes()) {
            return exact;
        }
        let spread = self.labels_of_secret(run.as_bytes()).and_then(|len| run.get(len..));
        let name = spread.map(|rest| format!("{HIDDEN}{rest}"));
        name.filter(|name| !self.is_in(name.as_bytes())).unwrap_or_else(|| HIDDEN.to_owned())
    }

    /// Replaces secrets that stand as they were issued among the segments of a path or the labels of a name.
    fn hide_in_path(&self, path: &str) -> String {
        if path.len() < MIN_TOKEN || !self.is_in(path.as_bytes()) {
            return path.to_owned();
        }
        let mut borders: Vec<usize> = path.match_indices(['/', '.']).map(|(at, _)| at).collect();
        let is_web_token = path.starts_with("eyJ") && borders.len() >= 2; // a JWT is secret from its first part to its last
        if borders.len() >= MAX_PARTS || is_web_token {
            return HIDDEN.to_owned();
        }
        borders.push(path.len());
        self.hide_between(path, &borders)
    }

    /// Replaces the longest stretches between two borders that are secrets.
    fn hide_between(&self, run: &str, borders: &[usize]) -> String {
        let mut out = String::with_capacity(run.len());
        let mut start = 0;
        while start < run.len() {
            let ends = borders.iter().rev().copied().filter(|end| *end >= start + MIN_TOKEN);
            let secret = ends.clone().find(|end| run.get(start..*end).is_some_and(|token| self.is_issued(token)));
            let end = secret.or_else(|| borders.iter().copied().find(|end| *end >= start)).unwrap_or(run.len());
            out.push_str(if secret.is_some() { HIDDEN } else { run.get(start..end).unwrap_or_default() });
            out.push_str(run.get(end..end + 1).unwrap_or_default()); // the border itself
            start = end + 1;
        }
        out
    }
}

/// Runs met lately, each with the tokens that it spells, its own and those of the first labels of names in it.
///
/// What a run spells follows from the run alone, so nothing here grows old when another secret is issued; and a run is
/// compared byte by byte, so none is ever taken for another.
pub struct Runs {
    places: RefCell<Box<[Run]>>,
    /// Spreads runs over places.
    seed: RandomState,
}

#[derive(Clone, Default)]
struct Run {
    bytes: Vec<u8>,
    tokens: Vec<TokenHash>,
}

impl Default for Runs {
    fn default() -> Self {
        Self { places: RefCell::new(vec![Run::default(); PLACES].into()), seed: RandomState::default() }
    }
}

impl Runs {
    /// Whether one of the tokens that the run spells was issued. A run with a secret in it is not kept.
    fn spells(&self, run: &[u8], issued: &dyn Fn(TokenHash) -> bool) -> bool {
        let any_issued = |tokens: &[TokenHash]| tokens.iter().any(|token| issued(*token));
        if run.len() > LONGEST {
            return spelt_by(run, any_issued);
        }
        let mut places = self.places.borrow_mut();
        let known = &mut places[self.seed.hash_one(run) as usize % PLACES];
        if known.bytes != run {
            known.learn(run);
        }
        let is_secret = any_issued(&known.tokens);
        if is_secret {
            known.bytes.zeroize();
        }
        is_secret
    }
}

impl Run {
    fn learn(&mut self, run: &[u8]) {
        self.bytes.zeroize();
        self.bytes.extend_from_slice(run);
        self.tokens.clear();
        spelt_by(run, |tokens| {
            self.tokens.extend_from_slice(tokens);
            false
        });
    }
}

/// Hands out the tokens that a run spells, some at a time, until it is told that this is enough; whether it was.
fn spelt_by(run: &[u8], mut is_enough: impl FnMut(&[TokenHash]) -> bool) -> bool {
    let mut tokens = Vec::new();
    tokens_in(run, &mut tokens);
    is_enough(&tokens)
        || run
            .split(|byte| !is_name_byte(*byte))
            .any(|name| first_labels(name, |_, tokens| is_enough(tokens).then_some(())).is_some())
}

/// Joins the first label of a name, the first two and so on, and hands out the length of these labels in the name with the
/// tokens in them, until something is found.
fn first_labels<T>(name: &[u8], mut find: impl FnMut(usize, &[TokenHash]) -> Option<T>) -> Option<T> {
    if name.len() <= MIN_TOKEN || !name.contains(&b'.') {
        return None;
    }
    let (mut joined, mut tokens) = (Vec::with_capacity(name.len()), Vec::new());
    let mut labels = name.split(|byte| *byte == b'.').take(MAX_LABELS).enumerate();
    labels.find_map(|(dots, label)| {
        joined.extend_from_slice(label);
        tokens.clear();
        tokens_in(&joined, &mut tokens);
        find(joined.len() + dots, &tokens)
    })
}

/// Characters of tokens, and those that spell them otherwise (percent-encoding, JSON escapes).
fn is_run_byte(byte: u8) -> bool {
    RUN_BYTES[usize::from(byte)]
}

const RUN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = is_token_byte(byte as u8) || matches!(byte as u8, b'%' | b'\\');
        byte += 1;
    }
    table
};

/// Characters of host names.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine as _};

    use super::*;
    use crate::detect::tokens::secret_hashes;

    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLE0TOKEN";

    #[track_caller]
    fn masked(text: &str, expected: &str) {
        let mut secrets = Vec::new();
        secret_hashes(KEY.as_bytes(), &mut secrets);
        secret_hashes(TOKEN.as_bytes(), &mut secrets);
        let issued = |hash| secrets.contains(&hash);
        let runs = Runs::default();
        let mask = Masker::new(&issued, &runs);
        for _ in 0..2 {
            assert_eq!(mask.text(text.into()), expected);
            assert_eq!(mask.is_clean(text.as_bytes()), text == expected);
        }
    }

    #[test]
    fn a_secret_that_begins_in_the_host_is_hidden() {
        let mut secrets = Vec::new();
        secret_hashes(KEY.as_bytes(), &mut secrets);
        let (issued, runs) = (|hash| secrets.contains(&hash), Runs::default());
        let mask = Masker::new(&issued, &runs);
        let (host, target) = KEY.split_at(KEY.find('/').unwrap());
        for host in [host.to_owned(), format!("{host}:8080")] {
            assert_eq!(mask.for_request(host.as_bytes(), target.as_bytes()).text(target.into()), HIDDEN);
        }
        let other = "/some/longer/path/";
        assert_eq!(mask.for_request(host.as_bytes(), other.as_bytes()).text(other.into()), other);
    }

    #[test]
    fn hides_exactly_what_was_issued() {
        masked(KEY, "xxxxx");
        masked(&format!("/in/{KEY}?a=b"), "/in/xxxxx?a=b");
        masked(&format!("k={KEY}&l=2"), "k=xxxxx&l=2");
        masked(&format!("{KEY} and {TOKEN}."), "xxxxx and xxxxx.");
        masked(&format!("http://{TOKEN}.evil.example/x"), "http://xxxxx.evil.example/x");
        masked("/latest/meta-data/iam/security-credentials/", "/latest/meta-data/iam/security-credentials/");
    }

    #[test]
    fn hides_what_surrounds_a_secret_that_is_spelt_otherwise() {
        masked(&format!("/x?k={}&l=2", KEY.replace('/', "%2F")), "/x?k=xxxxx&l=2");
        masked(&format!("k={}&l=2", BASE64_STANDARD.encode(format!("key is {TOKEN}, ok?"))), "k=xxxxx&l=2");
        masked(&format!(r#"{{\"t\":\"{TOKEN}\",\"u\":\"{KEY}\"}}"#), r#"{\"t\":\"xxxxx\",\"u\":\"xxxxx\"}"#);
        masked(&format!("a eyJhbGci.{TOKEN}.EXAMPLESIGNATURE b"), "a xxxxx b");
        masked("IQoJb3JpZ2luX2Vj.EXAMPLE0TOKEN.evil.example", "xxxxx.evil.example");
        masked(&format!("{}{KEY}", "a/".repeat(40)), "xxxxx");
    }

    #[test]
    fn names_are_hidden_when_the_matcher_saw_more() {
        let issued = |hash| hash == TokenHash(7);
        let runs = Runs::default();
        let mask = Masker::new(&issued, &runs);
        let name = "jfiw4zlsmvxgg2lon4qgk3tu.drop.example";
        let shown = |tokens: &[TokenHash]| mask.for_name(name, tokens).text(name.into()).into_owned();
        assert_eq!(shown(&[TokenHash(7)]), "xxxxx.drop.example");
        assert_eq!(shown(&[TokenHash(8)]), name);
    }

    #[test]
    fn what_was_met_before_it_was_issued_is_hidden_afterwards() {
        let (runs, mut secrets) = (Runs::default(), Vec::new());
        let text = format!("/in/{KEY}?a=b");
        let shown = |secrets: &[TokenHash]| {
            let issued = |hash| secrets.contains(&hash);
            Masker::new(&issued, &runs).text(text.as_str().into()).into_owned()
        };
        assert_eq!(shown(&secrets), text);
        secret_hashes(KEY.as_bytes(), &mut secrets);
        assert_eq!(shown(&secrets), "/in/xxxxx?a=b");
        let kept = runs.places.borrow();
        assert!(kept.iter().all(|run| !run.bytes.ends_with(KEY.as_bytes())), "a run with a secret in it stays");
    }

    #[test]
    fn does_nothing_while_nothing_was_issued() {
        assert!(matches!(Masker::default().text(KEY.into()), Text::Borrowed(KEY)));
        assert!(Masker::default().is_clean(KEY.as_bytes()));
    }
}
