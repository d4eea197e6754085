//! Events of other sensors: what Elastic Endpoint, Auditbeat, Winlogbeat, Sysmon, Packetbeat, Suricata, Zeek, Falco and
//! the audit system tell of connections, HTTP, DNS and process starts, read from files (contract section 7).
//!
//! In: bytes of a file, as lines, as an Elasticsearch export, as Zeek's tables or as audit records, told apart by content
//! ([`Reader`]). Lines that cannot have to do with metadata are passed over without being parsed ([`prefilter`]). Out:
//! [`Fact`]s, and from them, by the same matcher that judges packets, observations ([`judge`]). Bound: one line of at most
//! [`reader::LONGEST`] bytes, and a block of the file.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

mod audit;
mod ecs;
mod falco;
mod judge;
pub mod prefilter;
mod reader;
mod suricata;
mod sysmon;
mod time;
mod value;
mod zeek;

pub use judge::Judge;
pub use reader::{LONGEST, Reader, Trouble, looks_like_events, looks_like_own_events};

use std::net::IpAddr;

use crate::conn::Conn;
use crate::packet::Timestamp;

/// One thing that another sensor saw.
#[derive(Clone, Debug)]
pub struct Fact {
    /// When it began, by that sensor's clock.
    pub time: Timestamp,
    /// The ends, as far as they are known, the process at the client's end, and the event that it was read from.
    pub conn: Conn,
    /// What it is.
    pub kind: Kind,
}

/// Kinds of facts.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A process was started.
    Start,
    /// A connection.
    Connection(Connection),
    /// An HTTP exchange.
    Http(Box<Http>),
    /// A DNS lookup.
    Dns(Box<Dns>),
}

/// What is told of a connection.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// When it ended.
    pub end: Option<Timestamp>,
    /// It was refused, or never answered.
    pub is_refused: bool,
}

/// What is told of an HTTP exchange.
#[derive(Clone, Debug, Default)]
pub struct Http {
    /// Method; empty where only the answer was seen.
    pub method: String,
    /// Request target.
    pub target: String,
    /// Host header or name, perhaps with a port.
    pub host: Option<String>,
    /// Other request fields that are told.
    pub fields: Vec<(String, String)>,
    /// Status of the answer.
    pub status: Option<u16>,
    /// Location of the answer.
    pub location: Option<String>,
    /// End of the answer.
    pub end: Option<Timestamp>,
}

/// What is told of a DNS lookup.
#[derive(Clone, Debug, Default)]
pub struct Dns {
    /// Name asked for.
    pub name: String,
    /// Type name or number, if told.
    pub kind: Option<String>,
    /// Addresses answered.
    pub addresses: Vec<IpAddr>,
    /// Whether an answer is told.
    pub is_answered: bool,
    /// Response code; 0 is no error.
    pub code: u8,
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests may panic"
)]
mod tests;
