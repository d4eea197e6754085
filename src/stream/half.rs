//! One direction of a connection: what its receiver has taken, what waits, what is doubted, and what its sender may do.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::judge::Sums;
use super::queue::{Arrival, Fill, Piecewise, Queue};
use super::seq::{advance, after, before, distance, earliest, latest};
use super::{Chunk, Context, End, Limits, Reason};
use crate::decode::meta::{Tcp, TcpFlags};
use crate::packet::Timestamp;

/// Window scale that is assumed where the handshake was not seen: the largest there is (RFC 7323 section 2.3).
const UNKNOWN_SCALE: u8 = 14;
/// Bytes in flight that are kept to be compared with what is sent again.
const MAX_RECENT: u32 = 4096;
/// Segments in doubt that are kept.
const MAX_DOUBTS: usize = 32;
/// Segments that pass before a hole that the receiver does not have is given up.
const PATIENCE: u8 = 8;
/// The same once [`PATIENCE_TIME`] has passed: as many as captures mix up among themselves.
const SHORT_PATIENCE: u8 = 4;
/// Nanoseconds after which few segments are enough.
const PATIENCE_TIME: i64 = Timestamp::SECOND;
/// Segments that pass before a hole is given up when the capture does not have the receiver's side.
const BLIND_PATIENCE: u8 = 32;

/// Segments without any from the receiver after which the capture does not have its side (any more).
const MAX_UNANSWERED: u8 = 128;
/// A TTL at least this much below that of the sender's first packet is doubted, if it is also below [`LOW_TTL`].
const TTL_DROP: u8 = 8;
/// Routes are shorter than this: a packet with more hops left arrives.
const LOW_TTL: u8 = 32;

/// A segment that a receiver would probably not have taken. It is taken after all when the receiver acknowledges it
/// and nothing else was seen at its place.
#[derive(Debug)]
struct Doubt {
    seq: u32,
    end: u32,
    data: Vec<u8>,
    cut: u32,
    ack: u32,
    fin: bool,
    reason: Reason,
    at: Context,
}

/// What is only there while something waits.
#[derive(Debug, Default)]
struct Store {
    queue: Queue,
    doubts: Vec<Doubt>,
}

/// The last bytes handed on, from the first one that is not acknowledged. Boxed, because most connections have none.
#[derive(Debug, Default)]
struct Recent {
    bytes: Vec<u8>,
}

/// See the module. `next` and the like mean nothing until `anchored`.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// Sequence number of the first byte of the stream, as far as known.
    pub(super) start: u32,
    /// First byte that was not handed on.
    pub(super) next: u32,
    /// Highest end of anything this side was seen to send.
    pub(super) seen: u32,
    /// Highest acknowledgement by the receiver.
    pub(super) acked: Option<u32>,
    /// Right edge of the receiver's window.
    pub(super) edge: Option<u32>,
    /// TS.Recent of the receiver (RFC 7323 section 4.3).
    pub(super) ts_recent: Option<u32>,
    /// Highest end of segments in doubt: what an acknowledgement may yet prove to have been sent.
    pub(super) claimed: Option<u32>,
    /// Sequence number of the FIN.
    fin: Option<u32>,
    /// Sequence number of a byte that is out of band.
    urgent: Option<u32>,
    /// When the hole at `next` began to look like one in the capture, up to where, and how many segments ago.
    hole_since: Timestamp,
    hole_end: u32,
    hole_age: u8,
    /// Shift of the windows that this side advertises.
    pub(super) scale: Option<u8>,
    /// TTL of the first packet.
    pub(super) ttl: Option<u8>,
    pub(super) tcp_sums: Sums,
    pub(super) ip_sums: Sums,
    /// Whether `start` and `next` are known.
    pub(super) anchored: bool,
    /// Whether a SYN of this side was seen.
    pub(super) syn: bool,
    /// Whether any segment of this side was seen.
    pub(super) visible: bool,
    /// Whether [`Chunk::End`] was handed on.
    pub(super) ended: bool,
    /// Whether the sender has sent a RST that the receiver takes, if it arrives.
    pub(super) reset: bool,
    /// Bytes handed on since the other side sent data, saturating.
    pub(super) run: u32,
    /// Segments sent since the other side sent one, saturating.
    pub(super) unanswered: u8,
    store: Option<Box<Store>>,
    recent: Option<Box<Recent>>,
}

