//! Ids of events and alerts: the same packets give the same ids in every run, and on every sensor that sees them.
//!
//! In: whatever tells one event from another. Out: 128 bits. Bound: the state of one hash.

use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;

use serde::{Serialize, Serializer};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::conn::Endpoint;
use crate::text::hex;

/// `event.id`; written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub u128);

impl EventId {
    /// The digits.
    pub fn text(self) -> [u8; 32] {
        let mut text = [0; 32];
        for (digits, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0.to_be_bytes()) {
            *digits = hex::lower(byte);
        }
        text
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.text())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).unwrap_or_default())
    }
}

/// What tells one event from another: put in everything that does, in a fixed order.
#[derive(Clone)]
pub struct IdHasher(SipHasher13);

impl IdHasher {
    /// Ids of one kind of event (`http`, `flow`, `alert`, …).
    pub fn new(kind: &str) -> Self {
        let mut hasher = SipHasher13::new(); // ids need to be stable, not secret
        hasher.write(kind.as_bytes());
        hasher.write(&[0]);
        Self(hasher)
    }

    /// Adds bytes, with their length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64).0.write(bytes);
        self
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.write(&number.to_le_bytes());
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
        EventId(u128::from_be_bytes(self.0.finish128().as_bytes()))
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
