//! ICMP and ICMPv6 messages paired as Packetbeat pairs them.

use crate::observe::Conn;
use crate::packet::Timestamp;

/// One ICMP message as far as events need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// When.
    pub time: Timestamp,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Payload bytes as Packetbeat counts them.
    pub bytes: u64,
}

/// Remarks that Packetbeat writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// `Another request with the same Id and Seq was received so this request was closed without receiving a response.`
    Duplicate,
    /// `Request was received without an associated response.`
    NoResponse,
    /// `Response was received without an associated request.`
    NoRequest,
}

/// A request with its answer, or one of them; `conn.client` sent the request, ports are 0.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Addresses.
    pub conn: Conn,
    /// The request or one-way message.
    pub request: Option<Message>,
    /// The answer.
    pub response: Option<Message>,
    /// Remark.
    pub note: Option<Note>,
}
