//! The threads behind the [`Feed`], for replay and live capture alike: one or more workers detect, a publisher merges
//! what they found in packet order, correlates and renders, and each output has a thread that writes.
//!
//! Every channel is bounded, and a sender waits; only the capture thread of a live run throws batches away instead.

use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, bounded};

use super::feed::{Feed, WorkerLink};
use super::publisher;
use super::run::{Request, Run, RunState, spawn};
use super::worker::{self, BATCHES, Budget, Links};
use super::writer::Writers;
use crate::output::Output;
use crate::packet::PacketBatch;
use crate::route::WorkerBatch;

/// Packets in a batch: what comes of all of them is held at once, and that may be much more than they are themselves.
fn most_packets(memory: u64) -> usize {
    (memory >> 19).max(32) as usize
}

/// The running threads.
pub(super) struct Threads<'scope> {
    workers: Vec<ScopedJoinHandle<'scope, ()>>,
    publisher: ScopedJoinHandle<'scope, ()>,
    writers: Vec<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope> Threads<'scope> {
    /// Starts them, with so many batches on the way to them: with their buffers they are the memory in between. Returns
    /// the way in as well, and where empty batches come out.
    pub(super) fn start<'r: 'scope>(
        scope: &'scope Scope<'scope, '_>,
        run: &'r Run<'r>,
        batches: usize,
        outputs: Vec<Box<dyn Output + 'scope>>,
        requests: Receiver<Request>,
    ) -> (Feed<'r>, Receiver<PacketBatch>, Self) {
        let (empty_tx, empty) = bounded::<PacketBatch>(batches);
        for _ in 0..batches {
            let _ =
                empty_tx.send(PacketBatch::limited_to(run.config.batch_packets.min(most_packets(run.config.memory))));
        }
        let (mut found, mut workers, mut ways) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..run.config.threads {
            let (there, routed) = bounded::<WorkerBatch>(BATCHES);
            let (back_tx, back) = bounded::<WorkerBatch>(BATCHES + 2);
            let (found_tx, found_rx) = bounded(BATCHES);
            let budget = Arc::new(Budget::of(run.config.memory, run.config.threads));
            found.push((found_rx, Arc::clone(&budget)));
            ways.push(WorkerLink { there, back });
            let links = Links { routed, back: back_tx, empty: empty_tx.clone(), found: found_tx, budget };
            workers.push(spawn(scope, "worker", move || worker::work(run, n, &links)));
        }
        let (to_writers, writers) = Writers::start(scope, run, outputs);
        let publisher = spawn(scope, "publish", move || publisher::publish(run, &found, &requests, to_writers));
        (Feed::new(run, ways), empty, Self { workers, publisher, writers })
    }

    /// Whether everything has been written.
    pub(super) fn is_finished(&self) -> bool {
        self.publisher.is_finished() && self.writers.iter().all(ScopedJoinHandle::is_finished)
    }

    /// Waits for the end of all of them, which comes after the capture thread's.
    pub(super) fn join(self, state: &RunState) {
        for thread in self.workers.into_iter().chain([self.publisher]).chain(self.writers) {
            if thread.join().is_err() {
                state.post(|report| report.failures += 1);
            }
        }
    }
}
