//! TCP reassembly: segments of one connection in, the bytes that its receivers took, in order, out.
//!
//! A [`Connection`] is fed with the segments of both directions in capture order. It judges each as the receiver did
//! (Linux where stacks differ), puts bytes in order, and tells what the capture lost from what was never received. It
//! never looks at a clock, and packet times alone never make it drop anything. Bounded by [`Limits`].

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

mod connection;
mod half;
mod judge;
mod queue;
mod seq;

pub use connection::Connection;

use crate::decode::meta::{Net, Tcp};
use crate::packet::Timestamp;

/// Which side sent something: the side that opened the connection (or that we take for it), or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dir {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

impl Dir {
    /// Place of its sender where both sides are listed: the client's first.
    pub fn index(self) -> usize {
        match self {
            Self::ToServer => 0,
            Self::ToClient => 1,
        }
    }

    /// The other one.
    pub fn flip(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// The packet that made bytes deliverable.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Its time.
    pub time: Timestamp,
    /// Its run-wide number.
    pub index: u64,
}

/// How a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// FIN, all bytes before it delivered.
    Fin,
    /// RST that the receiver accepted.
    Reset,
    /// Nothing more will come: idle, evicted, replaced by a new connection, end of input.
    Lost,
}

/// What reassembly hands on, in stream order.
#[derive(Clone, Copy, Debug)]
pub enum Chunk<'a> {
    /// Bytes as the receiver took them.
    Data(&'a [u8]),
    /// Bytes of which two readings remain: `taken` is what the receiver most likely took (Linux rules), `other` the
    /// other reading of the same stretch (same length).
    Conflict {
        /// Most likely reading.
        taken: &'a [u8],
        /// The other one.
        other: &'a [u8],
    },
    /// Bytes that were handed on before they were acknowledged have been sent again with other content: `other` is
    /// the second reading of the last `other.len()` bytes of this direction, from the oldest byte that the receiver
    /// may not have had. The first reading stands unless its packets never arrived; this one is only to be judged.
    Reread {
        /// The second reading.
        other: &'a [u8],
    },
    /// This many bytes are missing for good (lost by the capture); `cut` when the snaplen cut them off.
    Gap {
        /// How many.
        len: u64,
        /// The snaplen cut them.
        cut: bool,
    },
    /// End of this direction.
    End(End),
}

/// Bounds of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that wait in each direction for others that come before them.
    pub per_direction: usize,
    /// Segments that wait in each direction.
    pub segments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_direction: 1 << 20, segments: 4096 }
    }
}

/// One TCP segment as decoded.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Who sent it.
    pub dir: Dir,
    /// Its IP header.
    pub net: &'a Net,
    /// Its TCP header.
    pub tcp: &'a Tcp,
    /// Its payload as far as captured.
    pub payload: &'a [u8],
    /// Bytes of payload that the snaplen cut off.
    pub missing: u32,
    /// The packet.
    pub at: Context,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver takes it (now, or when what is before it has come).
    Taken,
    /// The receiver does not take it, or has it already.
    Ignored(Reason),
    /// It belongs to a new connection between the same ports: finish this one with [`End::Lost`], put a new one in its
    /// place and feed it this segment.
    NewConnection,
}

/// Why a segment is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing new in it: seen by another way, retransmission, keep-alive.
    Duplicate,
    /// TCP or IP checksum wrong, while this sender's are right otherwise.
    Checksum,
    /// Time to live far below that of this sender's first packet.
    Ttl,
    /// Old timestamp (PAWS, RFC 7323 section 5).
    Timestamp,
    /// Outside the receiver's window.
    Window,
    /// Acknowledges data that was never sent.
    Ack,
    /// Has no ACK flag, or acknowledges what was acknowledged a window ago.
    NoAck,
    /// RST that is not exactly the next byte (RFC 5961 section 3).
    Reset,
    /// SYN inside a connection (RFC 5961 section 4), or a SYN-ACK that answers no SYN.
    Syn,
    /// Data after the end of its direction.
    Closed,
    /// No room in the queue.
    Full,
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests;
