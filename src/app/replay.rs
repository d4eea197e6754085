//! Replay: a capture thread reads files, one or more workers decode and detect, a publisher correlates and writes.
//!
//! Nothing is ever dropped: every channel is bounded, and a sender waits. The calling thread shows progress.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::progress::{self, Position};
use super::report::Report;
use crate::capture::{CaptureError, FileSource, Filter, Listed, Status};
use crate::config::Config;
use crate::decode;
use crate::detect::Detector;
use crate::observe::{Observation, Order};
use crate::output::{OutputError, Outputs};
use crate::packet::{PacketBatch, Timestamp};
use crate::pipeline::{self, Pipeline};
use crate::publish::{Lines, Publisher};
use crate::route::{Front, Routed, Router, Take};

/// Batches on the way from the capture thread; with their buffers they are the memory between the two.
const BATCHES: usize = 8;

/// Takes finished lines. Implemented by [`Outputs`]; tests collect them.
pub trait Sink {
    /// Whether NDJSON is wanted.
    fn wants_json(&self) -> bool;
    /// Whether text is wanted, and with colour.
    fn wants_text(&self) -> Option<bool>;
    /// Writes whole lines.
    ///
    /// # Errors
    /// Only when going on is pointless.
    fn write(&mut self, lines: &Lines) -> Result<(), OutputError>;
    /// Hands everything on; returns lines lost so far and what to tell the user.
    ///
    /// # Errors
    /// As [`Self::write`].
    fn flush(&mut self) -> Result<(u64, Vec<String>), OutputError>;
}

impl Sink for Outputs {
    fn wants_json(&self) -> bool {
        self.wants_json()
    }

    fn wants_text(&self) -> Option<bool> {
        self.wants_text()
    }

    fn write(&mut self, lines: &Lines) -> Result<(), OutputError> {
        self.json(&lines.json, lines.json_count)?;
        self.text(&lines.text, lines.text_count)
    }

    fn flush(&mut self) -> Result<(u64, Vec<String>), OutputError> {
        self.flush()?;
        Ok(self.troubles())
    }
}

/// What the capture thread says.
enum Captured {
    Packets(PacketBatch),
    /// The next packets come from another input.
    NextInput,
}

/// What a worker says: what it found, in order; everything it will find later comes behind `until`.
struct Found {
    observations: Vec<Observation>,
    ticks: Vec<(Order, Timestamp)>,
    until: Order,
}

/// What the capture thread adds up.
#[derive(Default)]
struct Read {
    packets: u64,
    filtered: u64,
    bytes: u64,
    inputs: u64,
    skipped: u64,
    failures: u64,
}

/// Stops `stop` on SIGINT and SIGTERM: the run then ends in order. A second signal ends it at once.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn on_signals(stop: &Arc<AtomicBool>) -> std::io::Result<()> {
    for signal in signal_hook::consts::TERM_SIGNALS {
        if *signal == signal_hook::consts::SIGQUIT {
            continue;
        }
        signal_hook::flag::register_conditional_shutdown(*signal, 130, Arc::clone(stop))?;
        signal_hook::flag::register(*signal, Arc::clone(stop))?;
    }
    Ok(())
}

