//! What the threads of a run share: settings, the wish to stop, and what each has counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::report::Report;
use crate::config::Config;
use crate::correlate::AllowEntry;
use crate::output::Counters;
#[cfg(target_os = "linux")]
use crate::packet::{PacketBatch, Timestamp};
use crate::pipeline;
use crate::process::Lookup;

/// What all threads of a run share.
pub(super) struct Run<'r> {
    pub(super) config: &'r Config,
    pub(super) state: &'r RunState,
    /// Ends the run in order when it is set.
    pub(super) stop: &'r AtomicBool,
    /// Live capture: counts are posted all along, and lines are handed on as soon as it is quiet.
    pub(super) live: bool,
    /// What is found is handed on as soon as it is quiet: live capture, and pipes that may be written to for long.
    pub(super) prompt: bool,
    /// Names the processes behind connections, in live capture.
    pub(super) processes: Option<Lookup>,
}

/// What each thread has counted, for those who ask while the run goes on, and for its end.
#[derive(Default)]
pub(super) struct RunState {
    report: Mutex<Report>,
    workers: Mutex<Vec<pipeline::Counters>>,
    outputs: Mutex<Vec<Arc<Counters>>>,
    /// A credential was issued in what has been published; workers run ahead of that.
    issued: AtomicBool,
    /// Everything has been published.
    published: AtomicBool,
    /// Grows with everything that is worked off.
    progress: AtomicU64,
    lag: Mutex<Lag>,
}

impl RunState {
    /// Changes the counts of one's own.
    pub(super) fn post(&self, change: impl FnOnce(&mut Report)) {
        change(&mut locked(&self.report));
    }

    /// Something that changes for as long as work is done.
    pub(super) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    pub(super) fn advance(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn has_issued(&self) -> bool {
        self.issued.load(Ordering::Relaxed)
    }

    pub(super) fn set_issued(&self) {
        self.issued.store(true, Ordering::Relaxed);
    }

    pub(super) fn set_published(&self) {
        self.published.store(true, Ordering::Relaxed);
    }

    pub(super) fn set_outputs(&self, counters: Vec<Arc<Counters>>) {
        *locked(&self.outputs) = counters;
    }

    pub(super) fn post_worker(&self, worker: usize, counters: pipeline::Counters) {
        let mut workers = locked(&self.workers);
        if workers.len() <= worker {
            workers.resize_with(worker + 1, Default::default);
        }
        if let Some(slot) = workers.get_mut(worker) {
            *slot = counters;
        }
    }

    /// All that comes of packets before the number `next` was published.
    pub(super) fn publish(&self, next: u64) {
        locked(&self.lag).publish(next, Instant::now());
    }

    /// What was counted so far.
    pub(super) fn report(&self) -> Report {
        let mut report = locked(&self.report).clone();
        for counters in locked(&self.workers).iter() {
            report.pipeline.add(counters);
        }
        report.outputs = locked(&self.outputs).iter().map(|counters| counters.snapshot()).collect();
        let lag = locked(&self.lag);
        (report.lag, report.lag_max) = (lag.now(), lag.max.max(lag.now()));
        report.unpublished = lag.handed_over - lag.published;
        report
    }
}

/// What only live capture asks and says.
#[cfg(target_os = "linux")]
impl RunState {
    /// Whether everything has been published: outputs may still have to write it.
    pub(super) fn is_published(&self) -> bool {
        self.published.load(Ordering::Relaxed)
    }

    /// Packets before the number `next` were handed to the workers.
    pub(super) fn hand_over(&self, next: u64) {
        locked(&self.lag).hand_over(next, Instant::now());
    }

