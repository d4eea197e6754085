//! The event of an ICMP transaction (section 4 of the event format).

use super::doc::{Body, Doc, Icmp, IcmpEvent, IcmpMessage, Ip, Text};
use super::envelope::{Exchange, Side};
use super::{Context, Writer};
use crate::conn::Proto;
use crate::id::EventId;
use crate::proto::icmp::{Message, Note, Transaction};

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
    let mut envelope = writer.exchange(id, &exchange, context);
    if let Some(note) = tx.note {
        envelope.error.push(remark(note));
    }
    let object = |message: &Message| IcmpMessage {
        message: describe(tx.conn.proto, message.kind, message.code),
        kind: message.kind,
        code: message.code,
    };
    let icmp = Icmp {
        version: if tx.conn.proto == Proto::Icmp6 { 6 } else { 4 },
        request: tx.request.as_ref().map(object),
        response: tx.response.as_ref().map(object),
    };
    let status = if tx.is_ok() { "OK" } else { "Error" };
    let path = Ip(tx.conn.server.ip).to_string().into();
    Doc { envelope, body: Body::Icmp(IcmpEvent { status, path, icmp }) }
}

/// Packetbeat's words.
fn remark(note: Note) -> &'static str {
    match note {
        Note::Duplicate => {
            "Another request with the same Id and Seq was received so this request was closed without receiving a response."
        }
        Note::NoResponse => "Request was received without an associated response.",
        Note::NoRequest => "Response was received without an associated request.",
    }
}

/// Type and code as gopacket, Packetbeat's decoder, prints them.
fn describe(proto: Proto, kind: u8, code: u8) -> Text<'static> {
    let Some((name, codes)) = (if proto == Proto::Icmp6 { names6(kind) } else { names4(kind) }) else {
        return format!("{kind}({code})").into();
    };
    match codes.get(usize::from(code)) {
        Some(code) => format!("{name}({code})").into(),
        None if codes.is_empty() && code == 0 => name.into(),
        None => format!("{name}(Code: {code})").into(),
    }
}

/// Name of an ICMP type, and of its codes from 0.
fn names4(kind: u8) -> Option<(&'static str, &'static [&'static str])> {
    Some(match kind {
        0 => ("EchoReply", &[]),
        3 => (
            "DestinationUnreachable",
            &[
                "Net",
                "Host",
                "Protocol",
                "Port",
                "FragmentationNeeded",
                "SourceRoutingFailed",
                "NetUnknown",
                "HostUnknown",
                "SourceIsolated",
                "NetAdminProhibited",
                "HostAdminProhibited",
                "NetTOS",
                "HostTOS",
                "CommAdminProhibited",
                "HostPrecedence",
                "PrecedenceCutoff",
            ],
        ),
        4 => ("SourceQuench", &[]),
        5 => ("Redirect", &["Net", "Host", "TOS+Net", "TOS+Host"]),
        8 => ("EchoRequest", &[]),
        9 => ("RouterAdvertisement", &[]),
        10 => ("RouterSolicitation", &[]),
        11 => ("TimeExceeded", &["TTLExceeded", "FragmentReassemblyTimeExceeded"]),
        12 => ("ParameterProblem", &["PointerIndicatesError", "MissingOption", "BadLength"]),
        13 => ("TimestampRequest", &[]),
        14 => ("TimestampReply", &[]),
        15 => ("InfoRequest", &[]),
        16 => ("InfoReply", &[]),
        17 => ("AddressMaskRequest", &[]),
        18 => ("AddressMaskReply", &[]),
        _ => return None,
    })
}

/// Name of an ICMPv6 type, and of its codes from 0.
fn names6(kind: u8) -> Option<(&'static str, &'static [&'static str])> {
    Some(match kind {
        1 => (
            "DestinationUnreachable",
            &[
                "NoRouteToDst",
                "AdminProhibited",
                "BeyondScopeOfSrc",
                "AddressUnreachable",
                "PortUnreachable",
                "SrcAddressFailedPolicy",
                "RejectRouteToDst",
            ],
        ),
        2 => ("PacketTooBig", &[]),
        3 => ("TimeExceeded", &["HopLimitExceeded", "FragmentReassemblyTimeExceeded"]),
        4 => ("ParameterProblem", &["ErroneousHeaderField", "UnrecognizedNextHeader", "UnrecognizedIPv6Option"]),
        128 => ("EchoRequest", &[]),
        129 => ("EchoReply", &[]),
        133 => ("RouterSolicitation", &[]),
        134 => ("RouterAdvertisement", &[]),
        135 => ("NeighborSolicitation", &[]),
        136 => ("NeighborAdvertisement", &[]),
        137 => ("Redirect", &[]),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_codes_read_as_in_packetbeat() {
        let cases = [
            (Proto::Icmp, 8, 0, "EchoRequest"),
            (Proto::Icmp, 8, 7, "EchoRequest(Code: 7)"),
            (Proto::Icmp, 3, 3, "DestinationUnreachable(Port)"),
            (Proto::Icmp, 3, 10, "DestinationUnreachable(HostAdminProhibited)"),
            (Proto::Icmp, 3, 16, "DestinationUnreachable(Code: 16)"),
            (Proto::Icmp, 5, 213, "Redirect(Code: 213)"),
            (Proto::Icmp, 113, 225, "113(225)"),
            (Proto::Icmp6, 1, 4, "DestinationUnreachable(PortUnreachable)"),
            (Proto::Icmp6, 2, 0, "PacketTooBig"),
            (Proto::Icmp6, 143, 0, "143(0)"),
            (Proto::Icmp6, 137, 0, "Redirect"),
        ];
        for (proto, kind, code, expected) in cases {
            assert_eq!(describe(proto, kind, code), expected);
        }
    }
}
