//! The capture thread: takes packets from the kernel and hands them to the workers. It waits for nobody: what they cannot
//! take is thrown away here and counted by cause. When it is quiet it passes the present time on, so that what is due is
//! reported in time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::super::report::{Dropped, Drops};
use super::super::run::{Captured, Run};
use super::super::tell_user;
use super::{ATTEND, GRACE, say_all};
use crate::live::{Counts, Directory, Rest, Sniffer, Urgent};
use crate::packet::{PacketBatch, Timestamp};

/// Detection is never further behind the wire than about this: what would be later is thrown away and counted, so that
/// whoever floods it cannot delay what it says of others. What is [`Urgent`] has twice the time.
const MOST_LAG: Duration = Duration::from_secs(2);
/// Where a batch has no more urgent packets than this they are not the flood, and stay however late they are; the batches
/// that may wait bound what they add.
const FEW: usize = 64;

/// Workers are behind when so many batches wait.
const BEHIND: usize = 8;

/// How long capture waits for packets before it looks round.
const LOOK_ROUND: Duration = Duration::from_millis(100);

/// The capture thread.
pub(super) struct Capture<'r> {
    run: &'r Run<'r>,
    sniffer: Sniffer,
    directory: Arc<Directory>,
    packets: Sender<Captured>,
    empty: Receiver<PacketBatch>,
    urgent: Urgent,
    batch: PacketBatch,
    next_index: u64,
    dropped: Dropped,
    /// Packets dropped when it was last said that they are.
    dropping: Option<u64>,
    /// Packets dropped a second ago.
    told_drops: u64,
    totals: (u64, u64),
    attended: Instant,
    heard: Instant,
}

impl<'r> Capture<'r> {
    pub(super) fn new(
        run: &'r Run<'r>,
        sniffer: Sniffer,
        directory: Arc<Directory>,
        packets: Sender<Captured>,
        empty: Receiver<PacketBatch>,
    ) -> Self {
        let mut batch = empty.try_recv().unwrap_or_default();
        batch.clear(0);
        let now = Instant::now();
        Self {
            run,
            sniffer,
            directory,
            packets,
            empty,
            urgent: Urgent::new(&run.config.catalogue),
            batch,
            next_index: 0,
            dropped: Dropped::default(),
            dropping: None,
            told_drops: 0,
            totals: (0, 0),
            attended: now,
            heard: now,
        }
    }

    pub(super) fn run(mut self) {
        self.attend();
        while !self.run.stop.load(Ordering::Relaxed) {
            let news = match self.sniffer.wait(LOOK_ROUND) {
                Ok(news) => news,
                Err(error) => {
                    self.fail(&format!("cannot wait for packets: {error}"));
                    break;
                }
            };
            while self.sniffer.read(&mut self.batch) == Rest::Full && self.hand_on() && !self.is_over() {}
            if !self.hand_on() {
                break;
            }
            if news || self.attended.elapsed() >= ATTEND {
                self.attend();
            }
        }
        self.finish();
    }

