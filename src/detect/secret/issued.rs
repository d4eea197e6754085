//! Which texts have a part of an issued secret in them.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::cell::Cell;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};

use super::{BLOCK, GRAM, KEYS, MAX_SECRET, Secret, block, fold};

/// How far from each other blocks are looked at: any [`GRAM`] characters hold a whole one.
const STEP: usize = GRAM - BLOCK + 1;

/// Secrets that were issued. Bound: a number of blocks, the oldest out first, half of them at a time.
///
/// A text is searched in steps of [`STEP`]: any 16 characters of a secret in it hold one of the blocks looked at, and only
/// around a block that some secret has is it compared. Most texts cost a ninth of what asking for every place would.
#[derive(Debug)]
pub struct IssuedSecrets {
    young: Generation,
    old: Generation,
    /// Most blocks of each.
    half: usize,
    /// What was asked about since `revision` is what it is.
    asked: Asked,
    /// Changes where answers may.
    revision: Cell<u64>,
}

/// Words of [`Generation::filter`] at first and at most. It grows to eight bits for each block: a small one is in a cache.
const FILTER: (usize, usize) = (1 << 10, 1 << 15);
/// Blocks for each word, above which it grows.
const FULL: usize = 8;

/// Secrets that came at about the same time: they are forgotten together.
#[derive(Debug, Default)]
struct Generation {
    /// A bit for each block by its low bits. None while there are none.
    filter: Box<[u64]>,
    secrets: Vec<Arc<[u64]>>,
    /// How many blocks they have.
    count: usize,
    /// Where every ninth block of each secret is: any [`GRAM`] characters of one hold one of these.
    places: HashMap<u64, Place, RandomState>,
    /// Of a block that is in several places one is known. This is a hash of each 16 characters around the others.
    others: HashSet<u64, RandomState>,
}

/// A block of a secret.
#[derive(Clone, Copy, Debug)]
struct Place {
    secret: u32,
    at: u32,
}

impl Generation {
    fn add(&mut self, secret: &Secret) {
        let blocks = &secret.blocks;
        self.filter(blocks);
        let number = self.secrets.len() as u32; // no more than there are blocks
        for (nth, block) in blocks.iter().step_by(STEP).enumerate() {
            let at = nth.saturating_mul(STEP);
            match self.places.entry(*block) {
                Entry::Vacant(entry) => drop(entry.insert(Place { secret: number, at: at as u32 })),
                Entry::Occupied(_) => {
                    let around = at.saturating_sub(BLOCK)..=at;
                    let pairs =
                        around.filter_map(|start| Some((blocks.get(start)?, blocks.get(start.checked_add(BLOCK)?)?)));
                    self.others.extend(pairs.map(|(first, second)| gram(*first, *second)));
                }
            }
        }
        self.secrets.push(Arc::clone(blocks));
    }

    /// Puts blocks of a new secret in the filter, into a larger one with those of all others where they become too many.
    fn filter(&mut self, blocks: &[u64]) {
        self.count = self.count.saturating_add(blocks.len());
        let words = (self.count / FULL).next_power_of_two().clamp(FILTER.0, FILTER.1);
        if words > self.filter.len() {
            self.filter = vec![0; words].into();
            for secret in &self.secrets {
                set(&mut self.filter, secret);
            }
        }
        set(&mut self.filter, blocks);
    }

    #[inline]
    fn may_hold(&self, block: u64) -> bool {
        let (word, bit) = bit(&self.filter, block);
        self.filter.get(word).is_some_and(|word| word & bit != 0)
    }

