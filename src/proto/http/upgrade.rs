//! What a WebSocket was agreed on with (RFC 6455 section 4, RFC 7692 section 7): out of both heads, what its frames are read
//! by, and where its messages go.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use super::message::{Head, StartLine};
use crate::stream::Dir;

/// See the module.
pub(in crate::proto) struct Upgrade {
    request: Option<Head>,
    /// Whether the client's messages are each compressed by themselves, and the server's.
    fresh: [bool; 2],
}

impl Upgrade {
    /// Agreed on by these heads.
    pub(super) fn new(request: Option<&Head>, response: &Head) -> Self {
        let agreed = |parameter: &[u8]| {
            let words =
                response.values("sec-websocket-extensions").flat_map(|value| value.split(|b| matches!(b, b';' | b',')));
            words.map(<[u8]>::trim_ascii).any(|word| word.eq_ignore_ascii_case(parameter))
        };
        Self {
            request: request.map(addressed),
            fresh: [agreed(b"client_no_context_takeover"), agreed(b"server_no_context_takeover")],
        }
    }

    /// The request as far as it says where messages go.
    pub(in crate::proto) fn request(&self) -> Option<&Head> {
        self.request.as_ref()
    }

    /// Whether each message of this direction is compressed by itself.
    pub(in crate::proto) fn fresh_window(&self, dir: Dir) -> bool {
        self.fresh.get(dir.index()).is_some_and(|fresh| *fresh)
    }

    /// Bytes held.
    pub(in crate::proto) fn memory(&self) -> usize {
        self.request.as_ref().map_or(0, |request| request.raw.capacity()).saturating_add(size_of::<Self>())
    }
}

/// Method, path and host of a request: what else it says was judged with the request itself.
fn addressed(request: &Head) -> Head {
    let target = request.target();
    let path = target.get(..memchr::memchr(b'?', target).unwrap_or(target.len())).unwrap_or_default();
    let start = StartLine::Request { method: request.method(), target: path };
    Head::from_fields(start, request.version, request.field("host").map(|host| (&b"Host"[..], host)))
}
