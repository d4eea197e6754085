//! The tasks that run on this host, as the kernel tells of them: what they are called and which network they see, also of
//! those that were gone before anybody could look.
//!
//! In: [`Record`]s in the order of time; at first, what `/proc` shows. Out: of a task, its network and what is known of
//! its process. Bound: [`MAX_TASKS`]; when there are more, or records were lost, all is forgotten rather than wrong.

use std::collections::HashMap;

use super::perf::{Record, What};
use super::procfs::Procfs;
use crate::conn::Process;
use crate::packet::Timestamp;

/// Tasks that are remembered, some 64 bytes each.
const MAX_TASKS: usize = 65_536;

/// All tasks by their thread id; a process is known by that of its first thread.
#[derive(Default)]
pub(super) struct Tasks {
    known: HashMap<u32, Task, foldhash::fast::RandomState>,
    /// Number of our own network namespace.
    namespace: Option<u64>,
}

/// What is known of a task.
#[derive(Clone, Copy, Default)]
struct Task {
    /// The name that it, or the parent that it is a copy of, was started by. Names that a process gives itself do not
    /// count.
    comm: Comm,
    /// It sees the same network as we do.
    near: Option<bool>,
    /// Where its beginning was seen: when, and whose child it is.
    birth: Option<(Timestamp, u32)>,
}

/// A name of at most 15 bytes, padded with zeros.
type Comm = [u8; 16];

impl Tasks {
    /// Learns what runs already. Records of what happened meanwhile are to be taken afterwards.
    pub(super) fn learn(procfs: &Procfs) -> Self {
        let processes = procfs.all().into_iter().take(MAX_TASKS);
        let known = processes.filter_map(|pid| {
            let (comm, near) = procfs.glance(pid)?;
            Some((pid, Task { comm: padded(comm.as_bytes()), near: Some(near), birth: None }))
        });
        Self { known: known.collect(), namespace: procfs.namespace }
    }

    /// Takes what happened next.
    pub(super) fn take(&mut self, time: Timestamp, record: &Record) {
        let tid = record.tid;
        match &record.what {
            What::Began { parent, by } => {
                let of = |tid| self.known.get(tid).copied().unwrap_or_default();
                let birth = Some((time, *parent));
                self.set(tid, Task { comm: of(parent).comm, near: of(by).near, birth });
            }
            What::Executed(comm) => {
                let task = self.known.get(&tid).copied().unwrap_or_default();
                self.set(tid, Task { comm: *comm, ..task });
            }
            What::Entered(network) => {
                let task = self.known.get(&tid).copied().unwrap_or_default();
                self.set(tid, Task { near: self.namespace.map(|own| own == *network), ..task });
            }
            What::Ended => drop(self.known.remove(&tid)),
            What::Lost(_) => self.known.clear(),
            What::Hit(_) => {}
        }
    }

    fn set(&mut self, tid: u32, task: Task) {
        if self.known.len() >= MAX_TASKS {
            self.known.clear();
        }
        self.known.insert(tid, task);
    }

    /// The process that made a hit at `time`; `None` where it sees another network than we do, or cannot be told.
    pub(super) fn who(&self, procfs: &Procfs, hit: &Record, time: Timestamp) -> Option<Process> {
        let is_near = self.is_near(hit.tid);
        if hit.pid == 0 || is_near == Some(false) {
            return None;
        }
        let is_near = is_near == Some(true);
        procfs.read(hit.pid, hit.tid, time, is_near).or_else(|| self.process(hit.pid).filter(|_| is_near))
    }

    /// Whether a thread sees the same network as we do.
    fn is_near(&self, tid: u32) -> Option<bool> {
        self.known.get(&tid)?.near
    }

    /// What is known of a process without looking.
    fn process(&self, pid: u32) -> Option<Process> {
        let Task { comm, birth, .. } = self.known.get(&pid)?;
        let name = comm.split(|byte| *byte == 0).next().filter(|name| !name.is_empty())?;
        Some(Process {
            pid,
            name: String::from_utf8_lossy(name).into_owned(),
            start: birth.map(|(began, _)| began),
            parent: birth.map(|(_, parent)| parent).filter(|parent| *parent != 0),
            ..Process::default()
        })
    }
}

/// As the kernel has it: cut at 15 bytes.
fn padded(name: &[u8]) -> Comm {
    let mut comm = Comm::default();
    comm.iter_mut().zip(name.iter().take(15)).for_each(|(to, from)| *to = *from);
    comm
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: u64 = 4_026_531_840;

    fn tasks(records: &[(u32, What)]) -> Tasks {
        let mut tasks = Tasks { namespace: Some(OURS), ..Tasks::default() };
        for ((tid, what), time) in records.iter().zip(0..) {
            let record = Record { pid: *tid, tid: *tid, time, what: what.clone() };
            tasks.take(Timestamp(time), &record);
        }
        tasks
    }

    fn began(parent: u32) -> What {
        What::Began { parent, by: parent }
    }

    fn executed(name: &str) -> What {
        What::Executed(padded(name.as_bytes()))
    }

    fn name(tasks: &Tasks, pid: u32) -> Option<String> {
        tasks.process(pid).map(|process| process.name)
    }

    #[test]
    fn a_child_is_called_like_its_parent_until_it_runs_another_program() {
        let tasks = tasks(&[
            (10, executed("sh")),
            (11, began(10)),
            (12, began(10)),
            (12, executed("curl")),
            (13, began(99)),
            (14, began(10)),
            (14, What::Ended),
        ]);
        assert_eq!([10, 11, 12, 13, 14].map(|pid| name(&tasks, pid)), ["sh", "sh", "curl", "", ""].map(some));
        let curl = tasks.process(12).unwrap();
        assert_eq!((curl.pid, curl.parent, curl.start), (12, Some(10), Some(Timestamp(2))));
    }

    fn some(text: &str) -> Option<String> {
        (!text.is_empty()).then(|| text.to_owned())
    }

    #[test]
    fn networks_are_inherited_and_changed() {
        let tasks = tasks(&[
            (10, What::Entered(OURS)),
            (11, began(10)),
            (12, began(10)),
            (12, What::Entered(OURS + 1)),
            (13, began(12)),
            (14, began(99)),
        ]);
        let near = [10, 11, 12, 13, 14].map(|tid| tasks.is_near(tid));
        assert_eq!(near, [Some(true), Some(true), Some(false), Some(false), None]);
    }

    #[test]
    fn what_may_be_wrong_is_forgotten() {
        let mut tasks = tasks(&[(10, executed("sh")), (10, What::Lost(3))]);
        assert_eq!(name(&tasks, 10), None);
        for tid in 0..=MAX_TASKS as u32 {
            tasks.set(tid, Task::default());
        }
        assert!(tasks.known.len() <= MAX_TASKS);
    }
}
