//! The queue in front of one output, bounded by bytes.
//!
//! In: batches, from one publisher. Out: the same, in order, to the output's own thread. A full queue makes replay wait;
//! live capture never waits: it drops what is no alert, and alerts only where twice as much waits. Every event that is
//! dropped is counted.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::batch::{Batch, Kind};
use super::counters::Counters;

/// What an output's thread is to do.
pub enum Job {
    /// Write these events.
    Write(Arc<Batch>),
    /// Close what it writes to and open it again.
    Reopen,
}

/// What came out of a queue.
pub enum Next {
    /// Something to do.
    Job(Job),
    /// Nothing within the time.
    Quiet,
    /// Nothing more will come.
    End,
}

/// Why nobody takes anything any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The reader wanted no more: nothing is lost.
    Closed,
    /// The output failed: what it is not given is lost.
    Failed,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    bytes: usize,
    ended: bool,
    /// Nobody takes anything out of it any more, for this reason.
    abandoned: Option<Reason>,
}

/// See the module.
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
    counters: Arc<Counters>,
}

/// What a batch weighs beside its bytes, so that very many small ones are bounded too.
const OVERHEAD: usize = 512;

impl Queue {
    /// An empty queue of so many bytes, and one batch more.
    pub fn new(limit: usize, counters: Arc<Counters>) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), limit, counters }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a batch. Waits for room; returns `false` when nobody takes anything any more.
    pub fn push_waiting(&self, batch: &Arc<Batch>) -> bool {
        let mut state = self.state();
        while state.bytes >= self.limit && state.abandoned.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match state.abandoned {
            Some(reason) => self.refuse(reason, batch),
            None => self.add(state, Arc::clone(batch)),
        }
    }

    /// Adds a batch without waiting, or as much of it as there is room for; returns `false` when nobody takes anything
    /// any more.
    pub fn push(&self, batch: &Arc<Batch>) -> bool {
        let state = self.state();
        if let Some(reason) = state.abandoned {
            return self.refuse(reason, batch);
        }
        if state.bytes < self.limit {
            return self.add(state, Arc::clone(batch));
        }
        let has_room_for_alerts = state.bytes < 2 * self.limit;
        drop(state);
        let is_saved = |kind| has_room_for_alerts && kind == Kind::Alert;
        batch.events().filter(|event| !is_saved(event.label.kind)).for_each(|e| self.counters.drop_one(e.label.kind));
        let saved = batch.filtered(|event| is_saved(event.label.kind));
        saved.is_empty() || self.add(self.state(), Arc::new(saved))
    }

    fn refuse(&self, reason: Reason, batch: &Batch) -> bool {
        if reason == Reason::Failed {
            batch.labels().for_each(|label| self.counters.drop_one(label.kind));
        }
        false
    }

    fn add(&self, mut state: MutexGuard<'_, State>, batch: Arc<Batch>) -> bool {
        self.counters.queue(batch.len());
        state.bytes += batch.bytes() + OVERHEAD;
        state.jobs.push_back(Job::Write(batch));
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Asks for the output to be opened anew.
    pub fn reopen(&self) {
        self.state().jobs.push_back(Job::Reopen);
        self.changed.notify_all();
    }

    /// Nothing more will come.
    pub fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// Nobody will take anything more: whoever waits for room need not.
    pub fn abandon(&self, reason: Reason) {
        let mut state = self.state();
        state.abandoned = Some(reason);
        for job in state.jobs.drain(..) {
            if let Job::Write(batch) = job {
                self.refuse(reason, &batch);
            }
        }
        state.bytes = 0;
        drop(state);
        self.changed.notify_all();
    }

    /// The next thing to do, waiting for it until `due`.
    pub fn pop(&self, due: Instant) -> Next {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                if let Job::Write(batch) = &job {
                    state.bytes = state.bytes.saturating_sub(batch.bytes() + OVERHEAD);
                }
                drop(state);
                self.changed.notify_all();
                return Next::Job(job);
            }
            if state.ended {
                return Next::End;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return Next::Quiet;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EventId;
    use crate::output::batch::Label;

    fn batch(kinds: &[Kind]) -> Arc<Batch> {
        let mut batch = Batch::default();
        for kind in kinds {
            batch.json.extend_from_slice(&[b'x'; 400]);
            batch.end_event(Label { id: EventId(0), kind: *kind, severity: None });
        }
        Arc::new(batch)
    }

    fn drain(queue: &Queue) -> Vec<usize> {
        let mut sizes = Vec::new();
        while let Next::Job(Job::Write(batch)) = queue.pop(Instant::now()) {
            sizes.push(batch.len());
        }
        sizes
    }

    #[test]
    fn a_full_queue_drops_what_is_no_alert_and_counts_it() {
        let counters = Arc::new(Counters::default());
        let queue = Queue::new(2000, Arc::clone(&counters));
        for _ in 0..5 {
            assert!(queue.push(&batch(&[Kind::Alert, Kind::Other])));
        }
        // Two whole ones fill it; of the third and fourth the alert has room, of the fifth nothing.
        assert_eq!(drain(&queue), [2, 2, 1, 1]);
        let counts = counters.snapshot();
        assert_eq!((counts.dropped_alerts, counts.dropped_events), (1, 3));
        assert_eq!(counts.queued, 6);
        assert!(queue.push(&batch(&[Kind::Other])));
        assert_eq!(drain(&queue), [1]);
    }

    #[test]
    fn whoever_waits_for_room_is_let_go_when_nobody_takes_anything() {
        let counters = Arc::new(Counters::default());
        let queue = Arc::new(Queue::new(100, Arc::clone(&counters)));
        assert!(queue.push_waiting(&batch(&[Kind::Other])));
        let waiting = Arc::clone(&queue);
        let thread = std::thread::spawn(move || waiting.push_waiting(&batch(&[Kind::Other])));
        std::thread::sleep(Duration::from_millis(20));
        queue.abandon(Reason::Failed);
        assert!(!thread.join().unwrap());
        assert_eq!(counters.snapshot().dropped_events, 2, "the one that waited, and the one that had no room");
    }
}
