//! Tells by the first bytes of a direction whether it is HTTP. Stateless; looks at no port.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::frames;
use super::head::{self, Role};

/// What a client sends first in HTTP/2 (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// [`Probe::More`] is never answered for more bytes than this.
pub const MAX_PROBE: usize = 512;

/// What first bytes of HTTP are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An HTTP/1 request line, or what so far can only be one.
    Http1,
    /// An HTTP/1 status line: these bytes come from the server, whatever side was taken for it.
    Response,
    /// The HTTP/2 preface, or frames of a client's HTTP/2 stream (only from [`probe_resumed`]).
    Http2,
}

/// What first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// HTTP.
    Is(Kind),
    /// Something else.
    No,
    /// Too few bytes to tell: ask again with these and the ones that follow.
    More,
}

/// Judges the first bytes that one side of a connection sent.
pub fn probe(bytes: &[u8]) -> Probe {
    let blank = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let bytes = bytes.get(blank..).unwrap_or_default();
    let Some(first) = bytes.first() else {
        return if blank < MAX_PROBE { Probe::More } else { Probe::No };
    };
    if blank == 0 && bytes.starts_with(PREFACE) {
        return Probe::Is(Kind::Http2);
    }
    if blank == 0 && PREFACE.starts_with(bytes) {
        return Probe::More;
    }
    if !head::is_token(*first) {
        return Probe::No;
    }
    match (head::begins(Role::Response, bytes), head::begins(Role::Request, bytes)) {
        (Some(true), _) => Probe::Is(Kind::Response),
        (_, Some(true)) => Probe::Is(Kind::Http1),
        (None, _) | (_, None) if bytes.len() < MAX_PROBE => Probe::More,
        _ => Probe::No,
    }
}

/// Judges a segment of a connection whose beginning was not captured, or that follows a gap: the frames of an HTTP/2
/// client count too if the head of a request is among them.
pub fn probe_resumed(bytes: &[u8]) -> Probe {
    match probe(bytes) {
        Probe::No if frames::believable(bytes) == Some(true) => Probe::Is(Kind::Http2),
        other => other,
    }
}
