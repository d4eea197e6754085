//! An output over the network: what a run writes goes to a receiver, straight in replay, through a [`Spool`] live.
//!
//! In: batches of events. Out: requests. In replay the output's own thread sends and waits, and gives up after
//! [`Pace::give_up`] without progress. Live it only writes to the spool; threads of its own send what stands there, those
//! of an earlier run first. At the end of a live run what could not be sent stays in the spool for the next.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::batch::Label;
use super::dead::DeadLetters;
use super::delivery::{Delivery, Pace, Stop};
use super::net;
use super::receiver::{self, Receiver};
use super::spool::{Class, Spool};
use super::{Batch, Counters, Filter, Form, Kind, Needs, Output, OutputError, Say, panic_text};

/// A network output as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Receiver and protocol.
    pub receiver: net::Settings,
    /// How much at once, how often, and how long.
    pub pace: Pace,
    /// Requests at once.
    pub requests: usize,
    /// Where events wait on disk, and for how many bytes of them there is room.
    pub spool: Option<(PathBuf, u64)>,
    /// Where events go that the receiver will never take; in the spool where there is one.
    pub dead_letters: Option<PathBuf>,
    /// Bytes that are read from the spool at once.
    pub chunk: usize,
}

/// Lines are written to the spool by so many bytes, or sooner when asked to flush.
const FRAME: usize = 256 << 10;

/// Between two times that alerts are brought to the disk.
const SYNC_ALERTS: Duration = Duration::from_millis(20);

/// At the end of a run, what waits is still sent for so long.
const SEND_AT_END: Duration = Duration::from_millis(1500);

/// See the module.
pub struct Network {
    name: String,
    filter: Filter,
    needs: Needs,
    counters: Arc<Counters>,
    say: Say,
    stop: Arc<Stop>,
    way: Way,
}

enum Way {
    Straight(Straight),
    Spooled(Spooled),
}

impl Network {
    /// Reads certificates and opens the spool; connects to nothing yet.
    ///
    /// # Errors
    /// A sentence that says what cannot be used.
    pub fn open(settings: &Settings, filter: Filter, say: &Say) -> Result<Self, String> {
        let receivers: Result<Vec<_>, _> =
            (0..settings.requests.max(1)).map(|_| net::open(&settings.receiver)).collect();
        let receivers = receivers.map_err(|error| format!("{}: {error}", error.key))?;
        Self::with_receivers(&settings.receiver.target.to_string(), receivers, settings, filter, say)
    }

    /// The same for receivers that are open already, one for each request at once.
    ///
    /// # Errors
    /// The spool cannot be opened.
    pub fn with_receivers(
        name: &str,
        receivers: Vec<Box<dyn Receiver>>,
        settings: &Settings,
        filter: Filter,
        say: &Say,
    ) -> Result<Self, String> {
        let counters = Arc::new(Counters::new(name));
        let first = receivers.first();
        let filter = match first.is_some_and(|receiver| receiver.alerts_only()) {
            true => Filter { events: super::Wanted::Alerts, stats: false, ..filter },
            false => filter,
        };
        let receiver::Needs { endpoints, follows } = first.map(|first| first.needs()).unwrap_or_default();
        let mut needs = Needs { endpoints, follows, ..Needs::default() };
        let in_spool = settings.spool.as_ref().map(|(dir, _)| dir.join("dead.ndjson"));
        let dead = Arc::new(DeadLetters::new(in_spool.or_else(|| settings.dead_letters.clone())));
        let stop = Arc::new(Stop::default());
        let delivery = |receiver| {
            let (counters, dead, stop) = (Arc::clone(&counters), Arc::clone(&dead), Arc::clone(&stop));
            Delivery::new(name, receiver, settings.pace.clone(), counters, dead, stop, Arc::clone(say))
        };
        let deliveries: Vec<_> = receivers.into_iter().map(delivery).collect();
        let way = match &settings.spool {
            None => Way::Straight(Straight::new(deliveries)),
            Some((dir, most)) => {
                needs.write.push(dir.clone());
                let spool = Spool::open(dir, *most, Arc::clone(&counters));
                let spool = spool.map_err(|error| format!("spool {}: {error}", dir.display()))?;
                Way::Spooled(Spooled::new(spool, deliveries, settings))
            }
        };
        Ok(Self { name: name.to_owned(), filter, needs, counters, say: Arc::clone(say), stop, way })
    }
}

