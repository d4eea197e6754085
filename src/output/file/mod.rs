//! A file as an output: whole lines appended, rotated by size or age, surviving a full disk and whatever is done to the
//! file from outside.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Batch, Counters, Filter, Form, Kind, Needs, Output, OutputError};

mod keeper;
mod place;
mod rotating;

pub use rotating::RotatingFile;

/// When to start a new file, and how many old ones to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// New file at this many bytes.
    pub size: Option<u64>,
    /// New file at this age.
    pub age: Option<Duration>,
    /// How many rotated files stay.
    pub keep: usize,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { size: None, age: None, keep: 7 }
    }
}

impl Rotation {
    /// Whether there is ever a new file.
    pub fn is_on(&self) -> bool {
        self.size.is_some() || self.age.is_some()
    }
}

/// A file as an output.
pub struct FileOutput {
    path: PathBuf,
    file: RotatingFile,
    form: Form,
    filter: Filter,
    counters: Arc<Counters>,
}

impl FileOutput {
    /// Opens `path` for these events in this form.
    ///
    /// # Errors
    /// As [`RotatingFile::open`].
    pub fn open(path: PathBuf, rotation: Rotation, form: Form, filter: Filter) -> io::Result<Self> {
        let counters = Arc::new(Counters::new(&path.display().to_string()));
        Ok(Self { file: RotatingFile::open(path.clone(), rotation)?, path, form, filter, counters })
    }

    /// Counts what became of what was written since the last time.
    fn settle(&mut self) {
        let Tally { bytes, taken, lost } = self.file.take_tally();
        self.counters.send(taken.sum());
        self.counters.acknowledge(taken.sum(), 0, bytes, Duration::ZERO);
        self.counters.drop_many(lost.alerts, lost.events);
        if lost.sum() > 0 {
            self.counters.fail();
        } else if taken.sum() > 0 {
            self.counters.recover();
        }
    }
}

impl Output for FileOutput {
    fn form(&self) -> Form {
        self.form
    }

    fn filter(&self) -> Filter {
        self.filter
    }

    fn needs(&self) -> Needs {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Needs { write: vec![folder.map_or_else(|| ".".into(), Path::to_owned)], ..Needs::default() }
    }

    fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    fn write(&mut self, batch: &Batch) -> Result<(), OutputError> {
        let lines = batch.in_form(self.form);
        let (mut from, mut to, mut count) = (0, 0, Count::default());
        for event in batch.events() {
            count.add(event.label.kind);
            to += event.in_form(self.form).len();
            if (to - from) as u64 >= self.file.room() {
                self.file.write(lines.get(from..to).unwrap_or_default(), std::mem::take(&mut count));
                from = to;
            }
        }
        self.file.write(lines.get(from..).unwrap_or_default(), count);
        self.settle();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        self.file.flush();
        self.settle();
        Ok(())
    }

    fn attend(&mut self) {
        self.file.check_place();
        self.settle();
    }

    fn finish(&mut self) -> Result<(), OutputError> {
        self.file.flush();
        self.file.check_place();
        self.settle();
        Ok(())
    }

    fn reopen(&mut self) {
        self.file.reopen();
    }

    fn message(&mut self) -> Option<String> {
        self.file.take_message()
    }
}

/// Events by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Alerts.
    pub alerts: u64,
    /// Others.
    pub events: u64,
}

impl Count {
    fn add(&mut self, kind: Kind) {
        match kind {
            Kind::Alert => self.alerts += 1,
            _ => self.events += 1,
        }
    }

    fn join(&mut self, other: Self) {
        self.alerts += other.alerts;
        self.events += other.events;
    }

    fn sum(self) -> u64 {
        self.alerts + self.events
    }
}

/// What became of what was written.
#[derive(Debug, Default)]
struct Tally {
    bytes: u64,
    taken: Count,
    lost: Count,
}
