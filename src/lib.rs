//! imdswatch watches packets for theft of cloud credentials through instance metadata services and writes
//! Packetbeat-compatible events.
//!
//! ```text
//! capture ──PacketBatch──► decode (link, tunnels, fragments) ──Meta + payload──► pipeline, one per worker:
//!   live | file                                                  flow table ─► TCP streams ─► HTTP / DNS / ICMP ─► detect
//!                                                                                                      │ Observation
//!                                     outputs ◄── event ◄── publish: merge in packet order, correlate ◄┘
//! ```

// What was typed.
pub mod cli;

// What flows.
pub mod bytes;
pub mod clock;
pub mod duration;
pub mod packet;

// Packets come in.
pub mod capture;

// Each packet is opened down to its innermost transport payload.
pub mod decode;

// Packets become flows, streams, messages and transactions.
pub mod flow;
pub mod process;
pub mod proto;
pub mod session;
pub mod stream;

// What is looked for, and what one observation means.
pub mod catalogue;
pub mod detect;
pub mod observe;

// What observations mean together.
pub mod alert;
pub mod correlate;
pub mod rules;

// What was found becomes lines of JSON, and where they go.
pub mod event;
pub mod output;
