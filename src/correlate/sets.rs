//! A small set of hashes: there is one for each address, most of which ask for little.
//!
//! Bound: [`MOST`] hashes; a full set forgets its oldest.

/// Most hashes in one set.
const MOST: usize = 64;

/// The set, from its oldest hash to its newest.
#[derive(Debug, Default)]
pub struct Set64 {
    hashes: Vec<u64>,
}

impl Set64 {
    /// Adds a hash; whether it is new.
    pub fn add(&mut self, hash: u64) -> bool {
        if self.hashes.contains(&hash) {
            return false;
        }
        if self.hashes.len() >= MOST {
            self.hashes.remove(0);
        }
        self.hashes.push(hash);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_set_forgets_its_oldest() {
        let mut set = Set64::default();
        assert!((0..MOST as u64 + 3).all(|hash| set.add(hash)));
        assert_eq!(set.hashes.len(), MOST);
        assert!(!set.add(3) && !set.add(MOST as u64 + 2));
        assert!(set.add(0));
    }
}
