//! Programs that were started, and which of them have to do with metadata services.
//!
//! In: process starts as the kernel tells of them, and connections to metadata services. Out: [`Start`]s: those whose
//! arguments may name metadata; and of those whose arguments could not be read, the ones that then connected to such a
//! service, which is all that is certain of them. Bounds: [`MAX_STARTED`] and [`MAX_UNREAD`].

use std::collections::VecDeque;

use super::bounded::Bounded;
use super::exec::Started;
use super::procfs::Procfs;
use super::tasks::Tasks;
use crate::conn::{Endpoint, Process};
use crate::packet::Timestamp;
use crate::process::Counts;

/// Programs that wait to be looked at closer.
const MAX_STARTED: usize = 4_096;
/// Programs that are remembered because their arguments could not be read.
const MAX_UNREAD: usize = 4_096;

/// Tells by its text whether a command line is worth a closer look.
pub type Names = Box<dyn Fn(&[u8]) -> bool + Send>;

/// A program that has to do with metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// When it was started.
    pub time: Timestamp,
    /// What is known of it.
    pub process: Process,
    /// Its arguments could not be read, and it connected to this metadata service.
    pub reached: Option<Endpoint>,
}

/// A program's start as the kernel told of it.
pub(super) struct Exec {
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) time: Timestamp,
    pub(super) what: Started,
}

/// See the module.
pub(super) struct Starts {
    started: VecDeque<Start>,
    unread: Bounded<u32, Start>,
    /// Whether the arguments of a program may name metadata.
    names: Option<Names>,
}

impl Default for Starts {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Starts {
    pub(super) fn new(names: Option<Names>) -> Self {
        Self { started: VecDeque::new(), unread: Bounded::new(MAX_UNREAD), names }
    }

    /// Whether anything was found since it was last taken.
    pub(super) fn has_some(&self) -> bool {
        !self.started.is_empty()
    }

    /// What was found since the last call.
    pub(super) fn take(&mut self) -> Vec<Start> {
        self.started.drain(..).collect()
    }

    /// A program was started: if it may name metadata, what else is known of it is looked up while it is there.
    pub(super) fn add(&mut self, exec: Exec, procfs: &Procfs, tasks: &Tasks, counts: &mut Counts) {
        counts.started += 1;
        let Some(names) = &self.names else { return };
        let Exec { pid, tid, time, what: Started { file, mut args, mut is_cut } } = exec;
        self.unread.take(&pid);
        let is_named = names(args.join(" ").as_bytes());
        if !is_named && !is_cut {
            return;
        }
        let process = procfs.read(pid, tid, time, true);
        if is_cut && let Some(process) = process.as_ref().filter(|process| process.args.len() > args.len()) {
            args.clone_from(&process.args);
            is_cut = false;
        }
        counts.cut += u64::from(is_cut);
        let is_named = is_named || names(args.join(" ").as_bytes());
        if !is_named && !is_cut {
            return;
        }
        let process = described(Process { pid, args, is_cut, ..process.unwrap_or_default() }, &file, procfs, tasks);
        let start = Start { time, process: Process { start: Some(time), ..process }, reached: None };
        match is_named {
            true => self.push(start, counts),
            false => self.unread.insert(pid, start),
        }
    }

    /// A process, of which so much is known by now, connected to a metadata service.
    pub(super) fn connected(&mut self, pid: u32, known: Option<&Process>, to: Endpoint, counts: &mut Counts) {
        let Some(mut start) = self.unread.take(&pid) else { return };
        let args = known.map(|process| process.args.as_slice()).unwrap_or_default();
        if args.len() > start.process.args.len() {
            // It lived long enough for them to be read after all.
            (start.process.args, start.process.is_cut) = (args.to_vec(), false);
            if self.names.as_ref().is_some_and(|names| names(args.join(" ").as_bytes())) {
                self.push(start, counts);
            }
            return;
        }
        counts.cut_connected += 1;
        start.reached = Some(to);
        self.push(start, counts);
    }

