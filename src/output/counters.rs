//! What one output counted, for whoever looks while the run goes on, and for its end.
//!
//! In: what happened to each event. Out: numbers. Every event that an output was given is in the end acknowledged, a dead
//! letter, dropped, or waiting (in the spool, for the next run).

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::batch::Kind;

/// Counters of one output.
#[derive(Debug, Default)]
pub struct Counters {
    name: String,
    queued: AtomicU64,
    waiting: AtomicU64,
    sent: AtomicU64,
    acknowledged: AtomicU64,
    duplicates: AtomicU64,
    retried: AtomicU64,
    dead: AtomicU64,
    dropped_alerts: AtomicU64,
    dropped_events: AtomicU64,
    damaged: AtomicU64,
    bytes: AtomicU64,
    latency_us: AtomicU64,
    spool_bytes: AtomicU64,
    failing_since: Mutex<Option<Instant>>,
    ended: AtomicBool,
}

/// The counters of a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The output, as messages name it.
    pub name: String,
    /// Events that it was given.
    pub queued: u64,
    /// Of these, and of what an earlier run left in the spool, those of which nothing has become yet.
    pub waiting: u64,
    /// Events in requests and writes, each time that they were sent.
    pub sent: u64,
    /// Events that the receiver or the operating system took.
    pub acknowledged: u64,
    /// Of these, those that the receiver had already.
    pub duplicates: u64,
    /// Events that had to be sent again.
    pub retried: u64,
    /// Events that the receiver will never take: dead letters.
    pub dead: u64,
    /// Alerts that were dropped.
    pub dropped_alerts: u64,
    /// Other events that were dropped.
    pub dropped_events: u64,
    /// Frames of the spool that could not be read.
    pub damaged: u64,
    /// Bytes acknowledged, before compression.
    pub bytes: u64,
    /// How long the last acknowledgement took, in microseconds.
    pub latency_us: u64,
    /// Size of the spool on disk.
    pub spool_bytes: u64,
    /// How long it has failed without a success in between.
    pub failing: Option<Duration>,
    /// A thread that writes or sends has ended before the run: some or all of what it is given goes nowhere.
    pub ended: bool,
}

impl Counts {
    /// Events that are gone: neither taken by the receiver nor a dead letter.
    pub fn dropped(&self) -> u64 {
        self.dropped_alerts + self.dropped_events
    }
}

impl Counters {
    /// Counters of the output that messages name so.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Events came.
    pub fn queue(&self, events: usize) {
        self.queued.fetch_add(events as u64, Relaxed);
        self.waiting.fetch_add(events as u64, Relaxed);
    }

    /// Events of an earlier run wait in the spool.
    pub fn found_waiting(&self, events: u64) {
        self.waiting.fetch_add(events, Relaxed);
    }

    /// Events were sent.
    pub fn send(&self, events: u64) {
        self.sent.fetch_add(events, Relaxed);
    }

    /// Events must be sent again.
    pub fn retry(&self, events: u64) {
        self.retried.fetch_add(events, Relaxed);
    }

    /// Events were taken; of these so many were there already.
    pub fn acknowledge(&self, events: u64, duplicates: u64, bytes: u64, took: Duration) {
        self.acknowledged.fetch_add(events, Relaxed);
        self.duplicates.fetch_add(duplicates, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.latency_us.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.no_longer_waiting(events);
    }

    /// An event became a dead letter.
    pub fn bury(&self) {
        self.dead.fetch_add(1, Relaxed);
        self.no_longer_waiting(1);
    }

    /// An event was dropped before it was queued.
    pub fn drop_one(&self, kind: Kind) {
        match kind {
            Kind::Alert => self.dropped_alerts.fetch_add(1, Relaxed),
            _ => self.dropped_events.fetch_add(1, Relaxed),
        };
    }

    /// An event that waited was dropped.
    pub fn drop_queued(&self, kind: Kind) {
        self.drop_one(kind);
        self.no_longer_waiting(1);
    }

    /// Events that waited were dropped.
    pub fn drop_many(&self, alerts: u64, events: u64) {
        self.dropped_alerts.fetch_add(alerts, Relaxed);
        self.dropped_events.fetch_add(events, Relaxed);
        self.no_longer_waiting(alerts + events);
    }

    /// A frame of the spool cannot be read: what it held is gone.
    pub fn damage(&self) {
        self.damaged.fetch_add(1, Relaxed);
    }

    /// Size of the spool on disk now.
    pub fn spool(&self, bytes: u64) {
        self.spool_bytes.store(bytes, Relaxed);
    }

    /// Nothing more becomes of what waits.
    pub fn close(&self) {
        self.waiting.store(0, Relaxed);
    }

    fn no_longer_waiting(&self, events: u64) {
        let _ = self.waiting.fetch_update(Relaxed, Relaxed, |waiting| Some(waiting.saturating_sub(events)));
    }

    /// A thread that writes or sends has ended before the run.
    pub fn end_early(&self) {
        self.ended.store(true, Relaxed);
    }

    /// Sending fails; returns whether it did not before.
    pub fn fail(&self) -> bool {
        let mut since = self.failing_since.lock().unwrap_or_else(PoisonError::into_inner);
        let began = since.is_none();
        since.get_or_insert_with(Instant::now);
        began
    }

    /// Sending succeeds; returns how long it had failed.
    pub fn recover(&self) -> Option<Duration> {
        let since = self.failing_since.lock().unwrap_or_else(PoisonError::into_inner).take();
        since.map(|since| since.elapsed())
    }

    /// The counters of this moment.
    pub fn snapshot(&self) -> Counts {
        let failing = *self.failing_since.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |counter: &AtomicU64| counter.load(Relaxed);
        Counts {
            name: self.name.clone(),
            queued: at(&self.queued),
            waiting: at(&self.waiting),
            sent: at(&self.sent),
            acknowledged: at(&self.acknowledged),
            duplicates: at(&self.duplicates),
            retried: at(&self.retried),
            dead: at(&self.dead),
            dropped_alerts: at(&self.dropped_alerts),
            dropped_events: at(&self.dropped_events),
            damaged: at(&self.damaged),
            bytes: at(&self.bytes),
            latency_us: at(&self.latency_us),
            spool_bytes: at(&self.spool_bytes),
            failing: failing.map(|since| since.elapsed()),
            ended: self.ended.load(Relaxed),
        }
    }
}
