//! The event of a connection to a metadata service that another sensor tells of: of packets the flow's record is written.

use super::doc::{Body, Doc, Imds, SignalList};
use super::{Context, Exchange, Side, Writer};
use crate::detect::Connection;
use crate::id::EventId;

/// The document of a connection.
pub(super) fn document<'a>(
    writer: &'a Writer,
    id: EventId,
    connection: &'a Connection,
    context: &Context<'a>,
) -> Doc<'a> {
    let side = |first| Some(Side { first, bytes: 0 });
    let exchange = Exchange {
        kind: "connection",
        conn: &connection.conn,
        request: side(connection.first),
        response: side(connection.last),
        icmp: None,
    };
    let mut envelope = writer.exchange(id, &exchange, context);
    envelope.event.types = &["connection"];
    if let Some(network) = &mut envelope.network {
        network.protocol = None;
    }
    envelope.imds = Some(Imds {
        provider: connection.provider,
        service: connection.service,
        signals: SignalList(context.signals),
        allowed_by: context.allowed_by,
        ..Imds::default()
    });
    writer.add_unknown_process(&mut envelope);
    Doc { envelope, body: Body::Connection }
}
