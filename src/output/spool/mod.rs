//! Events on disk until their receiver has them: what is written here outlives the program, and a loss of power to the
//! last second.
//!
//! ```text
//! DIR/lock                            one process at a time
//! DIR/alerts/0000000000000007.seg     DIR/events/…       two queues; see [`segment`]
//! DIR/alerts/ack                      DIR/events/ack     segment and frames that are done, replaced after each batch
//! DIR/dead.ndjson                     what the receiver will never take
//! ```
//!
//! In: lines, from one thread. Out: the same, alerts first, to one or more threads that send them and say what is done.
//! Losing an `ack` only sends again. A start appends to no file of an earlier run; reading stops at the first bad frame of
//! a segment, counts it, and goes on with the next segment: nothing that stands in the spool can keep the program from
//! starting. Bounds: [`Spool::open`]'s number of bytes on disk; when it, or the disk, is full, whole segments go, the
//! oldest transactions first and alerts last, and every event that goes is counted.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::counters::Counters;

mod segment;
#[cfg(test)]
mod tests;

use segment::{Found, SegmentReader, SegmentWriter};

/// A new segment begins at this many bytes, or at a sixteenth of the spool where that is less.
const SEGMENT: u64 = 8 << 20;

/// Which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Alerts.
    Alerts,
    /// Everything else.
    Events,
}

impl Class {
    const ALL: [Self; 2] = [Self::Alerts, Self::Events];

    fn name(self) -> &'static str {
        match self {
            Self::Alerts => "alerts",
            Self::Events => "events",
        }
    }
}

/// Lines that were read and not acknowledged yet.
#[derive(Debug)]
pub struct Chunk {
    /// Whole lines.
    pub lines: Vec<u8>,
    /// How many.
    pub count: u64,
    class: Class,
    ticket: u64,
}

/// See the module.
pub struct Spool {
    state: Mutex<State>,
    /// Something was written, or the spool is closing.
    changed: Condvar,
    counters: Arc<Counters>,
    most: u64,
    /// Held for as long as the spool is.
    _lock: File,
}

struct State {
    alerts: Queue,
    events: Queue,
    segment: u64,
    closing: bool,
    last_read: Option<Instant>,
}

/// One of the two queues.
struct Queue {
    dir: PathBuf,
    class: Class,
    segments: VecDeque<Segment>,
    /// Bytes of all segments.
    bytes: u64,
    /// Events of all segments that have not been read.
    unread: u64,
    writer: Option<SegmentWriter>,
    next_number: u64,
    reader: Option<SegmentReader>,
    /// Where reading goes on.
    read: Position,
    /// What was read and is being sent, in order.
    in_flight: VecDeque<Ticket>,
    next_ticket: u64,
}

struct Segment {
    number: u64,
    bytes: u64,
    /// Events that have not been read.
    unread: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    segment: u64,
    /// Frames of it that are done.
    frames: u64,
}

struct Ticket {
    number: u64,
    start: Position,
    end: Position,
    count: u64,
    is_done: bool,
}