/// Replays `inputs` into `sink`. Setting `stop` ends it early and in order. What cannot be read is told on standard
/// error and counted in the report; everything else is read all the same.
pub fn replay<S: Sink + Send>(
    config: &Config,
    inputs: Vec<Result<Listed, CaptureError>>,
    sink: S,
    stop: &AtomicBool,
) -> Report {
    let started = Instant::now();
    let position = Position::default();
    let mut report = Report::default();
    thread::scope(|scope| {
        let (packets_tx, packets_rx) = bounded::<Captured>(BATCHES);
        let (empty_tx, empty_rx) = bounded::<PacketBatch>(BATCHES + 2);
        for _ in 0..BATCHES + 2 {
            let _ = empty_tx.send(PacketBatch::limited_to(config.batch_packets));
        }
        let position = &position;
        let capture = scope.spawn(move || read_all(config, inputs, position, stop, &empty_rx, &packets_tx));
        let mut found = Vec::new();
        let mut lanes = Vec::new();
        let front = if config.threads == 1 {
            let (found_tx, found_rx) = bounded(BATCHES);
            found.push(found_rx);
            scope.spawn(move || in_line(config, &packets_rx, &empty_tx, &found_tx))
        } else {
            let mut routes = Vec::new();
            for _ in 0..config.threads {
                let (routed_tx, routed_rx) = bounded::<Routed>(BATCHES);
                let (back_tx, back_rx) = bounded::<Routed>(BATCHES + 2);
                let (found_tx, found_rx) = bounded(BATCHES);
                found.push(found_rx);
                routes.push((routed_tx, back_rx));
                lanes.push(scope.spawn(move || lane(config, &routed_rx, &back_tx, &found_tx)));
            }
            scope.spawn(move || route(config, &packets_rx, &empty_tx, &routes))
        };
        let publisher = scope.spawn(move || publish(config, &found, sink, stop));
        progress::watch(position, config.quiet, || publisher.is_finished());
        let read = capture.join().unwrap_or_else(|_| panicked("capture"));
        (report.packets, report.filtered, report.bytes) = (read.packets, read.filtered, read.bytes);
        (report.inputs, report.skipped, report.failures) = (read.inputs, read.skipped, read.failures);
        match front.join() {
            Ok((decode, pipeline)) => {
                report.decode = decode;
                report.pipeline = pipeline;
            }
            Err(_) => report.failures += 1,
        }
        for lane in lanes {
            match lane.join() {
                Ok(counters) => report.pipeline.add(&counters),
                Err(_) => report.failures += 1,
            }
        }
        match publisher.join() {
            Ok(published) => published.into_report(&mut report),
            Err(_) => report.failures += 1,
        }
    });
    report.seconds = started.elapsed().as_secs_f64();
    report
}

fn panicked(thread: &str) -> Read {
    eprintln!("imdswatch: the {thread} thread failed; this is a bug, please report it");
    Read { failures: 1, ..Read::default() }
}

/// The capture thread: reads every input, in order, into batches.
fn read_all(
    config: &Config,
    inputs: Vec<Result<Listed, CaptureError>>,
    position: &Position,
    stop: &AtomicBool,
    empty: &Receiver<PacketBatch>,
    packets: &Sender<Captured>,
) -> Read {
    let mut read = Read::default();
    let mut filter = match Filter::compile(&config.filter) {
        Ok(filter) => (!config.filter.is_empty()).then_some(filter),
        Err(error) => {
            tell(&error);
            read.failures += 1;
            return read;
        }
    };
    let mut next_index = 0;
    let sizes = inputs.iter().flatten().filter_map(|listed| listed.input.size());
    position.total.store(sizes.sum(), Ordering::Relaxed);
    for listed in inputs {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let source = listed.and_then(|listed| match FileSource::open(&listed.input) {
            Err(error) if error.is_not_a_capture() && !listed.named => Ok(None),
            other => other.map(Some),
        });
        let mut source = match source {
            Ok(Some(source)) => source,
            Ok(None) => {
                read.skipped += 1;
                continue;
            }
            Err(error) => {
                tell(&error);
                read.failures += 1;
                continue;
            }
        };
        read.inputs += 1;
        if packets.send(Captured::NextInput).is_err() {
            break;
        }
        let before = position.bytes.load(Ordering::Relaxed);
        loop {
            let Ok(mut batch) = empty.recv() else { return read };
            batch.clear(next_index);
            let status = source.next_batch(&mut batch);
            for warning in source.warnings() {
                eprintln!("imdswatch: {warning}");
                read.failures += u64::from(warning.damage);
            }
            read.packets += batch.len() as u64;
            if let Some(filter) = &mut filter {
                let all = batch.len();
                if let Err(error) = filter.apply(&mut batch) {
                    tell(&error);
                    read.failures += 1;
                }
                read.filtered += (all - batch.len()) as u64;
                read.packets -= (all - batch.len()) as u64;
            }
            read.bytes += batch.captured_bytes();
            next_index = batch.next_index();
            position.packets.store(next_index, Ordering::Relaxed);
            position.bytes.store(before + source.bytes_read(), Ordering::Relaxed);
            if packets.send(Captured::Packets(batch)).is_err() || stop.load(Ordering::Relaxed) {
                return read;
            }
            match status {
                Ok(Status::More) => {}
                Ok(Status::End) => break,
                Err(error) => {
                    tell(&error);
                    read.failures += 1;
                }
            }
        }
    }
    read
}

