//! Which segments a receiver would not take, as far as the capture tells: wrong checksums, low TTLs, old timestamps,
//! sequence and acknowledgement numbers that it has no use for. Linux where stacks differ.
//!
//! In: a segment and what is known of both directions. Out: a [`Reason`], or none.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::half::Half;
use super::seq::{after, before, distance};
use super::{Reason, Segment};
use crate::decode::meta::{Checksum, Tcp};

/// Largest window without scaling.
const MAX_UNSCALED: u32 = 0xffff;

/// What the capture shows of one sender's checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sums {
    /// None looked at.
    #[default]
    Unknown,
    /// All wrong so far: computed by the network card, after the capture.
    Offloaded,
    /// Some were right: a wrong one is doubted.
    Good,
    /// The receiver took a segment whose checksum is wrong in the capture, as it is where a driver joins segments.
    Useless,
}

impl Sums {
    /// Learns from one more checksum; whether the segment is to be doubted.
    pub(super) fn doubts(&mut self, sum: Checksum) -> bool {
        match sum {
            Checksum::Unknown => false,
            Checksum::Good => {
                *self = (*self).max(Self::Good);
                false
            }
            Checksum::Bad => {
                *self = (*self).max(Self::Offloaded);
                *self == Self::Good
            }
        }
    }
}

/// The reason for which the receiver of `half` would not take a segment, if there is one (RFC 9293 section 3.10.7.4,
/// RFC 7323 section 5, RFC 5961 section 5).
pub(super) fn objection(half: &Half, other: &Half, segment: &Segment<'_>, end: u32) -> Option<Reason> {
    let Segment { net, tcp, .. } = *segment;
    let (data, rst) = (end != tcp.seq, tcp.flags.rst());
    // Only where acknowledgements can clear it: metadata services answer with a TTL of 1 for good reason.
    if other.visible && half.is_ttl_low(net.ttl) && (data || rst || tcp.flags.fin()) {
        return Some(Reason::Ttl);
    }
    if !tcp.flags.ack() && !rst {
        return Some(Reason::NoAck);
    }
    let negotiated = other.ts_recent.is_some() || !other.visible;
    if let (Some((value, _)), Some(recent), true) = (tcp.timestamps, half.ts_recent, negotiated && !rst)
        && before(value, recent)
    {
        return Some(Reason::Timestamp);
    }
    let outside = |edge: u32| after(tcp.seq, edge) || (data && after(end, edge));
    if half.edge.is_some_and(outside) {
        return Some(Reason::Window);
    }
    let claimed = other.claimed.is_some_and(|claimed| !after(tcp.ack, claimed));
    if rst || !other.anchored || !other.visible || claimed {
        return None;
    }
    let stale = |acked: u32| distance(tcp.ack, acked) > other.window().max(MAX_UNSCALED);
    if data && other.acked.is_some_and(stale) {
        return Some(Reason::NoAck);
    }
    let unsent = (data || tcp.flags.fin()) && after(tcp.ack, other.seen);
    let impossible = other.edge.is_some_and(|edge| after(tcp.ack, edge.wrapping_add(1)));
    (unsent || impossible).then_some(Reason::Ack)
}

/// Fixes where streams begin that are not known yet, from a segment of `half` that is no SYN; `false` when it cannot
/// belong to this connection, but to one that used the ports before.
pub(super) fn locate(half: &mut Half, other: &mut Half, tcp: &Tcp) -> bool {
    if !half.anchored {
        if tcp.flags.ack() && other.syn && distance(other.start, tcp.ack) > MAX_UNSCALED {
            return false;
        }
        half.anchor(tcp.seq);
    }
    if tcp.flags.ack() && !other.anchored && half.syn && tcp.seq == half.start {
        other.anchor(tcp.ack);
    }
    true
}
