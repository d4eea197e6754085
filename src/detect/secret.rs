//! Secrets as they are remembered: keyed hashes, never text.
//!
//! A secret gives two lists. *Grams* are hashes of every [`GRAM`] characters in a row: whoever has a text asks whether any
//! 16 characters of it are in a secret ([`Grams`]). *Anchors* are hashes of some of its [`ANCHOR`] characters in a row,
//! chosen by what they are, so that every 16 characters hold one: few enough that workers hand on those of all text.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::cell::Cell;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use zeroize::Zeroizing;

use super::tokens::{MIN_TOKEN, is_token, is_token_byte, next_run};

/// Characters of which two texts are compared.
pub const GRAM: usize = MIN_TOKEN;
/// Characters of an anchor.
pub const ANCHOR: usize = 12;
/// Anchors that begin in [`GRAM`] characters: the one with the least hash is chosen.
const WINDOW: usize = GRAM - ANCHOR + 1;
/// Longest secret that is remembered, in bytes; longer ones are as far as this.
pub const MAX_SECRET: usize = 8 * 1024;
/// Characters of a block, and how far from each other a text's are looked at: any [`GRAM`] characters hold a whole one.
const BLOCK: usize = 8;
const STEP: usize = GRAM - BLOCK + 1;
/// Fewer different characters than this are no mark of one secret.
const MIN_DIFFERENT: usize = 5;

/// Which part of a credential a secret is: where it belongs follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Never leaves its holder.
    Key,
    /// Goes with what a key has signed, under the signing names.
    Session,
    /// Goes to services in `Authorization`.
    Bearer,
    /// A metadata service's own token, good at that service alone: hidden, but no credential.
    Access,
}

/// Hashes of one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// What it is.
    pub part: Part,
    /// Of every [`GRAM`] characters.
    pub grams: Box<[u64]>,
    /// Of every eight.
    pub blocks: Box<[u64]>,
    /// Of what lies behind the beginning that every secret of its kind has.
    pub anchors: Box<[u64]>,
}

impl Secret {
    /// A secret of this value, its lines joined. `None` where it has no [`GRAM`] characters in a row.
    pub fn new(value: &[u8], part: Part) -> Option<Self> {
        if memchr::memchr2(b'\r', b'\n', value).is_none() {
            return Self::of_runs(value, part, |_| true);
        }
        let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let joined = Zeroizing::new(value.iter().filter(|byte| !is_break(byte)).copied().collect::<Vec<u8>>());
        Self::of_runs(&joined, part, |_| true)
    }

    /// The secrets in a document of which nobody knows where in it they stand: words, paths and addresses are none.
    pub fn in_text(text: &[u8], part: Part) -> Option<Self> {
        let is_path = |run: &[u8]| run.starts_with(b"/") || run.split(|byte| *byte == b'/').count() > 4;
        Self::of_runs(text, part, |run| is_token(run) && !is_path(run))
    }

    fn of_runs(value: &[u8], part: Part, is_secret: impl Fn(&[u8]) -> bool) -> Option<Self> {
        let value = value.get(..MAX_SECRET).unwrap_or(value);
        let (mut grams, mut blocks, mut anchors) = (Vec::new(), Vec::new(), Vec::new());
        let mut rest = value;
        while let Some((run, after)) = next_run(rest, is_of_secret) {
            rest = after;
            if !is_secret(run) {
                continue;
            }
            grams.extend(run.array_windows().map(gram));
            blocks.extend(run.array_windows().map(block));
            let mut own = run.get(common(run)..).unwrap_or_default();
            while let Some((token, after)) = next_run(own, is_token_byte) {
                own = after;
                each_anchor(token, |at, hash| {
                    let chars = token.get(at..at.saturating_add(ANCHOR)).unwrap_or_default();
                    if are_different(chars) {
                        anchors.push(hash);
                    }
                });
            }
        }
        let is_any = !grams.is_empty();
        is_any.then(|| Self { part, grams: grams.into(), blocks: blocks.into(), anchors: anchors.into() })
    }
}

/// Whether secrets have such characters: [`Secret::grams`] are of no others.
fn is_of_secret(byte: u8) -> bool {
    byte > b' ' && byte < 0x7F
}

