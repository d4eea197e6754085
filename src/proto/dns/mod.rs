//! DNS messages and transactions: datagrams and stream chunks in, queries paired with their responses out.

pub mod message;
pub mod names;
mod parse;
mod rdata;
mod tcp;
mod tracker;

pub use message::{Message, Name, Note, Opt, Question, RData, Record, Transaction};
pub use parse::{Malformed, looks_like, parse};
pub use tcp::{Probe, TcpParser, probe};
/// Ports of DNS and multicast DNS, where everything is tried as DNS.
pub const PORTS: [u16; 2] = [53, 5353];

pub use tracker::{Config, Counters, MAX_QUESTIONS, Tracker};