    /// A bit for each of the first [`STEP`] places of a text at which 16 characters of a secret begin. In: its blocks that
    /// such characters may have.
    fn starts(&self, blocks: &[u64]) -> u16 {
        if self.secrets.is_empty() {
            return 0;
        }
        let mut starts = 0u16;
        let pairs = || blocks.iter().zip(blocks.iter().skip(BLOCK)).take(STEP).enumerate();
        for (at, block) in blocks.iter().enumerate() {
            let Some(place) = self.may_hold(*block).then(|| self.places.get(block)).flatten() else { continue };
            let secret = self.secrets.get(place.secret as usize).map_or(&[][..], |secret| secret);
            for (start, pair) in pairs().take(at.saturating_add(1)).skip(at.saturating_sub(BLOCK)) {
                let in_secret = (place.at as usize).checked_sub(at.saturating_sub(start));
                let first = in_secret.and_then(|at| secret.get(at));
                let second = in_secret.and_then(|at| secret.get(at.saturating_add(BLOCK)));
                starts |= u16::from((first, second) == (Some(pair.0), Some(pair.1))) << start;
            }
        }
        if !self.others.is_empty() {
            for (start, (first, second)) in pairs() {
                starts |= u16::from(self.others.contains(&gram(*first, *second))) << start;
            }
        }
        starts
    }
}

/// Where the bit of a block is.
#[inline]
fn bit(filter: &[u64], block: u64) -> (usize, u64) {
    ((block >> 6) as usize & filter.len().saturating_sub(1), 1 << (block & 63))
}

fn set(filter: &mut [u64], blocks: &[u64]) {
    for block in blocks {
        let (word, bit) = bit(filter, *block);
        if let Some(word) = filter.get_mut(word) {
            *word |= bit;
        }
    }
}

/// Hash of two blocks, one behind the other.
fn gram(first: u64, second: u64) -> u64 {
    fold(first ^ KEYS[1][0], second ^ KEYS[1][1])
}

impl IssuedSecrets {
    /// None, and room for `limit` blocks.
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
        self.young.secrets.is_empty() && self.old.secrets.is_empty()
    }

    /// Adds a secret; whether older ones made room for it.
    pub fn add(&mut self, secret: &Secret) -> bool {
        let is_full = self.young.count.saturating_add(secret.blocks.len()) > self.half;
        self.asked.open();
        if is_full || secret.blocks.iter().any(|block| self.asked.may_hold(*block)) {
            self.revise();
        }
        if is_full {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.add(secret);
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
            let first = nth.saturating_mul(STEP).saturating_sub(BLOCK);
            // All that begin before the next block that is looked at, but for the first block of a text.
            let count = if nth == 0 { 1 } else { STEP };
            let starts = self.starts_from(text.get(first..).unwrap_or_default());
            (0..count).filter(move |start| starts >> start & 1 != 0).map(move |start| first.saturating_add(start))
        })
    }

    /// A bit for each of the first [`STEP`] places at which 16 characters of a secret begin.
    fn starts_from(&self, text: &[u8]) -> u16 {
        let mut blocks = [0; STEP + BLOCK];
        let windows = text.array_windows();
        let count = windows.len().min(blocks.len());
        blocks.iter_mut().zip(windows).for_each(|(hash, chars)| *hash = block(chars));
        let blocks = blocks.get(..count).unwrap_or_default();
        self.young.starts(blocks) | self.old.starts(blocks)
    }
}

/// Which hashes were asked about: at times one that was not, but none is forgotten (a Bloom filter whose [`BITS`] for a
/// hash are all in one word). Bound: [`ASKED`] words, of two hashes each.
#[derive(Debug, Default)]
struct Asked {
    /// None before anything is worth asking.
    words: Box<[Cell<u64>]>,
    count: Cell<usize>,
}

/// Where there is one hash for each word, another seems to be there once in a million times, and a secret has a few
/// hundred; where there are two, which is the most, once in twenty thousand times.
const ASKED: usize = 1 << 14;
const BITS: u32 = 6;

impl Asked {
    fn open(&mut self) {
        if self.words.is_empty() {
            self.words = vec![Cell::new(0); ASKED].into();
        }
    }

    fn is_full(&self) -> bool {
        self.count.get() >= ASKED * 2
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
        // nearly always its first bit tells that it is not there
        word >> (hash & 63) & 1 != 0 && word & Self::bits(hash) == Self::bits(hash)
    }