/// How many characters every secret of its kind begins with.
fn common(secret: &[u8]) -> usize {
    const STS: &[u8] = b"IQoJb3JpZ2luX2Vj";
    const REGION: &[u8] = b"//////////wEa";
    if secret.starts_with(b"eyJ") {
        return memchr::memchr(b'.', secret).map_or(0, |dot| dot.saturating_add(1));
    }
    if secret.starts_with(STS) {
        // Time of issue, then the region and the beginning of a signature.
        let region = secret.get(..48).and_then(|head| memchr::memmem::find(head, REGION));
        return region.map_or(STS.len(), |at| at.saturating_add(REGION.len()).saturating_add(24));
    }
    match secret {
        [b'y', b'a', b'2', b'9', b'.', ..] => 5,
        // a key in DER: its algorithm and size
        [b'M', b'I', b'I', ..] => 36,
        _ => 0,
    }
}

/// Whether there are [`MIN_DIFFERENT`] different characters: the first few of most tokens are.
fn are_different(chars: &[u8]) -> bool {
    let (mut seen, mut count) = (0u128, 0usize);
    chars.iter().any(|byte| {
        let bit = 1 << (byte & 127);
        count = count.saturating_add(usize::from(seen & bit == 0));
        seen |= bit;
        count >= MIN_DIFFERENT
    })
}

/// Hash of [`BLOCK`] characters.
#[inline]
fn block(chars: &[u8; BLOCK]) -> u64 {
    fold(u64::from_le_bytes(*chars) ^ KEYS[0][0], KEYS[0][1])
}

/// Hash of [`GRAM`] characters.
fn gram(chars: &[u8; GRAM]) -> u64 {
    mix(first_word(chars), last_word(chars), KEYS[0])
}

/// Hash of [`ANCHOR`] characters.
fn anchor(chars: &[u8; ANCHOR]) -> u64 {
    mix(first_word(chars), last_word(chars), KEYS[1])
}

