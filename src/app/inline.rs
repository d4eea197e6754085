//! The whole program on the caller's thread, for callers that hold packets in memory: tests, fuzz targets, embedders.
//!
//! In: batches of packets. Out: the lines that a replay of the same packets with one worker writes. Memory is bounded
//! by [`Config::memory`] and by what the caller leaves in [`Inline::written`].

use std::sync::Arc;

use crate::config::Config;
use crate::conn::Order;
use crate::decode;
use crate::decode::meta::Meta;
use crate::detect::Detector;
use crate::observe::Observation;
use crate::output::Batch;
use crate::packet::{PacketBatch, Timestamp};
use crate::pipeline::{self, Pipeline};
use crate::publish::{self, Publisher};
use crate::route::{DecodeStage, LayerSink, Quoted};

/// Decoding, one worker and the publisher, run in turn for each batch.
pub struct Inline {
    front: DecodeStage,
    worker: Worker,
    new_input: bool,
}

impl Inline {
    /// A run that has seen nothing; NDJSON is written, text is not.
    pub fn new(config: &Config) -> Self {
        let detector = Detector::new(Arc::clone(&config.catalogue), config.detect.clone());
        Self {
            front: DecodeStage::new(config.decode.clone()),
            worker: Worker {
                pipeline: Pipeline::new(config.pipeline(), detector),
                publisher: InlinePublisher {
                    inner: Publisher::new(config.publisher(true, None), Arc::clone(&config.catalogue)),
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
        let Worker { pipeline, publisher } = &mut self.worker;
        let mut found = Vec::new();
        pipeline.drain(&mut found);
        publisher.publish(&mut found);
        publisher.rest();
    }

    /// The run is over: what is still open is written.
    pub fn finish(&mut self) {
        self.finish_in_pieces(|_| {});
    }

    /// As [`Self::finish`], for callers that take lines while they come: there may be very many.
    pub fn finish_in_pieces(&mut self, mut wrote: impl FnMut(&mut Batch)) {
        let Worker { pipeline, publisher } = &mut self.worker;
        pipeline.finish(&mut |found, _| {
            publisher.publish(found);
            wrote(publisher.inner.batch());
        });
        let mut found = Vec::new();
        pipeline.drain(&mut found);
        publisher.publish(&mut found);
        publisher.rest();
        while publisher.inner.finish() {
            wrote(publisher.inner.batch());
        }
    }

    /// Events written since they were last cleared.
    pub fn written(&mut self) -> &mut Batch {
        self.worker.publisher.inner.batch()
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
        self.worker.publisher.inner.counters()
    }
}

struct Worker {
    pipeline: Pipeline,
    publisher: InlinePublisher,
}

/// The publisher, and the ticks that it has not been told of.
struct InlinePublisher {
    inner: Publisher,
    ticks: Vec<(Order, Timestamp)>,
}

impl InlinePublisher {
    /// Hands on what was found, and packet time, in order.
    fn publish(&mut self, found: &mut Vec<Observation>) {
        let mut told = 0;
        for mut observation in found.drain(..) {
            while let Some((_, now)) = self.ticks.get(told).filter(|(order, _)| *order <= observation.order) {
                self.inner.tick(*now);
                told += 1;
            }
            self.inner.observe(&mut observation);
        }
        self.ticks.drain(..told);
    }

    /// Hands on the ticks behind all that was found.
    fn rest(&mut self) {
        self.ticks.drain(..).for_each(|(_, now)| self.inner.tick(now));
    }
}

impl LayerSink for Worker {
    fn tick(&mut self, at: u64, now: Timestamp) {
        self.publisher.ticks.push((Order { at, ..Order::default() }, now));
        let publisher = &mut self.publisher;
        self.pipeline.expire(at, now, &mut |found, _| publisher.publish(found));
    }

    fn level(&mut self, meta: &Meta, segment: &[u8]) {
        self.pipeline.level(meta, segment);
    }

    fn found(&mut self, found: Observation) {
        self.pipeline.found(found);
    }

    fn mark_undelivered(&mut self, quoted: &Quoted) {
        self.pipeline.mark_undelivered(quoted);
    }

    fn restart(&mut self, at: u64) {
        let publisher = &mut self.publisher;
        self.pipeline.end_all(at, &mut |found, _| publisher.publish(found));
    }
}
