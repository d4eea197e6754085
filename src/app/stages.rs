//! The threads behind the [`Feed`], for replay and live capture alike: one or more workers detect, a publisher merges
//! what they found in packet order, correlates, and writes.
//!
//! Every channel is bounded, and a sender waits; only the capture thread of a live run throws batches away instead.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, bounded, never, select};

use super::feed::{Feed, Way};
use super::report::Report;
use super::scribe::Scribe;
use crate::config::Config;
use crate::conn::Order;
use crate::correlate::AllowEntry;
use crate::decode;
use crate::detect::Detector;
use crate::observe::Observation;
use crate::output::{OutputError, Outputs};
use crate::packet::{PacketBatch, Timestamp};
use crate::pipeline::{self, Pipeline};
use crate::process::Lookup;
use crate::publish::{Lines, Publisher};
use crate::route::{Routed, Take};

/// What all threads of a run share.
pub(super) struct Run<'r> {
    pub(super) config: &'r Config,
    pub(super) board: &'r Board,
    /// Ends the run in order when it is set.
    pub(super) stop: &'r AtomicBool,
    /// Live capture: counts are posted all along, and lines are handed on as soon as it is quiet.
    pub(super) live: bool,
    /// Names the processes behind connections, in live capture.
    pub(super) processes: Option<Lookup>,
}

impl Run<'_> {
    /// Says that something failed, which the exit status says too.
    fn complain(&self, error: &std::io::Error) {
        eprintln!("imdswatch: {error}");
        self.board.post(|report| report.failures += 1);
    }
}

/// What each thread has counted, for those who ask while the run goes on, and for its end.
#[derive(Default)]
pub(super) struct Board {
    report: Mutex<Report>,
    workers: Mutex<Vec<pipeline::Counters>>,
    /// A credential was issued in what has been published. Workers are all behind that.
    issued: AtomicBool,
    /// Everything has been written that could be.
    written: AtomicBool,
    /// Grows with everything that is worked off.
    progress: AtomicU64,
}

impl Board {
    /// Changes the counts of one's own.
    pub(super) fn post(&self, change: impl FnOnce(&mut Report)) {
        change(&mut locked(&self.report));
    }

    /// Something that changes for as long as work is done.
    pub(super) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    fn advance(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether everything has been written that could be: outputs may still have files to compress.
    pub(super) fn is_written(&self) -> bool {
        self.written.load(Ordering::Relaxed)
    }

    fn post_worker(&self, worker: usize, counters: pipeline::Counters) {
        let mut workers = locked(&self.workers);
        if workers.len() <= worker {
            workers.resize_with(worker + 1, Default::default);
        }
        if let Some(slot) = workers.get_mut(worker) {
            *slot = counters;
        }
    }

    /// What was counted so far.
    pub(super) fn report(&self) -> Report {
        let mut report = locked(&self.report).clone();
        for counters in locked(&self.workers).iter() {
            report.pipeline.add(counters);
        }
        report
    }
}

/// Counters stay meaningful when another thread panicked while it wrote them.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the publisher is asked for while the run goes on.
pub(super) enum Request {
    /// Close output files and open them again.
    Reopen,
    /// From now on these may use metadata services.
    Allow(Vec<AllowEntry>),
}

/// Takes finished lines. Implemented by [`Outputs`]; tests collect them.
pub trait Sink {
    /// Whether NDJSON is wanted.
    fn wants_json(&self) -> bool;
    /// Whether text is wanted, and with colour.
    fn wants_text(&self) -> Option<bool>;
    /// Writes whole lines; what it leaves in `lines` is of no meaning.
    ///
    /// # Errors
    /// Only when going on is pointless.
    fn write(&mut self, lines: &mut Lines) -> Result<(), OutputError>;
    /// Hands everything on; returns lines lost so far and what to tell the user.
    ///
    /// # Errors
    /// As [`Self::write`].
    fn flush(&mut self) -> Result<(u64, Vec<String>), OutputError>;
    /// Closes what it writes to and opens it again.
    fn reopen(&mut self) {}
}

impl Sink for Outputs {
    fn wants_json(&self) -> bool {
        self.wants_json()
    }

