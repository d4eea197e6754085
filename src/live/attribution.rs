//! Which process opened a connection to a metadata service.
//!
//! In: what the kernel tells of each attempt to connect and of the tasks that make them; where that cannot be had,
//! questions at the first packet of a connection. Out: [`Processes`], a bounded table of connections and the processes
//! behind them. What is not certain has no entry, such as processes of other network namespaces, whose connections look
//! the same from outside.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::time::ClockId;

use super::helper::Helper;
use super::perf::{Record, Ring, What};
use super::procfs::Procfs;
use super::sockets::Sockets;
use super::tasks::Tasks;
use super::tracepoint::{SYN_SENT, Tracepoint, Transition};
use crate::catalogue::Catalogue;
use crate::conn::Endpoint;
use crate::conn::Process;
use crate::packet::Timestamp;
use crate::process::Processes;

/// Connections remembered, and attempts to connect that are under way.
const MAX_KNOWN: usize = 4_096;
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
    book: Mutex<Book>,
    /// Asks the thread, where the kernel does not tell by itself.
    questions: Option<(Sender<(Ends, Timestamp)>, OwnedFd)>,
}

/// What is known, and how more comes to be known.
struct Book {
    known: Bounded<Ends, (Timestamp, Arc<Process>)>,
    procfs: Procfs,
    counts: Attributed,
    watch: Option<Watch>,
}

/// How connections to metadata services were attributed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributed {
    /// Their process was named.
    pub named: u64,
    /// It was not: in another network namespace, or not ours to look at.
    pub missed: u64,
    /// Records that the kernel had no room for.
    pub lost: u64,
}

/// The kernel tells of attempts to connect, and of tasks.
struct Watch {
    catalogue: Arc<Catalogue>,
    tracepoint: Tracepoint,
    rings: Vec<Ring>,
    tasks: Tasks,
    opening: Bounded<u64, Opening>,
}

/// What is known of a socket that is being connected. The port is chosen after the attempt was told, and the answer may
/// be told by another processor's ring, and so before.
enum Opening {
    By(Timestamp, Arc<Process>),
    Done(Timestamp, Ends),
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
        let mut book = self.book();
        // The kernel told of it before it sent the first packet, but our thread may not have had its turn.
        book.catch_up();
        let (began, process) = book.known.get(&(client, server))?;
        (AT_LEAST..=AT_MOST).contains(&first.since(*began)).then(|| Arc::clone(process))
    }
}

impl Directory {
    /// How it went so far.
    pub fn counts(&self) -> Attributed {
        self.book().counts
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn new(procfs: Procfs, watch: Option<Watch>) -> Self {
        Self { known: Bounded::new(MAX_KNOWN), procfs, counts: Attributed::default(), watch }
    }

    /// Takes everything that the kernel has told.
    fn catch_up(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let records = watch.records();
        let offset = real_minus_monotonic();
        for record in records {
            let time = Timestamp(record.time).plus(offset);
            watch.tasks.take(time, &record);
            match &record.what {
                What::Lost(lost) => self.counts.lost += lost,
                What::Hit(fields) => {
                    let Some(hit) = watch.transition(fields) else { continue };
                    let process = (hit.new == SYN_SENT).then(|| watch.tasks.who(&self.procfs, &record, time));
                    if let Some(process) = &process {
                        self.counts.count(process.is_some());
                    }
                    if let Some((ends, began, process)) = watch.hit(time, &hit, process.flatten()) {
                        self.known.insert(ends, (began, process));
                    }
                }
                _ => {}
            }
        }
    }
}

impl Attributed {
    fn count(&mut self, named: bool) {
        if named {
            self.named += 1;
        } else {
            self.missed += 1;
        }
    }
}

impl Watch {
    /// What happened since the last call, in order.
    fn records(&mut self) -> Vec<Record> {
        // How far each processor has written is read at once, so that what follows from something is not read before it.
        let written: Vec<_> = self.rings.iter().map(Ring::written).collect();
        let mut records = Vec::new();
        for (ring, written) in self.rings.iter_mut().zip(written) {
            ring.drain(written, &mut records);
        }
        records.sort_by_key(|record| record.time);
        records
    }

    /// A hit that has to do with a metadata service.
    fn transition(&self, fields: &[u8]) -> Option<Transition> {
        let hit = self.tracepoint.transition(fields)?;
        self.catalogue.is_metadata(hit.remote.ip, hit.remote.port).then_some(hit)
    }

