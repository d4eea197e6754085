//! Values that many requests have in common, kept once: programs ask for the same few paths in the same words.
//!
//! In: a value by its parts. Out: one that is equal, shared with whoever got it before where it was met lately. Which values
//! are shared is a matter of memory alone. Bound: [`PLACES`] values beside those that are in use.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::quality::RandomState;

/// Values that are remembered.
const PLACES: usize = 1024;

/// Values met lately, each in the place that its hash says.
#[derive(Debug)]
pub struct Pool<T> {
    places: Box<[Option<Arc<T>>]>,
    seed: RandomState,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { places: std::iter::repeat_with(|| None).take(PLACES).collect(), seed: RandomState::default() }
    }
}

impl<T> Pool<T> {
    /// The value that `is_same` recognises, if it was met lately with this key; else what `make` makes.
    pub fn share(&mut self, key: impl Hash, is_same: impl FnOnce(&T) -> bool, make: impl FnOnce() -> T) -> Arc<T> {
        let hash = self.seed.hash_one(key) as usize;
        let Some(place) = self.places.get_mut(hash % PLACES) else { return Arc::new(make()) };
        match place {
            Some(known) if is_same(known) => known.clone(),
            other => other.insert(Arc::new(make())).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_others_are_not() {
        let mut pool = Pool::default();
        let mut share = |text: &str| pool.share(text, |known| *known == text, || text.to_owned());
        let first = share("a");
        assert!(Arc::ptr_eq(&first, &share("a")));
        assert_eq!(*share("b"), "b");
        // many more than there are places for: still each what was asked for
        assert!((0..4 * PLACES).map(|n| n.to_string()).all(|text| *share(&text) == text));
        assert_eq!(*first, "a");
    }
}
