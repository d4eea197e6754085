//! The whole program on the caller's thread, for callers that hold packets in memory: tests, fuzz targets, embedders.
//!
//! In: batches of packets. Out: the lines that a replay of the same packets with one worker writes. Memory is bounded
//! by [`Config::memory`] and by what the caller leaves in [`Inline::lines`].

use std::sync::Arc;

use crate::config::Config;
use crate::conn::Order;
use crate::decode;
use crate::decode::meta::Meta;
use crate::detect::Detector;
use crate::observe::Observation;
use crate::packet::{PacketBatch, Timestamp};
use crate::pipeline::{self, Pipeline};
use crate::publish::{self, Lines, Publisher};
use crate::route::{Front, Quoted, Take};

/// Decoding, one worker and the publisher, run in turn for each batch.
pub struct Inline {
    front: Front,
    worker: Worker,
    new_input: bool,
}

impl Inline {
    /// A run that has seen nothing; NDJSON is written, text is not.
    pub fn new(config: &Config) -> Self {
        let detector = Detector::new(Arc::clone(&config.catalogue), config.detect.clone());
        Self {
            front: Front::new(config.decode.clone()),
            worker: Worker {
                pipeline: Pipeline::new(config.pipeline(), detector),
                desk: Desk {
                    publisher: Publisher::new(config.publisher(true, None), Arc::clone(&config.catalogue)),
                    ticks: Vec::new(),
                },
            },
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
        let Worker { pipeline, desk } = &mut self.worker;
        let mut found = Vec::new();
        pipeline.drain(&mut found);
        desk.publish(&mut found);
        desk.rest();
    }

    /// The run is over: what is still open is written.
    pub fn finish(&mut self) {
        self.finish_in_pieces(|_| {});
    }

    /// As [`Self::finish`], for callers that take lines while they come: there may be very many.
    pub fn finish_in_pieces(&mut self, mut wrote: impl FnMut(&mut Lines)) {
        let Worker { pipeline, desk } = &mut self.worker;
        pipeline.finish(&mut |found, _| {
            desk.publish(found);
            wrote(desk.publisher.lines());
        });
        let mut found = Vec::new();
        pipeline.drain(&mut found);
        desk.publish(&mut found);
        desk.rest();
        while desk.publisher.finish() {
            wrote(desk.publisher.lines());
        }
    }

    /// Lines written since they were last cleared.
    pub fn lines(&mut self) -> &mut Lines {
        self.worker.desk.publisher.lines()
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
        self.worker.desk.publisher.counters()
    }
}

struct Worker {
    pipeline: Pipeline,
    desk: Desk,
}

/// The publisher, and the ticks that it has not been told of.
struct Desk {
    publisher: Publisher,
    ticks: Vec<(Order, Timestamp)>,
}

impl Desk {
    /// Hands on what was found, and packet time, in order.
    fn publish(&mut self, found: &mut Vec<Observation>) {
        let mut told = 0;
        for mut observation in found.drain(..) {
            while let Some((_, now)) = self.ticks.get(told).filter(|(order, _)| *order <= observation.order) {
                self.publisher.tick(*now);
                told += 1;
            }
            self.publisher.observe(&mut observation);
        }
        self.ticks.drain(..told);
    }

    /// Hands on the ticks behind all that was found.
    fn rest(&mut self) {
        self.ticks.drain(..).for_each(|(_, now)| self.publisher.tick(now));
    }
}

impl Take for Worker {
    fn tick(&mut self, at: u64, now: Timestamp) {
        self.desk.ticks.push((Order { at, ..Order::default() }, now));
        let desk = &mut self.desk;
        self.pipeline.expire(at, now, &mut |found, _| desk.publish(found));
    }

    fn level(&mut self, meta: &Meta, segment: &[u8]) {
        self.pipeline.level(meta, segment);
    }

    fn never_arrived(&mut self, quoted: &Quoted) {
        self.pipeline.never_arrived(quoted);
    }

    fn restart(&mut self, at: u64) {
        let desk = &mut self.desk;
        self.pipeline.end_all(at, &mut |found, _| desk.publish(found));
    }
}
