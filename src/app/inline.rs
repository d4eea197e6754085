//! The whole program on the caller's thread, for callers that hold packets in memory: tests, fuzz targets, embedders.
//!
//! In: batches of packets. Out: the lines that a replay of the same packets with one worker writes. Memory is bounded
//! by [`Config::memory`] and by what the caller leaves in [`Inline::lines`].

use std::sync::Arc;

use crate::config::Config;
use crate::decode;
use crate::decode::meta::Meta;
use crate::detect::Detector;
use crate::observe::{Observation, Order};
use crate::packet::{PacketBatch, Timestamp};
use crate::pipeline::{self, Pipeline};
use crate::publish::{self, Lines, Publisher};
use crate::route::{Front, Quoted, Take};

/// Decoding, one worker and the publisher, run in turn for each batch.
pub struct Inline {
    front: Front,
    worker: Worker,
    publisher: Publisher,
    found: Vec<Observation>,
    new_input: bool,
}

impl Inline {
    /// A run that has seen nothing; NDJSON is written, text is not.
    pub fn new(config: &Config) -> Self {
        let detector = Detector::new(Arc::clone(&config.catalogue), config.detect.clone());
        Self {
            front: Front::new(config.decode.clone()),
            worker: Worker { pipeline: Pipeline::new(config.pipeline(), detector), ticks: Vec::new() },
            publisher: Publisher::new(config.publisher(true, None), Arc::clone(&config.catalogue)),
            found: Vec::new(),
            new_input: false,
        }
    }

    /// The next batch comes from another input.
    pub fn next_input(&mut self) {
        self.new_input = true;
    }

    /// Takes packets, whose indices go on from the last batch's.
    pub fn batch(&mut self, batch: &PacketBatch) {
        if let Some(first) = batch.iter().next().filter(|_| std::mem::take(&mut self.new_input)) {
            self.front.next_input(first.index, first.time, &mut self.worker);
        }
        self.front.batch(batch, &mut self.worker);
        self.publish();
    }

    /// The run is over: what is still open is written.
    pub fn finish(&mut self) {
        self.worker.pipeline.finish();
        self.publish();
        self.publisher.finish();
    }

    /// Lines written since they were last cleared.
    pub fn lines(&mut self) -> &mut Lines {
        self.publisher.lines()
    }

    /// What decoding counted.
    pub fn decoded(&self) -> &decode::Counters {
        self.front.counters()
    }

    /// What the pipeline counted.
    pub fn piped(&self) -> pipeline::Counters {
        self.worker.pipeline.counters()
    }

    /// What the publisher counted.
    pub fn published(&self) -> publish::Counters {
        self.publisher.counters()
    }

    /// Hands on what was found, and packet time, in order.
    fn publish(&mut self) {
        self.worker.pipeline.drain(&mut self.found);
        let mut ticks = self.worker.ticks.drain(..).peekable();
        for observation in self.found.drain(..) {
            while let Some((_, now)) = ticks.next_if(|(order, _)| *order <= observation.order) {
                self.publisher.tick(now);
            }
            self.publisher.observe(&observation);
        }
        ticks.for_each(|(_, now)| self.publisher.tick(now));
    }
}

struct Worker {
    pipeline: Pipeline,
    ticks: Vec<(Order, Timestamp)>,
}

impl Take for Worker {
    fn tick(&mut self, at: u64, now: Timestamp) {
        self.ticks.push((Order { at, ..Order::default() }, now));
        self.pipeline.tick(at, now);
    }

    fn level(&mut self, meta: &Meta, segment: &[u8]) {
        self.pipeline.level(meta, segment);
    }

    fn never_arrived(&mut self, quoted: &Quoted) {
        self.pipeline.never_arrived(quoted);
    }

    fn restart(&mut self, at: u64) {
        self.pipeline.restart(at);
    }
}
