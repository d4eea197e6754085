//! Which process opened a connection to a metadata service.
//!
//! In: what the kernel tells of each attempt to connect and of the tasks that make them; where that cannot be had,
//! questions at the first packet of a connection. Out: [`Processes`], a bounded table of connections and the processes
//! behind them. What is not certain has no entry, such as processes of other network namespaces, whose connections look
//! the same from outside.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::time::ClockId;

use super::bounded::Bounded;
use super::exec::{ExecPoint, STACK};
use super::helper::Helper;
use super::perf::{Record, Ring, Wanted, What};
use super::procfs::Procfs;
use super::sockets::Sockets;
use super::starts::{Exec, Names, Start, Starts};
use super::tasks::Tasks;
use super::tracepoint::{SYN_SENT, Tracepoint, Transition};
use crate::catalogue::Catalogue;
use crate::conn::Endpoint;
use crate::conn::Process;
use crate::packet::Timestamp;
use crate::process::{Counts, Processes};

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
    known: Bounded<Ends, Known>,
    procfs: Procfs,
    counts: Counts,
    watch: Option<Watch>,
    starts: Starts,
}

/// Who opened a connection, and when.
struct Known {
    began: Timestamp,
    /// Nobody where that cannot be told for certain.
    process: Option<Arc<Process>>,
    network: Network,
}

/// Which network a task sees: ends of two networks may be called alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// The one that we see.
    Ours,
    /// Another, by its number.
    Other(u64),
    /// Another, or ours.
    Unknown,
}

/// The kernel tells of attempts to connect, and of tasks.
struct Watch {
    catalogue: Arc<Catalogue>,
    tracepoint: Tracepoint,
    rings: Vec<Ring>,
    execs: Option<(ExecPoint, Vec<Ring>)>,
    tasks: Tasks,
    opening: Bounded<u64, Opening>,
}

/// What is known of a socket that is being connected. The port is chosen after the attempt was told, and the answer may
/// be told by another processor's ring, and so before.
enum Opening {
    By(Timestamp, Option<Arc<Process>>, Network),
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
        let known = book.known.get(&(client, server))?;
        known.process.clone().filter(|_| (AT_LEAST..=AT_MOST).contains(&first.since(known.began)))
    }
}

impl Directory {
    /// How it went so far.
    pub fn counts(&self) -> Counts {
        self.book().counts
    }

