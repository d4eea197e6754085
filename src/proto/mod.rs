//! Protocols: bytes of a stream or datagram in, messages and transactions out. No I/O, no clock, no rules.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

pub mod dns;
pub mod http;
pub mod icmp;
pub mod layers;
pub mod pending;
