//! Ids of events and alerts: the same packets give the same ids in every run, and on every sensor that sees them.
//!
//! In: whatever tells one event from another. Out: 128 bits. Bound: holds [`PENDING`] bytes that are not hashed yet.

use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;

use serde::{Serialize, Serializer};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::conn::Endpoint;

/// `event.id`; written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub u128);

impl EventId {
    /// The digits.
    pub fn text(self) -> [u8; 32] {
        let mut text = [0; 32];
        for (digits, bytes) in text.as_chunks_mut::<8>().0.iter_mut().zip(self.0.to_be_bytes().as_chunks::<4>().0) {
            *digits = hex(u32::from_be_bytes(*bytes));
        }
        text
    }
}

/// Eight hexadecimal digits, all of them at once.
fn hex(number: u32) -> [u8; 8] {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let spread = |bits: u64, by: u32, mask: u64| (bits << by | bits) & mask;
    let pairs = spread(u64::from(number), 16, 0x0000_FFFF_0000_FFFF);
    let bytes = spread(pairs, 8, 0x00FF_00FF_00FF_00FF);
    let digits = spread(bytes, 4, 0x0F * ONES);
    let is_letter = (digits + 6 * ONES) >> 4 & ONES;
    (digits + u64::from(b'0') * ONES + is_letter * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

impl Serialize for EventId {
    /// As rendered JSON.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut quoted = [b'"'; 34];
        quoted[1..33].copy_from_slice(&self.text());
        serializer.serialize_bytes(&quoted)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).unwrap_or_default())
    }
}

/// Bytes that are hashed as one.
const PENDING: usize = 160;

/// What tells one event from another: put in everything that does, in a fixed order.
#[derive(Clone)]
pub struct IdHasher {
    hasher: SipHasher13,
    /// What has not been hashed yet: many small pieces are hashed faster as one.
    pending: [u8; PENDING],
    len: usize,
}

impl IdHasher {
    /// Ids of one kind of event (`http`, `flow`, `alert`, …).
    pub fn new(kind: &str) -> Self {
        let hasher = SipHasher13::new(); // ids need to be stable, not secret
        let mut new = Self { hasher, pending: [0; PENDING], len: 0 };
        new.write(kind.as_bytes());
        new.write(&[0]);
        new
    }

    fn write(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        match self.pending.get_mut(self.len..end) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.len = end;
            }
            None => {
                self.hasher.write(&self.pending[..self.len]);
                self.hasher.write(bytes);
                self.len = 0;
            }
        }
    }

    /// Adds bytes, with their length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64).write(bytes);
        self
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.write(&number.to_le_bytes());
        self
    }

    /// Adds one end of a connection.
    pub fn end(&mut self, end: &Endpoint) -> &mut Self {
        self.ip(end.ip).number(u64::from(end.port))
    }

    /// Adds an address.
    pub fn ip(&mut self, ip: IpAddr) -> &mut Self {
        match ip {
            IpAddr::V4(v4) => self.bytes(&v4.octets()),
            IpAddr::V6(v6) => self.bytes(&v6.octets()),
        }
    }

    /// The id.
    pub fn finish(&mut self) -> EventId {
        self.hasher.write(&self.pending[..self.len]);
        EventId(u128::from_be_bytes(self.hasher.finish128().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_number() {
        for id in [0, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210, u128::MAX, 0x9a09_f00f_a90a_9fa0 << 40] {
            assert_eq!(EventId(id).to_string(), format!("{id:032x}"));
        }
    }
}
