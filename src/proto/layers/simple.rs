//! A simple request (HTTP/0.9): `GET`, a path and a line end, answered by bytes until the connection ends. Such a line may
//! begin other protocols too, so that it is one only where the server is a metadata service.
//!
//! Bounds: [`MAX_PROBE`] bytes of the line, those of HTTP for the answer.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use zeroize::Zeroizing;

use super::{Found, Outer, Sink, bytes_of};
use crate::packet::Timestamp;
use crate::proto::http::{Head, MAX_PROBE, Message, StartLine, Transaction};
use crate::stream::{Chunk, Context, Dir};

/// See the module.
#[derive(Default)]
pub(super) struct Simple {
    line: Vec<u8>,
    asked: Option<Context>,
    answer: Zeroizing<Vec<u8>>,
    /// Bytes of the answer, captured or not.
    len: usize,
    /// First packet of the answer, and the time of its last.
    answered: Option<(Context, Timestamp)>,
    over: bool,
}

/// The target of a simple request, if all of `bytes` is one.
pub(super) fn target(bytes: &[u8]) -> Option<&[u8]> {
    let line = bytes.strip_suffix(b"\n")?.strip_prefix(b"GET ")?.trim_ascii();
    let is_target = |byte: &u8| byte.is_ascii_graphic() || *byte >= 0x80;
    let is_one = bytes.len() <= MAX_PROBE && line.first() == Some(&b'/') && line.iter().all(is_target);
    is_one.then_some(line)
}

impl Simple {
    /// Takes the next chunk, sent in `dir`.
    pub(super) fn feed(&mut self, dir: Dir, chunk: Chunk<'_>, at: Context, outer: &Outer, sink: &mut Sink<'_>) {
        match (bytes_of(chunk), dir) {
            (Some(bytes), Dir::ToServer) => {
                let room = MAX_PROBE.saturating_sub(self.line.len());
                self.line.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
                self.asked.get_or_insert(at);
            }
            (Some(bytes), Dir::ToClient) => {
                let room = sink.limits.body.saturating_sub(self.answer.len());
                self.answer.extend_from_slice(bytes.get(..bytes.len().min(room)).unwrap_or_default());
                self.len = self.len.saturating_add(bytes.len());
                self.answered.get_or_insert((at, at.time)).1 = at.time;
            }
            (None, Dir::ToClient) if matches!(chunk, Chunk::End(_)) => self.finish(outer, sink),
            (None, _) => {}
        }
    }

    /// Hands on what there is, once.
    pub(super) fn finish(&mut self, outer: &Outer, sink: &mut Sink<'_>) {
        let (Some(asked), Some(target)) = (self.asked, target(&self.line)) else { return };
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let head = Head::from_fields(StartLine::Request { method: b"GET", target }, None, []);
        let request = Message::new(head, Vec::new(), true, asked.time, asked.index);
        let response = self.answered.map(|(first, last)| {
            let whole = self.answer.len() == self.len;
            let head = Head::from_fields(StartLine::Response { status: 200, phrase: b"" }, None, []);
            let message = Message::new(head, std::mem::take(&mut *self.answer), whole, first.time, first.index);
            Message { last, ..message }
        });
        let ordinal = *sink.ordinal;
        *sink.ordinal = ordinal.saturating_add(1);
        let tx = Transaction::new(outer.conn(sink.conn), Some(request), response);
        (sink.out)(Found::Http(Transaction { via: outer.via.clone(), ordinal, ..tx }));
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>().saturating_add(self.line.capacity()).saturating_add(self.answer.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn a_simple_request_is_get_a_path_and_a_line_end() {
        for (line, expected) in [
            ("GET /latest/meta-data/\r\n", Some("/latest/meta-data/")),
            ("GET /latest/ \n", Some("/latest/")),
            ("GET /latest/meta-data/", None),
            ("GET key\r\n", None),
            ("GET /a b\r\n", None),
            ("POST /a\r\n", None),
            ("GET /a\r\nHost: b\r\n", None),
        ] {
            assert_eq!(target(line.as_bytes()), expected.map(str::as_bytes), "{line}");
        }
    }
}