    fn wants_text(&self) -> Option<bool> {
        self.wants_text()
    }

    fn write(&mut self, lines: &mut Lines) -> Result<(), OutputError> {
        self.json(&lines.json, lines.json_count)?;
        self.text(&lines.text, lines.text_count)
    }

    fn flush(&mut self) -> Result<(u64, Vec<String>), OutputError> {
        self.flush()?;
        Ok(self.troubles())
    }

    fn reopen(&mut self) {
        self.reopen();
    }
}

/// What a capture thread says to one that decodes.
pub(super) enum Captured {
    Packets(PacketBatch),
    /// Live capture has been quiet until now; the next packet will have this number.
    Quiet {
        at: u64,
        now: Timestamp,
    },
}

/// What a worker says: what it found, in order; everything it will find later comes behind `until`.
struct Found {
    observations: Vec<Observation>,
    ticks: Vec<(Order, Timestamp)>,
    until: Order,
}

/// The running threads.
pub(super) struct Threads<'scope> {
    lanes: Vec<ScopedJoinHandle<'scope, ()>>,
    publisher: ScopedJoinHandle<'scope, ()>,
    scribe: ScopedJoinHandle<'scope, ()>,
}

impl<'scope> Threads<'scope> {
    /// Starts them, with so many batches on the way to them: with their buffers they are the memory in between. Returns
    /// the way in as well, and where empty batches come out.
    pub(super) fn start<'r: 'scope, S: Sink + Send + 'scope>(
        scope: &'scope Scope<'scope, '_>,
        run: &'r Run<'r>,
        batches: usize,
        sink: S,
        requests: Receiver<Request>,
    ) -> (Feed<'r>, Receiver<PacketBatch>, Self) {
        let (empty_tx, empty) = bounded::<PacketBatch>(batches);
        for _ in 0..batches {
            let _ = empty_tx.send(PacketBatch::limited_to(run.config.batch_packets));
        }
        let (mut found, mut lanes, mut ways) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..run.config.threads {
            let (there, routed) = bounded::<Routed>(BATCHES);
            let (back_tx, back) = bounded::<Routed>(BATCHES + 2);
            let (found_tx, found_rx) = bounded(BATCHES);
            found.push(found_rx);
            ways.push(Way { there, back });
            let empty_tx = empty_tx.clone();
            lanes.push(spawn(scope, "worker", move || lane(run, n, &routed, &back_tx, &empty_tx, &found_tx)));
        }
        let (scribe, writing) = Scribe::start(scope, sink);
        let publisher = spawn(scope, "publish", move || publish(run, &found, &requests, scribe));
        (Feed::new(run, ways), empty, Self { lanes, publisher, scribe: writing })
    }

    /// Whether everything has been published.
    pub(super) fn is_finished(&self) -> bool {
        self.publisher.is_finished()
    }

    /// Waits for the end of all of them, which comes after the capture thread's.
    pub(super) fn join(self, board: &Board) {
        for thread in self.lanes.into_iter().chain([self.publisher, self.scribe]) {
            if thread.join().is_err() {
                board.post(|report| report.failures += 1);
            }
        }
    }
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

/// Batches between workers and their neighbours.
const BATCHES: usize = 8;

/// In replay a worker tells of this many batches together: waking the publisher costs both more than one batch is worth.
/// No more than [`BATCHES`], or a worker that waits for the publisher, which waits for another worker, could keep that one
/// from ever being given so many.
const TOGETHER: usize = 4;

/// One worker.
fn lane(
    run: &Run<'_>,
    number: usize,
    routed: &Receiver<Routed>,
    back: &Sender<Routed>,
    empty: &Sender<PacketBatch>,
    found: &Sender<Found>,
) {
    let mut worker = Worker::new(run, number, found);
    for (nth, mut batch) in (1..).zip(routed) {
        if run.board.issued.load(Ordering::Relaxed) {
            worker.pipeline.search_tokens();
        }
        batch.replay(&mut worker);
        let until = before(batch.watermark());
        if let Some(packets) = batch.release() {
            let _ = empty.send(packets);
        }
        let _ = back.try_send(batch);
        if (run.live || nth % TOGETHER == 0) && !worker.hand_over(until) {
            break;
        }
    }
    worker.finish();
}

