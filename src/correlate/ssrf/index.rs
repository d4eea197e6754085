//! What is remembered, by what it has in common with others, so that nothing is compared with all that is remembered.
//!
//! A mark is a hash of one fact (the last segment of a path, a URL, a host's name, a client); two that share none cannot
//! belong together. Marks only narrow the choice: whoever asks compares what comes out.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::ops::RangeInclusive;

use super::super::subject::key;

/// Most numbers that one mark gives: the newest.
const LOOKED_AT: usize = 128;

/// A hash of a fact.
pub(super) type Mark = u64;

/// Mark of a path by its last segment: paths that are the same, or of which one ends as the other, have the same.
pub(super) fn ending(path: Option<&str>) -> Mark {
    let last = path.unwrap_or_default().rsplit('/').next().unwrap_or_default();
    mark(0, last)
}

/// Mark of a URL by its key.
pub(super) fn url(key: u128) -> Mark {
    mark(1, key)
}

/// Mark of a host's name.
pub(super) fn name(name: &str) -> Mark {
    mark(2, name)
}

/// Mark of whatever tells clients apart.
pub(super) fn client(client: impl Hash) -> Mark {
    mark(3, client)
}

fn mark(kind: u8, fact: impl Hash) -> Mark {
    let hash = key(|hasher| {
        kind.hash(hasher);
        fact.hash(hasher);
    });
    hash as u64
}

/// Ascending numbers by their marks.
#[derive(Debug, Default)]
pub(super) struct Index(BTreeSet<(Mark, u64)>);

impl Index {
    pub(super) fn add(&mut self, number: u64, marks: &[Mark]) {
        self.0.extend(marks.iter().map(|mark| (*mark, number)));
    }

    pub(super) fn remove(&mut self, number: u64, marks: &[Mark]) {
        for mark in marks {
            self.0.remove(&(*mark, number));
        }
    }

    /// Whether anything has a mark.
    pub(super) fn has(&self, mark: Mark) -> bool {
        self.0.range(all(mark)).next().is_some()
    }

    /// The newest numbers that have one of the marks, ascending.
    pub(super) fn of(&self, marks: impl IntoIterator<Item = Mark>) -> Vec<u64> {
        let mut out: Vec<u64> = Vec::new();
        for mark in marks {
            out.extend(self.0.range(all(mark)).rev().take(LOOKED_AT).map(|(_, number)| *number));
            if out.len() >= 4 * LOOKED_AT {
                break;
            }
        }
        out.sort_unstable();
        out.dedup();
        out
    }
}

fn all(mark: Mark) -> RangeInclusive<(Mark, u64)> {
    (mark, 0)..=(mark, u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_numbers_of_all_marks_come_in_order() {
        let mut index = Index::default();
        let (one, other) = (ending(Some("/a/b")), ending(Some("/b")));
        assert_eq!(one, other);
        let other = name("b");
        for number in 0..1000 {
            index.add(number, &[one, other][usize::from(number % 2 == 1)..]);
        }
        assert_eq!(index.of([one]).last(), Some(&998));
        assert_eq!(index.of([one]).len(), LOOKED_AT);
        assert_eq!(index.of([other]), (1000 - LOOKED_AT as u64..1000).collect::<Vec<_>>());
        assert!(index.of([one, other]).is_sorted());
        index.remove(998, &[one, other]);
        assert_eq!(index.of([one]).last(), Some(&996));
        assert!(index.has(one) && !index.has(ending(None)));
    }
}