    /// Takes a hit, made by `process` if it begins an attempt; returns a connection that both its ends are known of now.
    fn hit(
        &mut self,
        time: Timestamp,
        hit: &Transition,
        process: Option<Process>,
    ) -> Option<(Ends, Timestamp, Arc<Process>)> {
        let opening = if hit.new == SYN_SENT {
            let process = Arc::new(process?);
            match self.opening.take(&hit.socket) {
                Some(Opening::Done(done, ends)) if done >= time => return Some((ends, time, process)),
                _ => Opening::By(time, process),
            }
        } else {
            match self.opening.take(&hit.socket) {
                Some(Opening::By(began, process)) if began <= time => {
                    return Some(((hit.local, hit.remote), began, process));
                }
                _ => Opening::Done(time, (hit.local, hit.remote)),
            }
        };
        self.opening.insert(hit.socket, opening);
        None
    }
}

/// Keeps a [`Directory`] up to date. Opened with privilege; runs without.
pub struct Attribution {
    directory: Arc<Directory>,
    source: Source,
}

/// What to wait for.
enum Source {
    /// The rings.
    Rings(Vec<OwnedFd>),
    /// At a connection's first packet its socket is looked up, and then whose it is.
    Sockets(Option<Sockets>, Receiver<(Ends, Timestamp)>, OwnedFd),
}

impl Attribution {
    /// Opens the tracepoint on every processor; where that is refused, sockets are looked up instead, and the reason is
    /// returned in words. `root` is where the host's file system is; `helper` looks where we may not.
    ///
    /// # Errors
    /// When the system has no descriptor for us.
    pub fn open(root: &Path, catalogue: Arc<Catalogue>, helper: Option<Helper>) -> io::Result<(Self, Option<String>)> {
        let mut procfs = Procfs::new(root);
        procfs.helper = helper;
        let (watch, questions, source, remark) = match tracepoint(root) {
            Ok((tracepoint, rings)) => {
                let fds = rings.iter().map(|ring| ring.fd().try_clone_to_owned()).collect::<io::Result<_>>()?;
                // Records wait from now on; what ran before is looked at.
                let (tasks, opening) = (Tasks::learn(&procfs), Bounded::new(MAX_OPENING));
                (Some(Watch { catalogue, tracepoint, rings, tasks, opening }), None, Source::Rings(fds), None)
            }
            Err(why) => {
                let (ask, asked) = bounded(MAX_QUESTIONS);
                let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
                let remark = format!(
                    "{why}: processes are looked up at the first packet instead, and those that live for some \
                     milliseconds only stay without a name"
                );
                let questions = Some((ask, bell.try_clone()?));
                (None, questions, Source::Sockets(Sockets::open().ok(), asked, bell), Some(remark))
            }
        };
        let directory = Arc::new(Directory { book: Mutex::new(Book::new(procfs, watch)), questions });
        Ok((Self { directory, source }, remark))
    }

    /// The table that is filled.
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory)
    }

    /// Works until the other end of `until` is written to or closed.
    pub fn run(mut self, until: &UnixStream) {
        while !self.wait(until) {
            match &mut self.source {
                // Whoever asks catches up as well: this is to look at a process while it is there.
                Source::Rings(_) => self.directory.book().catch_up(),
                Source::Sockets(sockets, questions, bell) => {
                    let _ = rustix::io::read(&*bell, &mut [0u8; 8]);
                    for (ends, first) in questions.try_iter() {
                        let inode = sockets.as_mut().and_then(|sockets| sockets.inode(ends.0, ends.1));
                        let mut book = self.directory.book();
                        let owner = inode.and_then(|inode| book.procfs.owner(inode));
                        let process = owner.and_then(|pid| book.procfs.read(pid, pid, first, false));
                        book.counts.count(process.is_some());
                        if let Some(process) = process {
                            book.known.insert(ends, (first, Arc::new(process)));
                        }
                    }
                }
            }
        }
    }

    /// Whether it is over.
    fn wait(&self, until: &UnixStream) -> bool {
        let fds = match &self.source {
            Source::Rings(fds) => fds.iter().map(AsFd::as_fd).collect(),
            Source::Sockets(_, _, bell) => vec![bell.as_fd()],
        };
        let fds = [until.as_fd()].into_iter().chain(fds);
        let mut fds: Vec<_> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match poll(&mut fds, None) {
            Ok(_) => fds.first().is_none_or(|until| !until.revents().is_empty()),
            Err(error) => error != rustix::io::Errno::INTR,
        }
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

/// A map that forgets what came first: a value is kept while no more than `most` others are added after it.
struct Bounded<K, V> {
    map: HashMap<K, (u64, V), foldhash::fast::RandomState>,
    /// Keys as they were added, each with the number of that time: some have been taken or added anew since.
    order: VecDeque<(K, u64)>,
    added: u64,
    most: usize,
}

impl<K: Copy + Eq + Hash, V> Bounded<K, V> {
    fn new(most: usize) -> Self {
        Self { map: HashMap::default(), order: VecDeque::new(), added: 0, most }
    }

    fn insert(&mut self, key: K, value: V) {
        self.added += 1;
        self.map.insert(key, (self.added, value));
        self.order.push_back((key, self.added));
        if self.order.len() > self.most
            && let Some((first, then)) = self.order.pop_front()
            && self.map.get(&first).is_some_and(|(added, _)| *added == then)
        {
            self.map.remove(&first);
        }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key).map(|(_, value)| value)
    }

    fn take(&mut self, key: &K) -> Option<V> {
        self.map.remove(key).map(|(_, value)| value)
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
        assert_eq!([0, 1, 2, 3, 4].map(|n| table.get(&n).copied()), [None, None, None, Some(30), Some(4)]);
        for n in 0..100 {
            table.insert(n, n);
            table.take(&n);
        }
        assert!(table.order.len() <= 3);
    }

    /// As the kernel uses the address of a socket again for the next.
    #[test]
    fn a_key_that_is_used_again_and_again_is_found_each_time() {
        let mut table = Bounded::new(3);
        for n in 0..100 {
            table.insert(7, n);
            assert_eq!(table.take(&7), Some(n));
        }
        for n in 0..100 {
            table.insert(7, n);
            assert_eq!(table.get(&7), Some(&n));
        }
        assert!(table.order.len() <= 3);
    }

    #[test]
    fn a_connection_of_another_time_is_another() {
        let book = Mutex::new(Book::new(Procfs::new("/".as_ref()), None));
        let directory = Directory { book, questions: None };
        let ends = (end(1, 40_000), end(254, 80));
        let process = Arc::new(Process { pid: 7, ..Process::default() });
        directory.book().known.insert(ends, (Timestamp::new(1_000, 0), process));
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