impl Half {
    /// Fixes where the stream begins.
    pub(super) fn anchor(&mut self, start: u32) {
        self.seen = if self.anchored { latest(self.seen, start) } else { start };
        self.start = start;
        self.next = start;
        self.anchored = true;
    }

    /// Opens the stream by its SYN or SYN-ACK.
    pub(super) fn open(&mut self, start: u32, ttl: u8, tcp: &Tcp) {
        if !self.anchored {
            self.anchor(start);
        }
        self.syn = true;
        self.visible = true;
        self.ttl = Some(ttl);
        self.scale = Some(tcp.window_scale.unwrap_or(0));
        self.ts_recent = tcp.timestamps.map(|(value, _)| value);
    }

    /// Whether the capture has the side that receives this stream.
    pub(super) fn is_answered(&self, receiver: &Self) -> bool {
        receiver.visible && self.unanswered < MAX_UNANSWERED
    }

    /// Whether a segment ends where the stream was taken to begin, because its beginning was not seen and packets after
    /// this one came first. A single byte may be a keep-alive.
    pub(super) fn begins_with(&self, seq: u32, end: u32) -> bool {
        let untouched = !self.syn && !self.ended && self.next == self.start;
        untouched && end == self.start && end.wrapping_sub(seq) > 1
    }

    /// The next byte that the receiver waits for, as far as the capture shows.
    pub(super) fn expected(&self) -> u32 {
        self.acked.map_or(self.next, |acked| latest(self.next, acked))
    }

    /// Right edge of the window for data of this side, when `ack` and `window` come from its receiver.
    pub(super) fn offer(&mut self, ack: u32, window: u32) {
        let edge = ack.wrapping_add(window);
        self.edge = Some(self.edge.map_or(edge, |old| latest(old, edge)));
    }

    /// Shift to apply to the windows that this side advertises after its SYN.
    pub(super) fn shift(&self) -> u8 {
        self.scale.unwrap_or(UNKNOWN_SCALE).min(UNKNOWN_SCALE)
    }

    /// Whether nothing waits and nothing is in doubt.
    pub(super) fn is_idle(&self) -> bool {
        self.store.as_ref().is_none_or(|store| store.queue.is_empty() && store.doubts.is_empty()) && self.fin.is_none()
    }

    /// Whether the stream is over as far as the sender says: RST, or FIN with all bytes before it handed on.
    pub(super) fn is_over(&self) -> bool {
        self.ended || self.reset || self.fin == Some(self.next)
    }

    /// The receiver acknowledges everything before `ack`.
    pub(super) fn acknowledge(&mut self, ack: u32) {
        if !self.anchored {
            return;
        }
        let acked = self.acked.map_or(ack, |old| latest(old, ack));
        self.acked = Some(acked);
        if self.edge.is_some_and(|edge| before(edge, acked)) {
            // The capture lost the packets that moved the window.
            self.edge = None;
        }
        if let Some(recent) = &mut self.recent {
            let done = recent.bytes.len().saturating_sub(distance(acked, self.next) as usize);
            recent.bytes.drain(..done);
            if recent.bytes.is_empty() {
                self.recent = None;
            }
        }
    }

