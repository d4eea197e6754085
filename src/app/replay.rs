//! Replay: a capture thread reads and decodes files, the threads of [`threads`](super::threads) do the rest.
//!
//! Nothing is ever dropped: every channel is bounded, and a sender waits. The calling thread shows progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never};

use super::events::{self, Pending};
use super::feed::Feed;
use super::progress::{self, Position};
use super::report::{Failures, Report};
use super::run::{Run, RunState, spawn};
use super::tell_user;
use super::threads::Threads;
use crate::capture::{CaptureError, FileSource, Filter, Listed, Status};
use crate::config::Config;
use crate::output::Output;
use crate::packet::PacketBatch;

/// Batches on the way from the capture thread; with their buffers they are the memory between the two.
const BATCHES: usize = 8;

/// After a signal, what is under way is written to its end, unless nothing gets on for so long: an output that takes
/// nothing must not keep us.
const GRACE: Duration = Duration::from_secs(5);

/// Ends the process where the run was told to stop and cannot.
#[derive(Default)]
struct EndGuard {
    /// When work was last seen to get on, and how far.
    seen: Option<(Instant, u64)>,
}

impl EndGuard {
    /// Always `false`: it has its end in hand.
    fn check(&mut self, run: &Run<'_>) -> bool {
        if !run.stop.load(Ordering::Relaxed) {
            return false;
        }
        let progress = run.state.progress();
        match self.seen {
            Some((since, seen)) if seen == progress && since.elapsed() >= GRACE => {
                for output in run.state.report().outputs.iter().filter(|output| output.waiting > 0) {
                    tell_user(format_args!(
                        "output {} did not take {} events: they are lost",
                        output.name, output.waiting
                    ));
                }
                std::process::exit(i32::from(super::status::FAILED));
            }
            Some((_, seen)) if seen == progress => {}
            _ => self.seen = Some((Instant::now(), progress)),
        }
        false
    }
}

/// What the capture thread adds up.
#[derive(Default)]
struct Read {
    packets: u64,
    filtered: u64,
    bytes: u64,
    inputs: u64,
    skipped: u64,
    events: u64,
    failures: Failures,
}

impl Read {
    fn take(&mut self, told: events::Counts) {
        self.inputs += told.inputs;
        self.events += told.events;
        self.skipped += told.skipped;
        self.bytes += told.bytes;
        self.failures.extend(told.failures);
    }

    fn into_report(self, report: &mut Report) {
        (report.packets, report.filtered, report.bytes) = (self.packets, self.filtered, self.bytes);
        (report.inputs, report.skipped, report.events) = (self.inputs, self.skipped, self.events);
        report.failures += self.failures.count;
        report.troubles.extend(self.failures.first);
    }
}

/// Stops `stop` on SIGINT and SIGTERM: the run then ends in order. A second signal ends it at once.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn on_signals(stop: &Arc<AtomicBool>) -> std::io::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(stop))?;
        signal_hook::flag::register(signal, Arc::clone(stop))?;
    }
    Ok(())
}

/// Replays `inputs` into `outputs`. Setting `stop` ends it early and in order. What cannot be read is told on standard
/// error and counted in the report; everything else is read all the same.
pub fn replay<'o>(
    config: &Config,
    inputs: Vec<Result<Listed, CaptureError>>,
    outputs: Vec<Box<dyn Output + 'o>>,
    stop: &AtomicBool,
) -> Report {
    let started = Instant::now();
    let position = Position::default();
    let state = RunState::default();
    let prompt = inputs.iter().flatten().any(|listed| listed.input.size().is_none());
    let run = Run { config, state: &state, stop, live: false, prompt, processes: None };
    thread::scope(|scope| {
        let (feed, empty, threads) = Threads::start(scope, &run, BATCHES, outputs, never());
        let position = &position;
        let capture = spawn(scope, "capture", move || read_all(config, inputs, position, stop, &empty, feed));
        let mut guard = EndGuard::default();
        progress::watch(position, config.quiet, || threads.is_finished() || guard.check(&run));
        let read = capture.join().unwrap_or_else(|_| panicked("capture"));
        threads.join(&state);
        state.post(|report| read.into_report(report));
    });
    Report { seconds: started.elapsed().as_secs_f64(), ..state.report() }
}

fn panicked(thread: &str) -> Read {
    tell_user(format_args!("the {thread} thread failed; this is a bug, please report it"));
    Read { failures: Failures { count: 1, ..Failures::default() }, ..Read::default() }
}

/// The capture thread: reads every input, in order, into batches, and decodes them.
fn read_all(
    config: &Config,
    inputs: Vec<Result<Listed, CaptureError>>,
    position: &Position,
    stop: &AtomicBool,
    empty: &Receiver<PacketBatch>,
    mut feed: Feed<'_>,
) -> Read {
    let mut read = Read::default();
    let mut filter = match Filter::compile(&config.filter) {
        Ok(filter) => (!config.filter.is_empty()).then_some(filter),
        Err(error) => {
            read.failures.add(&error);
            return read;
        }
    };
    let mut next_index = 1; // what other sensors saw may come before the first packet
    let sizes = inputs.iter().flatten().filter_map(|listed| listed.input.size());
    position.total.store(sizes.sum(), Ordering::Relaxed);
    let (inputs, told) = events::read(config, inputs, position, stop, &mut feed);
    read.take(told);
    for pending in inputs {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let source = pending.and_then(|pending| match pending {
            Pending::Open(source) => Ok(Some(*source)),
            Pending::Listed(listed) => match FileSource::open(&listed.input) {
                Err(error) if error.is_not_a_capture() && !listed.named => Ok(None),
                other => other.map(Some),
            },
        });
        let mut source = match source {
            Ok(Some(source)) => source,
            Ok(None) => {
                read.skipped += 1;
                continue;
            }
            Err(error) => {
                read.failures.add(&error);
                continue;
            }
        };
        read.inputs += 1;
        feed.next_input();
        let before = position.bytes.load(Ordering::Relaxed);
        loop {
            let Ok(mut batch) = empty.recv() else { return read };
            batch.clear(next_index);
            let status = source.next_batch(&mut batch);
            for warning in source.warnings() {
                match warning.damage {
                    true => read.failures.add(&warning),
                    false => tell_user(&warning),
                }
            }
            read.packets += batch.len() as u64;
            if let Some(filter) = &mut filter {
                let all = batch.len();
                if let Err(error) = filter.apply(&mut batch) {
                    read.failures.add(&error);
                }
                read.filtered += (all - batch.len()) as u64;
                read.packets -= (all - batch.len()) as u64;
            }
            read.bytes += batch.captured_bytes();
            next_index = batch.next_index();
            position.packets.store(next_index, Ordering::Relaxed);
            position.bytes.store(before + source.bytes_read(), Ordering::Relaxed);
            if !feed.packets(batch) || stop.load(Ordering::Relaxed) {
                return read;
            }
            match status {
                Ok(Status::More) => {}
                Ok(Status::End) => break,
                Err(error) => {
                    read.failures.add(&error);
                }
            }
        }
    }
    feed.tell_all();
    if let Some(hidden @ 1..) = filter.as_ref().map(Filter::hidden) {
        let words = config.filter.join(" ");
        tell_user(format_args!(
            "the filter left {hidden} packets out that it means, for their VLAN tags or MPLS labels: add \
             `or (vlan and ({words}))` (or `mpls`)"
        ));
    }
    read
}
