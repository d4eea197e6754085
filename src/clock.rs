//! Packet time as the run's clock: it follows the timestamps of packets, never runs backwards, and is not carried off by
//! a single damaged timestamp. Every whole second of it is a tick on which idle things expire.

use crate::packet::Timestamp;

/// Monotone packet time. One per run, driven in packet order, so that it is the same for any number of workers.
#[derive(Debug, Default)]
pub struct Clock {
    now: Option<Timestamp>,
    /// When the second after `now` begins.
    next: Timestamp,
    leap: Option<Timestamp>,
}

/// A jump forward of more than this (nanoseconds) is believed only when the next packet agrees.
const LEAP: i64 = 3_600 * Timestamp::SECOND;

impl Clock {
    /// Takes the next packet's time; returns the time to tick at when a new second began.
    pub fn advance(&mut self, time: Timestamp) -> Option<Timestamp> {
        let Some(now) = self.now else {
            return Some(self.tick(time));
        };
        if time <= now {
            self.leap = None;
            return None;
        }
        if time.since(now) > LEAP && self.leap.is_none_or(|leap| time.since(leap).abs() > LEAP) {
            self.leap = Some(time);
            return None;
        }
        self.leap = None;
        if time >= self.next {
            return Some(self.tick(time));
        }
        self.now = Some(time);
        None
    }

    fn tick(&mut self, time: Timestamp) -> Timestamp {
        self.now = Some(time);
        self.next = Timestamp::new(time.seconds().saturating_add(1), 0);
        time
    }

    /// The present packet time; the epoch before the first packet.
    pub fn now(&self) -> Timestamp {
        self.now.unwrap_or_default()
    }

    /// Forgets the present, for input that begins earlier than what was read so far.
    pub fn restart(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp(ms * 1_000_000)
    }

    #[test]
    fn ticks_once_a_second_and_never_backwards() {
        let mut clock = Clock::default();
        let ticks: Vec<_> =
            [1_000, 1_500, 1_999, 2_001, 1_000, 2_500, 9_000].map(|ms| clock.advance(at(ms)).is_some()).into();
        assert_eq!(ticks, [true, false, false, true, false, false, true]);
        assert_eq!(clock.now(), at(9_000));
    }

    #[test]
    fn one_wild_timestamp_does_not_carry_it_off_but_two_do() {
        let year = 365 * 86_400_000;
        let mut clock = Clock::default();
        clock.advance(at(1_000));
        assert_eq!(clock.advance(at(year)), None);
        assert_eq!(clock.advance(at(1_100)), None);
        assert_eq!(clock.now(), at(1_100));
        assert_eq!(clock.advance(at(year)), None);
        assert_eq!(clock.advance(at(year + 5)), Some(at(year + 5)));
    }
}