impl Output for Network {
    fn form(&self) -> Form {
        Form::Json
    }

    fn filter(&self) -> Filter {
        self.filter
    }

    fn needs(&self) -> Needs {
        self.needs.clone()
    }

    fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    fn write(&mut self, batch: &Batch) -> Result<(), OutputError> {
        match &mut self.way {
            Way::Straight(way) => {
                way.waiting.extend_from_slice(&batch.json);
                way.count += batch.len();
                if way.is_full() {
                    way.deliver(&self.name, &self.counters, &self.say);
                }
            }
            Way::Spooled(way) => {
                batch.events().for_each(|event| way.add(event.label, event.json));
                let outcome = way.write_some();
                way.remark(outcome, &self.name, &self.counters, &self.say);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        match &mut self.way {
            Way::Straight(way) => way.deliver(&self.name, &self.counters, &self.say),
            Way::Spooled(way) => {
                let outcome = way.write_all();
                way.remark(outcome, &self.name, &self.counters, &self.say);
            }
        }
        Ok(())
    }

    fn attend(&mut self) {
        if let Way::Spooled(way) = &mut self.way {
            way.start(&self.counters);
            way.look_after(&self.name, &self.counters, &self.say);
            let outcome = way.spool.sync(Class::Events);
            way.remark(outcome, &self.name, &self.counters, &self.say);
        }
    }

    fn finish(&mut self) -> Result<(), OutputError> {
        self.flush()?;
        if let Way::Spooled(way) = &mut self.way {
            way.end(&self.stop, &self.counters);
            let waiting = self.counters.snapshot().waiting;
            if waiting > 0 {
                let dir = way.dir.display();
                (self.say)(&format!("output {}: {waiting} events wait in {dir} for the next run", self.name));
            }
        }
        Ok(())
    }
}

/// From the run to the receiver, in this thread.
struct Straight {
    deliveries: Vec<Delivery>,
    waiting: Vec<u8>,
    count: usize,
    gave_up: bool,
}

impl Straight {
    fn new(deliveries: Vec<Delivery>) -> Self {
        Self { deliveries, waiting: Vec::new(), count: 0, gave_up: false }
    }

    /// Whether there is enough for every request at once.
    fn is_full(&self) -> bool {
        let requests = self.deliveries.len();
        let (most, bytes) = self.deliveries.first().map_or((1, 0), Delivery::limits);
        self.gave_up
            || self.count >= most.saturating_mul(requests)
            || self.waiting.len() >= bytes.saturating_mul(requests)
    }

    fn deliver(&mut self, name: &str, counters: &Counters, say: &Say) {
        let waiting = std::mem::take(&mut self.waiting);
        self.count = 0;
        if waiting.is_empty() {
            return;
        }
        let left = if self.gave_up { vec![waiting] } else { self.send(&waiting) };
        let left: Vec<_> = left.into_iter().filter(|left| !left.is_empty()).collect();
        if left.is_empty() {
            return;
        }
        let (alerts, events) = count_by_class(&left);
        counters.drop_many(alerts, events);
        if !std::mem::replace(&mut self.gave_up, true) {
            say(&format!(
                "output {name}: no progress: gave up; {} events and all that follow are lost",
                alerts + events
            ));
        }
    }

    /// Sends in as many requests at once as there are connections; returns what was not taken.
    fn send(&mut self, waiting: &[u8]) -> Vec<Vec<u8>> {
        let parts = self.deliveries.len();
        if let [delivery] = &mut self.deliveries[..] {
            return vec![delivery.deliver(waiting)];
        }
        thread::scope(|scope| {
            let parts = split_lines(waiting, parts);
            let threads: Vec<_> = self
                .deliveries
                .iter_mut()
                .zip(parts)
                .map(|(delivery, part)| (part, scope.spawn(move || delivery.deliver(part))))
                .collect();
            threads.into_iter().map(|(part, thread)| thread.join().unwrap_or_else(|_| part.to_vec())).collect()
        })
    }
}

/// Alerts and other events among whole lines.
fn count_by_class(lines: &[Vec<u8>]) -> (u64, u64) {
    let lines = lines.iter().flat_map(|lines| lines.split(|byte| *byte == b'\n')).filter(|line| !line.is_empty());
    lines.fold((0, 0), |(alerts, events), line| match receiver::Event::read(line).kind {
        receiver::Kind::Alert => (alerts + 1, events),
        receiver::Kind::Event => (alerts, events + 1),
    })
}

/// Whole lines in so many parts of about the same size.
fn split_lines(lines: &[u8], parts: usize) -> Vec<&[u8]> {
    let size = lines.len().div_ceil(parts.max(1));
    let (mut rest, mut all) = (lines, Vec::new());
    while !rest.is_empty() && all.len() + 1 < parts {
        let from = size.min(rest.len());
        let end = rest.get(from..).and_then(|tail| memchr::memchr(b'\n', tail)).map_or(rest.len(), |at| from + at + 1);
        let (part, others) = rest.split_at(end);
        all.push(part);
        rest = others;
    }
    all.push(rest);
    all
}

/// Through the spool.
struct Spooled {
    spool: Arc<Spool>,
    dir: PathBuf,
    alerts: Lines,
    events: Lines,
    alerts_synced: Instant,
    /// Until the threads are started: they are to have no more rights than whoever uses the output.
    deliveries: Vec<Delivery>,
    threads: Vec<JoinHandle<()>>,
    chunk: usize,
    flush: Duration,
    /// Dropped because the spool was full, when that was last said.
    said_dropped: Option<u64>,
    failing: bool,
}

/// Lines that are not in the spool yet.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    count: u32,
}

impl Spooled {
    fn new(spool: Spool, deliveries: Vec<Delivery>, settings: &Settings) -> Self {
        Self {
            spool: Arc::new(spool),
            dir: settings.spool.as_ref().map(|(dir, _)| dir.clone()).unwrap_or_default(),
            alerts: Lines::default(),
            events: Lines::default(),
            alerts_synced: Instant::now(),
            deliveries,
            threads: Vec::new(),
            chunk: settings.chunk,
            flush: settings.pace.flush,
            said_dropped: None,
            failing: false,
        }
    }

