//! Protocol buffers in bodies: messages of gRPC in their frames, and bodies that are one message.
//!
//! Nobody knows the schema: each field with a length is read as text if it is one, and as a message inside the message if
//! it can be one. Bounds: [`DEPTH`] messages inside each other, and the search's own budget.

use super::search::{Document, Search};
use crate::detect::Place;
use crate::detect::content::{Coding, MAX_DECODED, decode};
use crate::proto::http::Head;
use crate::text::b64;

/// Deepest nesting of messages.
const DEPTH: usize = 6;

/// Whether a content type is one of gRPC, also as gRPC-Web.
pub(super) fn is_grpc(content_type: &[u8]) -> bool {
    has_prefix(content_type, b"application/grpc")
}

/// Whether a body of this content type is one message.
pub(super) fn is_message(content_type: &[u8]) -> bool {
    [&b"application/x-protobuf"[..], b"application/protobuf", b"application/vnd.google.protobuf", b"application/proto"]
        .iter()
        .any(|known| has_prefix(content_type, known))
}

fn has_prefix(content_type: &[u8], known: &[u8]) -> bool {
    content_type.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known))
}

impl Search<'_> {
    /// Messages of gRPC, each behind a flag (compressed or not) and its length in four bytes, big-endian.
    pub(super) fn grpc(&mut self, head: &Head, body: &[u8]) {
        let is_text = head.field("content-type").is_some_and(|kind| has_prefix(kind, b"application/grpc-web-text"));
        let decoded = if is_text { b64::decode(body) } else { None };
        let coding = head.field("grpc-encoding").and_then(Coding::named);
        let mut rest = decoded.as_deref().unwrap_or(body);
        while let Some((&[flag, a, b, c, d], after)) = rest.split_first_chunk::<5>() {
            let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            let (message, next) = after.split_at_checked(len).unwrap_or((after, b""));
            rest = next;
            match coding.or_else(|| Coding::begins(message)).filter(|_| flag & 1 == 1) {
                None => {
                    self.message(message, 0);
                }
                Some(coding) => {
                    let (message, _) = decode(coding, message, MAX_DECODED);
                    if self.budget.spend(message.len() / 2) {
                        self.message(&message, 0);
                    }
                }
            }
        }
    }

    /// The fields of a message; `true` if it is one to its end.
    pub(super) fn message(&mut self, message: &[u8], depth: usize) -> bool {
        if depth > DEPTH || !self.budget.spend(message.len()) {
            return false;
        }
        let mut rest = message;
        while !rest.is_empty() {
            let Some((value, next)) = field(rest) else { return false };
            rest = next;
            let Some(value) = value.filter(|value| value.len() >= super::search::MIN) else { continue };
            let is_text =
                str::from_utf8(value).is_ok_and(|text| !text.contains(|c: char| c < ' ' && !c.is_whitespace()));
            if is_text && self.is_of_interest(value) {
                self.value(&|| Place::Body, value, Document::No);
            } else if !is_text {
                self.message(value, depth.saturating_add(1));
            }
        }
        true
    }
}

/// The value of the first field, if it has a length, and what follows the field; `None` where there is no field.
fn field(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (key, rest) = varint(bytes)?;
    if key >> 3 == 0 {
        return None;
    }
    match key & 7 {
        0 => Some((None, varint(rest)?.1)),
        1 => Some((None, rest.get(8..)?)),
        2 => {
            let (len, rest) = varint(rest)?;
            let len = usize::try_from(len).ok()?.min(rest.len()); // it may be cut
            rest.split_at_checked(len).map(|(value, rest)| (Some(value), rest))
        }
        5 => Some((None, rest.get(4..)?)),
        _ => None,
    }
}

/// A number of seven bits a byte, the lowest first.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let len = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let (number, rest) = bytes.split_at_checked(len.checked_add(1)?)?;
    let value = number.iter().rev().fold(0u64, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
    Some((value, rest))
}
