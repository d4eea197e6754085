//! The event of a DNS transaction (section 3 of the event format).

use serde::Serialize;

use super::doc::{Doc, Text};
use super::envelope::{EventId, Exchange, Side};
use super::{Context, Writer};
use crate::detect::DnsVerdict;
use crate::proto::dns::{Message, Transaction};

/// Packetbeat's `dns` object.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Dns<'a> {
    /// Message id.
    pub id: u16,
    /// `answer` if a response is present, else `query`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Opcode name.
    pub op_code: Text<'a>,
}

/// The document of a transaction.
pub(super) fn document<'a>(
    writer: &'a Writer,
    id: EventId,
    tx: &'a Transaction,
    _verdict: &'a DnsVerdict,
    context: &Context<'a>,
) -> Doc<'a> {
    let side = |message: &Message| Side { first: message.time, bytes: message.bytes };
    let exchange = Exchange {
        kind: "dns",
        conn: &tx.conn,
        request: tx.query.as_ref().map(side),
        response: tx.response.as_ref().map(side),
        icmp: None,
    };
    writer.exchange(id, &exchange, context)
}