fn tell(error: &CaptureError) {
    eprintln!("imdswatch: {error}");
}

/// Drives a front over everything that is captured; `done` is called after each batch.
fn drive<T: Take>(
    front: &mut Front,
    packets: &Receiver<Captured>,
    empty: &Sender<PacketBatch>,
    taker: &mut T,
    mut done: impl FnMut(&mut T, u64) -> bool,
) {
    let mut new_input = false;
    for captured in packets {
        match captured {
            Captured::NextInput => new_input = true,
            Captured::Packets(batch) => {
                if let Some(first) = batch.iter().next().filter(|_| std::mem::take(&mut new_input)) {
                    front.next_input(first.index, first.time, taker);
                }
                front.batch(&batch, taker);
                let next = batch.next_index();
                let _ = empty.send(batch);
                if !done(taker, next) {
                    return;
                }
            }
        }
    }
}

/// One worker: decoding and pipeline in line.
fn in_line(
    config: &Config,
    packets: &Receiver<Captured>,
    empty: &Sender<PacketBatch>,
    found: &Sender<Found>,
) -> (decode::Counters, pipeline::Counters) {
    let mut front = Front::new(config.decode.clone());
    let mut worker = Worker::new(config);
    drive(&mut front, packets, empty, &mut worker, |worker, next| worker.hand_over(found, before(next)));
    worker.finish(found);
    (front.counters().clone(), worker.pipeline.counters())
}

/// Several workers: decoding here, a lane for each worker.
fn route(
    config: &Config,
    packets: &Receiver<Captured>,
    empty: &Sender<PacketBatch>,
    lanes: &[(Sender<Routed>, Receiver<Routed>)],
) -> (decode::Counters, pipeline::Counters) {
    let mut front = Front::new(config.decode.clone());
    let mut router = Router::new(lanes.len());
    drive(&mut front, packets, empty, &mut router, |router, next| {
        lanes.iter().enumerate().all(|(n, (lane, back))| {
            let spare = back.try_recv().unwrap_or_default();
            lane.send(router.take(n, spare, next)).is_ok()
        })
    });
    (front.counters().clone(), pipeline::Counters::default())
}

fn lane(
    config: &Config,
    routed: &Receiver<Routed>,
    back: &Sender<Routed>,
    found: &Sender<Found>,
) -> pipeline::Counters {
    let mut worker = Worker::new(config);
    for batch in routed {
        batch.replay(&mut worker);
        let until = before(batch.watermark());
        let _ = back.try_send(batch);
        if !worker.hand_over(found, until) {
            break;
        }
    }
    worker.finish(found);
    worker.pipeline.counters()
}

/// Everything that comes of packets before `next` stands before this.
fn before(next: u64) -> Order {
    Order { at: next, ..Order::default() }
}

/// A pipeline and the ticks that it was given.
struct Worker {
    pipeline: Pipeline,
    ticks: Vec<(Order, Timestamp)>,
}

impl Worker {
    fn new(config: &Config) -> Self {
        let detector = Detector::new(Arc::clone(&config.catalogue), config.detect.clone());
        Self { pipeline: Pipeline::new(config.pipeline(), detector), ticks: Vec::new() }
    }

    fn hand_over(&mut self, to: &Sender<Found>, until: Order) -> bool {
        let mut observations = Vec::new();
        self.pipeline.drain(&mut observations);
        to.send(Found { observations, ticks: std::mem::take(&mut self.ticks), until }).is_ok()
    }

    fn finish(&mut self, to: &Sender<Found>) {
        self.pipeline.finish();
        self.hand_over(to, Order { at: u64::MAX, in_packet: true, ..Order::default() });
    }
}

