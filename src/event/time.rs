//! Times as Packetbeat writes them: UTC, RFC 3339, truncated to the configured precision.
//!
//! In: [`Timestamp`]. Out: text without an allocation. Bound: every `i64` of nanoseconds (years 1677 to 2262).

use std::cell::Cell;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::civil::Date;
use crate::packet::Timestamp;

/// `timestamp.precision`. Of nanoseconds trailing zeros are cut, but never below three digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Always three digits.
    #[default]
    Millisecond,
    /// Always six.
    Microsecond,
    /// Up to nine.
    Nanosecond,
}

/// A time as it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    text: [u8; LONGEST],
    len: u8,
}

/// `YYYY-MM-DDTHH:MM:SS.fffffffffZ`
const LONGEST: usize = 30;
/// Its part up to the point.
const SECOND: usize = 20;

/// Makes stamps of one precision.
#[derive(Clone, Debug)]
pub struct Stamps {
    precision: Precision,
    /// The second that was rendered last: times of one event, and of the next, are near to each other.
    last: Cell<(i64, [u8; SECOND])>,
}

impl Stamps {
    /// Stamps with this precision.
    pub fn new(precision: Precision) -> Self {
        Self { precision, last: Cell::new((0, second(0))) }
    }

    /// The text of a time.
    pub fn of(&self, time: Timestamp) -> Stamp {
        let seconds = time.seconds();
        let mut last = self.last.get();
        if last.0 != seconds {
            last = (seconds, second(seconds));
            self.last.set(last);
        }
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        text[..SECOND].copy_from_slice(&last.1);
        let nanos = time.subsec_nanos();
        pair(&mut text, 20, nanos / 10_000_000);
        text[22] = b'0' + (nanos / 1_000_000 % 10) as u8;
        if self.precision != Precision::Millisecond {
            pair(&mut text, 23, nanos / 10_000 % 100);
            pair(&mut text, 25, nanos / 100 % 100);
            pair(&mut text, 27, nanos % 100);
        }
        let end = match self.precision {
            Precision::Millisecond => 23,
            Precision::Microsecond => 26,
            Precision::Nanosecond => 29 - text[23..29].iter().rev().take_while(|digit| **digit == b'0').count(),
        };
        text[end] = b'Z';
        Stamp { text, len: end as u8 + 1 }
    }
}

impl Stamp {
    fn text(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.text())
    }
}

/// `YYYY-MM-DDTHH:MM:SS.` of the seconds since 1970.
fn second(seconds: i64) -> [u8; SECOND] {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) as u32);
    let (year, month, day) = Date::of_days(days).parts();
    let mut text = *b"0000-00-00T00:00:00.";
    pair(&mut text, 0, year / 100);
    pair(&mut text, 2, year % 100);
    pair(&mut text, 5, month);
    pair(&mut text, 8, day);
    pair(&mut text, 11, second / 3600);
    pair(&mut text, 14, second / 60 % 60);
    pair(&mut text, 17, second % 60);
    text
}

/// Writes a number below 100 as two digits.
fn pair<const N: usize>(text: &mut [u8; N], at: usize, value: u32) {
    text[at] = b'0' + (value / 10) as u8;
    text[at + 1] = b'0' + (value % 10) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seconds: i64, nanos: i64, precision: Precision) -> String {
        Stamps::new(precision).of(Timestamp::new(seconds, nanos)).to_string()
    }

    #[test]
    fn truncates_and_cuts_zeros_as_packetbeat_does() {
        assert_eq!(text(1_440_662_455, 638_957_999, Precision::Millisecond), "2015-08-27T08:00:55.638Z");
        assert_eq!(text(1_440_662_455, 638_957_000, Precision::Nanosecond), "2015-08-27T08:00:55.638957Z");
        assert_eq!(text(1_440_662_455, 700_739_001, Precision::Nanosecond), "2015-08-27T08:00:55.700739001Z");
        assert_eq!(text(1_440_662_455, 817_000_999, Precision::Microsecond), "2015-08-27T08:00:55.817000Z");
        assert_eq!(text(1_440_662_455, 817_000_000, Precision::Nanosecond), "2015-08-27T08:00:55.817Z");
        assert_eq!(text(0, 0, Precision::Nanosecond), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn knows_leap_days_centuries_and_times_before_the_epoch() {
        assert_eq!(text(951_782_400, 0, Precision::Millisecond), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(4_107_542_399, 0, Precision::Millisecond), "2100-02-28T23:59:59.000Z");
        assert_eq!(text(4_107_542_400, 0, Precision::Millisecond), "2100-03-01T00:00:00.000Z");
        assert_eq!(text(-1, 0, Precision::Millisecond), "1969-12-31T23:59:59.000Z");
        for time in [i64::MIN, i64::MAX] {
            let text = Stamps::new(Precision::Nanosecond).of(Timestamp(time)).to_string();
            assert!(text == "1677-09-21T00:12:43.145224192Z" || text == "2262-04-11T23:47:16.854775807Z", "{text}");
        }
    }
}