    fn add(&mut self, label: Label, json: &[u8]) {
        let lines = if label.kind == Kind::Alert { &mut self.alerts } else { &mut self.events };
        lines.bytes.extend_from_slice(json);
        lines.count += 1;
    }

    /// Writes what need not wait for more: alerts at once, unless they were written a moment ago.
    fn write_some(&mut self) -> std::io::Result<()> {
        if self.alerts.bytes.len() >= FRAME || self.alerts.count > 0 && self.alerts_synced.elapsed() >= SYNC_ALERTS {
            self.write_alerts()?;
        }
        if self.events.bytes.len() >= FRAME { self.events.write(&self.spool, Class::Events) } else { Ok(()) }
    }

    fn write_all(&mut self) -> std::io::Result<()> {
        let alerts = if self.alerts.count > 0 { self.write_alerts() } else { Ok(()) };
        self.events.write(&self.spool, Class::Events).and(alerts)
    }

    fn write_alerts(&mut self) -> std::io::Result<()> {
        self.alerts.write(&self.spool, Class::Alerts)?;
        self.spool.sync(Class::Alerts)?;
        self.alerts_synced = Instant::now();
        Ok(())
    }

    /// Says once that the spool loses events, and why, and once that it no longer does.
    fn remark(&mut self, outcome: std::io::Result<()>, name: &str, counters: &Counters, say: &Say) {
        let dir = self.dir.display();
        match outcome {
            Err(error) if !std::mem::replace(&mut self.failing, true) => {
                say(&format!("output {name}: cannot write to spool {dir}: {error}; events are lost and counted"));
            }
            Ok(()) if self.failing => {
                self.failing = false;
                say(&format!("output {name}: spool {dir} can be written again"));
            }
            _ => {}
        }
        let dropped = counters.snapshot().dropped();
        if !self.failing && dropped > 0 && self.said_dropped.is_none() {
            self.said_dropped = Some(dropped);
            say(&format!("output {name}: spool {dir} is full: the oldest events are dropped and counted, alerts last"));
        }
    }