    fn push(&mut self, start: Start, counts: &mut Counts) {
        if self.started.len() >= MAX_STARTED {
            self.started.pop_front();
            counts.lost += 1;
        }
        self.started.push_back(start);
    }
}

/// The process with its name by the file that was started, its parent and its container.
fn described(process: Process, file: &str, procfs: &Procfs, tasks: &Tasks) -> Process {
    let parent = process.parent.or_else(|| tasks.parent(process.pid));
    let (container, pod) = procfs.container_of(process.pid, parent);
    let (parent_name, parent_executable) = parent.map(|pid| procfs.who_is(pid)).unwrap_or_default();
    let parent_name = parent_name.or_else(|| tasks.name(parent?));
    let base = file.rsplit('/').next().filter(|base| !base.is_empty());
    let absolute = Some(file.to_owned()).filter(|file| file.starts_with('/'));
    Process {
        name: base.map_or_else(|| process.name.clone(), str::to_owned),
        executable: absolute.or(process.executable),
        parent,
        parent_name,
        parent_executable,
        container: container.or(process.container),
        pod: pod.or(process.pod),
        ..process
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: Endpoint =
        Endpoint { ip: std::net::IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254)), port: 80 };
    /// Nobody has it: more than the kernel ever gives.
    const PID: u32 = 0x7fff_fff0;

    struct Book {
        starts: Starts,
        counts: Counts,
    }

    impl Book {
        fn new() -> Self {
            let names: Names = Box::new(|text| text.windows(15).any(|part| part == b"169.254.169.254"));
            Self { starts: Starts::new(Some(names)), counts: Counts::default() }
        }

        fn exec(&mut self, pid: u32, args: &[&str], is_cut: bool) {
            let args = args.iter().map(ToString::to_string).collect();
            let what = Started { file: "/usr/bin/curl".into(), args, is_cut };
            let exec = Exec { pid, tid: pid, time: Timestamp(7), what };
            self.starts.add(exec, &Procfs::new("/".as_ref()), &Tasks::default(), &mut self.counts);
        }

        fn connected(&mut self, pid: u32, args: &[&str]) {
            let known = Process { pid, args: args.iter().map(ToString::to_string).collect(), ..Process::default() };
            self.starts.connected(pid, Some(&known), SERVICE, &mut self.counts);
        }
    }

    #[test]
    fn arguments_that_name_metadata_are_enough() {
        let mut book = Book::new();
        book.exec(PID, &["curl", "http://169.254.169.254/"], false);
        book.exec(PID + 1, &["curl", "http://example.com/"], false);
        book.connected(PID + 1, &[]);
        let started = book.starts.take();
        assert_eq!(started.iter().map(|start| (start.process.pid, start.reached)).collect::<Vec<_>>(), [(PID, None)]);
        assert_eq!((started[0].process.name.as_str(), started[0].process.is_cut), ("curl", false));
        assert_eq!((book.counts.started, book.counts.cut), (2, 0));
    }

    #[test]
    fn a_start_without_arguments_counts_once_it_connects() {
        let mut book = Book::new();
        (0..3).for_each(|n| book.exec(PID + n, &["curl"], true));
        assert_eq!(book.starts.take(), [], "every start of which arguments were lost would be too much to say");
        book.connected(PID + 1, &[]);
        book.connected(PID + 1, &[]);
        let started = book.starts.take();
        assert_eq!(started.len(), 1);
        assert!(started[0].process.is_cut && started[0].reached == Some(SERVICE));
        assert_eq!(started[0].process.args, ["curl"]);
        assert_eq!((book.counts.cut, book.counts.cut_connected), (3, 1));
    }

    #[test]
    fn arguments_that_can_be_read_later_are_read() {
        let mut book = Book::new();
        book.exec(PID, &[], true);
        book.exec(PID + 1, &[], true);
        book.connected(PID, &["agent", "--daemon"]);
        book.connected(PID + 1, &["curl", "169.254.169.254"]);
        let started = book.starts.take();
        assert_eq!(started.len(), 1);
        assert_eq!((started[0].process.args[1].as_str(), started[0].process.is_cut), ("169.254.169.254", false));
        assert_eq!(started[0].reached, None);
    }

    #[test]
    fn a_number_that_is_used_again_is_another_process() {
        let mut book = Book::new();
        book.exec(PID, &[], true);
        book.exec(PID, &["true"], false);
        book.connected(PID, &[]);
        assert_eq!(book.starts.take(), []);
    }
}