fn first_word<const N: usize>(chars: &[u8; N]) -> u64 {
    chars.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

fn last_word<const N: usize>(chars: &[u8; N]) -> u64 {
    chars.last_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

/// Fixed, so that replays and sensors agree; hashes are never written.
const KEYS: [[u64; 2]; 2] =
    [[0x2D35_8DCC_AA6C_78A5, 0x8BB8_4B93_962E_ACC9], [0x4B33_A62E_D433_D4A3, 0x4D5A_2DA5_1DE1_AA47]];

/// Both halves of the product, twice: one multiplication alone leaves runs of equal characters alike.
#[inline]
fn mix(low: u64, high: u64, [first, second]: [u64; 2]) -> u64 {
    fold(fold(low ^ first, high ^ second) ^ second, first)
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    product as u64 ^ (product >> 64) as u64
}

/// The last few hashes, by where they begin; none is moved, which would cost more than to make them.
#[derive(Default)]
struct Recent([u64; RECENT]);

const RECENT: usize = WINDOW.next_power_of_two();

impl Recent {
    fn put(&mut self, at: usize, hash: u64) {
        if let Some(slot) = self.0.get_mut(at % RECENT) {
            *slot = hash;
        }
    }

    fn at(&self, at: usize) -> u64 {
        self.0.get(at % RECENT).copied().unwrap_or(u64::MAX)
    }
}

/// Hashes that are made together: each takes some time, but many are made at once where nothing is decided between them.
const TOGETHER: usize = 32;

/// Hands out the anchors of a run without gaps: where each begins, and its hash.
pub fn each_anchor(run: &[u8], mut take: impl FnMut(usize, u64)) {
    let mut window = Window::default();
    let mut hashes = [0; TOGETHER];
    let count = (run.len().saturating_add(1)).saturating_sub(ANCHOR);
    for first in (0..count).step_by(TOGETHER) {
        let windows = run.get(first..).unwrap_or_default().array_windows();
        hashes.iter_mut().zip(windows).for_each(|(hash, chars)| *hash = anchor(chars));
        for (at, hash) in (first..count).zip(hashes) {
            if let Some((place, least)) = window.next(at, hash) {
                take(place, least);
            }
        }
    }
}

/// The last few hashes: the least and where it is, of equal ones the last.
#[derive(Default)]
struct Window {
    least: u64,
    place: usize,
    /// Where the one stood that was handed out last.
    last: Option<usize>,
    recent: Recent,
}

impl Window {
    /// Moves on to the next hash; the least one, if it is another than before.
    #[inline]
    fn next(&mut self, at: usize, hash: u64) -> Option<(usize, u64)> {
        self.recent.put(at, hash);
        let first = at.saturating_sub(WINDOW.saturating_sub(1));
        if at == 0 || hash <= self.least {
            (self.least, self.place) = (hash, at);
        } else if self.place < first {
            (self.least, self.place) = (u64::MAX, at);
            for candidate in first..=at {
                let hash = self.recent.at(candidate);
                if hash <= self.least {
                    (self.least, self.place) = (hash, candidate);
                }
            }
        }
        let is_other = at.saturating_add(1) >= WINDOW && self.last != Some(self.place);
        is_other.then(|| {
            self.last = Some(self.place);
            (self.place, self.least)
        })
    }
}

/// Grams of the secrets that were issued. Bound: a number of grams, the oldest out first, half of them at a time.
///
/// A text is searched in steps of [`STEP`]: any 16 characters of a secret in it hold one of the blocks looked at, and only
/// around a block that some secret has are its grams made. Most texts cost a ninth of what asking for every gram would.
#[derive(Debug)]
pub struct Grams {
    young: Generation,
    old: Generation,
    /// Most grams of each.
    half: usize,
    /// What was asked about since `revision` is what it is.
    asked: Asked,
    /// Changes where answers may.
    revision: Cell<u64>,
}

/// Words of [`Generation::blocks`], at least and at most: eight bits for each gram that may be remembered.
const FILTER: (usize, usize) = (1 << 11, 1 << 15);

#[derive(Debug, Default)]
struct Generation {
    grams: HashSet<u64, RandomState>,
    /// A bit for each block of a secret by its low bits. None while there are none.
    blocks: Box<[u64]>,
}

impl Generation {
    fn add(&mut self, secret: &Secret, most: usize) {
        if self.blocks.is_empty() {
            self.blocks = vec![0; (most / 8).next_power_of_two().clamp(FILTER.0, FILTER.1)].into();
        }
        self.grams.extend(&secret.grams);
        for block in &secret.blocks {
            let (word, bit) = self.place(*block);
            if let Some(word) = self.blocks.get_mut(word) {
                *word |= bit;
            }
        }
    }

    #[inline]
    fn may_hold(&self, block: u64) -> bool {
        let (word, bit) = self.place(block);
        self.blocks.get(word).is_some_and(|word| word & bit != 0)
    }

    #[inline]
    fn place(&self, block: u64) -> (usize, u64) {
        ((block >> 6) as usize & self.blocks.len().saturating_sub(1), 1 << (block & 63))
    }
}

impl Grams {
    /// None, and room for `limit`.
    pub fn new(limit: usize) -> Self {
        Self {
            young: Generation::default(),
            old: Generation::default(),
            half: (limit / 2).max(2 * MAX_SECRET),
            asked: Asked::default(),
            revision: Cell::default(),
        }
    }

    /// While it stays, no text that was [searched](Self::starts) while answers were noted would be answered otherwise.
    pub fn revision(&self) -> u64 {
        self.revision.get()
    }

    /// Much will be asked about: where that is too much together with what was, it no longer counts that it was.
    pub fn make_room(&self) {
        if self.asked.is_full() {
            self.revise();
        }
    }

    fn revise(&self) {
        self.asked.clear();
        self.revision.set(self.revision.get().wrapping_add(1));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.young.grams.is_empty() && self.old.grams.is_empty()
    }

    /// Adds those of a secret; whether older ones made room for it.
    pub fn add(&mut self, secret: &Secret) -> bool {
        let is_full = self.young.grams.len().saturating_add(secret.grams.len()) > self.half;
        self.asked.open();
        if is_full || secret.blocks.iter().any(|block| self.asked.may_hold(*block)) {
            self.revise();
        }
        if is_full {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.add(secret, self.half);
        is_full
    }

    /// Where in a text 16 characters of a secret begin, in order. With `NOTE` it is noted that this was asked.
    #[inline]
    pub fn starts<'t, const NOTE: bool>(&'t self, text: &'t [u8]) -> impl Iterator<Item = usize> + 't {
        let blocks = text.chunks(STEP).enumerate().filter_map(|(nth, chunk)| Some((nth, block(chunk.first_chunk()?))));
        let held = blocks.filter(|(_, block)| {
            if NOTE {
                self.asked.put(*block);
            }
            self.young.may_hold(*block) || self.old.may_hold(*block)
        });
        held.flat_map(move |(nth, _)| {
            let at = nth.saturating_mul(STEP);
            let first = at.saturating_sub(STEP.saturating_sub(1));
            let around = text.get(first..text.len().min(at.saturating_add(GRAM))).unwrap_or_default();
            let starts = around.array_windows().enumerate().filter(|(_, chars)| self.has(gram(chars)));
            starts.map(move |(nth, _)| first.saturating_add(nth))
        })
    }

    /// Whether 16 characters with this hash are in a secret.
    pub fn has(&self, gram: u64) -> bool {
        self.young.grams.contains(&gram) || self.old.grams.contains(&gram)
    }
}

/// Which hashes were asked about: at times one that was not, but none is forgotten (a Bloom filter whose bits for a hash
/// are all in one word). Bound: [`ASKED`] words, of four hashes each.
#[derive(Debug, Default)]
struct Asked {
    /// None before anything is worth asking.
    words: Box<[Cell<u64>]>,
    count: Cell<usize>,
}

/// Where there is one hash for each word, another seems to be there once in ten thousand times, and a secret has a few
/// hundred; where there are four, which is the most, once in a hundred and fifty times.
const ASKED: usize = 1 << 14;

impl Asked {
    fn open(&mut self) {
        if self.words.is_empty() {
            self.words = vec![Cell::new(0); ASKED].into();
        }
    }

    fn is_full(&self) -> bool {
        self.count.get() >= ASKED * 4
    }

    #[inline]
    fn put(&self, hash: u64) {
        if let Some(word) = self.words.get(Self::place(hash)) {
            let (old, new) = (word.get(), word.get() | Self::bits(hash));
            word.set(new);
            self.count.set(self.count.get().saturating_add(usize::from(new != old)));
        }
    }

    fn may_hold(&self, hash: u64) -> bool {
        let word = self.words.get(Self::place(hash)).map_or(0, Cell::get);
        word & Self::bits(hash) == Self::bits(hash)
    }

    fn clear(&self) {
        if self.count.take() > 0 {
            self.words.iter().for_each(|word| word.set(0));
        }
    }

    fn place(hash: u64) -> usize {
        (hash >> 40) as usize % ASKED
    }

    fn bits(hash: u64) -> u64 {
        (1 << (hash & 63)) | (1 << (hash >> 6 & 63)) | (1 << (hash >> 12 & 63))
    }
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    fn anchors(run: &[u8]) -> Vec<u64> {
        let mut out = Vec::new();
        each_anchor(run, |_, hash| out.push(hash));
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn any_sixteen_characters_share_an_anchor(
            secret in "[A-Za-z0-9+/]{16,120}", before in "[a-z/]{0,20}", after in "[A-Z]{0,20}", at in 0usize..120,
        ) {
            let at = at % (secret.len() - GRAM + 1);
            let text = format!("{before}{}{after}", &secret[at..at + GRAM]);
            let known = anchors(secret.as_bytes());
            prop_assert!(anchors(text.as_bytes()).iter().any(|hash| known.contains(hash)));
        }
    }

    #[test]
    fn anchors_are_a_third_of_the_characters() {
        let text: String =
            (0..2000u32).map(|n| char::from(b'A' + (n.wrapping_mul(2_654_435_761) >> 27) as u8 % 26)).collect();
        let count = anchors(text.as_bytes()).len();
        assert!((500..900).contains(&count), "{count}");
    }

    #[test]
    fn what_many_secrets_begin_with_is_no_anchor() {
        let of = |text: &str| Secret::new(text.as_bytes(), Part::Session).unwrap();
        let one = of("IQoJb3JpZ2luX2VjEJ3//////////wEaCXVzLWVhc3QtMSJHMEUCIQCabcdefghijklmnopqrstuvwx");
        let two = of("IQoJb3JpZ2luX2VjEKb//////////wEaCXVzLWVhc3QtMSJHMEUCIDqrstuvwxyzABCDEFGHIJKLMNOP");
        assert!(!one.anchors.is_empty() && !one.anchors.iter().any(|hash| two.anchors.contains(hash)));
        assert!(one.grams.iter().any(|hash| two.grams.contains(hash)));
        let jwt = |rest: &str| of(&format!("eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.{rest}"));
        let (one, two) = (jwt("eyJzdWIiOiIxMjM0NTY3ODkwIn0"), jwt("AbCdEfGhIjKlMnOpQrStUvWxYz01"));
        assert!(!one.anchors.iter().any(|hash| two.anchors.contains(hash)));
    }

    #[test]
    fn words_and_paths_of_a_document_are_no_secrets() {
        for text in ["latest-meta-data-iam-security-credentials", "/latest/meta-data/iam/Info1", "a/b/c/d/Info1/2222"] {
            assert_eq!(Secret::in_text(text.as_bytes(), Part::Key), None, "{text}");
        }
        assert!(Secret::in_text(format!("key: {KEY}\n").as_bytes(), Part::Key).is_some());
        assert!(Secret::new(b"short", Part::Key).is_none());
    }

    proptest! {
        #[test]
        fn steps_leave_no_part_of_a_secret_out(before in "[A-Za-z /]{0,40}", after in "[A-Za-z /]{0,40}", at in 0usize..24, len in 15usize..40) {
            let part = &KEY[at..KEY.len().min(at + len)];
            let mut grams = Grams::new(0);
            grams.add(&Secret::new(KEY.as_bytes(), Part::Key).unwrap());
            let text = format!("{before} {part} {after}");
            let starts: Vec<_> = grams.starts::<false>(text.as_bytes()).collect();
            let first = before.len() + 1;
            let expected: Vec<_> = (first..(first + part.len() + 1).saturating_sub(GRAM)).collect();
            prop_assert_eq!(starts, expected);
        }
    }

    #[test]
    fn only_a_secret_that_was_asked_about_is_news() {
        let of = |text: &str| Secret::new(text.as_bytes(), Part::Key).unwrap();
        let mut grams = Grams::new(0);
        grams.add(&of(KEY));
        assert_eq!(grams.starts::<true>(b"asked/about/before/it+was/issued/0123456789").count(), 0);
        let before = grams.revision();
        grams.add(&of("another+secret/that/nobody+asked/for/98765"));
        assert_eq!(grams.revision(), before);
        grams.add(&of("it ends in asked/about/before/it"));
        assert_ne!(grams.revision(), before);
        // what was asked about is not remembered for ever, and nothing is answered wrongly for that
        let before = grams.revision();
        let text: Vec<u8> = (0..100_000u64).flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()).collect();
        assert_eq!(grams.starts::<true>(&text).count(), 0);
        grams.make_room();
        assert_ne!(grams.revision(), before);
    }

    #[test]
    fn grams_are_bounded_and_the_oldest_go_first() {
        let mut grams = Grams::new(0);
        let secret = |n: u32| {
            let letter = |at: u32| {
                char::from(b'a' + (gram(format!("{n:08}{at:08}").as_bytes().first_chunk().unwrap()) % 26) as u8)
            };
            Secret::new((0..4096).map(letter).collect::<String>().as_bytes(), Part::Key).unwrap()
        };
        let all: Vec<_> = (0..40).map(secret).collect();
        all.iter().for_each(|secret| {
            grams.add(secret);
        });
        let has = |secret: &Secret| secret.grams.iter().all(|gram| grams.has(*gram));
        assert!(has(&all[39]) && !has(&all[0]));
        assert!(grams.young.grams.len() + grams.old.grams.len() <= 4 * MAX_SECRET);
    }
}
