//! The `stats` event: the program's own counters, every so often. Its kind is `metric`, its type `stats`.

use super::Writer;
use super::doc::{Body, Counters, Doc, Envelope, Stats};
use crate::id::IdHasher;
use crate::packet::Timestamp;

/// The document of a snapshot of counters at `time`.
pub(super) fn document<'a>(writer: &Writer, time: Timestamp, counters: &'a [(&'a str, u64)]) -> Doc<'a> {
    let id = IdHasher::new("stats").number(time.0 as u64).finish();
    let mut event = writer.event(id, "stats");
    (event.kind, event.category, event.types) = ("metric", &[], &["info"]);
    event.module = None;
    let envelope = Envelope::new("stats", writer.stamp(time), event);
    Doc { envelope, body: Body::Stats(Stats { stats: Counters(counters) }) }
}
