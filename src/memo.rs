//! What was found out about bytes that come again and again, remembered: programs ask for the same few paths in the same
//! words.
//!
//! In: a key, and how to know the value that belongs to it. Out: that value, if it was met lately. Each key has one place,
//! which the last that came there has, so nothing is ever cleared and nothing grows; what is remembered decides how long
//! an answer takes, never what it is. Bound: `PLACES` values; whoever puts values in bounds their size.
//! benches/README.md says what each one saves.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::quality::RandomState;
use siphasher::sip128::{Hasher128, SipHasher13};

/// Values met lately, each in the place that its key's hash says.
#[derive(Debug)]
pub struct Memo<T, const PLACES: usize> {
    places: Box<[Option<T>]>,
    seed: RandomState,
}

impl<T, const PLACES: usize> Default for Memo<T, PLACES> {
    fn default() -> Self {
        const { assert!(PLACES > 0, "a memo without places") }
        let places = std::iter::repeat_with(|| None).take(PLACES).collect();
        Self { places, seed: RandomState::default() }
    }
}

impl<T, const PLACES: usize> Memo<T, PLACES> {
    /// The place of a key: empty, or with a value of this key or of another.
    #[inline]
    pub fn place(&mut self, key: impl Hash) -> &mut Option<T> {
        let at = self.at(key);
        #[expect(clippy::indexing_slicing, reason = "the remainder by the length, of the places")]
        &mut self.places[at]
    }

    /// The value that `is_same` recognises, if it was met lately with this key.
    #[inline]
    pub fn get(&self, key: impl Hash, is_same: impl FnOnce(&T) -> bool) -> Option<&T> {
        self.places.get(self.at(key))?.as_ref().filter(|known| is_same(known))
    }

    #[inline]
    fn at(&self, key: impl Hash) -> usize {
        self.seed.hash_one(key) as usize % PLACES
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.places.iter().flatten().count()
    }
}

impl<T, const PLACES: usize> Memo<Arc<T>, PLACES> {
    /// The value that `is_same` recognises, if it was met lately with this key; else what `make` makes.
    pub fn share(&mut self, key: impl Hash, is_same: impl FnOnce(&T) -> bool, make: impl FnOnce() -> T) -> Arc<T> {
        match self.place(key) {
            Some(known) if is_same(known) => known.clone(),
            other => other.insert(Arc::new(make())).clone(),
        }
    }
}

/// Digests of what may be a secret, to know it again without keeping it: under a key that nobody knows, different in each
/// run (SipHash-1-3, 128 bits).
#[derive(Debug)]
pub struct PrivateDigest(u64, u64);

impl Default for PrivateDigest {
    fn default() -> Self {
        let random = std::hash::RandomState::new();
        Self(random.hash_one(0), random.hash_one(1))
    }
}

impl PrivateDigest {
    /// Of these bytes, one part behind the other.
    pub fn of(&self, parts: &[&[u8]]) -> u128 {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        parts.iter().for_each(|part| hasher.write(part));
        hasher.finish128().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_others_are_not() {
        let mut memo = Memo::<_, 64>::default();
        let mut share = |text: &str| memo.share(text, |known| *known == text, || text.to_owned());
        let first = share("a");
        assert!(Arc::ptr_eq(&first, &share("a")));
        assert_eq!(*share("b"), "b");
        // many more than there are places for: still each what was asked for
        assert!((0..256).map(|n| n.to_string()).all(|text| *share(&text) == text));
        assert_eq!(*first, "a");
        assert!(memo.len() <= 64);
    }

    #[test]
    fn another_in_the_place_is_not_taken_for_the_one_asked_for() {
        let mut memo = Memo::<_, 1>::default();
        *memo.place("a") = Some("a");
        assert_eq!(memo.get("b", |known| *known == "b"), None);
        assert_eq!(memo.get("a", |known| *known == "a"), Some(&"a"));
    }
}