    /// Programs that were started since the last call and have to do with metadata.
    pub fn started(&self) -> Vec<Start> {
        let mut book = self.book();
        book.catch_up();
        book.starts.take()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn new(procfs: Procfs, watch: Option<Watch>) -> Self {
        Self { known: Bounded::new(MAX_KNOWN), procfs, counts: Counts::default(), watch, starts: Starts::default() }
    }

    /// Remembers who opened a connection. Where another network has one with ends that are called alike, nobody can tell
    /// whose packets are seen.
    fn remember(&mut self, ends: Ends, known: Known) {
        let is_other = |before: &Known| {
            let is_same = before.network == known.network && known.network != Network::Unknown;
            !is_same && known.began.since(before.began).abs() <= AT_MOST
        };
        let process = known.process.clone().filter(|_| !self.known.get(&ends).is_some_and(is_other));
        self.known.insert(ends, Known { process, ..known });
    }

    /// Takes everything that the kernel has told.
    fn catch_up(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let records = watch.records();
        let offset = real_minus_monotonic();
        for record in records {
            let time = Timestamp(record.time).plus(offset);
            let Some(watch) = &mut self.watch else { return };
            watch.tasks.take(time, &record);
            match &record.what {
                What::Lost(lost) => self.counts.lost += lost,
                What::Hit(fields) => {
                    let Some(hit) = watch.transition(fields) else { continue };
                    let by = (hit.new == SYN_SENT).then(|| watch.tasks.who(&self.procfs, &record, time));
                    if let Some((process, _)) = &by {
                        self.counts.attribute(process.is_some());
                        self.starts.connected(record.pid, process.as_ref(), hit.remote, &mut self.counts);
                    }
                    let opened = watch.hit(time, &hit, by);
                    if let Some((ends, known)) = opened {
                        self.remember(ends, known);
                    }
                }
                What::HitWithStack { fields, sp, stack } => {
                    let Some((point, _)) = &watch.execs else { continue };
                    let exec = Exec { pid: record.pid, tid: record.tid, time, what: point.started(fields, stack, *sp) };
                    self.starts.add(exec, &self.procfs, &watch.tasks, &mut self.counts);
                }
                _ => {}
            }
        }
    }
}

impl Watch {
    /// What happened since the last call, in order.
    fn records(&mut self) -> Vec<Record> {
        // How far each processor has written is read at once, so that what follows from something is not read before it.
        let rings = || self.rings.iter().chain(self.execs.iter().flat_map(|(_, rings)| rings));
        let written: Vec<_> = rings().map(Ring::written).collect();
        let mut records = Vec::new();
        let execs = self.execs.iter_mut().flat_map(|(_, rings)| rings);
        for (ring, written) in self.rings.iter_mut().chain(execs).zip(written) {
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

    /// Takes a hit, made by `by` if it begins an attempt; returns a connection that both its ends are known of now.
    fn hit(
        &mut self,
        time: Timestamp,
        hit: &Transition,
        by: Option<(Option<Process>, Network)>,
    ) -> Option<(Ends, Known)> {
        let known = |began, process, network| Known { began, process, network };
        let opening = if let Some((process, network)) = by {
            let process = process.map(Arc::new);
            match self.opening.take(&hit.socket) {
                Some(Opening::Done(done, ends)) if done >= time => return Some((ends, known(time, process, network))),
                _ => Opening::By(time, process, network),
            }
        } else {
            match self.opening.take(&hit.socket) {
                Some(Opening::By(began, process, network)) if began <= time => {
                    return Some(((hit.local, hit.remote), known(began, process, network)));
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
    /// returned in words. `root` is where the host's file system is; `helper` looks where we may not. With `names` process
    /// starts are watched as well: those whose arguments it says yes to are kept for
    /// [`Directory::started`], and those whose arguments could not be read and that connect to a metadata service.
    ///
    /// # Errors
    /// When the system has no descriptor for us.
    pub fn open(
        root: &Path,
        catalogue: Arc<Catalogue>,
        helper: Option<Helper>,
        names: Option<Names>,
    ) -> io::Result<(Self, Option<String>)> {
        let mut procfs = Procfs::new(root);
        procfs.helper = helper;
        let (watch, questions, source, remark) = match tracepoint(root) {
            Ok((tracepoint, rings)) => {
                let (execs, remark) = match names.is_some().then(|| executions(root)) {
                    Some(Ok(execs)) => (Some(execs), None),
                    Some(Err(why)) => (None, Some(why)),
                    None => (None, None),
                };
                let all = rings.iter().chain(execs.iter().flat_map(|(_, rings)| rings));
                let fds = all.map(|ring| ring.fd().try_clone_to_owned()).collect::<io::Result<_>>()?;
                // Records wait from now on; what ran before is looked at.
                let (tasks, opening) = (Tasks::learn(&procfs), Bounded::new(MAX_OPENING));
                (Some(Watch { catalogue, tracepoint, rings, execs, tasks, opening }), None, Source::Rings(fds), remark)
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
        let directory = Arc::new(Directory {
            book: Mutex::new(Book { starts: Starts::new(names), ..Book::new(procfs, watch) }),
            questions,
        });
        Ok((Self { directory, source }, remark))
    }

    /// The table that is filled.
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory)
    }

    /// Works until the other end of `until` is written to or closed. Where [`Directory::started`]
    /// would tell of programs, the bell is rung.
    pub fn run(mut self, until: &UnixStream, ring: &mut dyn FnMut()) {
        loop {
            let is_over = self.wait(until);
            if is_over {
                break;
            }
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
                        book.counts.attribute(process.is_some());
                        if let Some(process) = process {
                            let process = Some(Arc::new(process));
                            book.known.insert(ends, Known { began: first, process, network: Network::Ours });
                        }
                    }
                }
            }
            if self.directory.book().starts.has_some() {
                ring();
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
    let processors = processors();
    let wanted = Wanted { filter: Some(Tracepoint::FILTER), stack: 0, rings: processors.len() };
    let rings = processors.into_iter().map(|cpu| Ring::open(cpu, tracepoint.id, wanted));
    let rings = rings.collect::<io::Result<Vec<_>>>();
    let rings = rings.map_err(|error| format!("the kernel's tracepoints cannot be opened ({error}; CAP_PERFMON)"))?;
    Ok((tracepoint, rings))
}

/// The tracepoint of process starts, opened on every processor.
fn executions(root: &Path) -> Result<(ExecPoint, Vec<Ring>), String> {
    let refused =
        |error: io::Error| format!("process starts cannot be watched ({error}): command lines are not judged");
    let point = ExecPoint::find(root).or_else(|_| ExecPoint::find(Path::new("/"))).map_err(refused)?;
    let processors = processors();
    let wanted = Wanted { filter: None, stack: STACK, rings: processors.len() };
    let rings: io::Result<Vec<_>> = processors.into_iter().map(|cpu| Ring::open(cpu, point.id, wanted)).collect();
    Ok((point, rings.map_err(refused)?))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn end(last: u8, port: u16) -> Endpoint {
        Endpoint { ip: [169, 254, 169, last].into(), port }
    }

    #[test]
    fn a_connection_of_another_time_is_another() {
        let book = Mutex::new(Book::new(Procfs::new("/".as_ref()), None));
        let directory = Directory { book, questions: None };
        let ends = (end(1, 40_000), end(254, 80));
        let process = Arc::new(Process { pid: 7, ..Process::default() });
        let (began, process, network) = (Timestamp::new(1_000, 0), Some(process), Network::Ours);
        directory.book().remember(ends, Known { began, process, network });
        let found = |seconds, nanos| directory.find(ends.0, ends.1, Timestamp::new(seconds, nanos)).is_some();
        assert!(found(1_000, 0) && found(1_003, 0));
        assert!(!found(999, 0) && !found(1_060, 0));
        assert!(directory.find(ends.1, ends.0, Timestamp::new(1_000, 0)).is_none());
    }

    #[test]
    fn ends_that_are_called_alike_in_two_networks_are_nobodys() {
        let book = Mutex::new(Book::new(Procfs::new("/".as_ref()), None));
        let directory = Directory { book, questions: None };
        let ends = (end(1, 40_000), end(254, 80));
        let opened = |seconds, pid: Option<u32>, network| {
            let process = pid.map(|pid| Arc::new(Process { pid, ..Process::default() }));
            directory.book().remember(ends, Known { began: Timestamp::new(seconds, 0), process, network });
            directory.find(ends.0, ends.1, Timestamp::new(seconds, 1)).map(|process| process.pid)
        };
        assert_eq!(opened(1_000, Some(7), Network::Other(3)), Some(7));
        assert_eq!(opened(1_001, Some(8), Network::Other(3)), Some(8), "a port that is used again");
        assert_eq!(opened(1_002, Some(9), Network::Ours), None);
        assert_eq!(opened(1_003, Some(8), Network::Other(3)), None);
        assert_eq!(opened(1_030, Some(8), Network::Other(3)), Some(8), "the other is over");
        assert_eq!(opened(1_031, None, Network::Unknown), None);
        assert_eq!(opened(1_032, Some(8), Network::Other(3)), None, "somebody whom we do not see");
    }

    #[test]
    fn processors_that_run() {
        assert!(processors().contains(&0));
    }
}
