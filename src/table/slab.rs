//! Places for entries, used again once they are free.

use std::ops::{Index, IndexMut};

use super::{Linked, NONE};

/// Entries by the number of their place. Unused places keep their last entry until they are filled again.
#[derive(Debug)]
pub struct Slab<E> {
    places: Vec<E>,
    /// First of the list of unused places.
    free: u32,
}

impl<E> Default for Slab<E> {
    fn default() -> Self {
        Self { places: Vec::new(), free: NONE }
    }
}

impl<E: Linked> Slab<E> {
    /// Puts an entry into an unused place, or into a new one. There must be fewer than [`NONE`] in use.
    pub fn insert(&mut self, entry: E) -> u32 {
        let at = self.free;
        match self.places.get_mut(at as usize) {
            Some(unused) => {
                self.free = unused.next();
                *unused = entry;
                at
            }
            None => {
                self.places.push(entry);
                self.places.len().saturating_sub(1) as u32
            }
        }
    }

    /// Counts a place, which is in no list, among the unused ones.
    pub fn release(&mut self, at: u32) {
        if let Some(entry) = self.places.get_mut(at as usize) {
            entry.set_next(self.free);
            self.free = at;
        }
    }
}

impl<E> Slab<E> {
    /// The entry at a place.
    #[inline]
    pub fn get(&self, at: u32) -> Option<&E> {
        self.places.get(at as usize)
    }

    /// The same, to be changed.
    #[inline]
    pub fn get_mut(&mut self, at: u32) -> Option<&mut E> {
        self.places.get_mut(at as usize)
    }

    /// Places, unused ones among them.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Bytes that the places take.
    pub fn memory(&self) -> usize {
        self.places.capacity().saturating_mul(size_of::<E>())
    }

    /// Empties all places, in their order; unused ones give their last entry.
    pub fn drain(&mut self) -> impl Iterator<Item = E> {
        self.free = NONE;
        self.places.drain(..)
    }
}

/// For places that are known to exist; others are a mistake of the caller, and panic.
impl<E> Index<u32> for Slab<E> {
    type Output = E;

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "what an index operator is for")]
    fn index(&self, at: u32) -> &E {
        &self.places[at as usize]
    }
}

impl<E> IndexMut<u32> for Slab<E> {
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "what an index operator is for")]
    fn index_mut(&mut self, at: u32) -> &mut E {
        &mut self.places[at as usize]
    }
}