    /// Takes what the kernel counted until now: what there is no time for counts as dropped.
    fn finish(&mut self) {
        let counts = self.sniffer.close();
        let over = Instant::now();
        let mut heard = over;
        while self.sniffer.waiting() > 0 && heard.elapsed() < LOOK_ROUND && over.elapsed() < 4 * LOOK_ROUND {
            self.sniffer.read(&mut self.batch);
            if self.batch.is_empty() {
                // The kernel is about to hand on its last block.
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            heard = Instant::now();
            if over.elapsed() < LOOK_ROUND {
                self.hand_on()
            } else {
                self.drop_batch(|dropped| &mut dropped.at_end)
            };
        }
        if heard.elapsed() < LOOK_ROUND {
            self.dropped.at_end += self.sniffer.waiting();
        }
        self.hand_on_last();
        self.post(counts);
    }

    fn is_over(&self) -> bool {
        self.run.stop.load(Ordering::Relaxed)
    }

    fn fail(&self, text: &str) {
        tell_user(text);
        self.run.state.post(|report| report.failures += 1);
    }

    /// Hands the batch to the workers, or throws it away where it is full and they cannot take it; `false` when they are
    /// gone. While they are behind, batches are filled before they are handed on, so that the few that may wait hold
    /// as much as they can.
    fn hand_on(&mut self) -> bool {
        if self.batch.is_empty() {
            return self.pass_time();
        }
        self.heard = Instant::now();
        if self.packets.len() >= BEHIND && !self.batch.is_full() {
            return true;
        }
        if self.run.state.expected_lag() > MOST_LAG {
            self.drop_late();
        }
        if self.batch.is_empty() {
            return true;
        }
        let (packets, bytes) = (self.batch.len() as u64, self.batch.captured_bytes());
        let next_index = self.batch.next_index();
        // Where all batches are full and wait, this one is used again.
        let Ok(next) = self.empty.try_recv() else { return self.drop_batch(|dropped| &mut dropped.no_room) };
        match self.packets.try_send(Captured::Packets(std::mem::replace(&mut self.batch, next))) {
            Ok(()) => {
                self.totals.0 += packets;
                self.totals.1 += bytes;
                self.next_index = next_index;
                self.batch.clear(next_index);
                self.run.state.hand_over(next_index);
                true
            }
            Err(TrySendError::Full(Captured::Packets(batch))) => {
                self.batch = batch;
                self.drop_batch(|dropped| &mut dropped.no_room)
            }
            Err(_) => false,
        }
    }

    /// Throws away what would be judged too late.
    fn drop_late(&mut self) {
        let Self { batch, urgent, dropped, .. } = self;
        let all = batch.len();
        batch.retain(|packet| urgent.has(packet.data));
        let are_the_flood = batch.len() > FEW && self.run.state.expected_lag() > 2 * MOST_LAG;
        let kept = if are_the_flood { 0 } else { batch.len() };
        dropped.late += (all - kept) as u64;
        if kept == 0 {
            batch.clear(self.next_index);
        }
    }

    fn drop_batch(&mut self, cause: impl Fn(&mut Dropped) -> &mut u64) -> bool {
        *cause(&mut self.dropped) += self.batch.len() as u64;
        self.batch.clear(self.next_index);
        true
    }

    /// Hands on the last batch: now there is time to wait for the workers, if not long.
    fn hand_on_last(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let (packets, bytes) = (self.batch.len() as u64, self.batch.captured_bytes());
        let last = Captured::Packets(std::mem::take(&mut self.batch));
        match self.packets.send_timeout(last, GRACE / 2) {
            Ok(()) => {
                self.totals.0 += packets;
                self.totals.1 += bytes;
            }
            Err(_) => self.dropped.at_end += packets,
        }
    }

    /// Passes the present time on where nothing else does.
    fn pass_time(&mut self) -> bool {
        if self.heard.elapsed() < 2 * LOOK_ROUND {
            return true;
        }
        self.heard = Instant::now();
        // Packets that the kernel is about to hand on may be this much older than now.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(LOOK_ROUND);
        let now = Timestamp(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
        let sent = self.packets.try_send(Captured::Quiet { at: self.next_index, now });
        !matches!(sent, Err(TrySendError::Disconnected(_)))
    }

    /// Says once that packets are being thrown away here, and once that they no longer are.
    fn tell_drops(&mut self) {
        let sum = self.dropped.sum();
        match (self.dropping, sum > self.told_drops) {
            (None, true) => {
                let lag = self.run.state.expected_lag().as_secs_f64();
                tell_user(format_args!("cannot keep up ({lag:.1} s behind): packets are dropped and counted"));
                self.dropping = Some(sum);
            }
            (Some(_), false) => {
                let since = sum - std::mem::take(&mut self.dropping).unwrap_or_default();
                tell_user(format_args!(
                    "keeps up again; {sum} packets were dropped in all, {since} of them since that was said"
                ));
            }
            _ => {}
        }
        self.told_drops = sum;
    }

    /// Sees to interfaces and posts counts.
    fn attend(&mut self) {
        self.attended = Instant::now();
        self.tell_drops();
        let counts = self.sniffer.attend(&mut self.batch);
        say_all(self.sniffer.remarks());
        if let Some(addresses) = self.sniffer.addresses() {
            self.run.config.event.local_addresses.set(addresses);
        }
        self.post(counts);
    }

    fn post(&self, Counts { received, kernel, interface }: Counts) {
        let (packets, bytes) = self.totals;
        let live = Some(Drops { received, kernel, interface, own: self.dropped });
        let ready = self.sniffer.open_ports().0 > 0;
        let processes = self.directory.counts();
        self.run.state.post(|report| {
            (report.packets, report.bytes, report.live, report.ready) = (packets, bytes, live, ready);
            report.processes = processes;
        });
    }
}
