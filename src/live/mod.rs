//! Live capture: network interfaces through libpcap, and what a program that runs on a host for days needs beside it.
//!
//! In: names of interfaces. Out: packets in a [`PacketBatch`], counts of what was lost, and remarks for the user. No
//! thread is started here; [`app`](crate::app) drives it.

mod attribution;
mod bounded;
mod confine;
mod exec;
mod filter;
mod helper;
mod interface;
mod links;
mod perf;
mod procfs;
mod sniffer;
mod sockets;
mod starts;
mod tasks;
mod tracepoint;
mod urgent;

pub use attribution::{Attribution, Directory};
pub use confine::{
    ConfineError, Needs, Network, become_user, check_folder, drop_capabilities, folder_of, keep_to_oneself,
    raise_capabilities, sandbox,
};
pub use filter::for_metadata_only;
pub use helper::{Helper, serve};
pub use interface::{Listed, OpenError, Settings, addresses, list};
pub use sniffer::Sniffer;
pub use starts::{Names, Start};
pub use urgent::Urgent;

use crate::packet::PacketBatch;

/// Packets that arrived and did not come in, added up over all interfaces and all of a run, in 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed the kernel's filter.
    pub received: u64,
    /// Thrown away by the kernel because its ring was full.
    pub kernel: u64,
    /// Thrown away by the interface or its driver.
    pub interface: u64,
}

/// What [`Sniffer::read`] leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// The batch is full, there may be more.
    Full,
    /// Nothing more waits.
    Nothing,
}

/// Number that a packet's interface has in a [`PacketBatch`]: its place on the command line.
pub type InterfaceNumber = u32;

const _: () = assert!(PacketBatch::MAX_PACKETS >= 64, "an interface is read in turns of 64 packets");
