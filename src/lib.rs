//! imdswatch watches packets for theft of cloud credentials through instance metadata services and writes
//! Packetbeat-compatible events.
//!
//! ```text
//! capture thread (live: two)                                            one worker, or several by address pair
//! live | file ──PacketBatch──► decode (link, tunnels, fragments) ──► route ──Meta + segment──┐
//!                                                                                           ▼
//!                  pipeline: flow records ─► sessions ─► streams ─► HTTP / DNS / ICMP ─► detect ──Observation──┐
//!                                                                                                             ▼
//!                                 output ◄── event (JSON, text) ◄── correlate ◄── publish: merge in packet order
//! ```
//!
//! The modules stand in the order in which a packet meets them. What happens depends on packets and settings alone: no
//! logic reads a clock, and the output is the same for any number of workers.

// What was typed, and what it means.
pub mod cli;
pub mod config;
pub mod duration;

// What flows.
pub mod bytes;
pub mod civil;
pub mod clock;
pub mod coding;
pub mod memo;
pub mod net;
pub mod packet;
pub mod text;

// Packets come in.
pub mod capture;
#[cfg(target_os = "linux")]
pub mod live;

// Each packet is opened down to its innermost transport payload, and goes to the worker that owns its conversation.
pub mod conn;
pub mod decode;
pub mod route;

// Events of other sensors come in.
pub mod sensors;

// The hot path: packets become flows, streams, messages and transactions.
pub mod pipeline;

pub mod flow;
pub mod pair;
pub mod process;
pub mod proto;
pub mod session;
pub mod stream;
pub mod table;

// What is looked for, and what one observation means.
pub mod catalogue;
pub mod detect;
pub mod id;
pub mod judge;
pub mod observe;

// What observations mean together.
pub mod alert;
pub mod correlate;
pub mod export;
pub mod publish;
pub mod rules;

// What was found becomes lines, and lines go somewhere.
pub mod event;
pub mod metrics;
pub mod output;
pub mod report;

// Threads, clocks, signals.
pub mod app;

#[cfg(test)]
mod testing;
