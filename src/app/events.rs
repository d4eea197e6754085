//! Replay of other sensors' events: which inputs are such files, and what they tell, in the order of time.
//!
//! A pipe that is the only input may be written to for as long as it is read: see [`stream`](super::stream).
//! Events are read before packets, so that both can be taken in the order of time: only those that have to do with metadata
//! are kept, and there are few. Where there are more than a few thousand the earlier half goes on before the rest is read.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::feed::Feed;
use super::progress::Position;
use super::report::Failures;
use super::stream::{Pace, Paced};
use super::tell_user;
use crate::capture::{self, CaptureError, FileSource, Input, Listed};
use crate::config::Config;
use crate::observe::What;
use crate::packet::Timestamp;
use crate::sensors::prefilter::Prefilter;
use crate::sensors::{Judge, Reader, looks_like_events, looks_like_own_events};

/// Bytes that an input is recognised by.
const HEAD: usize = 64 * 1024;
/// Lines of one file of which is told what is wrong with them.
const TOLD: u64 = 10;
/// Bytes that one thing kept takes, roughly.
const EACH: u64 = 4096;

/// An input that has to be read for packets.
pub(super) enum Pending {
    /// Not opened, or to be opened anew.
    Listed(Listed),
    /// A pipe that was opened to see what it is.
    Open(Box<FileSource>),
}

/// What was read of events.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) inputs: u64,
    pub(super) events: u64,
    pub(super) skipped: u64,
    pub(super) bytes: u64,
    pub(super) failures: Failures,
}

/// Reads the inputs that are events of other sensors; returns those that are not.
pub(super) fn read(
    config: &Config,
    inputs: Vec<Result<Listed, CaptureError>>,
    position: &Position,
    stop: &AtomicBool,
    feed: &mut Feed<'_>,
) -> (Vec<Result<Pending, CaptureError>>, Counts) {
    let mut events = Events::new(config, feed);
    events.is_alone = inputs.len() == 1;
    let mut pending = Vec::new();
    for listed in inputs {
        let listed = match listed {
            Ok(listed) if !stop.load(Ordering::Relaxed) => listed,
            other => {
                pending.push(other.map(Pending::Listed));
                continue;
            }
        };
        pending.extend(events.input(listed, position, stop));
    }
    let counts = events.finish();
    (pending, counts)
}

/// What is kept of events until packets are read.
struct Events<'f, 'r> {
    judge: Judge,
    prefilter: Option<Arc<Prefilter>>,
    config: &'f Config,
    feed: &'f mut Feed<'r>,
    found: Vec<(Timestamp, What)>,
    kept: usize,
    /// There is one input: nothing else has to be put in order with it.
    is_alone: bool,
    counts: Counts,
}

impl<'f, 'r> Events<'f, 'r> {
    fn new(config: &'f Config, feed: &'f mut Feed<'r>) -> Self {
        let kept = usize::try_from(config.memory / EACH / 2).unwrap_or(usize::MAX).max(1024);
        Self {
            judge: Judge::new(Arc::clone(&config.catalogue), config.detect.clone()),
            prefilter: None,
            config,
            feed,
            found: Vec::new(),
            kept,
            is_alone: false,
            counts: Counts::default(),
        }
    }

    /// Reads an input, if it is a file of events.
    fn input(
        &mut self,
        listed: Listed,
        position: &Position,
        stop: &AtomicBool,
    ) -> Option<Result<Pending, CaptureError>> {
        let is_regular = listed.input.size().is_some();
        if let Input::Path(path) = &listed.input
            && is_regular
            && is_plain_capture(path)
        {
            return Some(Ok(Pending::Listed(listed)));
        }
        let opened = capture::plain(&listed.input)
            .and_then(|mut from| read_head(&mut *from, is_regular).map(|head| (head, from)));
        let (head, from) = match opened {
            Ok(opened) => opened,
            // it is opened again, and what is wrong is told then
            Err(_) if is_regular => return Some(Ok(Pending::Listed(listed))),
            Err(cause) => return Some(Err(CaptureError::Open { input: listed.input, cause })),
        };
        if !listed.named && looks_like_own_events(&head) {
            self.counts.skipped += 1;
            return None;
        }
        if looks_like_events(&head) {
            if self.is_alone && !is_regular {
                let from = Box::new(Cursor::new(head).chain(Paced::new(from)));
                self.file(&listed.input, from, true, position, stop);
            } else {
                self.file(&listed.input, Box::new(Cursor::new(head).chain(from)), false, position, stop);
            }
            return None;
        }
        if is_regular {
            return Some(Ok(Pending::Listed(listed)));
        }
        let whole = Box::new(Cursor::new(head).chain(from));
        let source = FileSource::from_reader(&listed.input, whole, None);
        Some(source.map(|source| Pending::Open(Box::new(source))))
    }

