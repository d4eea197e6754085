//! What a head says about the message behind it: how its body is delimited, and whether it asks for another protocol.
//!
//! RFC 9112 section 6.3, with Packetbeat's reading of lengths that contradict themselves.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::message::Head;

/// How a message's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// No body.
    None,
    /// This many bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Everything until the direction ends; `counted` as Packetbeat counts it (it ends such an HTTP/1.1 message at once
    /// unless the connection is announced to close).
    UntilClose {
        /// Whether body bytes count towards the message's lengths.
        counted: bool,
    },
}

/// What a request asks for beyond an ordinary answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Plain,
    /// An answer without body.
    Head,
    /// A tunnel.
    Connect,
    /// Another protocol, if the server likes; `h2c`: HTTP/2.
    Upgrade { h2c: bool },
}

impl Kind {
    /// What `head` asks for.
    pub(super) fn of(head: &Head) -> Self {
        match head.method() {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Connect,
            _ if head.field("upgrade").is_some() => Self::Upgrade { h2c: upgrades_to(head, b"h2c") },
            _ => Self::Plain,
        }
    }
}

/// Whether `Upgrade` names `protocol`.
pub(super) fn upgrades_to(head: &Head, protocol: &[u8]) -> bool {
    tokens(head, "upgrade").any(|token| token.eq_ignore_ascii_case(protocol))
}

/// Elements of a comma-separated field, over all its lines.
fn tokens<'h>(head: &'h Head, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    head.values(name).flat_map(|value| value.split(|b| *b == b',')).map(<[u8]>::trim_ascii)
}

/// RFC 9112 section 6.3 for requests.
pub(super) fn request_framing(head: &Head) -> Framing {
    if is_chunked(head) { Framing::Chunked } else { content_length(head).map_or(Framing::None, Framing::Length) }
}

/// RFC 9112 section 6.3 for final responses to anything but HEAD and CONNECT.
pub(super) fn response_framing(head: &Head, status: u16) -> Framing {
    if matches!(status, 204 | 304) {
        return Framing::None;
    }
    if is_chunked(head) {
        return Framing::Chunked;
    }
    content_length(head).map_or_else(|| Framing::UntilClose { counted: announces_close(head) }, Framing::Length)
}

fn is_chunked(head: &Head) -> bool {
    tokens(head, "transfer-encoding").last().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"))
}

/// Content-Length: of several the last one, as far as it is digits, as Packetbeat has it.
pub(super) fn content_length(head: &Head) -> Option<u64> {
    let value = head.values("content-length").last()?;
    let value = value.rsplit(|b| *b == b',').next()?.trim_ascii();
    let mut digits = value.iter().take_while(|b| b.is_ascii_digit()).map(|b| b.wrapping_sub(b'0'));
    let number = digits.try_fold(0u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit)));
    Some(number.unwrap_or_default())
}

/// Whether Packetbeat counts what follows until the connection closes.
fn announces_close(head: &Head) -> bool {
    let connection = head.field("connection").unwrap_or_default();
    connection == b"close" || (!is_http_1_1(head) && connection != b"keep-alive")
}

fn is_http_1_1(head: &Head) -> bool {
    head.version.is_some_and(|version| version.major == 1 && version.minor != 0)
}
