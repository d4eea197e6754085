//! What comes of a body beyond the part that is captured: looked at in blocks as it passes, and forgotten.
//!
//! Two look. One watches requests ([`Limits::watch`](super::Limits::watch)); its blocks overlap, so that what stands across
//! their border is found, and what it found waits for the end of the message. The other searches both directions for issued
//! credentials ([`Limits::searches`](super::Limits::searches)); its blocks are cut between values and handed on at once.
//! Bounds: a block for each of them, and [`FOUND`] bytes of what was found, for each message in progress.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::fmt;

use super::message::wipe;

/// Bytes that are looked at together.
const BLOCK: usize = 16 * 1024;
/// Bytes of a block that are looked at again with the next one.
const OVERLAP: usize = 1024;
/// Most bytes at the end of a block that are searched with the next one, so that no value is cut.
const OPEN: usize = 8 * 1024;
/// Most bytes that are found.
pub const FOUND: usize = 16 * 1024;

/// Looks at blocks of bodies.
pub trait Watch: fmt::Debug + Send + Sync {
    /// Adds what `block` holds to `found`.
    fn look(&self, block: &[u8], found: &mut Vec<u8>);
}

/// See the module.
#[derive(Clone, Default)]
pub struct Later {
    block: Vec<u8>,
    found: Vec<u8>,
    unsearched: Vec<u8>,
}

impl Later {
    /// Takes bytes that follow what was captured.
    pub(super) fn take(&mut self, mut bytes: &[u8], watch: &dyn Watch) {
        if self.block.capacity() == 0 {
            self.block.reserve_exact(BLOCK);
        }
        while !bytes.is_empty() {
            let room = BLOCK.saturating_sub(self.block.len()).min(bytes.len());
            let (now, rest) = bytes.split_at_checked(room).unwrap_or((bytes, b""));
            self.block.extend_from_slice(now);
            bytes = rest;
            if self.block.len() >= BLOCK {
                if self.found.len() < FOUND {
                    watch.look(&self.block, &mut self.found);
                    self.found.truncate(FOUND);
                }
                self.block.drain(..self.block.len().saturating_sub(OVERLAP));
            }
        }
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
        &self.block
    }

    /// What was found before that.
    pub fn found(&self) -> &[u8] {
        &self.found
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.block.capacity().saturating_add(self.found.capacity()).saturating_add(self.unsearched.capacity())
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        wipe(&mut self.block);
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
            .field("rest", &self.block.len())
            .field("found", &self.found.len())
            .finish_non_exhaustive()
    }
}
