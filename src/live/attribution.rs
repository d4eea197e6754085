//! Which process opened a connection to a metadata service.
//!
//! In: hits of the kernel's tracepoint, one for each attempt to connect, and where that cannot be had, questions at the
//! first packet of a connection. Out: [`Processes`], a bounded table of connections and the processes behind them. What
//! is not certain has no entry: processes that were gone before they could be read, and those of other network
//! namespaces, whose connections look the same from outside.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::time::ClockId;

use super::helper::Helper;
use super::perf::Ring;
use super::procfs::Procfs;
use super::sockets::Sockets;
use super::tracepoint::{SYN_SENT, Tracepoint, Transition};
use crate::catalogue::Catalogue;
use crate::observe::Endpoint;
use crate::packet::Timestamp;
use crate::process::{Process, Processes};

/// Connections remembered, and attempts to connect that are under way.
const MAX_KNOWN: usize = 8_192;
const MAX_OPENING: usize = 4_096;
/// Questions that may wait.
const MAX_QUESTIONS: usize = 256;

/// The first packet of a connection is seen at most so long after the attempt began (nanoseconds): the kernel sends it
/// anew for a few seconds. It is never seen before, but for the error of clocks.
const AT_MOST: i64 = 10 * Timestamp::SECOND;
const AT_LEAST: i64 = -50_000_000;

type Ends = (Endpoint, Endpoint);

/// The table that pipelines ask.
pub struct Directory {
    known: Mutex<Bounded<Ends, (Timestamp, Arc<Process>)>>,
    /// Asks the thread, where the kernel does not tell by itself.
    questions: Option<(Sender<(Ends, Timestamp)>, OwnedFd)>,
    named: AtomicU64,
    missed: AtomicU64,
}

impl Processes for Directory {
    fn connecting(&self, client: Endpoint, server: Endpoint, first: Timestamp) {
        if let Some((questions, bell)) = &self.questions
            && questions.try_send(((client, server), first)).is_ok()
        {
            let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
        }
    }

    fn find(&self, client: Endpoint, server: Endpoint, first: Timestamp) -> Option<Arc<Process>> {
        let known = self.known();
        let (began, process) = known.map.get(&(client, server))?;
        (AT_LEAST..=AT_MOST).contains(&first.since(*began)).then(|| Arc::clone(process))
    }
}

impl Directory {
    fn new(most: usize, questions: Option<(Sender<(Ends, Timestamp)>, OwnedFd)>) -> Self {
        let known = Mutex::new(Bounded::new(most));
        Self { known, questions, named: AtomicU64::new(0), missed: AtomicU64::new(0) }
    }

    /// Connections to metadata services whose process was named, and those whose process was not: gone too soon, in
    /// another network namespace, or not ours to look at.
    pub fn counts(&self) -> (u64, u64) {
        (self.named.load(Ordering::Relaxed), self.missed.load(Ordering::Relaxed))
    }