/// Everything that comes of packets before `next` stands before this.
fn before(next: u64) -> Order {
    Order { at: next, ..Order::default() }
}

/// A pipeline, and where to put what it finds.
struct Worker<'r> {
    pipeline: Pipeline,
    out: Handover<'r>,
    run: &'r Run<'r>,
    number: usize,
}

/// The way to the publisher, and the ticks that it has not been told of.
struct Handover<'r> {
    to: &'r Sender<Found>,
    ticks: Vec<(Order, Timestamp)>,
}

impl Handover<'_> {
    /// Whether there is still somebody to take it.
    fn send(&mut self, observations: &mut Vec<Observation>, until: Order) -> bool {
        let (observations, ticks) = (std::mem::take(observations), std::mem::take(&mut self.ticks));
        self.to.send(Found { observations, ticks, until }).is_ok()
    }
}

impl<'r> Worker<'r> {
    fn new(run: &'r Run<'r>, number: usize, to: &'r Sender<Found>) -> Self {
        let detector = Detector::new(Arc::clone(&run.config.catalogue), run.config.detect.clone());
        let config = pipeline::Config { processes: run.processes.clone(), ..run.config.pipeline() };
        Self { pipeline: Pipeline::new(config, detector), out: Handover { to, ticks: Vec::new() }, run, number }
    }

    fn hand_over(&mut self, until: Order) -> bool {
        let mut observations = Vec::new();
        self.pipeline.drain(&mut observations);
        if self.run.live {
            self.run.board.advance();
            self.run.board.post_worker(self.number, self.pipeline.counters());
        }
        self.out.send(&mut observations, until)
    }

    fn finish(&mut self) {
        let out = &mut self.out;
        self.pipeline.finish(&mut |found, until| {
            out.send(found, until);
        });
        self.run.board.post_worker(self.number, self.pipeline.counters());
        self.hand_over(Order { at: u64::MAX, in_packet: true, ..Order::default() });
    }
}

impl Take for Worker<'_> {
    fn tick(&mut self, at: u64, now: Timestamp) {
        self.out.ticks.push((before(at), now));
        let out = &mut self.out;
        self.pipeline.expire(at, now, &mut |found, until| {
            out.send(found, until);
        });
    }

    fn level(&mut self, meta: &decode::meta::Meta, segment: &[u8]) {
        self.pipeline.level(meta, segment);
    }

    fn warm<'m>(&self, levels: impl Iterator<Item = &'m decode::meta::Meta>) {
        self.pipeline.warm(levels);
    }

    fn never_arrived(&mut self, quoted: &crate::route::Quoted) {
        self.pipeline.never_arrived(quoted);
    }

    fn restart(&mut self, at: u64) {
        let out = &mut self.out;
        self.pipeline.end_all(at, &mut |found, until| {
            out.send(found, until);
        });
    }
}

/// The publisher thread: merges what the workers found, in packet order.
fn publish<S: Sink>(run: &Run<'_>, found: &[Receiver<Found>], requests: &Receiver<Request>, sink: S) {
    let mut desk = Desk::new(run, requests, sink);
    let outcome = desk.merge(found);
    let outcome = outcome.and_then(|()| desk.finish()).and_then(|()| desk.flush());
    desk.save();
    run.board.written.store(true, Ordering::Relaxed);
    desk.post();
    let suggestions = desk.publisher.suggestions();
    run.board.post(|report| report.suggestions = suggestions);
    if let Err(error) = outcome {
        run.stop.store(true, Ordering::Relaxed);
        run.board.post(|report| match error {
            OutputError::Closed => report.closed = true,
            error => {
                eprintln!("imdswatch: {error}");
                report.failures += 1;
            }
        });
    }
}