    fn clear(&self) {
        if self.count.take() > 0 {
            self.words.iter().for_each(|word| word.set(0));
        }
    }

    fn place(hash: u64) -> usize {
        (hash >> (6 * BITS)) as usize % ASKED
    }

    fn bits(hash: u64) -> u64 {
        (0..BITS).fold(0, |bits, nth| bits | 1 << (hash >> nth.saturating_mul(6) & 63))
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

    use super::super::Part;
    use super::*;

    const KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    proptest! {
        #[test]
        fn steps_leave_no_part_of_a_secret_out(before in "[A-Za-z /]{0,40}", after in "[A-Za-z /]{0,40}", at in 0usize..24, len in 15usize..40) {
            let part = &KEY[at..KEY.len().min(at + len)];
            let mut issued = IssuedSecrets::new(0);
            issued.add(&Secret::new(KEY.as_bytes(), Part::Key).unwrap());
            let text = format!("{before} {part} {after}");
            let starts: Vec<_> = issued.starts::<false>(text.as_bytes()).collect();
            let first = before.len() + 1;
            let expected: Vec<_> = (first..(first + part.len() + 1).saturating_sub(GRAM)).collect();
            prop_assert_eq!(starts, expected);
        }
    }

    proptest! {
        /// Of few letters, so that blocks are in many places of many secrets.
        #[test]
        fn a_place_is_found_where_a_secret_has_the_same_characters(
            secrets in proptest::collection::vec("[ab]{16,60}|a{16,40}|(abc){6,20}", 1..6),
            text in "[ab]{0,120}|[abc]{0,60}|a{0,60}", part in 0usize..6, before in "[ab]{0,20}",
        ) {
            let mut issued = IssuedSecrets::new(0);
            for secret in &secrets {
                issued.add(&Secret::new(secret.as_bytes(), Part::Key).unwrap());
            }
            let text = format!("{before}{}{text}", secrets[part % secrets.len()]);
            let is_there = |at: &usize| secrets.iter().any(|secret| secret.contains(&text[*at..*at + GRAM]));
            let expected: Vec<_> = (0..=text.len() - GRAM).filter(is_there).collect();
            prop_assert_eq!(issued.starts::<false>(text.as_bytes()).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn only_a_secret_that_was_asked_about_is_news() {
        let of = |text: &str| Secret::new(text.as_bytes(), Part::Key).unwrap();
        let mut issued = IssuedSecrets::new(0);
        issued.add(&of(KEY));
        assert_eq!(issued.starts::<true>(b"asked/about/before/it+was/issued/0123456789").count(), 0);
        let before = issued.revision();
        issued.add(&of("another+secret/that/nobody+asked/for/98765"));
        assert_eq!(issued.revision(), before);
        issued.add(&of("it ends in asked/about/before/it"));
        assert_ne!(issued.revision(), before);
        // what was asked about is not remembered for ever, and nothing is answered wrongly for that
        let before = issued.revision();
        let text: Vec<u8> = (0..100_000u64).flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()).collect();
        assert_eq!(issued.starts::<true>(&text).count(), 0);
        issued.make_room();
        assert_ne!(issued.revision(), before);
    }

    #[test]
    fn secrets_are_bounded_and_the_oldest_go_first() {
        let mut issued = IssuedSecrets::new(0);
        let secret = |n: u32| {
            let letter = |at: u32| char::from(b'a' + (gram(n.into(), at.into()) % 26) as u8);
            (0..4096).map(letter).collect::<String>()
        };
        let all: Vec<_> = (0..40).map(secret).collect();
        all.iter().for_each(|secret| {
            issued.add(&Secret::new(secret.as_bytes(), Part::Key).unwrap());
        });
        let has = |secret: &String| issued.starts::<false>(secret.as_bytes()).count() == 4096 - GRAM + 1;
        assert!(has(&all[39]) && !has(&all[0]));
        assert!(issued.young.count + issued.old.count <= 4 * MAX_SECRET);
    }
}