    fn file(
        &mut self,
        input: &Input,
        from: Box<dyn Read + Send>,
        is_stream: bool,
        position: &Position,
        stop: &AtomicBool,
    ) {
        let prefilter = self.prefilter.take().or_else(|| Prefilter::new(&self.config.catalogue).map(Arc::new));
        let Some(prefilter) = prefilter else { return };
        self.prefilter = Some(Arc::clone(&prefilter));
        self.counts.inputs += 1;
        let mut reader = Reader::new(from, prefilter);
        let mut pace = is_stream.then(|| Pace::new(self.config.correlate.skew));
        if is_stream {
            reader = reader.as_it_comes();
        }
        let (mut facts, mut troubles) = (Vec::new(), Vec::new());
        let mut told = 0;
        loop {
            let before = reader.bytes;
            let more = reader.next(&mut facts, &mut troubles);
            position.bytes.fetch_add(reader.bytes - before, Ordering::Relaxed);
            for fact in facts.drain(..) {
                self.found.extend(self.judge.judge(fact));
            }
            for trouble in troubles.drain(..) {
                told += 1;
                match told {
                    ..=TOLD => {
                        self.counts.failures.add(&format_args!("{input}: line {} {}", trouble.line, trouble.reason))
                    }
                    _ => self.counts.failures.count += 1,
                }
            }
            if self.found.len() > self.kept {
                self.hand_on_half();
            }
            if let Some(pace) = &mut pace {
                self.keep_up(pace, reader.is_idle);
            }
            match more {
                Ok(true) if !stop.load(Ordering::Relaxed) => {}
                Ok(_) => break,
                Err(error) => {
                    self.counts
                        .failures
                        .add(&format_args!("{input}: reading failed at byte {}: {error}", reader.bytes));
                    break;
                }
            }
        }
        if told > TOLD {
            tell_user(format_args!("{}: {} more lines could not be read", input, told - TOLD));
        }
        self.counts.events += reader.records;
        self.counts.bytes += reader.bytes;
    }

    /// There is no room for more: the earlier half goes on, whatever is older among what follows.
    fn hand_on_half(&mut self) {
        self.found.sort_by_key(|(time, _)| *time);
        let rest = self.found.split_off(self.found.len() / 2);
        self.feed.tell(std::mem::replace(&mut self.found, rest));
        self.feed.tell_all();
    }

    /// What was found goes on, and what waits there is decided, without waiting for the end of input.
    fn keep_up(&mut self, pace: &mut Pace, is_idle: bool) {
        let now = Instant::now();
        if pace.is_due(!self.found.is_empty(), is_idle, now) {
            self.found.sort_by_key(|(time, _)| *time);
            let latest = self.found.last().map_or_else(Timestamp::default, |(time, _)| *time);
            self.feed.tell(std::mem::take(&mut self.found));
            self.feed.tell_all();
            pace.went_on(now, latest);
        }
        if let Some(time) = pace.passes(now) {
            self.feed.pass(time);
        }
    }

    fn finish(mut self) -> Counts {
        // stable: what happened at once stays in the order in which it was read
        self.found.sort_by_key(|(time, _)| *time);
        self.feed.tell(self.found);
        self.counts
    }
}

/// The first bytes of an input; of a pipe no more than it takes to see what it is, as more may be long in coming.
fn read_head(from: &mut dyn Read, is_regular: bool) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    if is_regular {
        from.take(HEAD as u64).read_to_end(&mut head)?;
        return Ok(head);
    }
    let mut room = vec![0; HEAD];
    while head.len() < HEAD {
        let Some(room) = room.get_mut(head.len()..) else { break };
        match from.read(room) {
            Ok(0) => break,
            Ok(count) => head.extend_from_slice(room.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if MAGIC.iter().any(|magic| head.starts_with(magic)) || head.ends_with(b"\n") && looks_like_events(&head) {
            break;
        }
    }
    Ok(head)
}

/// How captures begin that are not compressed.
const MAGIC: [[u8; 4]; 6] = [
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0x0a, 0x0d, 0x0d, 0x0a],
    *b"snoo",
];

/// Whether a file begins like a capture that is not compressed: then it is no other thing.
fn is_plain_capture(path: &Path) -> bool {
    let mut head = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && MAGIC.contains(&head)
}