    fn count(&self, named: bool) {
        let counter = if named { &self.named } else { &self.missed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn known(&self) -> MutexGuard<'_, Bounded<Ends, (Timestamp, Arc<Process>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills a [`Directory`]. Opened with privilege; runs without.
pub struct Attribution {
    directory: Arc<Directory>,
    procfs: Procfs,
    catalogue: Arc<Catalogue>,
    source: Source,
    opening: Bounded<u64, Opening>,
}

/// How processes come to be known.
enum Source {
    /// The kernel tells of each attempt to connect.
    Tracepoint(Tracepoint, Vec<Ring>),
    /// At a connection's first packet its socket is looked up, and then whose it is.
    Sockets(Option<Sockets>, Receiver<(Ends, Timestamp)>, OwnedFd),
}

/// What is known of a socket that is being connected. The port is chosen after the attempt was told, and the answer may
/// be told by another processor's ring, and so before.
enum Opening {
    By(Timestamp, Arc<Process>),
    Done(Timestamp, Ends),
}

impl Attribution {
    /// Opens the tracepoint on every processor; where that is refused, sockets are looked up instead, and the reason is
    /// returned in words. `root` is where the host's file system is.
    ///
    /// # Errors
    /// When the system has no descriptor for us.
    pub fn open(root: &Path, catalogue: Arc<Catalogue>) -> io::Result<(Self, Option<String>)> {
        let (source, questions, remark) = match tracepoint(root) {
            Ok((tracepoint, rings)) => (Source::Tracepoint(tracepoint, rings), None, None),
            Err(why) => {
                let (ask, asked) = bounded(MAX_QUESTIONS);
                let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
                let remark = format!(
                    "{why}: processes are looked up at the first packet instead, and those that live for some \
                     milliseconds only stay without a name"
                );
                let questions = Some((ask, bell.try_clone()?));
                (Source::Sockets(Sockets::open().ok(), asked, bell), questions, Some(remark))
            }
        };
        let directory = Arc::new(Directory::new(MAX_KNOWN, questions));
        let procfs = Procfs::new(root);
        let opening = Bounded::new(MAX_OPENING);
        Ok((Self { directory, procfs, catalogue, source, opening }, remark))
    }

    /// The table that is filled.
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory)
    }

    /// Has another process look where we may not.
    pub fn look_with(&mut self, helper: Helper) {
        self.procfs.helper = Some(helper);
    }

    /// Works until the other end of `until` is written to or closed; returns how many hits the kernel had no room for.
    pub fn run(mut self, until: &UnixStream) -> u64 {
        while !self.wait(until) {
            match &mut self.source {
                Source::Tracepoint(tracepoint, rings) => {
                    let mut hits = Vec::new();
                    let offset = real_minus_monotonic();
                    for ring in rings {
                        ring.drain(&mut |sample| {
                            let hit = tracepoint.transition(sample.raw);
                            hits.extend(hit.map(|hit| (Timestamp(sample.time).plus(offset), sample.pid, hit)));
                        });
                    }
                    hits.sort_by_key(|(time, ..)| *time);
                    hits.into_iter().for_each(|(time, pid, hit)| self.hit(time, pid, &hit));
                }
                Source::Sockets(sockets, questions, bell) => {
                    let _ = rustix::io::read(&*bell, &mut [0u8; 8]);
                    for (ends, first) in questions.try_iter() {
                        let inode = sockets.as_mut().and_then(|sockets| sockets.inode(ends.0, ends.1));
                        let process = inode.and_then(|inode| self.procfs.read(self.procfs.owner(inode)?, first));
                        self.directory.count(process.is_some());
                        if let Some(process) = process {
                            self.directory.known().insert(ends, (first, Arc::new(process)));
                        }
                    }
                }
            }
        }
        match &self.source {
            Source::Tracepoint(_, rings) => rings.iter().map(Ring::lost).sum(),
            Source::Sockets(..) => 0,
        }
    }

    /// Whether it is over.
    fn wait(&self, until: &UnixStream) -> bool {
        let fds = match &self.source {
            Source::Tracepoint(_, rings) => rings.iter().map(Ring::fd).collect(),
            Source::Sockets(_, _, bell) => vec![bell.as_fd()],
        };
        let fds = [until.as_fd()].into_iter().chain(fds);
        let mut fds: Vec<_> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match poll(&mut fds, None) {
            Ok(_) => fds.first().is_none_or(|until| !until.revents().is_empty()),
            Err(error) => error != rustix::io::Errno::INTR,
        }
    }

    fn hit(&mut self, time: Timestamp, pid: u32, hit: &Transition) {
        if !self.catalogue.is_metadata(hit.remote.ip, hit.remote.port) {
            return;
        }
        let opening = if hit.new == SYN_SENT {
            let process = (pid != 0).then(|| self.procfs.read(pid, time)).flatten();
            self.directory.count(process.is_some());
            let Some(process) = process.map(Arc::new) else { return };
            match self.opening.take(&hit.socket) {
                Some(Opening::Done(done, ends)) if done >= time => return self.know(ends, time, process),
                _ => Opening::By(time, process),
            }
        } else {
            match self.opening.take(&hit.socket) {
                Some(Opening::By(began, process)) if began <= time => {
                    return self.know((hit.local, hit.remote), began, process);
                }
                _ => Opening::Done(time, (hit.local, hit.remote)),
            }
        };
        self.opening.insert(hit.socket, opening);
    }

    fn know(&self, ends: Ends, began: Timestamp, process: Arc<Process>) {
        self.directory.known().insert(ends, (began, process));
    }
}

/// The tracepoint, opened on every processor.
fn tracepoint(root: &Path) -> Result<(Tracepoint, Vec<Ring>), String> {
    let found = Tracepoint::find(root).or_else(|_| Tracepoint::find(Path::new("/")));
    let tracepoint = found.map_err(|error| format!("the kernel's tracepoints cannot be read (tracefs: {error})"))?;
    let rings = processors().into_iter().map(|cpu| Ring::open(cpu, tracepoint.id, Tracepoint::FILTER));
    let rings = rings.collect::<io::Result<Vec<_>>>();
    let rings = rings.map_err(|error| format!("the kernel's tracepoints cannot be opened ({error}; CAP_PERFMON)"))?;
    Ok((tracepoint, rings))
}

/// What makes a real time out of a monotonic one, in nanoseconds.
fn real_minus_monotonic() -> i64 {
    let nanos = |clock| {
        let time = rustix::time::clock_gettime(clock);
        Timestamp::new(time.tv_sec, time.tv_nsec).0
    };
    nanos(ClockId::Realtime) - nanos(ClockId::Monotonic)
}

/// Processors that are running: `0-3,6`.
fn processors() -> Vec<i32> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let ranges = text.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    let found: Vec<i32> = ranges.flatten().collect();
    if found.is_empty() { vec![0] } else { found }
}

