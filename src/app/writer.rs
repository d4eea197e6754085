//! The threads that write, one for each output: the publisher makes the next events while the operating system, or a
//! receiver far away, takes the last.
//!
//! In: batches of events. Out: the same, to every output that takes them, in order. Bound: each output's [`Queue`]; replay
//! waits for the slowest, live capture waits for none.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::run::{Run, spawn};
use super::tell_user;
use crate::output::queue::{Job, Next, Queue, Reason};
use crate::output::{Batch, Filter, Form, Output, OutputError, panic_text};

/// Most bytes that wait for an output. Events are handed on by a quarter of it: each time a writer wakes it tends to take
/// the publisher's processor, even where another is idle, and with 256 KiB a file of metadata exchanges took an eighth
/// longer on two cores than with 1 MiB. Twice as much brought nothing.
const QUEUE: u64 = 4 << 20;

/// Bytes of the event that fills a batch.
const LAST: usize = 16 * 1024;

/// Where it is asked for a line waits at most so long before the reader of the output can see it.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// How often an output is asked whether it has something to see to.
const ATTEND: Duration = Duration::from_secs(1);

/// The way to one output.
struct Link {
    queue: Arc<Queue>,
    form: Form,
    filter: Filter,
}

/// The publisher's end.
pub(super) struct Writers<'r> {
    run: &'r Run<'r>,
    links: Vec<Link>,
    /// Batches to be filled again.
    empty: Receiver<Batch>,
    running: Arc<AtomicUsize>,
    limit: usize,
}

impl<'r> Writers<'r> {
    /// Starts a thread for each output.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        run: &'r Run<'r>,
        outputs: Vec<Box<dyn Output + 'scope>>,
    ) -> (Self, Vec<ScopedJoinHandle<'scope, ()>>)
    where
        'r: 'scope,
    {
        let limit = QUEUE.min(run.config.memory / 32) as usize;
        let (back, empty) = bounded(4);
        let running = Arc::new(AtomicUsize::new(outputs.len()));
        run.state.set_outputs(outputs.iter().map(|output| output.counters()).collect());
        let (mut links, mut threads) = (Vec::new(), Vec::new());
        for output in outputs {
            let queue = Arc::new(Queue::new(limit, output.counters()));
            links.push(Link { queue: Arc::clone(&queue), form: output.form(), filter: output.filter() });
            let writer = WriterThread { run, queue, output, back: back.clone(), running: Arc::clone(&running) };
            threads.push(spawn(scope, "write", move || writer.run()));
        }
        (Self { run, links, empty, running, limit }, threads)
    }

    /// Whether any output wants NDJSON.
    pub(super) fn wants_json(&self) -> bool {
        self.links.iter().any(|link| link.form == Form::Json)
    }

    /// Whether any output wants text, and whether with colour.
    pub(super) fn wants_text(&self) -> Option<bool> {
        self.links.iter().find_map(|link| match link.form {
            Form::Text { colour } => Some(colour),
            Form::Json => None,
        })
    }

    /// A batch of so many bytes is to be handed on.
    pub(super) fn full_at(&self) -> usize {
        self.limit / 4
    }

    /// Gives an empty batch its room: that of the event which fills it too, as a rule.
    pub(super) fn make_room(&self, batch: &mut Batch) {
        if self.wants_json() {
            batch.reserve(self.full_at() + LAST);
        }
    }

    /// Whether there is nobody left to write for.
    pub(super) fn have_ended(&self) -> bool {
        self.running.load(Ordering::Relaxed) == 0
    }

    /// Takes what `batch` holds and leaves it empty; `false` when nobody is left to write for.
    pub(super) fn write(&mut self, batch: &mut Batch) -> bool {
        let mut next = self.empty.try_recv().unwrap_or_default();
        self.make_room(&mut next);
        let batch = Arc::new(std::mem::replace(batch, next));
        let mut taken = 0;
        for link in &self.links {
            let some = batch.taken(link.form, &link.filter);
            let is_there = match (some.is_empty(), self.run.live) {
                (true, _) => !self.have_ended(),
                (false, true) => link.queue.push(&some),
                (false, false) => link.queue.push_waiting(&some),
            };
            taken += usize::from(is_there);
        }
        taken > 0
    }

    pub(super) fn reopen(&self) {
        self.links.iter().for_each(|link| link.queue.reopen());
    }

    /// Nothing more will be written.
    pub(super) fn end(&self) {
        self.links.iter().for_each(|link| link.queue.end());
    }
}

