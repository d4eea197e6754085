//! Protocols: bytes of a stream or datagram in, messages and transactions out. No I/O, no clock, no rules.

pub mod dns;
pub mod http;
pub mod icmp;
pub mod pending;
