//! The thread that writes. Lines come to it in whole buffers, and the buffers go back empty: the publisher makes the
//! next lines while the operating system takes the last.
//!
//! In: what a [`Sink`] is told. Out: the same, told to the sink behind it, in order. Bound: [`BUFFERS`] buffers; when all
//! are on their way, the publisher waits. Why the sink failed is said by the next call.

use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::stages::{Sink, spawn};
use crate::output::OutputError;
use crate::publish::Lines;

/// Buffers between publisher and scribe.
const BUFFERS: usize = 4;

/// The publisher's end.
pub(super) struct Scribe {
    json: bool,
    text: Option<bool>,
    jobs: Sender<Job>,
    empty: Receiver<Lines>,
    answers: Receiver<Result<Flushed, OutputError>>,
}

/// Lines lost so far, and what to tell the user.
type Flushed = (u64, Vec<String>);

enum Job {
    Write(Lines),
    Flush,
    Reopen,
}

impl Scribe {
    /// Starts the thread; it ends when the scribe is dropped, or its sink fails.
    pub(super) fn start<'scope, S: Sink + Send + 'scope>(
        scope: &'scope Scope<'scope, '_>,
        sink: S,
    ) -> (Self, ScopedJoinHandle<'scope, ()>) {
        let (jobs, todo) = bounded(BUFFERS);
        let (back, empty) = bounded(BUFFERS);
        let (tell, answers) = bounded(1);
        for _ in 0..BUFFERS {
            let _ = back.send(Lines::default());
        }
        let (json, text) = (sink.wants_json(), sink.wants_text());
        let thread = spawn(scope, "scribe", move || {
            if let Err(error) = work(sink, &todo, &back, &tell) {
                let _ = tell.send(Err(error));
            }
        });
        (Self { json, text, jobs, empty, answers }, thread)
    }

    /// What the thread answers, or why it ended.
    fn answer(&self) -> Result<Flushed, OutputError> {
        self.answers.recv().unwrap_or(Err(OutputError::Closed))
    }
}

fn work<S: Sink>(
    mut sink: S,
    todo: &Receiver<Job>,
    back: &Sender<Lines>,
    tell: &Sender<Result<Flushed, OutputError>>,
) -> Result<(), OutputError> {
    for job in todo {
        match job {
            Job::Write(mut lines) => {
                sink.write(&mut lines)?;
                lines.clear();
                let _ = back.send(lines);
            }
            Job::Flush => _ = tell.send(Ok(sink.flush()?)),
            Job::Reopen => sink.reopen(),
        }
    }
    Ok(())
}

impl Sink for Scribe {
    fn wants_json(&self) -> bool {
        self.json
    }

    fn wants_text(&self) -> Option<bool> {
        self.text
    }

    fn write(&mut self, lines: &mut Lines) -> Result<(), OutputError> {
        let Ok(empty) = self.empty.recv() else { return self.answer().map(drop) };
        match self.jobs.send(Job::Write(std::mem::replace(lines, empty))) {
            Ok(()) => Ok(()),
            Err(_) => self.answer().map(drop),
        }
    }

    fn flush(&mut self) -> Result<Flushed, OutputError> {
        let _ = self.jobs.send(Job::Flush);
        self.answer()
    }

    fn reopen(&mut self) {
        let _ = self.jobs.send(Job::Reopen);
    }
}
