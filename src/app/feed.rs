//! Decoding and routing between the capture thread and the workers.
//!
//! In: batches of packets, in order. Out: each worker's levels, through bounded channels whose receivers make a full one
//! wait. Replay runs this in its capture thread, where a packet's headers are still in the processor's cache and most
//! payloads need never be looked at by another; live capture, which must not wait, puts a channel and a thread between.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::run::{Captured, Run, RunState};
use crate::packet::{PacketBatch, Timestamp};
use crate::route::{Front, Routed, Router};

/// The way to one worker.
pub(super) struct Way {
    pub(super) there: Sender<Routed>,
    /// What it has worked off, to be filled again.
    pub(super) back: Receiver<Routed>,
}

/// See the module.
pub(super) struct Feed<'r> {
    front: Front,
    router: Router,
    ways: Vec<Way>,
    new_input: bool,
    state: &'r RunState,
    live: bool,
}

impl<'r> Feed<'r> {
    pub(super) fn new(run: &Run<'r>, ways: Vec<Way>) -> Self {
        Self {
            front: Front::new(run.config.decode.clone()),
            router: Router::new(ways.len()),
            ways,
            new_input: false,
            state: run.state,
            live: run.live,
        }
    }

    /// The next packets come from another input.
    pub(super) fn next_input(&mut self) {
        self.new_input = true;
    }

    /// Decodes and hands on a batch; `false` when the workers are gone.
    pub(super) fn packets(&mut self, packets: PacketBatch) -> bool {
        if let Some(first) = packets.iter().next().filter(|_| std::mem::take(&mut self.new_input)) {
            self.front.next_input(first.index, first.time, &mut self.router);
        }
        let packets = Arc::new(packets);
        self.router.share(&packets);
        self.front.batch(&packets, &mut self.router);
        let next = packets.next_index();
        // The last worker to be done returns the batch: it must not find it held here.
        drop(packets);
        self.send(next)
    }

    /// Live capture has been quiet until `now`; the next packet will have the number `at`.
    fn quiet(&mut self, at: u64, now: Timestamp) -> bool {
        self.front.quiet(at, now, &mut self.router);
        self.send(at)
    }

    fn send(&mut self, next: u64) -> bool {
        if self.live {
            self.post();
        }
        self.ways.iter().enumerate().all(|(n, way)| {
            let spare = way.back.try_recv().unwrap_or_default();
            way.there.send(self.router.take(n, spare, next)).is_ok()
        })
    }

    fn post(&self) {
        self.state.post(|report| report.decode = self.front.counters().clone());
    }

    /// Takes what a capture thread says until it ends.
    pub(super) fn run(mut self, captured: &Receiver<Captured>) {
        for captured in captured {
            let going = match captured {
                Captured::Packets(packets) => self.packets(packets),
                Captured::Quiet { at, now } => self.quiet(at, now),
            };
            if !going {
                break;
            }
        }
    }
}

impl Drop for Feed<'_> {
    fn drop(&mut self) {
        self.post();
    }
}
