//! Delivery of events to one [`Receiver`]: how many at once, when again, and what becomes of each.
//!
//! In: events, in order. Out: every one of them taken, a dead letter, or still waiting when patience ends. A batch that is
//! too large is halved; what the receiver cannot take now is sent again after a pause that doubles from one second to a
//! minute (with jitter, so that many sensors do not come back together) or is as long as the receiver asks. A trouble is
//! said once when it begins and once when it ends; what people must mend is said again each minute.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Say;
use super::counters::Counters;
use super::dead::DeadLetters;
use super::receiver::{Event, Fault, Outcome, Receiver, Reply, Trouble};

/// When to give up, how long to wait, and how much to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Events in a request at most, where fewer than the receiver's own limit.
    pub batch: Option<usize>,
    /// How long events wait for others to share a request.
    pub flush: Duration,
    /// Longest pause between two tries, unless the receiver asks for more.
    pub backoff: Duration,
    /// Give up after so long without progress; never, where there is a spool.
    pub give_up: Option<Duration>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { batch: None, flush: Duration::from_secs(1), backoff: LONGEST_PAUSE, give_up: None }
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A receiver that asks for more than this is asked again all the same.
const MOST_PATIENCE: Duration = Duration::from_secs(600);

/// What people must mend is said again after so long.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Ends every wait when it is raised.
#[derive(Debug, Default)]
pub struct Stop {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// From now on nobody waits.
    pub fn raise(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits so long, or until it is raised; returns whether it was.
    pub fn wait(&self, time: Duration) -> bool {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(raised, time, |raised| !*raised);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// One connection to a receiver, and what is known of its state.
pub struct Delivery {
    name: String,
    receiver: Box<dyn Receiver>,
    pace: Pace,
    counters: Arc<Counters>,
    dead: Arc<DeadLetters>,
    stop: Arc<Stop>,
    say: Say,
    /// Tries in a row without progress.
    failures: u32,
    /// When the present trouble was last said.
    said: Option<Instant>,
}

impl Delivery {
    /// Delivers to `receiver`, whose output messages name so.
    pub fn new(
        name: &str,
        receiver: Box<dyn Receiver>,
        pace: Pace,
        counters: Arc<Counters>,
        dead: Arc<DeadLetters>,
        stop: Arc<Stop>,
        say: Say,
    ) -> Self {
        Self { name: name.to_owned(), receiver, pace, counters, dead, stop, say, failures: 0, said: None }
    }

    /// Whether it was told to wait no longer.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_raised()
    }

    /// Events and bytes that make a whole request.
    pub fn limits(&self) -> (usize, usize) {
        let limits = self.receiver.limits();
        (self.pace.batch.unwrap_or(limits.events).clamp(1, limits.events.max(1)), limits.bytes)
    }

    /// Delivers whole lines, and returns those of which nothing has become when patience ended.
    pub fn deliver(&mut self, lines: &[u8]) -> Vec<u8> {
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let mut waiting: Vec<Event<'_>> = lines.map(Event::read).collect();
        let (most, bytes) = self.limits();
        let mut most = most;
        let mut progress = Instant::now();
        while !waiting.is_empty() && !self.stop.is_raised() {
            let count = fitting(&waiting, most, bytes);
            let before = waiting.len();
            let trouble = self.send(&mut waiting, count);
            let progressed = waiting.len() < before;
            if progressed {
                progress = Instant::now();
            }
            match trouble {
                None => self.recovered(),
                Some(Trouble { fault: Fault::TooLarge, text, .. }) => match count {
                    1 => self.bury(waiting.remove(0), &text),
                    _ => most = count / 2,
                },
                Some(trouble) => {
                    let given_up = self.pace.give_up.is_some_and(|patience| progress.elapsed() >= patience);
                    if given_up || self.pause(&trouble, progressed, progress) {
                        break;
                    }
                }
            }
        }
        let left: Vec<_> = waiting.iter().map(|event| event.json).collect();
        left.iter().flat_map(|json| json.iter().chain(b"\n")).copied().collect()
    }

    /// Sends the first `count` events and keeps those that must be sent again. Returns why they must.
    fn send(&mut self, waiting: &mut Vec<Event<'_>>, count: usize) -> Option<Trouble> {
        let sent = waiting.get(..count).unwrap_or_default();
        self.counters.send(sent.len() as u64);
        let began = Instant::now();
        let Reply { outcomes, trouble } = self.receiver.send(sent);
        let took = began.elapsed();
        let mut outcomes = outcomes.into_iter();
        let (mut taken, mut duplicates, mut bytes, mut again) = (0, 0, 0, Vec::new());
        for event in sent {
            match outcomes.next().unwrap_or(Outcome::Again) {
                Outcome::Taken => (taken, bytes) = (taken + 1, bytes + event.json.len() as u64),
                Outcome::Duplicate => duplicates += 1,
                Outcome::Rejected(reason) => self.bury(*event, &reason),
                Outcome::Again => again.push(*event),
            }
        }
        if taken + duplicates > 0 {
            self.counters.acknowledge(taken + duplicates, duplicates, bytes, took);
        }
        let is_again = trouble.as_ref().is_none_or(|trouble| trouble.fault != Fault::Paced);
        if is_again {
            self.counters.retry(again.len() as u64);
        }
        let unexplained = !again.is_empty() && trouble.is_none();
        waiting.splice(..count, again);
        trouble.or_else(|| unexplained.then(|| Trouble::new(Fault::Busy, "not every event was taken")))
    }

    fn bury(&self, event: Event<'_>, reason: &str) {
        match self.dead.add(&self.name, event.json, reason) {
            Ok(is_first) => {
                self.counters.bury();
                if is_first {
                    (self.say)(&format!("output {}: an event was rejected: {reason}", self.name));
                }
            }
            Err(error) => {
                let kind = match event.kind {
                    super::receiver::Kind::Alert => super::Kind::Alert,
                    super::receiver::Kind::Event => super::Kind::Other,
                };
                self.counters.drop_queued(kind);
                if error.is_first {
                    (self.say)(&format!("output {}: rejected events are lost: {error}", self.name));
                }
            }
        }
    }

    /// Waits before the next try; returns whether the wait was broken off.
    fn pause(&mut self, trouble: &Trouble, progressed: bool, progress: Instant) -> bool {
        if trouble.fault == Fault::Paced {
            return self.stop.wait(trouble.after.unwrap_or(FIRST_PAUSE).min(MOST_PATIENCE));
        }
        self.failures = if progressed { 1 } else { self.failures.saturating_add(1) };
        self.tell(trouble);
        let pause = self.pause_after(self.failures, trouble.after);
        let left = self.pace.give_up.map(|patience| patience.saturating_sub(progress.elapsed()));
        self.stop.wait(left.map_or(pause, |left| pause.min(left)))
    }

    /// Full jitter: anything up to twice the last bound; never less than the receiver asks.
    fn pause_after(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let bound = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(self.pace.backoff);
        let random = RandomState::new().hash_one(failures) % 1000;
        let jittered = bound.mul_f64(random as f64 / 1000.0).max(SHORTEST_PAUSE);
        asked.map_or(jittered, |asked| jittered.max(asked.min(MOST_PATIENCE)))
    }

    fn tell(&mut self, trouble: &Trouble) {
        let began = self.counters.fail();
        let is_due = self.said.is_none_or(|said| said.elapsed() >= SAY_AGAIN);
        if began && self.said.is_none() || trouble.fault == Fault::Refused && is_due {
            self.said = Some(Instant::now());
            let Trouble { text, .. } = trouble;
            (self.say)(&format!("output {}: {text}; events wait until it takes them", self.name));
        }
    }

    fn recovered(&mut self) {
        self.failures = 0;
        let failed = self.counters.recover();
        if self.said.take().is_some() {
            let seconds = failed.unwrap_or_default().as_secs_f64();
            (self.say)(&format!("output {}: takes events again after {seconds:.1} s", self.name));
        }
    }
}

/// Not to come back at once, whatever the dice say.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// How many of the first events make a request: at least one.
fn fitting(events: &[Event<'_>], most: usize, bytes: usize) -> usize {
    let mut sum = 0usize;
    let fit = events.iter().take(most).take_while(|event| {
        sum = sum.saturating_add(event.json.len() + 1);
        sum <= bytes
    });
    fit.count().max(1)
}
