//! The publisher thread: merges what the workers found, in packet order, correlates it, and hands rendered events to the
//! outputs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, select};

use super::inbox::{Item, Turn, WorkerInbox, turn};
use super::report::Report;
use super::run::{Request, Run};
use super::tell_user;
use super::worker::{Budget, Found};
use super::writer::Writers;
use crate::packet::Timestamp;
use crate::publish::Publisher;

/// What comes from a worker, and how much of it there may be.
pub(super) type Incoming = (Receiver<Found>, Arc<Budget>);

/// Runs until the workers have ended.
pub(super) fn publish(run: &Run<'_>, found: &[Incoming], requests: &Receiver<Request>, writers: Writers<'_>) {
    let mut thread = PublisherThread::new(run, requests, writers);
    thread.merge(found);
    thread.finish();
    thread.save();
    thread.post();
    let suggestions = thread.publisher.suggestions();
    run.state.post(|report| report.suggestions = suggestions);
    run.state.set_published();
    thread.writers.end();
}

/// The publisher at work.
struct PublisherThread<'r> {
    run: &'r Run<'r>,
    publisher: Publisher,
    writers: Writers<'r>,
    requests: &'r Receiver<Request>,
    /// Packet time of the last stats event.
    stats_at: Option<Timestamp>,
    /// Packet time at which the state was saved last; live capture only.
    saved_at: Option<Timestamp>,
}

/// In live capture what was learned is saved so often, in nanoseconds.
const SAVE_AFTER: i64 = 300 * Timestamp::SECOND;

impl<'r> PublisherThread<'r> {
    fn new(run: &'r Run<'r>, requests: &'r Receiver<Request>, writers: Writers<'r>) -> Self {
        let settings = run.config.publisher(writers.wants_json(), writers.wants_text());
        let mut publisher = Publisher::new(settings, Arc::clone(&run.config.catalogue));
        writers.make_room(publisher.batch());
        let mut thread = Self { run, publisher, writers, requests, stats_at: None, saved_at: None };
        thread.restore();
        thread
    }

    /// Takes up what was learned before, where that was kept.
    fn restore(&mut self) {
        let Some(path) = &self.run.config.state else { return };
        match super::state::load(path) {
            Ok(habits) => self.publisher.restore(habits),
            Err(error) => self.complain(&error),
        }
    }

    /// Keeps what was learned, where that is asked for.
    fn save(&self) {
        let Some(path) = &self.run.config.state else { return };
        if let Err(error) = super::state::save(path, self.publisher.habits()) {
            self.complain(&error);
        }
    }

    /// Says that something failed, which the exit status says too.
    fn complain(&self, error: &std::io::Error) {
        tell_user(error);
        self.run.state.post(|report| report.failures += 1);
    }

    fn merge(&mut self, found: &[Incoming]) {
        let mut inboxes: Vec<_> =
            found.iter().enumerate().map(|(n, (from, budget))| WorkerInbox::new(from, budget, n == 0)).collect();
        while let Some(turn) = turn(&inboxes) {
            let (Turn::Take(n) | Turn::Wait(n)) = turn;
            let Some(inbox) = inboxes.get_mut(n) else { return };
            match turn {
                Turn::Take(_) => self.take(inbox),
                Turn::Wait(_) => {
                    inbox.give_back();
                    inbox.receive(self.wait(inbox.from));
                    self.note_progress(&inboxes);
                }
            }
            if self.run.stop.load(Ordering::Relaxed) && self.writers.have_ended() {
                return;
            }
        }
    }

    fn take(&mut self, inbox: &mut WorkerInbox<'_>) {
        match inbox.take() {
            Some(Item::Observation(mut observation)) => {
                inbox.warm();
                self.publisher.observe(&mut observation);
                if self.publisher.has_issued() {
                    self.run.state.set_issued();
                }
            }
            Some(Item::Tick(now)) => self.tick(now),
            None => {}
        }
        if self.publisher.batch().bytes() >= self.writers.full_at() {
            self.hand_on();
        }
    }

    /// Waits for what a worker found, and sees to everything else meanwhile; `None` when there will be no more.
    fn wait(&mut self, from: &Receiver<Found>) -> Option<Found> {
        if self.run.prompt {
            self.hand_on();
        }
        if !self.run.live {
            return from.recv().ok();
        }
        loop {
            select! {
                recv(from) -> found => return found.ok(),
                recv(self.requests) -> request => self.answer(request.ok()),
            }
        }
    }

    fn note_progress(&self, inboxes: &[WorkerInbox<'_>]) {
        if self.run.live {
            let until = inboxes.iter().map(|inbox| inbox.until.at).min();
            until.into_iter().for_each(|next| self.run.state.publish(next));
        }
    }

    fn answer(&mut self, request: Option<Request>) {
        match request {
            Some(Request::Reopen) => self.writers.reopen(),
            Some(Request::Allow(allow)) => self.publisher.set_allow(allow),
            None => {}
        }
    }

    fn tick(&mut self, now: Timestamp) {
        self.publisher.tick(now);
        if self.run.live && now.since(*self.saved_at.get_or_insert(now)) >= SAVE_AFTER {
            self.saved_at = Some(now);
            self.save();
        }
        let Some(every) = self.run.config.stats else { return };
        let last = *self.stats_at.get_or_insert(now);
        if now.since(last) >= every.0 {
            self.stats_at = Some(now);
            self.post();
            // Only what depends on packets alone may be written in replay.
            let counters = if self.run.live { self.run.state.report().counters() } else { self.counters() };
            let counters: Vec<_> = counters.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            self.publisher.stats(now, &counters);
        }
    }

    /// What the publisher still waits for is decided and handed on.
    fn finish(&mut self) {
        while self.publisher.finish() {
            self.hand_on();
        }
        self.hand_on();
    }

    fn counters(&self) -> Vec<(String, u64)> {
        let report = Report { published: self.publisher.counters(), ..Report::default() };
        report.published_counters().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn hand_on(&mut self) {
        if self.publisher.batch().is_empty() {
            return;
        }
        if !self.writers.write(self.publisher.batch()) {
            // Nobody is left to write for.
            self.run.stop.store(true, Ordering::Relaxed);
        }
        self.run.state.advance();
        if self.run.live {
            self.post();
        }
    }

    fn post(&self) {
        let counters = self.publisher.counters();
        self.run.state.post(|report| report.published = counters);
    }
}