    /// Starts the threads that send.
    fn start(&mut self, counters: &Counters) {
        for delivery in self.deliveries.drain(..) {
            let (spool, chunk, flush) = (Arc::clone(&self.spool), self.chunk, self.flush);
            let thread = thread::Builder::new().name("send".into());
            match thread.spawn(move || send_all(&spool, delivery, chunk, flush)) {
                Ok(thread) => self.threads.push(thread),
                Err(_) => counters.end_early(),
            }
        }
    }

    /// Says once of each thread that it ended before the run: that is a fault of the program. What the others do not send
    /// waits in the spool.
    fn look_after(&mut self, name: &str, counters: &Counters, say: &Say) {
        for ended in self.threads.extract_if(.., |thread| thread.is_finished()) {
            let why = ended.join().err().map_or_else(|| "it stopped".to_owned(), |fault| panic_text(&*fault));
            counters.end_early();
            let (dir, left) = (self.dir.display(), "what it did not send waits in");
            say(&format!(
                "output {name}: a thread that sends has ended ({why}): {left} {dir} until the program is started again"
            ));
        }
    }

    /// Sends what waits, if that takes no time; the rest stays where it is.
    fn end(&mut self, stop: &Stop, counters: &Counters) {
        self.start(counters);
        self.spool.close();
        let is_over = |threads: &[JoinHandle<()>]| threads.iter().all(JoinHandle::is_finished);
        let by = Instant::now() + SEND_AT_END;
        while !is_over(&self.threads) && Instant::now() < by && counters.snapshot().failing.is_none() {
            thread::sleep(Duration::from_millis(5));
        }
        stop.raise();
        // A thread that waits for an answer ends with the process; what it sent is sent again.
        let by = Instant::now() + SEND_AT_END / 5;
        while !is_over(&self.threads) && Instant::now() < by {
            thread::sleep(Duration::from_millis(5));
        }
        self.spool.settle();
    }
}

impl Lines {
    fn write(&mut self, spool: &Spool, class: Class) -> std::io::Result<()> {
        let count = std::mem::take(&mut self.count);
        if count == 0 {
            return Ok(());
        }
        let outcome = spool.write(class, &self.bytes, count);
        self.bytes.clear();
        outcome
    }
}

/// A thread that sends until the spool is closed and empty, or the run can wait no longer.
fn send_all(spool: &Spool, mut delivery: Delivery, chunk: usize, flush: Duration) {
    let (most, bytes) = delivery.limits();
    let chunk = chunk.min(bytes);
    loop {
        match spool.read(most, chunk, flush, Instant::now() + Duration::from_secs(1)) {
            Some(chunk) if delivery.deliver(&chunk.lines).is_empty() => spool.acknowledge(&chunk),
            Some(_) => return,
            None if spool.is_closing() || delivery.is_stopped() => return,
            None => {}
        }
    }
}