/// Lines are handed on when this many bytes wait. Each time the scribe wakes it tends to take the publisher's processor
/// from it, even where another is idle: with a quarter of this, a file of metadata exchanges took an eighth longer on two
/// cores. Twice as much brought nothing.
const HAND_ON: usize = 1024 * 1024;

/// In live capture what was learned is saved so often, in nanoseconds.
const SAVE_AFTER: i64 = 300 * Timestamp::SECOND;

/// In live capture a line waits at most so long before the reader of the output can see it.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// The publisher at work.
struct Desk<'r, S> {
    run: &'r Run<'r>,
    publisher: Publisher,
    sink: S,
    requests: &'r Receiver<Request>,
    /// When lines that nobody can see yet must have been flushed; live capture only.
    flush_by: Option<Instant>,
    /// Packet time of the last stats event.
    stats_at: Option<Timestamp>,
    /// Packet time at which the state was saved last; live capture only.
    saved_at: Option<Timestamp>,
}

impl<'r, S: Sink> Desk<'r, S> {
    fn new(run: &'r Run<'r>, requests: &'r Receiver<Request>, sink: S) -> Self {
        let settings = run.config.publisher(sink.wants_json(), sink.wants_text());
        let mut publisher = Publisher::new(settings, Arc::clone(&run.config.catalogue));
        if let Some(path) = &run.config.state {
            match super::state::load(path) {
                Ok(habits) => publisher.restore(habits),
                Err(error) => run.complain(&error),
            }
        }
        Self { run, publisher, sink, requests, flush_by: None, stats_at: None, saved_at: None }
    }

    /// Keeps what was learned, where that is asked for.
    fn save(&mut self) {
        let Some(path) = &self.run.config.state else { return };
        if let Err(error) = super::state::save(path, self.publisher.habits()) {
            self.run.complain(&error);
        }
    }

    fn merge(&mut self, found: &[Receiver<Found>]) -> Result<(), OutputError> {
        let mut lanes: Vec<Lane<'_>> = found.iter().enumerate().map(|(n, from)| Lane::new(from, n == 0)).collect();
        while let Some(lane) = self.next_lane(&mut lanes)? {
            match lane.take() {
                Some(Item::Observation(mut observation)) => {
                    lane.warm();
                    self.publisher.observe(&mut observation);
                    if self.publisher.has_issued() {
                        self.run.board.issued.store(true, Ordering::Relaxed);
                    }
                }
                Some(Item::Tick(now)) => self.tick(now),
                None => {}
            }
            if self.publisher.lines().json.len() + self.publisher.lines().text.len() >= HAND_ON {
                self.hand_on()?;
            }
        }
        Ok(())
    }

