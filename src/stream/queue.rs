//! The out-of-order queue of one direction, by the rules of Linux (`tcp_data_queue_ofo`, `tcp_ofo_queue`).
//!
//! Segments go in, pieces in stream order come out. Of overlapping segments the one that starts first wins, of two
//! that start together the longer one, of two equal ones the one that came first; segments that follow each other
//! directly are one from then on. The losing bytes are kept beside, so that bytes which were sent in two forms come
//! out with both. Bounded by bytes and by number of segments.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::collections::VecDeque;

use super::seq::{advance, after, before, distance};
use super::{Context, Limits};
use crate::packet::Timestamp;

/// Losing versions kept for comparison.
const MAX_OTHERS: usize = 8;

/// What one segment brought to a block.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where its bytes end in the block's data.
    end: usize,
    /// Acknowledgement number it carried.
    ack: u32,
    /// Packet it came in.
    at: Context,
}

/// One or more segments that directly follow each other.
#[derive(Debug)]
struct Block {
    seq: u32,
    data: Vec<u8>,
    /// Bytes after `data` that the snaplen cut off.
    cut: u32,
    pieces: Vec<Piece>,
}

impl Block {
    fn data_end(&self) -> u32 {
        advance(self.seq, self.data.len())
    }

    fn end(&self) -> u32 {
        self.data_end().wrapping_add(self.cut)
    }
}

/// Bytes that lost against others at the same place.
#[derive(Debug)]
struct Other {
    seq: u32,
    data: Vec<u8>,
}

/// What comes out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Piecewise<'a> {
    /// Bytes, with the losing version of the same stretch where there is one.
    Bytes {
        /// The winners.
        taken: &'a [u8],
        /// The losers, as many.
        other: Option<&'a [u8]>,
    },
    /// Bytes cut off by the snaplen.
    Cut(u32),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    blocks: VecDeque<Block>,
    others: Vec<Other>,
    bytes: usize,
    segments: usize,
}

impl Queue {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Sequence number of the first byte that waits.
    pub(super) fn first(&self) -> Option<u32> {
        self.blocks.front().map(|block| block.seq)
    }

    /// Whether a byte from `seq` up to `end` is here.
    pub(super) fn overlaps(&self, seq: u32, end: u32) -> bool {
        self.blocks.iter().any(|block| before(block.seq, end) && after(block.end(), seq))
    }

