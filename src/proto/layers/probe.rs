//! What a direction's first bytes are: the one table of what streams are told by. Stateless; a port helps with DNS alone.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::proxy;
use super::socks;
use crate::proto::http::{self, MAX_PROBE};

/// What a stream is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// HTTP, by what it begins with.
    Http(http::Kind),
    /// DNS over TCP.
    Dns,
    /// A SOCKS 4 or 5 client.
    Socks,
    /// A PROXY protocol header.
    Proxy,
    /// A simple request; never by [`probe`].
    Simple,
}

/// What first bytes tell. DNS, whose messages have to be seen whole, is asked for apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// It is this.
    Is(Kind),
    /// It is none that begins in a way of its own.
    No,
    /// Too few bytes to tell: ask again with these and the ones that follow, [`MAX_PROBE`] at most.
    More,
}

/// Judges the first bytes that one side sent; with `resumed` the first ones after some were lost, or of what the capture
/// has of a connection. Handshakes of SOCKS only come first.
pub(super) fn probe(bytes: &[u8], resumed: bool) -> Probe {
    let tables: [fn(&[u8]) -> Probe; 2] = [proxy::probe, if resumed { no } else { socks::probe }];
    let first = tables.into_iter().map(|probe| probe(bytes)).find(|probe| *probe != Probe::No);
    first.unwrap_or_else(|| match if resumed { http::probe_resumed(bytes) } else { http::probe(bytes) } {
        http::Probe::Is(kind) => Probe::Is(Kind::Http(kind)),
        http::Probe::No => Probe::No,
        http::Probe::More => Probe::More,
    })
}

fn no(_: &[u8]) -> Probe {
    Probe::No
}

/// Whether these first bytes open an encrypted conversation, of which nothing can be read: a TLS record with a handshake, a
/// version line of SSH.
pub(super) fn is_encrypted(bytes: &[u8]) -> bool {
    is_tls(bytes) || bytes.starts_with(b"SSH-")
}

/// Whether these bytes begin a TLS handshake record (RFC 8446 section 5.1).
pub(super) fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [0x16, 0x03, ..])
}

/// Bytes of either direction that are held at most while nothing tells.
pub(super) const MAX_HELD: usize = MAX_PROBE;
