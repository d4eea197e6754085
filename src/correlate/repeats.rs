//! Repeats do not flood (contract section 4): the first alert of a kind passes at once, what follows within the window
//! is counted, and one more alert with the count is written when the window ends.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use super::subject::alert_id;
use crate::alert::{Alert, ChainLink};
use crate::packet::Timestamp;

/// Hash of all that makes two alerts repeats of one thing.
pub type Key = u128;

/// What was alerted within the window, at most `limit` kinds; the oldest kind's window ends early when there are more.
#[derive(Debug)]
pub struct Repeats {
    /// In the order in which their windows end, which is that in which they began.
    kinds: VecDeque<Kind>,
    /// Number of the first kind.
    first: usize,
    /// Numbers of kinds, by the hashes of their keys.
    index: HashTable<usize>,
    seed: RandomState,
    window: i64,
    limit: usize,
    /// Windows that ended early.
    pub evicted: u64,
}

/// One kind of alert within its window.
#[derive(Debug)]
struct Kind {
    key: Key,
    first: Arc<Alert>,
    count: u64,
    last: Timestamp,
    end: Timestamp,
}

impl Repeats {
    /// `window` in nanoseconds of packet time; zero lets every alert pass.
    pub fn new(window: i64, limit: usize) -> Self {
        Self {
            kinds: VecDeque::new(),
            first: 0,
            index: HashTable::new(),
            seed: RandomState::default(),
            window,
            limit: limit.max(1),
            evicted: 0,
        }
    }

    /// Whether an alert of this kind was raised within the window; if so it is counted.
    pub fn is_repeat(&mut self, key: Key, time: Timestamp) -> bool {
        let Self { kinds, first, index, seed, .. } = self;
        let is_it = |number: &usize| kinds.get(number.wrapping_sub(*first)).is_some_and(|kind| kind.key == key);
        let Some(number) = index.find(seed.hash_one(key), is_it).copied() else { return false };
        let Some(kind) = kinds.get_mut(number.wrapping_sub(*first)) else { return false };
        kind.count += 1;
        kind.last = kind.last.max(time);
        true
    }

    /// Remembers the first alert of a kind.
    pub fn open(&mut self, key: Key, first: &Arc<Alert>, now: Timestamp, out: &mut Vec<Arc<Alert>>) {
        if self.window <= 0 {
            return;
        }
        if self.kinds.len() >= self.limit {
            self.evicted += 1;
            self.close_oldest(out);
        }
        let number = self.first.wrapping_add(self.kinds.len());
        let end = now.plus(self.window);
        self.kinds.push_back(Kind { key, first: first.clone(), count: 0, last: first.time, end });
        let Self { kinds, first, index, seed, .. } = self;
        let hash = |number: &usize| kinds.get(number.wrapping_sub(*first)).map_or(0, |kind| seed.hash_one(kind.key));
        index.insert_unique(seed.hash_one(key), number, hash);
    }

    /// Ends the windows that are over at `now`.
    pub fn expire(&mut self, now: Timestamp, out: &mut Vec<Arc<Alert>>) {
        while self.kinds.front().is_some_and(|kind| kind.end <= now) {
            self.close_oldest(out);
        }
    }

    /// Ends all windows.
    pub fn finish(&mut self, out: &mut Vec<Arc<Alert>>) {
        while !self.kinds.is_empty() {
            self.close_oldest(out);
        }
    }

    fn close_oldest(&mut self, out: &mut Vec<Arc<Alert>>) {
        let Some(kind) = self.kinds.pop_front() else { return };
        if let Ok(entry) = self.index.find_entry(self.seed.hash_one(kind.key), |number| *number == self.first) {
            entry.remove();
        }
        self.first = self.first.wrapping_add(1);
        if kind.count > 0 {
            out.push(Arc::new(kind.summary()));
        }
    }
}

impl Kind {
    /// The alert that tells how many followed.
    fn summary(self) -> Alert {
        let Self { first, count, last, .. } = self;
        let first = Arc::unwrap_or_clone(first);
        let subject = &first.subject;
        let link = ChainLink { id: first.id, origin: None, ..subject.link("request", first.time) };
        let times = if count == 1 { "once more".to_owned() } else { format!("{count} more times") };
        let message = format!("{} ({times} until {})", first.message, clock(last));
        Alert {
            id: alert_id(first.rule, first.id, count),
            time: last,
            message,
            chain: vec![link],
            repeats: Some((count, subject.start, last)),
            ..first
        }
    }
}

/// Time of day in UTC, for messages.
fn clock(time: Timestamp) -> String {
    let second = time.seconds().rem_euclid(86_400);
    format!("{:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}
