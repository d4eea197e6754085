//! A worker thread: packets of the conversations that are its own become observations.
//!
//! In: decoded packets, in order. Out: what was found, in order, to the publisher. Bound: the channels on both sides.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use super::run::Run;
use crate::conn::Order;
use crate::decode;
use crate::detect::Detector;
use crate::observe::Observation;
use crate::packet::{PacketBatch, Timestamp};
use crate::pipeline::{self, Pipeline};
use crate::route::{LayerSink, WorkerBatch};

/// Batches between workers and their neighbours.
pub(super) const BATCHES: usize = 8;

/// In replay a worker tells of this many batches together: waking the publisher costs both more than one batch is worth.
/// No more than [`BATCHES`], or a worker that waits for the publisher, which waits for another worker, could keep that one
/// from ever being given so many.
const TOGETHER: usize = 4;

/// What a worker says: what it found, in order; everything it will find later comes behind `until`.
pub(super) struct Found {
    pub(super) observations: Vec<Observation>,
    pub(super) ticks: Vec<(Order, Timestamp)>,
    pub(super) until: Order,
    pub(super) weight: usize,
}

/// How much of what a worker found may be on its way to the publisher, by weight.
pub(super) struct Budget {
    most: usize,
    /// `None`: nothing is published any more, and nobody need wait.
    used: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Budget {
    /// A part of the run's memory.
    pub(super) fn of(memory: u64, workers: usize) -> Self {
        let most = memory as usize / 16 / workers.max(1);
        Self { most, used: Mutex::new(Some(0)), changed: Condvar::new() }
    }

    /// Whether so much is worth being handed over at once.
    fn is_much(&self, weight: usize) -> bool {
        weight >= self.most / 4
    }

    /// Waits until there is room. One lot always has: the publisher can go on when it has something of every worker.
    fn take(&self, weight: usize) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let has_no_room = |used: &mut Option<usize>| used.is_some_and(|used| used > 0 && used + weight > self.most);
        let mut used = self.changed.wait_while(used, has_no_room).unwrap_or_else(PoisonError::into_inner);
        *used = used.map(|used| used + weight);
    }

    /// So much has been published.
    pub(super) fn give_back(&self, weight: usize) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.map(|used| used.saturating_sub(weight));
        drop(used);
        self.changed.notify_all();
    }

    /// Nothing is published any more.
    pub(super) fn lift(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.changed.notify_all();
    }
}

/// The channels of a worker.
pub(super) struct Links {
    pub(super) routed: Receiver<WorkerBatch>,
    /// What it has worked off goes back, to be filled again.
    pub(super) back: Sender<WorkerBatch>,
    /// Packets go back as well.
    pub(super) empty: Sender<PacketBatch>,
    pub(super) found: Sender<Found>,
    pub(super) budget: Arc<Budget>,
}

/// One worker.
pub(super) fn work(run: &Run<'_>, number: usize, links: &Links) {
    let Links { routed, back, empty, .. } = links;
    let mut worker = Worker::new(run, number, links);
    for (nth, mut batch) in (1..).zip(routed) {
        if run.state.has_issued() {
            worker.pipeline.search_tokens();
        }
        batch.replay(&mut worker);
        let until = before(batch.watermark());
        if let Some(packets) = batch.release() {
            let _ = empty.send(packets);
        }
        let _ = back.try_send(batch);
        let is_due = run.prompt || nth % TOGETHER == 0 || links.budget.is_much(worker.pipeline.found_weight());
        if is_due && !worker.hand_over(until) {
            break;
        }
    }
    worker.finish();
}

/// Everything that comes of packets before `next` stands before this.
fn before(next: u64) -> Order {
    Order { at: next, ..Order::default() }
}

/// A pipeline, and where to put what it finds.
struct Worker<'r> {
    pipeline: Pipeline,
    out: Handover<'r>,
    run: &'r Run<'r>,
    number: usize,
}

/// The way to the publisher, and the ticks that it has not been told of.
struct Handover<'r> {
    to: &'r Links,
    ticks: Vec<(Order, Timestamp)>,
}

impl Handover<'_> {
    /// Whether there is still somebody to take it.
    fn send(&mut self, observations: &mut Vec<Observation>, until: Order) -> bool {
        let (observations, ticks) = (std::mem::take(observations), std::mem::take(&mut self.ticks));
        let weight = observations.iter().map(Observation::weight).sum();
        self.to.budget.take(weight);
        self.to.found.send(Found { observations, ticks, until, weight }).is_ok()
    }
}

impl<'r> Worker<'r> {
    fn new(run: &'r Run<'r>, number: usize, to: &'r Links) -> Self {
        let detector = Detector::new(Arc::clone(&run.config.catalogue), run.config.detect.clone());
        let config = pipeline::Config { processes: run.processes.clone(), ..run.config.pipeline() };
        Self { pipeline: Pipeline::new(config, detector), out: Handover { to, ticks: Vec::new() }, run, number }
    }

    fn hand_over(&mut self, until: Order) -> bool {
        let mut observations = Vec::new();
        self.pipeline.drain(&mut observations);
        if self.run.live {
            self.run.state.advance();
            self.run.state.post_worker(self.number, self.pipeline.counters());
        }
        self.out.send(&mut observations, until)
    }

    fn finish(&mut self) {
        let out = &mut self.out;
        self.pipeline.finish(&mut |found, until| {
            out.send(found, until);
        });
        self.run.state.post_worker(self.number, self.pipeline.counters());
        self.hand_over(Order { at: u64::MAX, in_packet: true, ..Order::default() });
    }
}

impl LayerSink for Worker<'_> {
    fn tick(&mut self, at: u64, now: Timestamp) {
        self.out.ticks.push((before(at), now));
        let out = &mut self.out;
        self.pipeline.expire(at, now, &mut |found, until| {
            out.send(found, until);
        });
    }

    fn level(&mut self, meta: &decode::meta::Meta, segment: &[u8]) {
        self.pipeline.level(meta, segment);
    }

    fn warm<'m>(&self, levels: impl Iterator<Item = &'m decode::meta::Meta>) {
        self.pipeline.warm(levels);
    }

    fn found(&mut self, found: Observation) {
        self.pipeline.found(found);
    }

    fn mark_undelivered(&mut self, quoted: &crate::route::Quoted) {
        self.pipeline.mark_undelivered(quoted);
    }

    fn restart(&mut self, at: u64) {
        let out = &mut self.out;
        self.pipeline.end_all(at, &mut |found, until| {
            out.send(found, until);
        });
    }
}
