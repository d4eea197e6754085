//! Decoding and routing between the capture thread and the workers.
//!
//! In: batches of packets, in order. Out: each worker's levels, through bounded channels whose receivers make a full one
//! wait. Replay runs this in its capture thread, where a packet's headers are still in the processor's cache and most
//! payloads need never be looked at by another; live capture, which must not wait, puts a channel and a thread between.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
#[cfg(target_os = "linux")]
use crossbeam_channel::{never, select};

#[cfg(target_os = "linux")]
use super::run::Captured;
use super::run::{Run, RunState};
use crate::conn::Order;
use crate::observe::{Observation, What};
use crate::packet::{PacketBatch, Timestamp};
use crate::route::{DecodeStage, LayerSink, Router, WorkerBatch};

/// The way to one worker.
pub(super) struct WorkerLink {
    pub(super) there: Sender<WorkerBatch>,
    /// What it has worked off, to be filled again.
    pub(super) back: Receiver<WorkerBatch>,
}

/// See the module.
pub(super) struct Feed<'r> {
    front: DecodeStage,
    router: Router,
    ways: Vec<WorkerLink>,
    new_input: bool,
    told: Told,
    state: &'r RunState,
    live: bool,
}

impl<'r> Feed<'r> {
    pub(super) fn new(run: &Run<'r>, ways: Vec<WorkerLink>) -> Self {
        Self {
            front: DecodeStage::new(run.config.decode.clone()),
            router: Router::new(ways.len()),
            ways,
            new_input: false,
            told: Told::default(),
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
        let told = &mut self.told;
        match told.is_empty() {
            true => self.front.batch(&packets, &mut self.router),
            false => {
                self.front.batch_with(&packets, &mut self.router, &mut |at, now, router| told.until(now, at, router))
            }
        }
        let next = packets.next_index();
        self.told.next = next;
        // The last worker to be done returns the batch: it must not find it held here.
        drop(packets);
        self.send(next)
    }

    /// What other sensors saw, in the order of time: each has its place before the first packet that is not earlier.
    pub(super) fn tell(&mut self, found: Vec<(Timestamp, What)>) {
        self.told.waiting.extend(found);
    }

    /// What still waits goes on now; `false` when the workers are gone.
    pub(super) fn tell_all(&mut self) -> bool {
        let next = self.told.next;
        let mut going = true;
        while going && !self.told.is_empty() {
            self.told.some(TOGETHER, next, &mut self.router);
            going = self.send(next);
        }
        going
    }

    /// It is at least this late: what waits for what may belong to it is decided.
    pub(super) fn pass(&mut self, now: Timestamp) {
        let next = self.told.next;
        // said twice, because a leap is not believed when it is seen once
        for _ in 0..2 {
            self.front.quiet(next, now, &mut self.router);
        }
        self.send(next);
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
}

/// What only live capture has.
#[cfg(target_os = "linux")]
impl Feed<'_> {
    /// Live capture has been quiet until `now`; the next packet will have the number `at`.
    fn quiet(&mut self, at: u64, now: Timestamp) -> bool {
        self.front.quiet(at, now, &mut self.router);
        self.send(at)
    }

    /// Takes what a capture thread says until it ends, and meanwhile, whenever the bell rings, what `started` tells of
    /// process starts. Before packets are handed on it is asked as well: whatever was started before they were sent has
    /// its place before them, however late the bell is.
    pub(super) fn run(
        mut self,
        captured: &Receiver<Captured>,
        bell: &Receiver<()>,
        mut started: impl FnMut() -> Vec<(Timestamp, What)>,
    ) {
        let mut bell = bell.clone();
        loop {
            let going = select! {
                recv(captured) -> captured => match captured {
                    Ok(Captured::Packets(packets)) => {
                        self.tell(started());
                        self.packets(packets) && self.tell_all()
                    }
                    Ok(Captured::Quiet { at, now }) => self.quiet(at, now),
                    Err(_) => false,
                },
                recv(bell) -> rung => {
                    if rung.is_err() {
                        bell = never();
                    }
                    self.tell(started());
                    self.tell_all()
                }
            };
            if !going {
                break;
            }
        }
    }
}

/// What is handed on together where there are no packets.
const TOGETHER: usize = 1024;

/// What other sensors saw and has not had its turn.
struct Told {
    waiting: VecDeque<(Timestamp, What)>,
    /// Number of the next packet.
    next: u64,
    /// Running number of what was told.
    nth: u32,
}

impl Default for Told {
    fn default() -> Self {
        // before packet 1 there is a place behind packet 0
        Self { waiting: VecDeque::new(), next: 1, nth: 0 }
    }
}

impl Told {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Hands on what is not later than `now`, before packet `at`.
    fn until(&mut self, now: Timestamp, at: u64, to: &mut impl LayerSink) {
        while let Some((time, what)) = self.waiting.pop_front_if(|(time, _)| *time <= now) {
            self.hand_on(time, what, at, to);
        }
    }

    fn some(&mut self, count: usize, at: u64, to: &mut impl LayerSink) {
        for (time, what) in self.waiting.drain(..count.min(self.waiting.len())).collect::<Vec<_>>() {
            self.hand_on(time, what, at, to);
        }
    }

    fn hand_on(&mut self, time: Timestamp, what: What, at: u64, to: &mut impl LayerSink) {
        self.nth = self.nth.wrapping_add(1);
        let order = Order { at: at.saturating_sub(1), in_packet: true, first: u64::MAX, rank: u8::MAX, nth: self.nth };
        to.found(Observation { order, time, what });
    }
}

impl Drop for Feed<'_> {
    fn drop(&mut self) {
        self.post();
    }
}
