//! What comes of a body beyond the part that is captured: looked at in blocks as it passes, and forgotten. A compressed
//! body is decompressed as it passes.
//!
//! Two look. One watches requests ([`Limits::watch`](super::Limits::watch)); its blocks overlap, so that what stands across
//! their border is found, and what it found waits for the end of the message. The other searches both directions for issued
//! credentials ([`Limits::searches`](super::Limits::searches)); its blocks are cut between values and handed on at once.
//! Bounds: a block for each of them, [`FOUND`] bytes of what was found, and what decompressing takes
//! ([`Decoder`]), for each message in progress.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::fmt;

use super::message::{Message, wipe};
use crate::coding::{Decoder, allowance};

/// Bytes that are looked at together.
const BLOCK: usize = 16 * 1024;
/// Bytes of a block that are looked at again with the next one.
const OVERLAP: usize = 1024;
/// Most bytes at the end of a block that are searched with the next one, so that no value is cut.
const OPEN: usize = 8 * 1024;
/// Most bytes that are found.
pub const FOUND: usize = 16 * 1024;
/// Bytes that whoever reads what is captured of a compressed body reads of what it stands for.
const READ: usize = 256 * 1024;

/// How a block is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For everything.
    Whole,
    /// For what is written as usual: of compressed bodies that are [swollen](Decoder::is_swollen).
    Literal,
}

impl Effort {
    /// For what a decoder gives next.
    pub fn of(decoder: &Decoder) -> Self {
        if decoder.is_swollen() { Self::Literal } else { Self::Whole }
    }
}

/// Looks at blocks of bodies.
pub trait Watch: fmt::Debug + Send + Sync {
    /// Adds what `block` holds to `found`, which has less than [`FOUND`] bytes.
    fn look(&self, block: &[u8], effort: Effort, found: &mut Vec<u8>);
}

/// Bytes cut into blocks of which each begins with the last [`OVERLAP`] bytes of the one before.
#[derive(Clone, Default)]
pub struct Blocks(Vec<u8>);

impl Blocks {
    /// Takes the next bytes, and shows blocks that are full.
    pub fn push(&mut self, mut bytes: &[u8], show: &mut dyn FnMut(&[u8])) {
        if self.0.capacity() == 0 {
            self.0.reserve_exact(BLOCK);
        }
        while !bytes.is_empty() {
            let room = BLOCK.saturating_sub(self.0.len()).min(bytes.len());
            let (now, rest) = bytes.split_at_checked(room).unwrap_or((bytes, b""));
            self.0.extend_from_slice(now);
            bytes = rest;
            if self.0.len() >= BLOCK {
                show(&self.0);
                self.0.drain(..self.0.len().saturating_sub(OVERLAP));
            }
        }
    }

    /// What has not been shown, and [`OVERLAP`] bytes before it.
    pub fn rest(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// See the module.
#[derive(Default)]
pub struct Later {
    blocks: Blocks,
    found: Vec<u8>,
    unsearched: Vec<u8>,
    packed: Packed,
}

/// Whether the body is compressed.
#[derive(Default)]
enum Packed {
    /// Not known yet.
    #[default]
    Unknown,
    No,
    Yes(Box<Decoder>),
    /// It is, and cannot be read any further.
    Lost,
}

/// Who looks, and where what is to be searched goes.
pub(in crate::proto) struct Readers<'a> {
    /// Looks at the body.
    pub(in crate::proto) watch: Option<&'static dyn Watch>,
    /// Takes blocks to be searched, if they are.
    pub(in crate::proto) full: Option<&'a mut Vec<u8>>,
    /// Whether another body may be decompressed as it passes.
    pub(in crate::proto) unpacks: bool,
}

impl Readers<'_> {
    fn are_none(&self) -> bool {
        self.watch.is_none() && self.full.is_none()
    }
}

/// Has what of a body is not captured looked at; call it before it is captured with the same bytes and limit. `received`:
/// bytes of the body before them.
pub(super) fn pass_rest(message: &mut Message, bytes: &[u8], limit: usize, received: u64, mut readers: Readers<'_>) {
    let room = limit.saturating_sub(message.body.captured.len());
    if bytes.len() <= room || readers.are_none() {
        return;
    }
    let (captured, rest) = bytes.split_at_checked(room).unwrap_or((bytes, b""));
    let later = message.body.later.get_or_insert_default();
    if matches!(later.packed, Packed::Unknown) {
        let is_whole = received == message.body.captured.len() as u64 && !message.gap && !message.cut;
        let encodings = message.head.encodings().unwrap_or_default();
        let first = [message.body.captured.as_slice(), captured];
        later.begin(&encodings, first, is_whole && readers.unpacks, &mut readers);
    }
    later.pass(rest, &mut readers);
}

