//! HTTP on one connection: reassembled chunks in, transactions out.
//!
//! [`HttpStream`] tells by a connection's first bytes ([`probe()`]) whether it is HTTP, on any port; its [`Parser`] takes
//! the chunks of both directions and hands on a [`Transaction`] per exchange: HTTP/1 (`head`, `framing`, `reader`, `h1`) and HTTP/2 (`frames`,
//! `hpack`, `h2`), through CONNECT and SOCKS (`socks`). Memory per connection is bounded by [`Limits`]; what bounds did is in [`Counters`].

mod frames;
mod framing;
mod h1;
mod h2;
mod head;
mod hpack;
pub mod later;
pub mod message;
mod parser;
mod probe;
mod reader;
mod socks;
mod stream;
#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests;

pub use head::MAX_FIELDS;
pub use message::{Body, Field, Head, Message, Note, Start, StartLine, Transaction, Version};
pub use parser::{Counters, Limits, Parser, Sink};
pub use probe::{MAX_PROBE, PREFACE, Probe, probe, probe_resumed};
pub use stream::HttpStream;
