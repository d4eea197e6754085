//! Flow records as Packetbeat reports them: counters per 5-tuple, pair of MACs and VLAN ids.

use crate::decode::meta::{Mac, Net, Transport, Vlans};
use crate::packet::Timestamp;

/// Counters of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes on the wire, link headers included.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
}

/// One flow at its end (or at a periodic report).
#[derive(Clone, Debug)]
pub struct Record {
    /// Network layer of the first packet: its source is the flow's source. `None` for non-IP frames.
    pub net: Option<Net>,
    /// Transport header of the first packet.
    pub transport: Transport,
    /// Source and destination MAC.
    pub macs: Option<(Mac, Mac)>,
    /// VLAN ids.
    pub vlans: Vlans,
    /// Time of the first packet.
    pub first: Timestamp,
    /// Time of the last packet.
    pub last: Timestamp,
    /// Number of the first packet.
    pub first_index: u64,
    /// What the source sent.
    pub source: Counters,
    /// What the destination sent.
    pub destination: Counters,
    /// Whether the flow is over (idle or end of run), not just reported.
    pub last_report: bool,
}
