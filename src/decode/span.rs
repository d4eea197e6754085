//! Captured bytes together with how many there were on the wire: every layer takes its header off the front and trims
//! the end to what it announces, so that padding falls off and what the snaplen cut is known.

#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

/// The rest of a packet. `wire` is at least `bytes.len()`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'b> {
    pub(super) bytes: &'b [u8],
    wire: usize,
}

impl<'b> Span<'b> {
    /// A captured packet. In damaged captures the wire length is smaller than the captured one: the bytes count.
    pub(super) fn new(bytes: &'b [u8], wire_len: u32) -> Self {
        Self { bytes, wire: bytes.len().max(wire_len as usize) }
    }

    /// Bytes of which none is missing.
    pub(super) fn whole(bytes: &'b [u8]) -> Self {
        Self { bytes, wire: bytes.len() }
    }

    /// How many bytes there were on the wire.
    pub(super) fn wire(self) -> usize {
        self.wire
    }

    /// The same for [`super::Meta::wire_len`].
    pub(super) fn wire_len(self) -> u32 {
        u32::try_from(self.wire).unwrap_or(u32::MAX)
    }

    /// How many of them were not captured.
    pub(super) fn missing(self) -> u32 {
        u32::try_from(self.wire.saturating_sub(self.bytes.len())).unwrap_or(u32::MAX)
    }

    /// What follows the first `n` bytes; `None` if those are not all there.
    #[inline]
    pub(super) fn skip(self, n: usize) -> Option<Self> {
        let (_, bytes) = self.bytes.split_at_checked(n)?;
        Some(Self { bytes, wire: self.wire.saturating_sub(n) })
    }

    /// Ends at the `n` bytes that a header announces: drops what follows, or knows what is missing.
    #[inline]
    pub(super) fn trim(self, n: usize) -> Self {
        Self { bytes: self.bytes.get(..n).unwrap_or(self.bytes), wire: n }
    }
}
