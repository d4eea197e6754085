//! What is done when the work for a message is used up: its bytes are read once more, for addresses and names of metadata
//! services as they are usually written.

use super::search::Search;
use super::{is_target, text};
use crate::detect::canonical::{self, Parsed};
use crate::detect::content::{Content, utf8};
use crate::detect::{CandidateKind, Place};
use crate::proto::http::Message;

/// Most hits of one message that are read.
pub(super) const HITS: usize = 128;
/// Bytes of a decompressed head or body that are read, for each byte that was captured, and so many more.
const DECODED: usize = 8;
const LEAST: usize = 2048;
/// Bytes before a host in which scheme, slashes and user may stand, and after it, in which the path may.
const BEFORE: usize = 64;
const AFTER: usize = 512;

impl Search<'_> {
    /// Searches head and body literally.
    pub(super) fn literally(&mut self, request: &Message) {
        let mut hits = HITS;
        let (head, captured) = (&request.head.raw, &request.body.captured);
        let most = |wire: usize| wire.saturating_mul(DECODED).saturating_add(LEAST);
        let wire = (request.bytes as usize).min(head.len());
        self.literally_in(&Place::Path, head.get(..most(wire)).unwrap_or(head), &mut hits);
        if self.is_record_body {
            return;
        }
        let most = most(captured.len());
        let (content, _) = Content::up_to(most, captured, request.head.encodings().as_deref());
        let bytes = content.bytes();
        self.literally_in(&Place::Body, &utf8(bytes.get(..most).unwrap_or(bytes)), &mut hits);
    }

    /// Whether bytes hold an address or a name of a metadata service as it is usually written.
    pub(super) fn names_literally(&self, bytes: &[u8]) -> bool {
        self.catalogue.literals().is_some_and(|literals| literals.is_match(bytes))
    }

    pub(super) fn literally_in(&mut self, place: &Place, bytes: &[u8], hits: &mut usize) {
        let Some(literals) = self.catalogue.literals() else { return };
        for found in literals.find_iter(bytes) {
            let Some(left) = hits.checked_sub(1) else { return };
            *hits = left;
            let from = found.start().saturating_sub(BEFORE);
            let before = bytes.get(from..found.start()).unwrap_or_default();
            let start = before
                .iter()
                .rposition(|b| text::is_delimiter(*b) || matches!(b, b'=' | b'&'))
                .map_or(0, |at| at.saturating_add(1));
            let url = bytes.get(from.saturating_add(start)..found.end().saturating_add(AFTER).min(bytes.len()));
            let url = url.unwrap_or_default();
            let end = url.iter().position(|b| text::is_delimiter(*b) || *b == b'&').unwrap_or(url.len());
            self.literal(place, url.get(..end).unwrap_or_default());
        }
    }

    fn literal(&mut self, place: &Place, url: &[u8]) {
        let is_there = |parsed: &Parsed| is_target(self.catalogue, &parsed.host, parsed.port);
        let (readings, kind) = match canonical::urls(url) {
            none if none.is_empty() => (canonical::hosts(url), CandidateKind::Mention),
            some => (some, CandidateKind::Attempt),
        };
        if let Some(parsed) = readings.into_iter().find(is_there) {
            self.push(kind, &|| place.clone(), parsed, url);
        }
    }
}
