//! HTTP on one stream: reassembled chunks in, transactions out.
//!
//! [`probe()`] tells by a stream's first bytes whether it is HTTP. [`Http`] takes the chunks of both directions and hands on
//! a [`Transaction`] per exchange: HTTP/1 (`head`, `framing`, `reader`, `h1`) and HTTP/2 (`frames`, `hpack`, `h2`). It says
//! when something else follows: a tunnel, another protocol. Memory is bounded by [`Limits`]; what bounds did is in
//! [`Counters`].

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
#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests;
mod upgrade;

pub use head::MAX_FIELDS;
pub(super) use head::begins_with_known_method;
pub(super) use message::wipe;
pub use message::{Body, Field, Head, Message, Note, Start, StartLine, Transaction, Version};
pub use parser::{Counters, Limits};
pub(super) use parser::{Env, Http, Output, Turn};
pub use probe::{Kind, MAX_PROBE, PREFACE, Probe, probe, probe_resumed};
pub(super) use upgrade::Upgrade;