    /// The lane whose next item is the first of all that there will be; waits until that can be told. `None` at the
    /// end.
    fn next_lane<'l, 'f>(&mut self, lanes: &'l mut [Lane<'f>]) -> Result<Option<&'l mut Lane<'f>>, OutputError> {
        loop {
            let (first, head) =
                lanes.iter().enumerate().filter_map(|(n, l)| Some((n, l.head()?))).min_by_key(|(_, o)| *o).unzip();
            let behind =
                lanes.iter_mut().filter(|lane| lane.head().is_none() && !lane.ended).min_by_key(|lane| lane.until);
            match (head, behind) {
                (Some(head), Some(behind)) if head >= behind.until => behind.receive(self.wait(behind.from)?),
                (None, Some(behind)) => behind.receive(self.wait(behind.from)?),
                (None, None) => return Ok(None),
                (Some(_), _) => return Ok(first.and_then(|n| lanes.get_mut(n))),
            }
        }
    }

    /// Waits for what a worker found, and sees to everything else meanwhile; `None` when there will be no more.
    fn wait(&mut self, from: &Receiver<Found>) -> Result<Option<Found>, OutputError> {
        if !self.run.live {
            return Ok(from.recv().ok());
        }
        self.hand_on()?;
        loop {
            let due = self.flush_by.map_or_else(never, at);
            select! {
                recv(from) -> found => return Ok(found.ok()),
                recv(self.requests) -> request => self.answer(request.ok()),
                recv(due) -> _ => self.flush()?,
            }
        }
    }

    fn answer(&mut self, request: Option<Request>) {
        match request {
            Some(Request::Reopen) => self.sink.reopen(),
            Some(Request::Allow(allow)) => self.publisher.set_allow(allow),
            None => {}
        }
    }

    fn tick(&mut self, now: Timestamp) {
        self.publisher.tick(now);
        if self.run.live && now.since(*self.saved_at.get_or_insert(now)) >= SAVE_AFTER {
            self.saved_at = Some(now);
            self.save();
        }
        let Some(every) = self.run.config.stats else { return };
        let last = *self.stats_at.get_or_insert(now);
        if now.since(last) >= every.0 {
            self.stats_at = Some(now);
            self.post();
            // Only what depends on packets alone may be written in replay.
            let counters = if self.run.live { self.run.board.report().counters() } else { self.counters() };
            self.publisher.stats(now, &counters);
        }
    }

    /// What the publisher still waits for is decided and handed on.
    fn finish(&mut self) -> Result<(), OutputError> {
        while self.publisher.finish() {
            self.hand_on()?;
        }
        self.hand_on()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        Report { published: self.publisher.counters(), ..Report::default() }.published_counters()
    }

    fn hand_on(&mut self) -> Result<(), OutputError> {
        let lines = self.publisher.lines();
        if lines.json.is_empty() && lines.text.is_empty() {
            return Ok(());
        }
        self.sink.write(lines)?;
        lines.clear();
        self.run.board.advance();
        if self.run.live && self.flush_by.is_none() {
            self.flush_by = Some(Instant::now() + FLUSH_AFTER);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        self.flush_by = None;
        let (lost, messages) = self.sink.flush()?;
        messages.iter().for_each(|message| eprintln!("imdswatch: {message}"));
        self.run.board.post(|report| report.lost = lost);
        self.post();
        Ok(())
    }

    fn post(&self) {
        let counters = self.publisher.counters();
        self.run.board.post(|report| report.published = counters);
    }
}

/// What one worker found and has not been published yet.
struct Lane<'f> {
    from: &'f Receiver<Found>,
    /// Ticks are the same in all lanes: one gives them.
    gives_ticks: bool,
    observations: VecDeque<Observation>,
    ticks: VecDeque<(Order, Timestamp)>,
    /// Nothing before this is still to come.
    until: Order,
    ended: bool,
}

enum Item {
    Observation(Observation),
    Tick(Timestamp),
}

impl<'f> Lane<'f> {
    fn new(from: &'f Receiver<Found>, gives_ticks: bool) -> Self {
        let (observations, ticks) = (VecDeque::new(), VecDeque::new());
        Self { from, gives_ticks, observations, ticks, until: Order::default(), ended: false }
    }

    fn receive(&mut self, found: Option<Found>) {
        match found {
            Some(found) => {
                self.observations = found.observations.into();
                self.ticks = if self.gives_ticks { found.ticks.into() } else { VecDeque::new() };
                self.until = found.until;
            }
            None => self.ended = true,
        }
    }

    /// Brings what comes next but one into this processor's cache, while there is other work to do.
    fn warm(&self) {
        self.observations.get(1).into_iter().for_each(Observation::warm);
    }

    fn head(&self) -> Option<Order> {
        let tick = self.ticks.front().map(|(order, _)| *order);
        let observation = self.observations.front().map(|o| o.order);
        [tick, observation].into_iter().flatten().min()
    }

    fn take(&mut self) -> Option<Item> {
        let tick = self.ticks.front().map(|(order, _)| *order);
        let observation = self.observations.front().map(|o| o.order);
        match (tick, observation) {
            (Some(tick), observation) if observation.is_none_or(|o| tick <= o) => {
                self.ticks.pop_front().map(|(_, now)| Item::Tick(now))
            }
            _ => self.observations.pop_front().map(Item::Observation),
        }
    }
}
