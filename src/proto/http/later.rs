//! What comes of a request body beyond the part that is captured: looked at in blocks as it passes, and forgotten.
//!
//! Bounds: one block, and [`FOUND`] bytes of what was found in those before it, for each message in progress. Who looks is
//! told by [`Limits::watch`](super::Limits::watch); blocks overlap, so that what stands across their border is found.
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::fmt;

use super::message::wipe;

/// Bytes that are looked at together.
const BLOCK: usize = 16 * 1024;
/// Bytes of a block that are looked at again with the next one.
const OVERLAP: usize = 1024;
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
        self.block.capacity().saturating_add(self.found.capacity())
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        wipe(&mut self.block);
        wipe(&mut self.found);
    }
}

impl fmt::Debug for Later {
    /// Never the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later").field("rest", &self.block.len()).field("found", &self.found.len()).finish()
    }
}
