//! One TCP connection: which segments its receivers take, and in which order their bytes are handed on.
//!
//! In: [`Segment`]s of both directions in capture order. Out: [`Chunk`]s through a callback, and a [`Verdict`] each.
//! Three things keep it right where captures are not:
//!
//! * A connection whose first packet is no SYN is held for [`OPENING`] segments, so that a file whose packets are
//!   mixed up still gets its beginning right.
//! * A segment that its receiver would not have taken is kept aside, and taken after all when the receiver
//!   acknowledges it and nothing else explains that.
//! * Bytes wait until what their sender had received by then (its acknowledgement number) has been handed on too, so
//!   that an answer never overtakes its question.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::half::Half;
use super::judge::{Sums, locate, objection};
use super::queue::{Arrival, Fill};
use super::seq::{after, before, distance, earliest, latest};
use super::{Chunk, Context, Dir, End, Limits, Reason, Segment, Verdict};
use crate::decode::meta::{Checksum, Net, Tcp, TcpFlags};

/// Segments that are held where the first one is no SYN.
const OPENING: usize = 4;
/// Longest segment whose checksum is worth computing: longer ones were put together by a network card or driver,
/// which also means that nobody has computed their checksum.
const MAX_VERIFIED: usize = 2048;
/// Bytes of an answer after which its segments are not verified any more.
const MAX_VERIFIED_RUN: u32 = 16 * 1024;

/// Retransmissions after the end are nearer than this.
const FAR: u32 = 1 << 20;

/// A segment held at the opening.
#[derive(Debug)]
struct Early {
    dir: Dir,
    net: Net,
    tcp: Tcp,
    payload: Vec<u8>,
    missing: u32,
    at: Context,
}

impl Early {
    fn segment(&self) -> Segment<'_> {
        let Self { dir, ref net, ref tcp, ref payload, missing, at } = *self;
        Segment { dir, net, tcp, payload, missing, at }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Connection {
    to_server: Half,
    to_client: Half,
    opening: Vec<Early>,
    /// Sequence number after a SYN that came inside the connection, and who sent it.
    pending_syn: Option<(Dir, u32)>,
    started: bool,
    refused: bool,
}

impl Connection {
    /// A connection of which nothing was seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Direction of a connection's first captured segment: a SYN comes from the client, a SYN-ACK from the server;
    /// otherwise the lower port is taken to be the server's.
    pub fn direction_of_first(tcp: &Tcp) -> Dir {
        let from_server = match (tcp.flags.syn(), tcp.flags.ack()) {
            (true, false) => false,
            (true, true) => true,
            (false, _) => tcp.source < tcp.destination,
        };
        if from_server { Dir::ToClient } else { Dir::ToServer }
    }