    /// Hands on bytes that are next (and their other reading, as long), without the urgent byte, and moves on.
    pub(super) fn hand_on(
        &mut self,
        taken: &[u8],
        other: Option<&[u8]>,
        remember: bool,
        mut emit: impl FnMut(Chunk<'_>),
    ) {
        if remember {
            self.remember(taken);
        }
        let mut emit = |range: std::ops::Range<usize>| match (taken.get(range.clone()), other) {
            (Some([]) | None, _) => {}
            (Some(taken), None) => emit(Chunk::Data(taken)),
            (Some(taken), Some(other)) => {
                emit(Chunk::Conflict { taken, other: other.get(range).unwrap_or_default() });
            }
        };
        let urgent = self.urgent.filter(|urgent| !before(*urgent, self.next));
        match urgent.map(|urgent| distance(self.next, urgent) as usize).filter(|at| *at < taken.len()) {
            Some(at) => {
                self.urgent = None;
                emit(0..at);
                emit(at.saturating_add(1)..taken.len());
            }
            None => emit(0..taken.len()),
        }
        self.next = advance(self.next, taken.len());
        self.run = self.run.saturating_add(taken.len() as u32);
        self.hole_age = 0;
    }

    /// Moves past bytes that the snaplen cut off.
    pub(super) fn hand_on_cut(&mut self, len: u32, mut emit: impl FnMut(Chunk<'_>)) {
        emit(Chunk::Gap { len: u64::from(len), cut: true });
        self.next = self.next.wrapping_add(len);
        self.recent = None;
        self.hole_age = 0;
    }

    /// A segment that is to be taken goes into the queue; `false` when the queue is full.
    pub(super) fn enqueue(&mut self, arrival: Arrival<'_>, limits: &Limits) -> bool {
        self.store.get_or_insert_default().queue.insert(arrival, limits)
    }

    /// Marks the byte at `seq` as out of band, as `tcp_check_urg` of Linux does.
    pub(super) fn mark_urgent(&mut self, seq: u32) {
        if !before(seq, self.next) && self.urgent.is_none_or(|old| before(old, self.next) || after(seq, old)) {
            self.urgent = Some(seq);
        }
    }

    /// A FIN that stands at `seq`.
    pub(super) fn mark_fin(&mut self, seq: u32) {
        if !before(seq, self.next) && self.fin.is_none_or(|old| before(seq, old)) {
            self.fin = Some(seq);
        }
    }

    /// Hands on what is contiguous. A FIN ends the stream when the receiver has acknowledged it, or when it is `certain`
    /// that it arrives. Whether anything moved.
    pub(super) fn drain(
        &mut self,
        fill: Fill,
        certain: bool,
        remember: bool,
        allowed: impl Fn(u32) -> bool,
        mut emit: impl FnMut(Chunk<'_>, Context),
    ) -> bool {
        let before_it = self.next;
        if let Some(mut store) = self.store.take() {
            let mut next = self.next;
            store.queue.drain(&mut next, fill, allowed, |piece, at| match piece {
                Piecewise::Bytes { taken, other } => self.hand_on(taken, other, remember, |chunk| emit(chunk, at)),
                Piecewise::Cut(len) => self.hand_on_cut(len, |chunk| emit(chunk, at)),
            });
            self.store = Some(store);
            self.shrink();
        }
        let acked = self.acked.is_some_and(|acked| after(acked, self.next));
        let fin = self.fin == Some(self.next) && (certain || acked);
        if fin {
            self.next = self.next.wrapping_add(1);
            self.end(End::Fin, fill.context, &mut emit);
        } else if self.fin.is_some_and(|fin| before(fin, self.next)) {
            // Data went past it: Linux has dropped that segment as one that brings nothing new.
            self.fin = None;
        }
        fin || before_it != self.next
    }

    /// Ends the direction, once.
    pub(super) fn end(&mut self, why: End, at: Context, emit: &mut impl FnMut(Chunk<'_>, Context)) {
        if !self.ended {
            self.ended = true;
            self.store = None;
            self.recent = None;
            self.fin = None;
            emit(Chunk::End(why), at);
        }
    }

    /// Whether a packet of this side expires before it arrives: far fewer hops left than the first one had.
    pub(super) fn is_ttl_low(&self, ttl: u8) -> bool {
        ttl < LOW_TTL && self.ttl.is_some_and(|first| first.saturating_sub(ttl) >= TTL_DROP)
    }

    /// Bytes that the receiver's window allows in flight, as far as known.
    pub(super) fn window(&self) -> u32 {
        self.acked.zip(self.edge).map_or(0, |(acked, edge)| distance(acked, edge))
    }

    /// End of all that was sent as far as the capture shows, counting segments in doubt.
    pub(super) fn sent(&self) -> u32 {
        self.claimed.map_or(self.seen, |claimed| latest(claimed, self.seen))
    }

    /// Whether `ack` can only be known to someone who received segments of this side that are in doubt.
    pub(super) fn is_claimed(&self, ack: u32) -> bool {
        after(ack, self.seen) && self.claimed.is_some_and(|claimed| !after(ack, claimed))
    }

    /// Keeps the timestamp that the receiver compares later ones with: that of a segment with what is next, if the
    /// SYN had the option (RFC 7323 section 4.3).
    pub(super) fn stamp(&mut self, tcp: &Tcp, end: u32) {
        let is_next = !after(tcp.seq, self.next) && !before(end, self.next);
        if let Some((value, _)) = tcp.timestamps
            && is_next
            && (self.ts_recent.is_some() || !self.syn)
        {
            self.ts_recent = Some(self.ts_recent.map_or(value, |old| latest(old, value)));
        }
    }

    /// Keeps a segment with data or FIN aside that the receiver does not take for `reason`, unless it is old.
    pub(super) fn set_aside(&mut self, arrival: Arrival<'_>, flags: TcpFlags, reason: Reason, limits: &Limits) {
        let Arrival { seq, data, cut, ack, at } = arrival;
        let fin = flags.fin();
        let end = arrival.end().wrapping_add(u32::from(fin));
        if self.ended || !after(end, self.next) {
            return;
        }
        self.claimed = Some(self.claimed.map_or(end, |old| latest(old, end)));
        let store = self.store.get_or_insert_default();
        let held: usize = store.doubts.iter().map(|doubt| doubt.data.len()).sum();
        if store.doubts.len() < MAX_DOUBTS && held.saturating_add(data.len()) <= limits.per_direction {
            store.doubts.push(Doubt { seq, end, data: data.to_vec(), cut, ack, fin, reason, at });
        }
    }

    /// Takes segments in doubt that the receiver has acknowledged and that nothing else explains, and those that only
    /// acknowledged too much and are `settled` by now; returns the highest acknowledgement number among them.
    pub(super) fn resolve(&mut self, settled: impl Fn(u32) -> bool, limits: &Limits) -> Option<u32> {
        let acked = self.acked.unwrap_or(self.start);
        let mut doubts = std::mem::take(&mut self.store.as_mut().filter(|store| !store.doubts.is_empty())?.doubts);
        let mut proven = None;
        doubts.retain(|doubt| {
            if !after(doubt.end, self.next) {
                return false;
            }
            let settled = doubt.reason == Reason::Ack && settled(doubt.ack);
            if !settled && !self.is_proven(doubt, acked) {
                return true;
            }
            if self.take_after_all(doubt, limits) {
                proven = Some(proven.map_or(doubt.ack, |old| latest(old, doubt.ack)));
            }
            false
        });
        if let Some(store) = &mut self.store {
            store.doubts = doubts;
        }
        self.shrink();
        proven
    }

    /// What the last of the segments acknowledges that are doubted for it.
    pub(super) fn doubted_ack(&self) -> Option<u32> {
        let doubts = &self.store.as_ref()?.doubts;
        doubts.iter().filter(|doubt| doubt.reason == Reason::Ack).map(|doubt| doubt.ack).reduce(latest)
    }

    /// Whether the receiver can only have acknowledged up to `acked` because it took this segment. What followed a FIN
    /// is proven by an acknowledgement of more than the FIN.
    fn is_proven(&self, doubt: &Doubt, acked: u32) -> bool {
        let fin_only = self.fin == Some(self.next) && acked == self.next.wrapping_add(1);
        !after(doubt.end, acked) && (doubt.reason != Reason::Closed || !fin_only)
    }

    /// Takes a proven segment, unless others have brought its bytes. What it proves wrong is forgotten.
    fn take_after_all(&mut self, doubt: &Doubt, limits: &Limits) -> bool {
        let Doubt { seq, end, ref data, cut, ack, fin, reason, at } = *doubt;
        let store = self.store.get_or_insert_default();
        let data_end = end.wrapping_sub(u32::from(fin));
        if seq != data_end {
            let arrival = Arrival {
                seq: latest(seq, self.next),
                data: data.get(distance(seq, self.next) as usize..).unwrap_or_default(),
                cut,
                ack,
                at,
            };
            if store.queue.overlaps(seq, data_end) || !store.queue.insert(arrival, limits) {
                return false;
            }
        }
        self.seen = latest(self.seen, end);
        match reason {
            Reason::Closed => (self.reset, self.fin) = (false, None),
            Reason::Checksum => (self.tcp_sums, self.ip_sums) = (Sums::Useless, Sums::Useless),
            _ => {}
        }
        if fin {
            self.fin = Some(data_end);
        }
        true
    }

    /// Where the hole at `next` ends that the capture has: the sender went past it, the receiver (if the capture has
    /// its side) has acknowledged it.
    fn hole(&self, receiver_visible: bool) -> Option<u32> {
        let waits =
            self.store.as_ref().and_then(|store| store.queue.first()).is_some_and(|first| !after(first, self.next));
        if !self.anchored || self.ended || self.reset || waits || !after(self.seen, self.next) {
            return None;
        }
        let end = if receiver_visible { earliest(self.seen, self.acked?) } else { self.seen };
        after(end, self.next).then_some(end)
    }

    /// Whether the hole at `next` is one of the capture and old enough to be given up; called once per segment.
    pub(super) fn is_hole_old(&mut self, receiver_visible: bool, now: Timestamp) -> bool {
        let Some(end) = self.hole(receiver_visible) else {
            self.hole_age = 0;
            return false;
        };
        if self.hole_age == 0 {
            self.hole_since = now;
            self.hole_end = end;
        }
        self.hole_age = self.hole_age.saturating_add(1);
        let patience = match (receiver_visible, now.since(self.hole_since) >= PATIENCE_TIME) {
            (true, false) => PATIENCE,
            (true, true) => SHORT_PATIENCE,
            (false, _) => BLIND_PATIENCE,
        };
        self.hole_age > patience
    }

    /// Gives up the hole at `next` (`old_only`: as far as it was there when the wait began). Whether there was one.
    pub(super) fn skip_hole(
        &mut self,
        old_only: bool,
        receiver_visible: bool,
        at: Context,
        emit: &mut impl FnMut(Chunk<'_>, Context),
    ) -> bool {
        let Some(mut end) = self.hole(receiver_visible) else { return false };
        if old_only {
            end = earliest(end, self.hole_end);
        }
        if let Some(first) = self.store.as_ref().and_then(|store| store.queue.first()).filter(|f| after(*f, self.next))
        {
            end = earliest(end, first);
        }
        if let Some(fin) = self.fin {
            end = earliest(end, fin);
        }
        let len = distance(self.next, end);
        if len == 0 {
            return false;
        }
        emit(Chunk::Gap { len: u64::from(len), cut: false }, at);
        self.next = end;
        self.recent = None;
        self.hole_age = 0;
        true
    }

    /// The second reading of what is in flight, when `data` at `seq` differs from what was handed on.
    pub(super) fn reread(&self, seq: u32, data: &[u8]) -> Option<Vec<u8>> {
        let recent = self.recent.as_ref()?;
        let start = self.next.wrapping_sub(recent.bytes.len() as u32);
        let (here, there) = (distance(start, seq) as usize, distance(seq, start) as usize);
        let (mine, theirs) = (recent.bytes.get(here..)?, data.get(there..)?);
        let len = mine.len().min(theirs.len());
        let theirs = theirs.get(..len)?;
        if mine.get(..len) == Some(theirs) {
            return None;
        }
        let mut reading = recent.bytes.clone();
        reading.get_mut(here..)?.get_mut(..len)?.copy_from_slice(theirs);
        Some(reading)
    }

    /// The segment that started at `seq` never arrived.
    pub(super) fn mark_undelivered(&mut self, seq: u32) {
        if let Some(store) = &mut self.store {
            store.doubts.retain(|doubt| doubt.seq != seq);
            store.queue.remove(seq);
            self.shrink();
        }
    }

    /// Memory held beside the struct itself.
    pub(super) fn memory(&self) -> usize {
        self.store
            .as_ref()
            .map_or(0, |store| {
                let doubts: usize =
                    store.doubts.iter().map(|doubt| doubt.data.len().saturating_add(size_of::<Doubt>())).sum();
                size_of::<Store>().saturating_add(store.queue.memory()).saturating_add(doubts)
            })
            .saturating_add(
                self.recent.as_ref().map_or(0, |recent| size_of::<Recent>().saturating_add(recent.bytes.capacity())),
            )
    }

    /// Keeps bytes in flight for comparison, as long as they are few and somebody acknowledges.
    fn remember(&mut self, bytes: &[u8]) {
        let Some(acked) = self.acked else { return };
        let flight = distance(acked, self.next);
        let fits = flight.saturating_add(bytes.len() as u32) <= MAX_RECENT;
        let held = self.recent.as_ref().map_or(0, |recent| recent.bytes.len() as u32);
        if fits && held == flight {
            self.recent.get_or_insert_default().bytes.extend_from_slice(bytes);
        } else {
            self.recent = None;
        }
    }

    /// Frees the store when nothing is in it.
    fn shrink(&mut self) {
        if self.store.as_ref().is_some_and(|store| store.queue.is_empty() && store.doubts.is_empty()) {
            self.store = None;
        }
    }
}
