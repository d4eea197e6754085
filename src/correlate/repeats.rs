//! Repeats do not flood (contract section 4): the first alert of a kind passes at once, what follows within the window
//! is counted, and one more alert with the count is written when the window ends.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::subject::alert_id;
use crate::alert::{Alert, ChainLink};
use crate::packet::Timestamp;

/// Hash of all that makes two alerts repeats of one thing.
pub type Key = u128;

/// What was alerted within the window, at most `limit` kinds; the oldest kind's window ends early when there are more.
#[derive(Debug)]
pub struct Repeats {
    kinds: HashMap<Key, Kind, RandomState>,
    /// Kinds in the order in which their windows end.
    ends: VecDeque<(Timestamp, Key)>,
    window: i64,
    limit: usize,
    /// Windows that ended early.
    pub evicted: u64,
}

/// One kind of alert within its window.
#[derive(Debug)]
struct Kind {
    first: Arc<Alert>,
    count: u64,
    last: Timestamp,
}

impl Repeats {
    /// `window` in nanoseconds of packet time; zero lets every alert pass.
    pub fn new(window: i64, limit: usize) -> Self {
        Self { kinds: HashMap::default(), ends: VecDeque::new(), window, limit: limit.max(1), evicted: 0 }
    }

    /// Whether an alert of this kind was raised within the window; if so it is counted.
    pub fn is_repeat(&mut self, key: Key, time: Timestamp) -> bool {
        let Some(kind) = self.kinds.get_mut(&key) else { return false };
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
        self.kinds.insert(key, Kind { first: first.clone(), count: 0, last: first.time });
        self.ends.push_back((now.plus(self.window), key));
    }

    /// Ends the windows that are over at `now`.
    pub fn expire(&mut self, now: Timestamp, out: &mut Vec<Arc<Alert>>) {
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            self.close_oldest(out);
        }
    }

    /// Ends all windows.
    pub fn finish(&mut self, out: &mut Vec<Arc<Alert>>) {
        while !self.ends.is_empty() {
            self.close_oldest(out);
        }
    }

    fn close_oldest(&mut self, out: &mut Vec<Arc<Alert>>) {
        let Some((_, key)) = self.ends.pop_front() else { return };
        let Some(kind) = self.kinds.remove(&key).filter(|kind| kind.count > 0) else { return };
        out.push(Arc::new(kind.summary()));
    }
}

impl Kind {
    /// The alert that tells how many followed.
    fn summary(self) -> Alert {
        let Self { first, count, last } = self;
        let first = Arc::unwrap_or_clone(first);
        let subject = &first.subject;
        let link = ChainLink { id: first.id, ..subject.link("request", first.time) };
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