    /// Feeds one segment. `verify` computes its TCP checksum and is called only where that matters.
    pub fn segment(
        &mut self,
        segment: &Segment<'_>,
        limits: &Limits,
        verify: impl FnOnce() -> Checksum,
        out: &mut impl FnMut(Dir, Chunk<'_>, Context),
    ) -> Verdict {
        let sum = self.checksum(segment, verify);
        if self.started {
            return self.receive(segment, sum, limits, out);
        }
        let syn = segment.tcp.flags.syn();
        if syn && self.opening.is_empty() {
            self.started = true;
            return self.receive(segment, sum, limits, out);
        }
        let Segment { dir, net, tcp, payload, missing, at } = *segment;
        let tcp = Tcp { checksum: sum, ..*tcp };
        self.opening.push(Early { dir, net: *net, tcp, payload: payload.to_vec(), missing, at });
        if syn || self.opening.len() >= OPENING {
            self.release_opening(limits, out);
        }
        Verdict::Taken
    }

    /// An ICMP time-exceeded message quotes the segment that `dir` sent at `seq`: it never arrived.
    pub fn time_exceeded(&mut self, dir: Dir, seq: u32) {
        self.opening.retain(|early| early.dir != dir || early.tcp.seq != seq || early.payload.is_empty());
        self.halves(dir).0.mark_undelivered(seq);
    }

    /// Ends both directions: hands on what its receiver has acknowledged, holes as gaps, and leaves out the rest.
    pub fn finish(&mut self, why: End, at: Context, limits: &Limits, out: &mut impl FnMut(Dir, Chunk<'_>, Context)) {
        self.release_opening(limits, out);
        self.settle(limits);
        let fill = Fill { context: at, arrived: false };
        let sides = [Dir::ToServer, Dir::ToClient];
        loop {
            self.pump(at, false, limits, out);
            let skipped = sides.into_iter().any(|dir| {
                let (half, other) = self.halves(dir);
                half.skip_hole(false, half.is_answered(other), at, &mut |chunk, at| out(dir, chunk, at))
            });
            // What waits for bytes of the other side that will not come goes out without them.
            let moved = skipped
                || sides
                    .into_iter()
                    .any(|dir| self.halves(dir).0.drain(fill, false, false, |_| true, |chunk, at| out(dir, chunk, at)));
            if !moved {
                break;
            }
        }
        let why = if self.is_reset() { End::Reset } else { why };
        for dir in sides {
            let half = self.halves(dir).0;
            if half.anchored {
                half.drain(fill, true, false, |_| true, |chunk, at| out(dir, chunk, at));
                half.end(why, at, &mut |chunk, at| out(dir, chunk, at));
            }
        }
    }

    /// Whether the capture has the connection's beginning: a SYN or SYN-ACK.
    pub fn beginning_seen(&self) -> bool {
        self.to_server.syn || self.to_client.syn || self.opening.iter().any(|early| early.tcp.flags.syn())
    }

    /// Whether both SYN and SYN-ACK were seen.
    pub fn handshake_seen(&self) -> bool {
        self.to_server.syn && self.to_client.syn
    }

    /// Whether the client only knocked: a SYN and nothing from the server but perhaps a refusal.
    pub fn syn_only(&self) -> bool {
        self.to_server.syn && !self.to_client.syn && !self.to_client.anchored
    }

    /// Whether the server refused the connection with a RST.
    pub fn refused(&self) -> bool {
        self.refused
    }

    /// Whether it is over as far as its ends say: reset, or FIN and all bytes before it seen from both sides. What was on
    /// its way then may still come, and a client's RST may have been meant for us alone: finish it a little later.
    pub fn closed(&self) -> bool {
        self.is_reset() || (self.to_server.is_over() && self.to_client.is_over())
    }

    /// Memory held in bytes, this struct included.
    pub fn memory(&self) -> usize {
        let opening: usize =
            self.opening.iter().map(|early| early.payload.len().saturating_add(size_of::<Early>())).sum();
        size_of::<Self>()
            .saturating_add(opening)
            .saturating_add(self.to_server.memory())
            .saturating_add(self.to_client.memory())
    }

    /// The half that `dir` sends on, and the other one.
    fn halves(&mut self, dir: Dir) -> (&mut Half, &mut Half) {
        match dir {
            Dir::ToServer => (&mut self.to_server, &mut self.to_client),
            Dir::ToClient => (&mut self.to_client, &mut self.to_server),
        }
    }

    fn is_reset(&self) -> bool {
        self.to_server.reset || self.to_client.reset
    }

    /// The segment's checksum where it can tell a decoy, else `Unknown`.
    fn checksum(&mut self, segment: &Segment<'_>, verify: impl FnOnce() -> Checksum) -> Checksum {
        let (half, _) = self.halves(segment.dir);
        let flags = segment.tcp.flags;
        let matters = match segment.payload.len() {
            0 => flags.any(TcpFlags::RST | TcpFlags::FIN) || half.tcp_sums == Sums::Unknown,
            len => len <= MAX_VERIFIED && (segment.dir == Dir::ToServer || half.run < MAX_VERIFIED_RUN),
        };
        match segment.tcp.checksum {
            Checksum::Unknown if matters && segment.missing == 0 => verify(),
            known => known,
        }
    }

    /// Puts the held segments in order and receives them: SYN, SYN-ACK, then the rest as they came, each direction
    /// beginning with the lowest of its data.
    fn release_opening(&mut self, limits: &Limits, out: &mut impl FnMut(Dir, Chunk<'_>, Context)) {
        self.started = true;
        let mut opening = std::mem::take(&mut self.opening);
        opening.sort_by_key(|early| match (early.tcp.flags.syn(), early.tcp.flags.ack()) {
            (true, false) => 0,
            (true, true) => 1,
            (false, _) => 2,
        });
        let syns = opening.partition_point(|early| early.tcp.flags.syn());
        let rest = opening.split_off(syns);
        for early in &opening {
            self.receive(&early.segment(), early.tcp.checksum, limits, out);
        }
        for early in &rest {
            // Before any of them is judged: if one is right, wrong ones are decoys.
            self.halves(early.dir).0.tcp_sums.doubts(early.tcp.checksum);
        }
        for dir in [Dir::ToServer, Dir::ToClient] {
            let half = self.halves(dir).0;
            if let (Some(first), false) = (beginning(&rest, dir), half.anchored) {
                half.anchor(first);
            }
        }
        for early in &rest {
            self.receive(&early.segment(), early.tcp.checksum, limits, out);
        }
    }

    /// Judges one segment and takes what is to be taken.
    fn receive(
        &mut self,
        segment: &Segment<'_>,
        sum: Checksum,
        limits: &Limits,
        out: &mut impl FnMut(Dir, Chunk<'_>, Context),
    ) -> Verdict {
        let Segment { dir, net, tcp, payload, missing, at } = *segment;
        let (half, other) = self.halves(dir);
        let bad_sum = half.tcp_sums.doubts(sum) | half.ip_sums.doubts(net.checksum);
        if tcp.flags.syn() && !tcp.flags.rst() {
            return if bad_sum { Verdict::Ignored(Reason::Checksum) } else { self.syn(segment, limits) };
        }
        if !tcp.flags.rst() && !locate(half, other, tcp) {
            return Verdict::Ignored(Reason::Ack);
        }
        half.ttl.get_or_insert(net.ttl);
        let arrival = Arrival { seq: tcp.seq, data: payload, cut: missing, ack: tcp.ack, at };
        let doubt = match bad_sum {
            true => Some(Reason::Checksum),
            false => objection(half, other, segment, arrival.end()),
        };
        if doubt != Some(Reason::Checksum) && self.is_reuse(segment, arrival.end()) {
            return Verdict::NewConnection;
        }
        if tcp.flags.rst() {
            return self.rst(segment, doubt, out);
        }
        let verdict = match doubt {
            Some(reason) => self.refuse(segment, arrival, reason, limits),
            None => self.accept(segment, arrival, limits, out),
        };
        if !(self.to_server.is_idle() && self.to_client.is_idle()) {
            self.pump(at, verdict == Verdict::Taken && arrival.end() != tcp.seq, limits, out);
        }
        self.skip_old_holes(at, limits, out);
        verdict
    }

    /// Keeps a segment aside that its receiver would not take.
    fn refuse(&mut self, segment: &Segment<'_>, arrival: Arrival<'_>, reason: Reason, limits: &Limits) -> Verdict {
        let Segment { dir, tcp, .. } = *segment;
        let (half, other) = self.halves(dir);
        if arrival.end() != tcp.seq || tcp.flags.fin() {
            half.set_aside(arrival, tcp.flags, reason, limits);
        }
        if reason == Reason::Window && tcp.flags.ack() && other.is_claimed(tcp.ack) {
            // Both sides are where nothing was seen of them before: it is the capture that lost what is between.
            other.acknowledge(tcp.ack);
        }
        Verdict::Ignored(reason)
    }

    /// Takes a segment that its receiver accepts: what it says of the other direction, then its data and FIN.
    fn accept(
        &mut self,
        segment: &Segment<'_>,
        arrival: Arrival<'_>,
        limits: &Limits,
        out: &mut impl FnMut(Dir, Chunk<'_>, Context),
    ) -> Verdict {
        let Segment { dir, tcp, .. } = *segment;
        let (half, other) = self.halves(dir);
        let end = arrival.end();
        half.visible = true;
        half.seen = latest(half.seen, end.wrapping_add(u32::from(tcp.flags.fin())));
        half.unanswered = half.unanswered.saturating_add(1);
        other.unanswered = 0;
        if tcp.flags.ack() {
            other.acknowledge(tcp.ack);
            other.offer(tcp.ack, u32::from(tcp.window) << half.shift());
        }
        half.stamp(tcp, end);
        if half.begins_with(tcp.seq, end) {
            half.anchor(tcp.seq);
        }
        let data = end != tcp.seq;
        if half.is_over() {
            if !data || !after(end, half.next) {
                return Verdict::Ignored(Reason::Duplicate);
            }
            half.set_aside(arrival, tcp.flags, Reason::Closed, limits);
            return Verdict::Ignored(Reason::Closed);
        }
        if tcp.flags.urg() {
            half.mark_urgent(tcp.seq.wrapping_add(u32::from(tcp.urgent.saturating_sub(1))));
        }
        if tcp.flags.fin() {
            half.mark_fin(end);
        }
        if data { self.take(dir, arrival, limits, out) } else { Verdict::Taken }
    }

    /// Takes data: hands it on where it is next, else puts it into the queue.
    fn take(
        &mut self,
        dir: Dir,
        arrival: Arrival<'_>,
        limits: &Limits,
        out: &mut impl FnMut(Dir, Chunk<'_>, Context),
    ) -> Verdict {
        let Arrival { seq, data, cut, ack, at } = arrival;
        let (half, other) = self.halves(dir);
        let end = arrival.end();
        let old = distance(seq, half.next);
        let keep_alive = end.wrapping_sub(seq) == 1;
        let mut reread = if old > 0 && !keep_alive { half.reread(seq, data) } else { None };
        let data = data.get(old as usize..).unwrap_or_default();
        let cut = cut.min(distance(half.next, end));
        let verdict = if !after(end, half.next) {
            Verdict::Ignored(Reason::Duplicate)
        } else if !after(seq, half.next) && half.is_idle() && is_caused(ack, other) {
            let remember = dir == Dir::ToServer && other.visible;
            half.hand_on(data, None, remember, |chunk| out(dir, chunk, at));
            if cut > 0 {
                half.hand_on_cut(cut, |chunk| out(dir, chunk, at));
            }
            if let Some(reading) = &mut reread {
                reading.extend_from_slice(data);
            }
            other.run = 0;
            Verdict::Taken
        } else if half.enqueue(Arrival { seq: latest(seq, half.next), data, cut, ..arrival }, limits) {
            Verdict::Taken
        } else {
            Verdict::Ignored(Reason::Full)
        };
        if let Some(reading) = reread {
            out(dir, Chunk::Reread { other: &reading }, at);
        }
        verdict
    }

    /// Hands on everything that can be, in both directions, until nothing moves.
    fn pump(&mut self, at: Context, arrived: bool, limits: &Limits, out: &mut impl FnMut(Dir, Chunk<'_>, Context)) {
        let fill = Fill { context: at, arrived };
        loop {
            let mut moved = false;
            for dir in [Dir::ToServer, Dir::ToClient] {
                let (half, other) = self.halves(dir);
                if half.is_idle() {
                    continue;
                }
                if let Some(ack) = half.resolve(|_| false, limits) {
                    other.acknowledge(ack);
                    moved = true;
                }
                // What the server says is true. The client may be an attacker, whose FIN is meant for us alone.
                let certain = dir == Dir::ToClient || !other.visible;
                let remember = dir == Dir::ToServer && other.visible;
                moved |=
                    half.drain(fill, certain, remember, |ack| is_caused(ack, other), |chunk, at| out(dir, chunk, at));
            }
            if !moved {
                break;
            }
        }
    }

    /// Nothing more will come: believes acknowledgements of more than the capture has as far as it has it, and takes
    /// segments that were doubted for that only, if the capture has all of it by now.
    fn settle(&mut self, limits: &Limits) {
        for dir in [Dir::ToServer, Dir::ToClient] {
            let (half, other) = self.halves(dir);
            if let Some(ack) = half.doubted_ack() {
                other.acknowledge(earliest(ack, other.sent()));
            }
        }
        let mut settled = true;
        while settled {
            settled = false;
            for dir in [Dir::ToServer, Dir::ToClient] {
                let (half, other) = self.halves(dir);
                // One more may be a FIN that the capture does not have.
                let sent = other.sent().wrapping_add(1);
                if let Some(ack) = half.resolve(|ack| !after(ack, sent), limits) {
                    other.acknowledge(ack);
                    settled = true;
                }
            }
        }
    }

    /// Gives up holes that the receiver does not have, once they are old.
    fn skip_old_holes(&mut self, at: Context, limits: &Limits, out: &mut impl FnMut(Dir, Chunk<'_>, Context)) {
        for dir in [Dir::ToServer, Dir::ToClient] {
            let (half, other) = self.halves(dir);
            if !half.is_hole_old(half.is_answered(other), at.time) {
                continue;
            }
            loop {
                let (half, other) = self.halves(dir);
                if !half.skip_hole(true, half.is_answered(other), at, &mut |chunk, at| out(dir, chunk, at)) {
                    break;
                }
                self.pump(at, false, limits, out);
            }
        }
    }

    /// A RST: taken when it is exactly what the receiver waits for (RFC 5961 section 3.2).
    fn rst(
        &mut self,
        segment: &Segment<'_>,
        doubt: Option<Reason>,
        out: &mut impl FnMut(Dir, Chunk<'_>, Context),
    ) -> Verdict {
        let Segment { dir, tcp, at, .. } = *segment;
        if let Some(reason @ (Reason::Checksum | Reason::Ttl)) = doubt {
            return Verdict::Ignored(reason);
        }
        let (half, other) = self.halves(dir);
        let answers_syn = !half.visible && !half.syn && other.syn;
        let exact = match answers_syn {
            true => tcp.flags.ack() && tcp.ack == other.seen,
            false => !half.anchored || tcp.seq == half.expected(),
        };
        if !exact {
            return Verdict::Ignored(Reason::Reset);
        }
        half.reset = true;
        if tcp.flags.ack() {
            other.acknowledge(tcp.ack);
        }
        if dir == Dir::ToClient || !other.visible {
            half.end(End::Reset, at, &mut |chunk, at| out(dir, chunk, at));
        }
        self.refused |= answers_syn;
        Verdict::Taken
    }

    /// A SYN or SYN-ACK: opens, repeats, or announces another connection.
    fn syn(&mut self, segment: &Segment<'_>, limits: &Limits) -> Verdict {
        let Segment { dir, net, tcp, payload, missing, at } = *segment;
        let start = tcp.seq.wrapping_add(1);
        let syn_ack = tcp.flags.ack();
        if let Some(verdict) = self.syn_of_another(dir, start, syn_ack.then_some(tcp.ack)) {
            return verdict;
        }
        let (half, other) = self.halves(dir);
        if syn_ack && other.anchored && (before(tcp.ack, other.start) || (other.syn && after(tcp.ack, other.seen))) {
            return Verdict::Ignored(Reason::Syn);
        }
        if half.syn {
            return Verdict::Ignored(Reason::Duplicate);
        }
        half.open(start, net.ttl, tcp);
        if tcp.window_scale.is_none() {
            other.scale = Some(0);
        }
        if syn_ack {
            if !other.anchored {
                other.anchor(tcp.ack);
            }
            other.acknowledge(tcp.ack);
            other.offer(tcp.ack, u32::from(tcp.window));
        }
        let arrival = Arrival { seq: start, data: payload, cut: missing, ack: tcp.ack, at };
        if arrival.end() != start {
            // No receiver takes data on a SYN, but for one that acknowledges it (RFC 7413).
            half.seen = latest(half.seen, arrival.end());
            half.set_aside(arrival, TcpFlags::default(), Reason::Syn, limits);
        }
        Verdict::Taken
    }

    /// What to do with a SYN or SYN-ACK (`answers`: its acknowledgement number) whose stream would begin elsewhere.
    fn syn_of_another(&mut self, dir: Dir, start: u32, answers: Option<u32>) -> Option<Verdict> {
        let closed = self.to_client.reset || (self.to_server.is_over() && self.to_client.is_over());
        let pending = self.pending_syn;
        let (half, other) = self.halves(dir);
        if !half.anchored || half.start == start {
            return None;
        }
        let believed = match answers {
            Some(ack) => pending == Some((dir.flip(), ack)) || !other.visible,
            // The last one was never answered.
            None => half.syn && !other.visible && half.next == half.start,
        };
        if closed || believed {
            return Some(Verdict::NewConnection);
        }
        if answers.is_none() {
            self.pending_syn = Some((dir, start));
        }
        Some(Verdict::Ignored(Reason::Syn))
    }

    /// Whether a segment shows that the ports are used for another connection by now: it follows a SYN that came inside
    /// this one (where the answer cannot be seen), or has data from far outside after both sides have said FIN.
    fn is_reuse(&mut self, segment: &Segment<'_>, end: u32) -> bool {
        let Segment { dir, tcp, .. } = *segment;
        let pending = self.pending_syn;
        let over = self.to_server.ended && self.to_client.ended && !self.is_reset();
        let (half, other) = self.halves(dir);
        let follows_syn = !other.visible && pending == Some((dir, tcp.seq)) && tcp.flags.ack();
        let far = distance(half.next, tcp.seq).max(distance(tcp.seq, half.next)) > FAR;
        follows_syn || (over && far && end != tcp.seq && !tcp.flags.rst())
    }
}

/// Where the stream of `dir` goes on, as far as the held segments tell: at its sender's lowest, else where its receiver
/// stands. A lowest one that is a byte before all others is a keep-alive.
fn beginning(held: &[Early], dir: Dir) -> Option<u32> {
    let segments = || held.iter().filter(|early| !early.tcp.flags.rst());
    let own = || segments().filter(|early| early.dir == dir);
    let has_data = |early: &&Early| !early.payload.is_empty() || early.missing > 0 || early.tcp.flags.fin();
    let data = own().filter(has_data).map(|early| early.tcp.seq).reduce(earliest);
    let acks = segments().filter(|early| early.dir != dir && early.tcp.flags.ack()).map(|early| early.tcp.ack);
    let onward = data.or_else(|| acks.reduce(earliest));
    let lowest = own().map(|early| early.tcp.seq).reduce(earliest);
    lowest.filter(|seq| onward != Some(seq.wrapping_add(1))).or(onward)
}

/// Whether everything that `ack` acknowledges has been handed on, or never will be.
fn is_caused(ack: u32, other: &Half) -> bool {
    !other.anchored || !other.visible || other.ended || !after(ack, other.next)
}
