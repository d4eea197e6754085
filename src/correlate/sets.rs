//! What is remembered of one client, as small sets of hashes: there is one [`Sets`] for each client, so all sets of a client
//! lie in one piece of memory, one after the other.
//!
//! Bound: [`MOST`] hashes in each set; a full set forgets its oldest.

use std::ops::Range;

/// Most hashes in one set.
const MOST: usize = 64;
/// Hashes that a client which asks for little has: there is room for these from the beginning.
const FEW: usize = 12;

/// What a hash is of. Those of a walk come last.
#[derive(Clone, Copy, Debug)]
pub enum Set {
    /// (provider, service, kind of path) asked for.
    Kinds,
    /// (provider, path, scope) fetched in an SDK's way.
    Sdk,
    /// Paths read.
    Paths,
    /// Paths asked for in this walk.
    Walked,
    /// Directories read and followed down in this walk.
    Directories,
    /// Paths of this walk that are not there.
    Missing,
}

/// How many kinds of sets there are.
const SETS: usize = 6;

/// The sets of one client.
#[derive(Debug, Default)]
pub struct Sets {
    /// Set after set, each from its oldest hash to its newest.
    hashes: Vec<u64>,
    /// How many hashes each set has.
    lens: [u8; SETS],
}

impl Sets {
    /// Adds a hash; whether it is new.
    pub fn add(&mut self, set: Set, hash: u64) -> bool {
        let place = self.range(set);
        if self.hashes[place.clone()].contains(&hash) {
            return false;
        }
        if place.len() >= MOST {
            self.hashes[place.clone()].rotate_left(1);
            self.hashes[place.end - 1] = hash;
            return true;
        }
        if self.hashes.capacity() == 0 {
            self.hashes.reserve_exact(FEW);
        }
        self.hashes.insert(place.end, hash);
        self.lens[set as usize] += 1;
        true
    }

    /// Whether a hash is there.
    pub fn has(&self, set: Set, hash: u64) -> bool {
        self.hashes[self.range(set)].contains(&hash)
    }

    /// How many there are.
    pub fn len(&self, set: Set) -> usize {
        usize::from(self.lens[set as usize])
    }

    /// Empties the sets of a walk.
    pub fn forget_walk(&mut self) {
        self.hashes.truncate(self.range(Set::Walked).start);
        self.lens[Set::Walked as usize..].fill(0);
    }

    fn range(&self, set: Set) -> Range<usize> {
        let start = self.lens[..set as usize].iter().map(|len| usize::from(*len)).sum();
        start..start + self.len(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_do_not_mix() {
        let mut sets = Sets::default();
        for (set, hash) in [(Set::Paths, 1), (Set::Kinds, 1), (Set::Walked, 2), (Set::Sdk, 3), (Set::Missing, 4)] {
            assert!(!sets.has(set, hash));
            assert!(sets.add(set, hash));
            assert!(!sets.add(set, hash));
        }
        assert!(sets.has(Set::Paths, 1) && sets.has(Set::Walked, 2) && !sets.has(Set::Paths, 2));
        sets.forget_walk();
        assert!(sets.has(Set::Paths, 1) && sets.has(Set::Kinds, 1) && sets.has(Set::Sdk, 3));
        assert!(!sets.has(Set::Walked, 2) && !sets.has(Set::Missing, 4) && sets.len(Set::Walked) == 0);
    }

    #[test]
    fn a_full_set_forgets_its_oldest() {
        let mut sets = Sets::default();
        sets.add(Set::Directories, 7);
        for hash in 0..MOST as u64 + 3 {
            assert!(sets.add(Set::Kinds, hash));
        }
        assert_eq!(sets.len(Set::Kinds), MOST);
        assert!(!sets.has(Set::Kinds, 2) && sets.has(Set::Kinds, 3) && sets.has(Set::Kinds, MOST as u64 + 2));
        assert!(sets.has(Set::Directories, 7));
    }
}
