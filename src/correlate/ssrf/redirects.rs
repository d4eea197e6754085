//! Where answers send their clients: redirects by the URL that was asked for, and what URLs lead to through them.
//!
//! Bound: whoever adds one lets the oldest go first; [`CHAIN`] redirects in a row and [`REACHED`] URLs are followed.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::index::{self, Index, Mark};
use crate::alert::ChainLink;
use crate::correlate::subject::key;
use crate::detect::canonical::{percent_stable, target_of};
use crate::detect::{Candidate, HostRef};
use crate::packet::Timestamp;

/// Most redirects that are followed one after the other.
pub(super) const CHAIN: usize = 10;
/// Most URLs that one request is followed to.
const REACHED: usize = 64;

/// Hash of a URL.
pub(super) type Key = u128;

/// An exchange whose answer sent its client elsewhere.
#[derive(Debug)]
pub(super) struct Redirect {
    pub(super) first: Timestamp,
    pub(super) to: Candidate,
    pub(super) key: Key,
    pub(super) link: ChainLink,
}

/// Redirects by the URL that was asked for.
#[derive(Debug, Default)]
pub(super) struct Redirects {
    by_url: HashMap<Key, VecDeque<Redirect>, RandomState>,
    order: VecDeque<(Timestamp, Key)>,
    /// By the URLs that they lead to, and the ends of their paths.
    targets: Index,
    /// Number of the oldest one.
    first: u64,
}

/// A URL that an inbound request leads to, and the redirects on the way.
pub(super) struct Reached<'a> {
    pub(super) from: &'a Candidate,
    pub(super) to: &'a Candidate,
    pub(super) key: Key,
    pub(super) way: Vec<&'a Redirect>,
}

impl Redirects {
    /// Takes one more, of who asked for the URL with this key.
    pub(super) fn add(&mut self, url: Key, redirect: Redirect) {
        let number = self.first + self.order.len() as u64;
        self.targets.add(number, &redirect.marks());
        self.order.push_back((redirect.first, url));
        self.by_url.entry(url).or_default().push_back(redirect);
    }

    /// Whether any leads to what has such a mark.
    pub(super) fn lead_to(&self, mark: Mark) -> bool {
        self.targets.has(mark)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// When the oldest one was asked for.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.order.front().map(|(first, _)| *first)
    }

    /// Forgets the oldest.
    pub(super) fn forget(&mut self) {
        let Some((_, key)) = self.order.pop_front() else { return };
        let number = self.first;
        self.first += 1;
        let Some(of_url) = self.by_url.get_mut(&key) else { return };
        if let Some(oldest) = of_url.pop_front() {
            self.targets.remove(number, &oldest.marks());
        }
        if of_url.is_empty() {
            self.by_url.remove(&key);
        }
    }

    /// What a request names, each with the key of its URL, and what redirects of its time lead to from there.
    pub(super) fn reachable<'a>(
        &'a self,
        named: impl Iterator<Item = (&'a Candidate, Key)>,
        time: RangeInclusive<Timestamp>,
    ) -> Vec<Reached<'a>> {
        let mut out: Vec<_> = named.map(|(to, key)| Reached { from: to, to, key, way: Vec::new() }).collect();
        let mut at = 0;
        while let Some((from, key, way)) = out.get(at).map(|r| (r.from, r.key, r.way.clone())) {
            at += 1;
            if way.len() >= CHAIN || out.len() > REACHED {
                break;
            }
            let hops = self.by_url.get(&key).into_iter().flatten().filter(|hop| time.contains(&hop.first));
            for hop in hops.take(CHAIN) {
                if way.iter().all(|taken| !std::ptr::eq(*taken, hop)) {
                    let way = way.iter().copied().chain([hop]).collect();
                    out.push(Reached { from, to: &hop.to, key: hop.key, way });
                }
            }
        }
        out
    }
}

impl Redirect {
    /// What it is found by: the URL that it leads to, and the end of that one's path.
    fn marks(&self) -> [Mark; 2] {
        [index::url(self.key), index::ending(self.to.path.as_deref())]
    }
}

/// What tells URLs apart: host, path and query, percent-encoding undone.
pub(super) fn url_key(host: &HostRef, target: &str) -> Key {
    key(|hasher| {
        host.hash(hasher);
        hasher.write(&percent_stable(target.as_bytes()));
    })
}

pub(super) fn candidate_key(candidate: &Candidate) -> Key {
    url_key(&candidate.host, target_of(&candidate.url))
}