impl Take for Worker {
    fn tick(&mut self, at: u64, now: Timestamp) {
        self.ticks.push((before(at), now));
        self.pipeline.tick(at, now);
    }

    fn level(&mut self, meta: &decode::meta::Meta, segment: &[u8]) {
        self.pipeline.level(meta, segment);
    }

    fn never_arrived(&mut self, quoted: &crate::route::Quoted) {
        self.pipeline.never_arrived(quoted);
    }

    fn restart(&mut self, at: u64) {
        self.pipeline.restart(at);
    }
}

/// What the publisher leaves behind.
struct Published {
    counters: crate::publish::Counters,
    suggestions: String,
    lost: u64,
    closed: bool,
    failures: u64,
}

impl Published {
    fn into_report(self, report: &mut Report) {
        report.published = self.counters;
        report.suggestions = self.suggestions;
        report.lost = self.lost;
        report.closed = self.closed;
        report.failures += self.failures;
    }
}

/// The publisher thread: merges what the workers found, in packet order.
fn publish<S: Sink>(config: &Config, found: &[Receiver<Found>], mut sink: S, stop: &AtomicBool) -> Published {
    let settings = config.publisher(sink.wants_json(), sink.wants_text());
    let mut publisher = Publisher::new(settings, Arc::clone(&config.catalogue));
    let outcome = merge(&mut publisher, found, &mut sink);
    publisher.finish();
    let outcome = outcome.and_then(|()| sink.write(publisher.lines())).and_then(|()| sink.flush());
    let mut published = Published {
        counters: publisher.counters(),
        suggestions: publisher.suggestions(),
        lost: 0,
        closed: false,
        failures: 0,
    };
    match outcome {
        Ok((lost, messages)) => {
            published.lost = lost;
            messages.iter().for_each(|message| eprintln!("imdswatch: {message}"));
        }
        Err(error) => {
            stop.store(true, Ordering::Relaxed);
            published.closed = matches!(error, OutputError::Closed);
            if !published.closed {
                eprintln!("imdswatch: {error}");
                published.failures = 1;
            }
        }
    }
    published
}

/// Lines are handed on when this many bytes wait.
const HAND_ON: usize = 48 * 1024;

fn merge<S: Sink>(publisher: &mut Publisher, found: &[Receiver<Found>], sink: &mut S) -> Result<(), OutputError> {
    let mut lanes: Vec<Lane<'_>> = found.iter().enumerate().map(|(n, from)| Lane::new(from, n == 0)).collect();
    while let Some(lane) = next_lane(&mut lanes) {
        match lane.take() {
            Some(Item::Observation(observation)) => publisher.observe(&observation),
            Some(Item::Tick(now)) => publisher.tick(now),
            None => {}
        }
        if publisher.lines().json.len() + publisher.lines().text.len() >= HAND_ON {
            sink.write(publisher.lines())?;
            publisher.lines().clear();
        }
    }
    Ok(())
}

/// The lane whose next item is the first of all that there will be; waits until that can be told. `None` at the end.
fn next_lane<'l, 'f>(lanes: &'l mut [Lane<'f>]) -> Option<&'l mut Lane<'f>> {
    loop {
        let (first, head) =
            lanes.iter().enumerate().filter_map(|(n, l)| Some((n, l.head()?))).min_by_key(|(_, o)| *o).unzip();
        let behind = lanes.iter_mut().filter(|lane| lane.head().is_none() && !lane.ended).min_by_key(|lane| lane.until);
        match (head, behind) {
            (Some(head), Some(behind)) if head >= behind.until => behind.receive(),
            (None, Some(behind)) => behind.receive(),
            (None, None) => return None,
            (Some(_), _) => return first.and_then(|n| lanes.get_mut(n)),
        }
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

    fn receive(&mut self) {
        match self.from.recv() {
            Ok(found) => {
                self.observations = found.observations.into();
                self.ticks = if self.gives_ticks { found.ticks.into() } else { VecDeque::new() };
                self.until = found.until;
            }
            Err(_) => self.ended = true,
        }
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