    /// How long the oldest packets that are not published yet have been waiting, or will have waited at the present pace.
    pub(super) fn expected_lag(&self) -> Duration {
        locked(&self.lag).expected(Instant::now())
    }
}

/// How far detection is behind the wire, in live capture.
#[derive(Default)]
struct Lag {
    /// Batches that are not published: number of the packet after each, and when it was handed over.
    batches: VecDeque<(u64, Instant)>,
    handed_over: u64,
    published: u64,
    max: Duration,
    /// Since when there has always been something to work off, as far as it is measured, and what was published then.
    busy: Option<(Instant, u64)>,
    /// Packets that were lately worked off in a second; not known where nothing waits.
    pace: Option<f64>,
}

/// How long the pace is measured, and how far behind it has to be before it is asked for: a moment without a turn on a busy
/// machine is none.
const MEASURED: Duration = Duration::from_millis(250);
#[cfg(target_os = "linux")]
const NOTICED: Duration = Duration::from_secs(1);

impl Lag {
    #[cfg(target_os = "linux")]
    fn hand_over(&mut self, next: u64, at: Instant) {
        self.handed_over = next;
        self.busy.get_or_insert((at, self.published));
        self.batches.push_back((next, at));
    }

    fn publish(&mut self, next: u64, at: Instant) {
        self.max = self.max.max(self.at(at));
        self.published = next.min(self.handed_over).max(self.published);
        while self.batches.front().is_some_and(|(end, _)| *end <= self.published) {
            self.batches.pop_front();
        }
        if self.batches.is_empty() {
            (self.busy, self.pace) = (None, None);
        } else if let Some((since, before)) = self.busy.filter(|(since, _)| at.duration_since(*since) >= MEASURED) {
            self.pace = Some((self.published - before) as f64 / at.duration_since(since).as_secs_f64());
            self.busy = Some((at, self.published));
        }
    }

    fn now(&self) -> Duration {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> Duration {
        self.batches.front().map(|(_, since)| now.duration_since(*since)).unwrap_or_default()
    }

    /// How far it will be behind once what waits is worked off, or is now if that is more.
    #[cfg(target_os = "linux")]
    fn expected(&self, now: Instant) -> Duration {
        let behind = self.at(now);
        let waiting = (self.handed_over - self.published) as f64;
        let pace = self.pace.filter(|pace| *pace > 0.0 && behind >= NOTICED);
        let wait = pace.map(|pace| Duration::try_from_secs_f64(waiting / pace));
        behind.max(wait.and_then(Result::ok).unwrap_or_default())
    }
}

/// Counters stay meaningful when another thread panicked while it wrote them.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the publisher is asked for while the run goes on: by signals to a live run, which only Linux has.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "nobody asks a replay"))]
pub(super) enum Request {
    /// Close output files and open them again.
    Reopen,
    /// From now on these may use metadata services.
    Allow(Vec<AllowEntry>),
}

/// What a capture thread says to one that decodes.
#[cfg(target_os = "linux")]
pub(super) enum Captured {
    Packets(PacketBatch),
    /// Live capture has been quiet until now; the next packet will have this number.
    Quiet {
        at: u64,
        now: Timestamp,
    },
}

/// A thread that bears its name in `top -H` and `perf`.
pub(super) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    #[expect(clippy::expect_used, reason = "without its threads a run cannot begin; Scope::spawn panics as well")]
    thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, run).expect("the system gives no thread")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_told_before_it_has_waited() {
        let start = Instant::now();
        let after = |ms: u64| start + Duration::from_millis(ms);
        let mut lag = Lag::default();
        lag.hand_over(1000, after(0));
        assert_eq!(lag.expected(after(10)), Duration::from_millis(10), "nothing is known of the pace");
        lag.hand_over(11_000, after(10));
        lag.publish(1000, after(1000));
        assert_eq!(lag.expected(after(1000)), Duration::from_millis(990), "a moment without a turn");
        assert_eq!(lag.expected(after(1010)), Duration::from_secs(10), "10,000 packets at 1,000 a second");
        lag.publish(11_000, after(1100));
        lag.hand_over(21_000, after(1200));
        assert_eq!(lag.expected(after(2300)), Duration::from_millis(1100), "the pace is not known any more");
        assert_eq!(lag.max, Duration::from_millis(1090));
    }
}
