//! TCP reassembly: segments of one connection in, the bytes that its receivers took, in order, out.

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