/// A map that forgets what came first.
struct Bounded<K, V> {
    map: HashMap<K, V, foldhash::fast::RandomState>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Copy + Eq + Hash, V> Bounded<K, V> {
    fn new(most: usize) -> Self {
        Self { map: HashMap::default(), order: VecDeque::new(), most }
    }

    fn insert(&mut self, key: K, value: V) {
        if self.map.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.most {
            if let Some(first) = self.order.pop_front() {
                self.map.remove(&first);
            }
        }
    }

    fn take(&mut self, key: &K) -> Option<V> {
        self.map.remove(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(last: u8, port: u16) -> Endpoint {
        Endpoint { ip: [169, 254, 169, last].into(), port }
    }

    #[test]
    fn a_table_forgets_what_came_first() {
        let mut table = Bounded::new(3);
        (0..5).for_each(|n| table.insert(n, n));
        table.insert(3, 30);
        assert_eq!([0, 1, 2, 3, 4].map(|n| table.map.get(&n).copied()), [None, None, Some(2), Some(30), Some(4)]);
        for n in 0..100 {
            table.insert(n, n);
            table.take(&n);
        }
        assert!(table.order.len() <= 3);
    }

    #[test]
    fn a_connection_of_another_time_is_another() {
        let directory = Directory::new(8, None);
        let ends = (end(1, 40_000), end(254, 80));
        let process = Arc::new(Process { pid: 7, ..Process::default() });
        directory.known().insert(ends, (Timestamp::new(1_000, 0), process));
        let found = |seconds, nanos| directory.find(ends.0, ends.1, Timestamp::new(seconds, nanos)).is_some();
        assert!(found(1_000, 0) && found(1_003, 0));
        assert!(!found(999, 0) && !found(1_060, 0));
        assert!(directory.find(ends.1, ends.0, Timestamp::new(1_000, 0)).is_none());
    }

    #[test]
    fn processors_that_run() {
        assert!(processors().contains(&0));
    }
}
