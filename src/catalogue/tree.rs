//! All path patterns in one tree of segments: which entries can fit a path, without trying each.
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
    /// Entries whose pattern ends here, and entries that take any remainder from here.
    ends: Vec<usize>,
    rests: Vec<usize>,
}

impl Default for PathTree {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl PathTree {
    /// Adds a pattern of entry number `entry`.
    pub(super) fn insert(&mut self, pattern: &PathPattern, entry: usize) {
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
                if pattern.has_rest() { node.rests.push(entry) } else { node.ends.push(entry) }
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

    /// Numbers of the entries that fit a normalised path, ascending.
    pub(super) fn entries(&self, path: &str) -> Vec<usize> {
        let mut found = Vec::new();
        self.walk(0, path.trim_start_matches('/'), &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }

    fn walk(&self, at: usize, rest: &str, found: &mut Vec<usize>) {
        let Some(node) = self.nodes.get(at) else { return };
        found.extend(&node.rests);
        if rest.is_empty() {
            found.extend(&node.ends);
            return;
        }
        let (part, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let date = node.date.filter(|_| is_date(part));
        for next in node.words.get(part).copied().into_iter().chain(date).chain(node.any) {
            self.walk(next, rest, found);
        }
    }
}
