//! Arithmetic on sequence numbers, modulo 2^32 (RFC 9293 section 3.4). Numbers compared are less than 2^31 apart.

/// Whether `a` comes before `b`.
pub(super) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Whether `a` comes after `b`.
pub(super) fn after(a: u32, b: u32) -> bool {
    before(b, a)
}

/// The later of two.
pub(super) fn latest(a: u32, b: u32) -> u32 {
    if before(a, b) { b } else { a }
}

/// The earlier of two.
pub(super) fn earliest(a: u32, b: u32) -> u32 {
    if before(a, b) { a } else { b }
}

/// Bytes from `from` up to `to`, 0 when `to` is not after `from`.
pub(super) fn distance(from: u32, to: u32) -> u32 {
    if after(to, from) { to.wrapping_sub(from) } else { 0 }
}

/// The sequence number after `len` bytes from `seq`.
pub(super) fn advance(seq: u32, len: usize) -> u32 {
    seq.wrapping_add(len as u32)
}