impl Spool {
    /// Opens a spool of at most so many bytes, and makes its folder (mode 0700) where there is none.
    ///
    /// # Errors
    /// What the system says of folders and lock; `WouldBlock` where another process has it. Never because of what files
    /// hold.
    pub fn open(dir: &Path, most: u64, counters: Arc<Counters>) -> io::Result<Self> {
        make_dir(dir)?;
        let lock = private(OpenOptions::new().write(true).create(true).truncate(false)).open(dir.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::WouldBlock, "another process uses this spool")
            }
            std::fs::TryLockError::Error(error) => error,
        })?;
        let [alerts, events] = Class::ALL.map(|class| Queue::open(dir.join(class.name()), class));
        let segment = SEGMENT.min(most / 16).max(16 << 10);
        let state = State { alerts: alerts?, events: events?, segment, closing: false, last_read: None };
        counters.found_waiting(state.unread());
        counters.spool(state.bytes());
        let state = Mutex::new(state);
        Ok(Self { state, changed: Condvar::new(), counters, most, _lock: lock })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes so many whole lines, making room for them where there is none. What there is no room for even so is dropped
    /// and counted.
    ///
    /// # Errors
    /// Why lines had to be dropped, unless the spool was simply full.
    pub fn write(&self, class: Class, lines: &[u8], count: u32) -> io::Result<()> {
        let frame = segment::frame(lines, count);
        let mut state = self.state();
        let outcome = frame.and_then(|frame| state.write(class, &frame, count, self.most, &self.counters));
        if !matches!(outcome, Ok(true)) {
            let (alerts, events) = split(class, count.into());
            self.counters.drop_many(alerts, events);
        }
        self.counters.spool(state.bytes());
        drop(state);
        self.changed.notify_all();
        outcome.map(drop)
    }

    /// Brings what was written to the disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&self, class: Class) -> io::Result<()> {
        self.state().queue(class).writer.as_mut().map_or(Ok(()), SegmentWriter::sync)
    }

    /// The next lines, alerts first: whole frames, until they are so many events or bytes together. Fewer events, unless
    /// they are alerts, wait for others until `flush` after the last time. Waits for some until `due`; then, or when the
    /// spool is closing and nothing is left, there are none.
    pub fn read(&self, most: usize, bytes: usize, flush: Duration, due: Instant) -> Option<Chunk> {
        let mut state = self.state();
        loop {
            let flush_in = state.last_read.map_or(Duration::ZERO, |last| flush.saturating_sub(last.elapsed()));
            if (state.is_worth_reading(most) || flush_in == Duration::ZERO)
                && let Some(chunk) = state.read(most as u64, bytes, &self.counters)
            {
                return Some(chunk);
            }
            let left = due.saturating_duration_since(Instant::now());
            if state.closing || left == Duration::ZERO {
                return None;
            }
            let wait = if flush_in == Duration::ZERO { left } else { left.min(flush_in) };
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Every line of `chunk` is done.
    pub fn acknowledge(&self, chunk: &Chunk) {
        let mut state = self.state();
        state.queue(chunk.class).acknowledge(chunk.ticket);
        self.counters.spool(state.bytes());
    }

    /// Nothing more will be written: whoever waits for lines need not.
    pub fn close(&self) {
        let mut state = self.state();
        state.closing = true;
        for class in Class::ALL {
            let _ = state.queue(class).writer.as_mut().map_or(Ok(()), SegmentWriter::sync);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Whether it is closing.
    pub fn is_closing(&self) -> bool {
        self.state().closing
    }

    /// The run is over: what was being sent and stands nowhere any more counts as dropped, and where nothing is left to
    /// send, no file stays.
    pub fn settle(&self) {
        let mut state = self.state();
        let State { alerts, events, .. } = &mut *state;
        for queue in [alerts, events] {
            if queue.in_flight.is_empty() && queue.unread == 0 {
                while queue.drop_oldest().is_some() {}
            }
            let first = queue.segments.front().map_or(u64::MAX, |segment| segment.number);
            let gone = queue.in_flight.iter().filter(|ticket| !ticket.is_done && ticket.end.segment < first);
            let (alerts, events) = split(queue.class, gone.map(|ticket| ticket.count).sum());
            self.counters.drop_many(alerts, events);
        }
        self.counters.spool(state.bytes());
    }
}

fn split(class: Class, count: u64) -> (u64, u64) {
    match class {
        Class::Alerts => (count, 0),
        Class::Events => (0, count),
    }
}

impl State {
    fn queue(&mut self, class: Class) -> &mut Queue {
        match class {
            Class::Alerts => &mut self.alerts,
            Class::Events => &mut self.events,
        }
    }

    fn bytes(&self) -> u64 {
        self.alerts.bytes + self.events.bytes
    }

    fn unread(&self) -> u64 {
        self.alerts.unread + self.events.unread
    }

    fn read(&mut self, most: u64, bytes: usize, counters: &Counters) -> Option<Chunk> {
        let queues = [&mut self.alerts, &mut self.events];
        let chunk = queues.into_iter().find_map(|queue| queue.read(most, bytes, counters))?;
        self.last_read = Some(Instant::now());
        Some(chunk)
    }

    /// Whether reading need not wait for more.
    fn is_worth_reading(&self, most: usize) -> bool {
        self.closing || self.alerts.unread > 0 || self.events.unread >= most as u64
    }

    /// Returns whether there was room.
    fn write(&mut self, class: Class, frame: &[u8], count: u32, most: u64, counters: &Counters) -> io::Result<bool> {
        let length = frame.len() as u64 + segment::HEAD;
        while self.bytes() + length > most {
            if !self.make_room(class, counters) {
                return Ok(false);
            }
        }
        loop {
            let limit = self.segment;
            match self.queue(class).write(frame, count, limit) {
                Ok(()) => return Ok(true),
                Err(error) if is_full(&error) => {
                    // Smaller segments from now on, so that each that goes takes less with it.
                    self.segment = self.segment.min(self.bytes() / 8).max(16 << 10);
                    if !self.make_room(class, counters) {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the oldest segment, of events if there is one; of alerts only to make room for alerts.
    fn make_room(&mut self, class: Class, counters: &Counters) -> bool {
        let from = match (self.events.segments.is_empty(), class) {
            (false, _) => Class::Events,
            (true, Class::Alerts) => Class::Alerts,
            (true, Class::Events) => return false,
        };
        let Some(unread) = self.queue(from).drop_oldest() else { return false };
        let (alerts, events) = split(from, unread);
        counters.drop_many(alerts, events);
        true
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::WriteZero
    )
}

impl Queue {
    fn open(dir: PathBuf, class: Class) -> io::Result<Self> {
        make_dir(&dir)?;
        let mut numbers: Vec<(u64, u64)> = std::fs::read_dir(&dir)?
            .flatten()
            .filter_map(|entry| Some((number_of(&entry.file_name())?, entry.metadata().ok()?.len())))
            .collect();
        numbers.sort_unstable();
        let acknowledged = read_ack(&dir).unwrap_or_default();
        let mut queue = Self {
            class,
            segments: VecDeque::with_capacity(numbers.len()),
            bytes: 0,
            unread: 0,
            writer: None,
            next_number: numbers.last().map_or(0, |(number, _)| *number).max(acknowledged.segment) + 1,
            reader: None,
            read: Position::default(),
            in_flight: VecDeque::new(),
            next_ticket: 0,
            dir,
        };
        for (number, bytes) in numbers {
            if number < acknowledged.segment {
                let _ = std::fs::remove_file(queue.path(number));
                continue;
            }
            let skip = if number == acknowledged.segment { acknowledged.frames } else { 0 };
            let unread = segment::count_events(&queue.path(number), skip);
            queue.segments.push_back(Segment { number, bytes, unread });
            queue.bytes += bytes;
            queue.unread += unread;
        }
        queue.read = match queue.segments.front() {
            Some(first) if first.number == acknowledged.segment => acknowledged,
            Some(first) => Position { segment: first.number, frames: 0 },
            None => Position { segment: queue.next_number, frames: 0 },
        };
        Ok(queue)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:016}.seg"))
    }

    fn write(&mut self, frame: &[u8], count: u32, limit: u64) -> io::Result<()> {
        let is_full = |writer: &SegmentWriter| {
            writer.is_torn() || writer.length() > segment::HEAD && writer.length() + frame.len() as u64 > limit
        };
        if self.writer.as_ref().is_some_and(is_full) {
            self.finish_segment();
        }
        if self.writer.is_none() {
            let number = self.next_number;
            let writer = SegmentWriter::create(&self.path(number))?;
            self.next_number += 1;
            self.segments.push_back(Segment { number, bytes: segment::HEAD, unread: 0 });
            self.bytes += segment::HEAD;
            self.writer = Some(writer);
            self.sync_dir();
        }
        let (Some(writer), Some(segment)) = (&mut self.writer, self.segments.back_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        writer.append(frame)?;
        self.bytes += writer.length() - segment.bytes;
        segment.bytes = writer.length();
        segment.unread += u64::from(count);
        self.unread += u64::from(count);
        Ok(())
    }

    /// Nothing more is written to the present segment.
    fn finish_segment(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            let _ = writer.sync();
        }
        self.remove_done();
    }

    /// Has names of files brought to the disk. Of those that are removed it does not matter: one that comes back with a
    /// crash is sent again, or known by the `ack` to be done.
    fn sync_dir(&self) {
        let _ = File::open(&self.dir).and_then(|dir| dir.sync_all());
    }

    fn read(&mut self, most: u64, bytes: usize, counters: &Counters) -> Option<Chunk> {
        let (mut lines, mut sum, start) = (Vec::new(), 0, self.read);
        while lines.len() < bytes && sum < most {
            let Some((more, count)) = self.next_frame(counters) else { break };
            match lines.is_empty() {
                true => lines = more,
                false => lines.extend_from_slice(&more),
            }
            sum += u64::from(count);
        }
        let number = self.next_ticket;
        if sum > 0 {
            self.next_ticket += 1;
            self.in_flight.push_back(Ticket { number, start, end: self.read, count: sum, is_done: false });
        }
        // Not before the ticket stands: it keeps the segments that the chunk is from until they are acknowledged.
        self.remove_done();
        (sum > 0).then_some(Chunk { lines, count: sum, class: self.class, ticket: number })
    }

    /// The next good frame, in whichever segment.
    fn next_frame(&mut self, counters: &Counters) -> Option<(Vec<u8>, u32)> {
        loop {
            let at = self.read.segment;
            let segment = self.segments.iter_mut().find(|segment| segment.number >= at)?;
            if segment.number > at {
                self.read = Position { segment: segment.number, frames: 0 };
                self.reader = None;
                continue;
            }
            let is_written = self.writer.is_some() && self.next_number == at + 1;
            if is_written && segment.unread == 0 {
                return None;
            }
            match self.read_frame() {
                Found::Frame { lines, count } => {
                    self.read.frames += 1;
                    let segment = self.segments.iter_mut().find(|segment| segment.number == at)?;
                    let read = segment.unread.min(count.into());
                    segment.unread -= read;
                    self.unread -= read;
                    return Some((lines, count));
                }
                Found::End => self.leave_segment(at, counters),
                Found::Damaged => {
                    counters.damage();
                    self.leave_segment(at, counters);
                }
            }
        }
    }

    /// What stands next in the present segment.
    fn read_frame(&mut self) -> Found {
        if self.reader.is_none() {
            let path = self.path(self.read.segment);
            self.reader = SegmentReader::open(&path, self.read.frames).ok().flatten();
        }
        let found = self.reader.as_mut().and_then(|reader| reader.next().ok());
        found.unwrap_or(Found::Damaged)
    }

    /// Goes on with the next segment. What is left of this one is damaged, or there would be nothing.
    fn leave_segment(&mut self, number: u64, counters: &Counters) {
        self.reader = None;
        self.read = Position { segment: number + 1, frames: 0 };
        if self.next_number == number + 1 {
            // Not even what this run writes can be read back: the rest goes into a new segment.
            self.writer = None;
        }
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.number == number) {
            let lost = std::mem::take(&mut segment.unread);
            self.unread -= lost;
            let (alerts, events) = split(self.class, lost);
            counters.drop_many(alerts, events);
        }
    }

    fn acknowledge(&mut self, ticket: u64) {
        if let Some(ticket) = self.in_flight.iter_mut().find(|other| other.number == ticket) {
            ticket.is_done = true;
        }
        let mut end = None;
        while let Some(first) = self.in_flight.pop_front_if(|first| first.is_done) {
            end = Some(first.end);
        }
        if let Some(end) = end {
            // Losing it only sends again.
            let _ = write_ack(&self.dir, end);
            self.remove_done();
        }
    }

    /// Removes segments of which everything is done.
    fn remove_done(&mut self) {
        let open = self.in_flight.front().map_or(self.read.segment, |first| first.start.segment);
        let writes = self.writer.as_ref().map_or(u64::MAX, |_| self.next_number - 1);
        while let Some(first) = self.segments.pop_front_if(|first| first.number < open && first.number < writes) {
            let _ = std::fs::remove_file(self.path(first.number));
            self.bytes -= first.bytes;
        }
    }

    /// Removes the oldest segment; returns how many of its events were never read.
    fn drop_oldest(&mut self) -> Option<u64> {
        let first = self.segments.pop_front()?;
        self.bytes -= first.bytes;
        self.unread -= first.unread;
        if self.segments.is_empty() {
            self.writer = None;
        }
        if self.read.segment <= first.number {
            self.reader = None;
            self.read = Position { segment: first.number + 1, frames: 0 };
        }
        let _ = std::fs::remove_file(self.path(first.number));
        Some(first.unread)
    }
}

fn number_of(name: &std::ffi::OsStr) -> Option<u64> {
    name.to_str()?.strip_suffix(".seg").filter(|digits| digits.len() == 16)?.parse().ok()
}

/// Makes a folder that nobody else may look into.
fn make_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn read_ack(dir: &Path) -> Option<Position> {
    let bytes = std::fs::read(dir.join("ack")).ok()?;
    let (words, rest) = bytes.as_chunks::<8>();
    let [segment, frames] = words else { return None };
    (rest == crc32fast::hash(words.as_flattened()).to_le_bytes())
        .then(|| Position { segment: u64::from_le_bytes(*segment), frames: u64::from_le_bytes(*frames) })
}

/// Written beside and renamed, so that it is always whole.
fn write_ack(dir: &Path, Position { segment, frames }: Position) -> io::Result<()> {
    let words = [segment.to_le_bytes(), frames.to_le_bytes()];
    let sum = crc32fast::hash(words.as_flattened()).to_le_bytes();
    let new = dir.join("ack.new");
    let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(&new)?;
    file.write_all(&[words.as_flattened(), &sum].concat())?;
    std::fs::rename(new, dir.join("ack"))
}
