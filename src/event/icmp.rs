//! The event of an ICMP transaction (section 4 of the event format).

use super::doc::Doc;
use super::envelope::{EventId, Exchange, Side};
use super::{Context, Writer};
use crate::proto::icmp::{Message, Transaction};

/// The document of a transaction.
pub(super) fn document<'a>(writer: &'a Writer, id: EventId, tx: &'a Transaction, context: &Context<'a>) -> Doc<'a> {
    let side = |message: &Message| Side { first: message.time, bytes: message.bytes };
    let exchange = Exchange {
        kind: "icmp",
        conn: &tx.conn,
        request: tx.request.as_ref().map(side),
        response: tx.response.as_ref().map(side),
        icmp: tx.request.as_ref().or(tx.response.as_ref()).map(|message| (message.kind, message.code)),
    };
    writer.exchange(id, &exchange, context)
}
