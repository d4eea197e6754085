//! All path patterns in one tree of segments: which of them fit a path, without trying each.
//!
//! A lookup visits at most three branches per segment (the word itself, a date, anything) and goes as deep as the
//! longest pattern.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::pattern::{DATE, PathPattern, Step, is_date};

/// The tree; node 0 is the root.
#[derive(Debug)]
pub(super) struct PathTree {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    words: HashMap<String, usize, FixedState>,
    date: Option<usize>,
    any: Option<usize>,
    /// Patterns that end here, and patterns that take any remainder from here.
    ends: Vec<Place>,
    rests: Vec<Place>,
}

/// A pattern: number of its entry, and its own among those of the entry.
pub(super) type Place = (usize, usize);

impl Default for PathTree {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl PathTree {
    /// Adds a pattern.
    pub(super) fn insert(&mut self, pattern: &PathPattern, place: Place) {
        let mut ends = vec![0];
        for step in pattern.steps() {
            let mut next = Vec::new();
            for from in ends {
                match &step {
                    Step::Any => next.push(self.child(from, None)),
                    Step::Words(words) => next.extend(words.iter().map(|word| self.child(from, Some(word)))),
                }
            }
            ends = next;
        }
        for end in ends {
            if let Some(node) = self.nodes.get_mut(end) {
                if pattern.has_rest() { node.rests.push(place) } else { node.ends.push(place) }
            }
        }
    }

    /// The node behind `from` for a word of a pattern, or for anything.
    fn child(&mut self, from: usize, word: Option<&str>) -> usize {
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(from) else { return 0 };
        let slot = match word {
            None => node.any.get_or_insert(new),
            Some(DATE) => node.date.get_or_insert(new),
            Some(word) => node.words.entry(word.to_owned()).or_insert(new),
        };
        let found = *slot;
        if found == new {
            self.nodes.push(Node::default());
        }
        found
    }

    /// Hands out the patterns that fit a normalised path, some twice.
    pub(super) fn patterns(&self, path: &str, found: &mut impl FnMut(Place)) {
        if let Some(rest) = path.strip_prefix('/') {
            self.walk(0, rest.trim_start_matches('/'), found);
        }
    }

    fn walk(&self, at: usize, rest: &str, found: &mut impl FnMut(Place)) {
        let Some(node) = self.nodes.get(at) else { return };
        node.rests.iter().for_each(|place| found(*place));
        if rest.is_empty() {
            return node.ends.iter().for_each(|place| found(*place));
        }
        let slash = memchr::memchr(b'/', rest.as_bytes()).unwrap_or(rest.len());
        let (part, rest) = rest.split_at_checked(slash).unwrap_or((rest, ""));
        let rest = rest.strip_prefix('/').unwrap_or_default();
        let date = node.date.filter(|_| is_date(part.as_bytes()));
        for next in node.words.get(part).copied().into_iter().chain(date).chain(node.any) {
            self.walk(next, rest, found);
        }
    }
}