    /// Memory held, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.bytes
            .saturating_add(self.segments.saturating_mul(size_of::<Piece>()))
            .saturating_add(self.blocks.capacity().saturating_mul(size_of::<Block>()))
    }

    /// Adds a segment of at least one byte; `false` when it would exceed the limits and was left out.
    pub(super) fn insert(&mut self, new: Arrival<'_>, limits: &Limits) -> bool {
        let bytes = self.bytes.saturating_add(new.data.len());
        if bytes > limits.per_direction || self.segments >= limits.segments {
            return false;
        }
        let place = self.blocks.partition_point(|block| !after(block.seq, new.seq));
        let end = new.end();
        if let Some(previous) = place.checked_sub(1).and_then(|at| self.blocks.get_mut(at)) {
            if before(new.seq, previous.end()) {
                if !after(end, previous.end()) {
                    self.lost(new.seq, new.data, place.saturating_sub(1));
                    return true;
                }
                if previous.seq == new.seq {
                    let old = std::mem::replace(previous, new.into_block());
                    self.count(new.data.len(), 1);
                    self.forget(&old);
                    self.lost(old.seq, &old.data, place.saturating_sub(1));
                    self.drop_covered(place.saturating_sub(1));
                    return true;
                }
            } else if previous.end() == new.seq && previous.cut == 0 {
                previous.data.extend_from_slice(new.data);
                previous.cut = new.cut;
                previous.pieces.push(Piece { end: previous.data.len(), ack: new.ack, at: new.at });
                self.count(new.data.len(), 1);
                return true;
            }
        }
        self.blocks.insert(place, new.into_block());
        self.count(new.data.len(), 1);
        self.drop_covered(place);
        true
    }

    /// Hands out what follows `next` without a hole and moves `next` past it. A piece waits as long as `allowed` says
    /// no to the acknowledgement number that it carried. Whether anything was handed out.
    pub(super) fn drain(
        &mut self,
        next: &mut u32,
        fill: Fill,
        allowed: impl Fn(u32) -> bool,
        mut emit: impl FnMut(Piecewise<'_>, Context),
    ) -> bool {
        let start = *next;
        while let Some(block) = self.blocks.pop_front() {
            if after(block.seq, *next) {
                self.blocks.push_front(block);
                break;
            }
            if self.hand_out(&block, next, fill, &allowed, &mut emit) {
                self.forget(&block);
            } else {
                self.blocks.push_front(block);
                break;
            }
        }
        if start != *next {
            self.drop_others(*next);
        }
        start != *next
    }

    /// Takes back the segment that starts at `seq`, because it never arrived, if no other has been joined to it.
    pub(super) fn remove(&mut self, seq: u32) {
        let place = self.blocks.iter().position(|block| block.seq == seq && block.pieces.len() == 1);
        if let Some(block) = place.and_then(|place| self.blocks.remove(place)) {
            self.forget(&block);
        }
    }

    /// Hands out one block from `next` on; `false` when a piece of it has to wait.
    fn hand_out(
        &self,
        block: &Block,
        next: &mut u32,
        fill: Fill,
        allowed: impl Fn(u32) -> bool,
        emit: &mut impl FnMut(Piecewise<'_>, Context),
    ) -> bool {
        let mut at = fill.context;
        for piece in &block.pieces {
            let piece_end = advance(block.seq, piece.end);
            at = fill.of(piece.at);
            let from = distance(block.seq, *next) as usize;
            let Some(taken) = block.data.get(from..piece.end).filter(|bytes| !bytes.is_empty()) else {
                continue;
            };
            if !allowed(piece.ack) {
                return false;
            }
            let other = self.other_reading(*next, taken);
            emit(Piecewise::Bytes { taken, other: other.as_deref() }, at);
            *next = piece_end;
        }
        let cut = distance(*next, block.end());
        if cut > 0 {
            emit(Piecewise::Cut(cut), at);
            *next = block.end();
        }
        true
    }

    /// `taken` with the losing bytes in their places, if they differ anywhere. What came first goes on top.
    fn other_reading(&self, seq: u32, taken: &[u8]) -> Option<Vec<u8>> {
        let end = advance(seq, taken.len());
        let waiting = self.blocks.iter().take_while(|block| before(block.seq, end));
        let losers = waiting
            .map(|block| (block.seq, block.data.as_slice()))
            .chain(self.others.iter().rev().map(|other| (other.seq, other.data.as_slice())));
        let mut reading: Option<Vec<u8>> = None;
        for (other_seq, other) in losers {
            let (here, there) = (distance(seq, other_seq) as usize, distance(other_seq, seq) as usize);
            let (Some(mine), Some(theirs)) = (taken.get(here..), other.get(there..)) else { continue };
            let len = mine.len().min(theirs.len());
            let (Some(mine), Some(theirs)) = (mine.get(..len), theirs.get(..len)) else { continue };
            if mine != theirs
                && let Some(place) =
                    reading.get_or_insert_with(|| taken.to_vec()).get_mut(here..).and_then(|rest| rest.get_mut(..len))
            {
                place.copy_from_slice(theirs);
            }
        }
        reading
    }

    /// Removes the blocks after `place` that the block there covers whole.
    fn drop_covered(&mut self, place: usize) {
        let Some(end) = self.blocks.get(place).map(Block::end) else { return };
        let after_it = place.saturating_add(1);
        while self.blocks.get(after_it).is_some_and(|block| after(end, block.seq) && !before(end, block.end())) {
            if let Some(block) = self.blocks.remove(after_it) {
                self.forget(&block);
                self.lost(block.seq, &block.data, place);
            }
        }
    }

    /// Keeps a losing version, if it differs from the winner, the block at `place`.
    fn lost(&mut self, seq: u32, data: &[u8], place: usize) {
        let from = self.blocks.get(place).map_or(0, |winner| distance(winner.seq, seq) as usize);
        let same = self.blocks.get(place).and_then(|winner| winner.data.get(from..)).is_some_and(|bytes| {
            let both = bytes.len().min(data.len());
            bytes.get(..both) == data.get(..both)
        });
        if !same && self.others.len() < MAX_OTHERS {
            self.bytes = self.bytes.saturating_add(data.len());
            self.others.push(Other { seq, data: data.to_vec() });
        }
    }

    /// Drops losing versions of bytes that are handed out.
    fn drop_others(&mut self, next: u32) {
        self.others.retain(|other| {
            let keep = after(advance(other.seq, other.data.len()), next);
            if !keep {
                self.bytes = self.bytes.saturating_sub(other.data.len());
            }
            keep
        });
    }

    fn count(&mut self, bytes: usize, segments: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.segments = self.segments.saturating_add(segments);
    }

    fn forget(&mut self, block: &Block) {
        self.bytes = self.bytes.saturating_sub(block.data.len());
        self.segments = self.segments.saturating_sub(block.pieces.len());
    }
}

/// A segment's data on its way in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    /// Sequence number of the first byte.
    pub(super) seq: u32,
    /// The bytes that the capture has.
    pub(super) data: &'a [u8],
    /// Bytes after them that the snaplen cut off.
    pub(super) cut: u32,
    /// Acknowledgement number of the segment.
    pub(super) ack: u32,
    /// Packet it came in.
    pub(super) at: Context,
}

impl Arrival<'_> {
    /// Sequence number after its last byte.
    pub(super) fn end(&self) -> u32 {
        advance(self.seq, self.data.len()).wrapping_add(self.cut)
    }

    fn into_block(self) -> Block {
        let piece = Piece { end: self.data.len(), ack: self.ack, at: self.at };
        Block { seq: self.seq, data: self.data.to_vec(), cut: self.cut, pieces: vec![piece] }
    }
}

/// What made waiting bytes deliverable, and so which time they get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    /// The packet that is being looked at.
    pub(super) context: Context,
    /// Whether it brought what was missing: then nothing after it was readable before it. Otherwise the bytes were
    /// readable when they came, only the capture has lost what was before them.
    pub(super) arrived: bool,
}

impl Fill {
    fn of(self, own: Context) -> Context {
        let earliest = if self.arrived { self.context.time } else { Timestamp(i64::MIN) };
        Context { time: own.time.max(earliest), index: self.context.index }
    }
}
