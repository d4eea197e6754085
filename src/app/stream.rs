//! Events that are read while somebody writes them, `tail -f events.ndjson | imdswatch -r -`: what they tell goes on at
//! once, and what waits for what may belong to it is decided a second later, whether more comes or not.

use std::collections::VecDeque;
use std::io::{self, Cursor, Read};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::packet::Timestamp;

/// Bytes that are read at once, and how many such pieces may wait.
const PIECE: usize = 256 * 1024;
const PIECES: usize = 4;
/// A writer that writes nothing for so long has nothing more to say for now.
const PAUSE: Duration = Duration::from_millis(250);
/// What was found waits at most so long to be put in the order of time, and then for what may belong to it.
const PATIENCE: Duration = Duration::from_secs(1);

/// A pipe that is read by a thread of its own, so that waiting for more has an end: [`io::ErrorKind::TimedOut`].
pub(super) struct Paced {
    pieces: Receiver<io::Result<Vec<u8>>>,
    rest: Cursor<Vec<u8>>,
}

impl Paced {
    /// Reads `from` to its end. Where the run ends before, the thread ends with the process.
    pub(super) fn new(mut from: Box<dyn Read + Send>) -> Self {
        let (to, pieces) = bounded(PIECES);
        thread::spawn(move || {
            loop {
                let mut piece = vec![0; PIECE];
                let read = match from.read(&mut piece) {
                    Ok(0) => break,
                    Ok(count) => {
                        piece.truncate(count);
                        Ok(piece)
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = read.is_err();
                if to.send(read).is_err() || failed {
                    break;
                }
            }
        });
        Self { pieces, rest: Cursor::default() }
    }
}

impl Read for Paced {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.rest.read(room)?;
        if count > 0 {
            return Ok(count);
        }
        match self.pieces.recv_timeout(PAUSE) {
            Ok(piece) => self.rest = Cursor::new(piece?),
            Err(RecvTimeoutError::Timeout) => return Err(io::ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => return Ok(0),
        }
        self.rest.read(room)
    }
}

/// When what was found goes on, and when it has waited long enough.
pub(super) struct Pace {
    /// When the first of what has not gone on was found.
    found: Option<Instant>,
    /// What went on: when, and the latest time that it told.
    gone: VecDeque<(Instant, Timestamp)>,
    /// Packet time after which nothing waits any more for what may belong to it, in nanoseconds.
    hold: i64,
    passed: Timestamp,
}

impl Pace {
    /// `skew` is by how much clocks may differ, in nanoseconds.
    pub(super) fn new(skew: i64) -> Self {
        let hold = skew.saturating_add(4 * Timestamp::SECOND);
        Self { found: None, gone: VecDeque::new(), hold, passed: Timestamp(i64::MIN) }
    }

    /// Whether what was found is to go on now.
    pub(super) fn is_due(&mut self, any: bool, is_idle: bool, now: Instant) -> bool {
        if !any {
            return false;
        }
        let since = *self.found.get_or_insert(now);
        is_idle || now.duration_since(since) >= PATIENCE
    }

    /// Everything found has gone on.
    pub(super) fn went_on(&mut self, now: Instant, latest: Timestamp) {
        self.found = None;
        self.gone.push_back((now, latest));
    }

    /// The time that it is for those that wait, if some have waited long enough.
    pub(super) fn passes(&mut self, now: Instant) -> Option<Timestamp> {
        let mut latest = None;
        while let Some((_, time)) = self.gone.pop_front_if(|(at, _)| now.duration_since(*at) >= PATIENCE) {
            latest = latest.max(Some(time));
        }
        let time = latest?.plus(self.hold).max(self.passed.plus(Timestamp::SECOND));
        self.passed = time;
        Some(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_goes_on_when_it_is_quiet_or_after_a_second() {
        let (mut pace, start) = (Pace::new(2 * Timestamp::SECOND), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        assert!(!pace.is_due(false, true, start));
        assert!(!pace.is_due(true, false, start));
        assert!(pace.is_due(true, true, after(10)));
        assert!(pace.is_due(true, false, after(1000)));
        pace.went_on(after(1000), Timestamp::new(50, 0));
        assert_eq!(pace.passes(after(1900)), None);
        assert_eq!(pace.passes(after(2000)), Some(Timestamp::new(56, 0)));
        assert_eq!(pace.passes(after(9000)), None);
        pace.went_on(after(9000), Timestamp::new(40, 0));
        assert_eq!(pace.passes(after(9999)), None);
        assert_eq!(pace.passes(after(10_000)), Some(Timestamp::new(57, 0)), "older ones do not wait for newer ones");
    }

    #[test]
    fn waiting_has_an_end() {
        let (to, from) = bounded::<io::Result<Vec<u8>>>(1);
        let mut paced = Paced { pieces: from, rest: Cursor::default() };
        let mut room = [0; 8];
        assert_eq!(paced.read(&mut room).unwrap_err().kind(), io::ErrorKind::TimedOut);
        to.send(Ok(b"0123456789".to_vec())).unwrap();
        assert_eq!((paced.read(&mut room).unwrap(), paced.read(&mut room).unwrap()), (8, 2));
        drop(to);
        assert_eq!(paced.read(&mut room).unwrap(), 0);
        let mut whole = Vec::new();
        Paced::new(Box::new(Cursor::new(vec![7; 3 * PIECE]))).read_to_end(&mut whole).unwrap();
        assert_eq!(whole, vec![7; 3 * PIECE]);
    }
}