/// One output and its thread.
struct WriterThread<'r, 'o> {
    run: &'r Run<'r>,
    queue: Arc<Queue>,
    output: Box<dyn Output + 'o>,
    back: Sender<Batch>,
    running: Arc<AtomicUsize>,
}

impl WriterThread<'_, '_> {
    fn run(mut self) {
        let outcome = self.write_until_the_end();
        let is_closed = matches!(outcome, Err(OutputError::Closed));
        self.queue.abandon(if is_closed { Reason::Closed } else { Reason::Failed });
        if outcome.is_err() {
            self.output.counters().close();
        }
        if outcome.is_err() && !is_closed {
            self.output.counters().end_early();
        }
        self.say();
        let left = self.running.fetch_sub(1, Ordering::Relaxed) - 1;
        if let Err(error) = outcome {
            self.end_early(&error, left);
        }
    }

    /// The same, whatever happens: a fault of one output ends that output, and is said.
    fn write_until_the_end(&mut self) -> Result<(), OutputError> {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.write_all()));
        outcome.unwrap_or_else(|fault| {
            let counts = self.output.counters();
            let name = counts.snapshot().name;
            if counts.snapshot().spool_bytes == 0 {
                // Which of them are alerts is not known here.
                counts.drop_many(0, counts.snapshot().waiting);
            }
            Err(OutputError::Fault { name, text: panic_text(&*fault) })
        })
    }

    /// Writes until nothing more comes, or nothing more can be written.
    fn write_all(&mut self) -> Result<(), OutputError> {
        self.output.attend();
        let mut attended = Instant::now();
        let mut flush_by = None;
        loop {
            let due = flush_by.unwrap_or(attended + ATTEND);
            match self.queue.pop(due) {
                Next::Job(Job::Write(batch)) => {
                    self.write(&batch)?;
                    self.give_back(batch);
                    self.run.state.advance();
                    if self.run.prompt {
                        flush_by.get_or_insert_with(|| Instant::now() + FLUSH_AFTER);
                    }
                }
                Next::Job(Job::Reopen) => self.output.reopen(),
                Next::Quiet => {}
                Next::End => break,
            }
            if flush_by.is_some_and(|by| by <= Instant::now()) {
                flush_by = None;
                self.output.flush()?;
            }
            if attended.elapsed() >= ATTEND {
                attended = Instant::now();
                self.output.attend();
                self.say();
            }
        }
        self.output.finish()
    }

    fn write(&mut self, batch: &Batch) -> Result<(), OutputError> {
        let outcome = self.output.write(batch);
        if matches!(outcome, Err(OutputError::Stdout(_))) {
            let counters = self.output.counters();
            batch.labels().for_each(|label| counters.drop_one(label.kind));
        }
        outcome
    }

    /// The last to be done with a batch gives it back.
    fn give_back(&self, batch: Arc<Batch>) {
        if let Some(mut batch) = Arc::into_inner(batch) {
            batch.clear();
            let _ = self.back.try_send(batch);
        }
    }

    fn say(&mut self) {
        while let Some(message) = self.output.message() {
            tell_user(message);
        }
    }

    /// The output cannot go on; others can. A closed standard output is a quiet end where nothing else is written.
    fn end_early(&self, error: &OutputError, left: usize) {
        if left == 0 {
            self.run.stop.store(true, Ordering::Relaxed);
        }
        let is_quiet = matches!(error, OutputError::Closed);
        if !is_quiet {
            tell_user(error);
        }
        self.run.state.post(|report| match is_quiet {
            true => report.closed = true,
            false => report.failures += 1,
        });
    }
}