impl Later {
    /// Sees whether the body is compressed, by its encodings and what is captured of it; what that stands for is read
    /// elsewhere as far as [`READ`] bytes. `is_readable`: nothing before it is missing, and it may be decompressed.
    fn begin(&mut self, encodings: &[u8], captured: [&[u8]; 2], is_readable: bool, readers: &mut Readers<'_>) {
        let first = captured.into_iter().find(|bytes| !bytes.is_empty()).unwrap_or_default();
        let Some(mut decoder) = Decoder::new(encodings, first) else {
            self.packed = Packed::No;
            return;
        };
        let len = captured.iter().map(|bytes| bytes.len()).fold(0, usize::saturating_add);
        let mut skip = READ.min(allowance(len));
        let mut goes_on = is_readable;
        for bytes in captured {
            goes_on = goes_on
                && decoder.push(bytes, &mut |piece| {
                    let read = skip.min(piece.len());
                    skip = skip.saturating_sub(read);
                    self.read(piece.get(read..).unwrap_or_default(), Effort::Whole, readers);
                });
        }
        self.packed = if goes_on { Packed::Yes(Box::new(decoder)) } else { Packed::Lost };
    }

    /// Takes bytes that follow what was captured, decompressed if need be.
    fn pass(&mut self, bytes: &[u8], readers: &mut Readers<'_>) {
        match std::mem::take(&mut self.packed) {
            Packed::Yes(mut decoder) => {
                let effort = Effort::of(&decoder);
                let goes_on = decoder.push(bytes, &mut |piece| self.read(piece, effort, readers));
                self.packed = if goes_on { Packed::Yes(decoder) } else { Packed::Lost };
            }
            Packed::Lost => self.packed = Packed::Lost,
            Packed::No | Packed::Unknown => {
                self.packed = Packed::No;
                self.read(bytes, Effort::Whole, readers);
            }
        }
    }

    fn read(&mut self, bytes: &[u8], effort: Effort, readers: &mut Readers<'_>) {
        if let Some(watch) = readers.watch {
            self.take(bytes, effort, watch);
        }
        if let Some(full) = &mut readers.full {
            self.search(bytes, full);
        }
    }

    /// The body ended: nothing more is decompressed.
    pub(super) fn end(&mut self) {
        self.packed = Packed::Lost;
    }

    /// Takes bytes that follow what was captured.
    pub(in crate::proto) fn take(&mut self, bytes: &[u8], effort: Effort, watch: &dyn Watch) {
        let Self { blocks, found, .. } = self;
        blocks.push(bytes, &mut |block| {
            if found.len() < FOUND {
                watch.look(block, effort, found);
                found.truncate(FOUND);
            }
        });
    }

    /// Takes the same bytes to be searched; blocks that are full are appended to `full`.
    pub(super) fn search(&mut self, mut bytes: &[u8], full: &mut Vec<u8>) {
        if self.unsearched.capacity() == 0 {
            self.unsearched.reserve_exact(BLOCK);
        }
        while !bytes.is_empty() {
            let room = BLOCK.saturating_sub(self.unsearched.len()).min(bytes.len());
            let (now, rest) = bytes.split_at_checked(room).unwrap_or((bytes, b""));
            self.unsearched.extend_from_slice(now);
            bytes = rest;
            if self.unsearched.len() >= BLOCK {
                let end = between_values(&self.unsearched);
                full.extend_from_slice(self.unsearched.get(..end).unwrap_or_default());
                self.unsearched.drain(..end);
            }
        }
    }

    /// What was taken to be searched and not handed on: the end of the body.
    pub fn unsearched(&self) -> &[u8] {
        &self.unsearched
    }

    /// The bytes that no [`Watch`] has looked at yet: the end of the body.
    pub fn rest(&self) -> &[u8] {
        self.blocks.rest()
    }

    /// What was found before that.
    pub fn found(&self) -> &[u8] {
        &self.found
    }

    /// Bytes on the heap.
    pub(in crate::proto) fn memory(&self) -> usize {
        self.blocks.0.capacity().saturating_add(self.found.capacity()).saturating_add(self.unsearched.capacity())
    }

    /// The same of what decompresses the body, while it lasts.
    pub(super) fn decoder_memory(&self) -> usize {
        match &self.packed {
            Packed::Yes(decoder) => decoder.memory(),
            _ => 0,
        }
    }
}

impl Clone for Later {
    /// What is being decompressed goes on in one of them only.
    fn clone(&self) -> Self {
        let packed = if matches!(self.packed, Packed::No) { Packed::No } else { Packed::Lost };
        let Self { blocks, found, unsearched, .. } = self;
        Self { blocks: blocks.clone(), found: found.clone(), unsearched: unsearched.clone(), packed }
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        wipe(&mut self.found);
        wipe(&mut self.unsearched);
    }
}

/// Where a block is cut: behind a quote, a tag or a blank; if there is none near its end, behind a pair of a form or a line
/// of an encoded text; if there is none of those, where it is.
fn between_values(block: &[u8]) -> usize {
    let from = block.len().saturating_sub(OPEN);
    let tail = block.get(from..).unwrap_or_default();
    let behind = |at: usize| from.saturating_add(at).saturating_add(1);
    let after_value = |byte: &u8| matches!(byte, b'"' | b'\'' | b'<' | b'>' | b' ' | b'\t' | 0);
    let value = tail.iter().rposition(after_value).map(behind);
    value.or_else(|| memchr::memrchr2(b'&', b'\n', tail).map(behind)).unwrap_or(block.len())
}

impl fmt::Debug for Later {
    /// Never the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later")
            .field("rest", &self.rest().len())
            .field("found", &self.found.len())
            .finish_non_exhaustive()
    }
}
