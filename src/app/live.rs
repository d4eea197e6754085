//! Live capture: a capture thread that never waits for anybody, the threads of [`threads`](super::threads), and what is
//! done on signals.
//!
//! Where workers cannot keep up, whole batches are thrown away in the capture thread and counted. When it is quiet, the
//! present time is passed on, so that what is due is reported in time.

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::identify;
use super::report::{Dropped, Drops, Report};
use super::run::{Captured, Request, Run, RunState, spawn};
use super::tell_user;
use super::threads::Threads;
use crate::config::{self, Config};
use crate::live::{
    self, Attribution, ConfineError, Counts, Directory, Helper, Rest, Settings, Sniffer, Urgent, for_metadata_only,
};
use crate::metrics;
use crate::output::{self, Destination};
use crate::packet::{PacketBatch, Timestamp};
use crate::process::Lookup;
use crate::sensors::Judge;
use crate::sensors::prefilter::Prefilter;

/// Batches on the way to the workers: what a moment's stall may hold up before packets are thrown away.
const BATCHES: usize = 64;

/// Detection is never further behind the wire than about this: what would be later is thrown away and counted, so that
/// whoever floods it cannot delay what it says of others. What is [`Urgent`] has twice the time.
const MOST_LAG: Duration = Duration::from_secs(2);
/// Where a batch has no more urgent packets than this they are not the flood, and stay however late they are; the batches
/// that may wait bound what they add.
const FEW: usize = 64;
/// Bytes of a capture ring at most and at least, and of all rings together. What the kernel keeps out needs no room.
const RING: (u64, u64) = (16 << 20, 2 << 20);
const RINGS: u64 = 128 << 20;
const NARROW_RING: u64 = RING.1;

/// Bytes of each capture ring of so many interfaces.
fn ring(interfaces: usize) -> u64 {
    (RINGS / interfaces.max(1) as u64).clamp(RING.1, RING.0)
}

/// Workers are behind when so many batches wait.
const BEHIND: usize = 8;

/// How long capture waits for packets before it looks round.
const LOOK_ROUND: Duration = Duration::from_millis(100);

/// Counts and interfaces are seen to this often.
const ATTEND: Duration = Duration::from_secs(1);

/// Between counts on standard error with `-v`.
const TELL: Duration = Duration::from_secs(60);

/// After a signal, what is under way is written to its end, unless nothing has got on for so long: an output that nobody
/// reads must not keep us.
const GRACE: Duration = Duration::from_secs(2);

/// However much is under way: who stops a service waits no longer than this before it is killed, and then nothing is
/// said.
const END_WITHIN: Duration = Duration::from_secs(10);

/// What the main thread waits for.
enum News {
    Signal(i32),
    /// Everything has been published.
    Ended,
}

/// Watches `interfaces` until a signal ends it. `file` is the configuration to read again on SIGHUP.
///
/// Everything that needs privilege is opened first; before the first packet is read, this process has none.
///
/// # Errors
/// When it cannot begin.
pub fn watch(config: &Config, interfaces: &[String], file: Option<&Path>, stop: &AtomicBool) -> anyhow::Result<Report> {
    let live = &config.live;
    live::keep_to_oneself();
    live::raise_capabilities();
    let (wake, waker) = pair()?;
    let mut sniffer = Sniffer::open(interfaces, settings(config, interfaces.len()), wake)?;
    sniffer.prepare_for_return();
    say_all(sniffer.remarks());
    let helper = Helper::start(&live.hostfs, live.user.as_deref()).map_err(|error| {
        tell_user(format_args!("no helper ({error}): executables of other users' processes are not named"));
    });
    let names = live.processes.then(|| Prefilter::new(&config.catalogue)).flatten();
    let names = names.map(|names| Box::new(move |text: &[u8]| names.takes(text)) as live::Names);
    let (attribution, remark) = Attribution::open(&live.hostfs, Arc::clone(&config.catalogue), helper.ok(), names)
        .context("cannot prepare to look up processes")?;
    say_all(remark);
    let metrics = live
        .metrics
        .map(|address| metrics::Endpoint::open(address).with_context(|| format!("cannot serve metrics at {address}")));
    let metrics = metrics.transpose()?;
    let config = &identify::identified(config.clone());
    if let Some(user) = &live.user {
        live::become_user(user)?;
        check_folders(config)?;
    }
    let outputs = output::open(&config.outputs, &super::say())?;
    let mut needs = output::Needs::default();
    outputs.iter().for_each(|output| needs.join(output.needs()));
    let needs = &needs;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1]).context("cannot take signals")?;
    let handle = signals.handle();
    let directory = attribution.directory();
    let processes = Some(Lookup(directory.clone()));
    let (over, until_over) = pair()?;
    let state = Arc::new(RunState::default());
    let run = Run { config, state: &state, stop, live: true, prompt: true, processes };
    let (requests, requests_rx) = unbounded();
    let (tell, news) = unbounded();
    let started = Instant::now();
    let (ring, bell) = bounded(1);
    let mut judge = Judge::new(Arc::clone(&config.catalogue), config.detect.clone());
    let watched = Arc::clone(&directory);
    let starts = move || {
        let started = watched.started().into_iter();
        started.filter_map(|start| judge.start(start.time, start.process, start.reached)).collect()
    };
    thread::scope(|scope| {
        let run = &run;
        scope.spawn(move || {
            // A process that lives for milliseconds must be read before others have their turn. After a change of user
            // the right to that has no effect until it is raised.
            live::raise_capabilities();
            let _ = rustix::process::setpriority_process(None, -20);
            if confine(config, needs, file).is_err() {
                return;
            }
            attribution.run(&until_over, &mut || {
                let _ = ring.try_send(());
            });
        });
        say_all(confine(config, needs, file)?);
        if let Some(endpoint) = metrics {
            // Waits for clients until the process ends: nobody waits for it.
            let state = Arc::clone(&state);
            thread::spawn(move || endpoint.serve(move || at(started, &state).snapshot()));
        }
        let (feed, empty, threads) = Threads::start(scope, run, BATCHES + 2, outputs, requests_rx);
        let (packets, captured) = bounded(BATCHES);
        spawn(scope, "decode", move || feed.run(&captured, &bell, starts));
        let capture = spawn(scope, "capture", move || Capture::new(run, sniffer, directory, packets, empty).run());
        let ended = tell.clone();
        scope.spawn(move || {
            if capture.join().is_err() {
                run.state.post(|report| report.failures += 1);
            }
            threads.join(run.state);
            let _ = ended.send(News::Ended);
        });
        scope.spawn(move || signals.forever().for_each(|signal| drop(tell.send(News::Signal(signal)))));
        Reactions { run, started, file, requests, waker, stopping: None, stop_at: None, told: started }
            .until_ended(&news);
        handle.close();
        drop(over);
        Ok::<(), ConfineError>(())
    })?;
    Ok(at(started, &state))
}

/// Lists interfaces, one a line: name, state, addresses, whether it can be opened.
pub(super) fn interfaces(out: &mut impl Write) -> anyhow::Result<()> {
    for one in live::list().map_err(anyhow::Error::msg)? {
        let addresses = one.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let opens = one.opens.map_or_else(|reason| format!("cannot be opened: {reason}"), |()| "can be opened".into());
        writeln!(out, "{}\t{}\t{}\t{opens}", one.name, one.state, if addresses.is_empty() { "-" } else { &addresses })?;
    }
    Ok(())
}

/// What the helper process does; see [`live::serve`].
pub(super) fn help(root: &Path, user: Option<&str>) -> anyhow::Result<()> {
    live::serve(root, user)
}

fn pair() -> anyhow::Result<(UnixStream, UnixStream)> {
    UnixStream::pair().context("cannot make a socket pair")
}

/// Gives up what this thread, and all that it starts, will not need. Returns what the system does not offer.
fn confine(config: &Config, needs: &output::Needs, file: Option<&Path>) -> Result<Option<String>, ConfineError> {
    live::drop_capabilities(&[])?;
    check_folders(config)?;
    if !config.live.sandbox {
        return Ok(None);
    }
    let output::Needs { write, read: more, endpoints, follows } = needs.clone();
    let mut read = vec!["/proc".into(), "/sys".into(), config.live.hostfs.join("proc")];
    read.extend(more);
    read.extend(file.map(live::folder_of));
    let is_name = |end: &output::receiver::Endpoint| end.host.parse::<IpAddr>().is_err();
    let network = live::Network {
        tcp: endpoints.iter().filter(|end| !end.udp).map(|end| end.port).collect(),
        any_port: follows,
        names: follows || endpoints.iter().any(is_name),
        is_used: !endpoints.is_empty(),
        datagrams: endpoints.iter().any(|end| end.udp),
    };
    let mut write = write;
    write.extend(config.state.iter().map(|path| live::folder_of(path)));
    live::sandbox(&live::Needs { write, read, network })
}

/// Whether outputs can be rotated, and opened anew on SIGHUP. Of a run that changes no user and rotates nothing, nobody
/// expects that, such as of root's in somebody's folder.
fn check_folders(config: &Config) -> Result<(), ConfineError> {
    config.outputs.iter().try_for_each(|output| match &output.destination {
        Destination::Path(file) if config.live.user.is_some() || output.rotation.is_on() => live::check_folder(file),
        _ => Ok(()),
    })
}

/// What is counted so far.
fn at(started: Instant, state: &RunState) -> Report {
    Report { seconds: started.elapsed().as_secs_f64(), ..state.report() }
}

fn say_all(remarks: impl IntoIterator<Item = String>) {
    remarks.into_iter().for_each(tell_user);
}

/// Says once what the built-in kernel filter keeps out.
fn settings(config: &Config, interfaces: usize) -> Settings {
    let live = &config.live;
    let narrow = !config.detect.ssrf && config.events < crate::cli::EventSet::All;
    if narrow && !config.quiet {
        tell_user(format_args!(
            "without the SSRF search the kernel hands on metadata services and DNS only: requests through \
             proxies, and what tunnels carry, are not seen"
        ));
    }
    let words = config.filter.join(" ");
    if !words.is_empty() && !["vlan", "mpls"].iter().any(|word| words.contains(word)) && !config.quiet {
        tell_user(format_args!(
            "the filter lets no packets with VLAN tags or MPLS labels through: where the link has them, add \
             `or (vlan and ({words}))`"
        ));
    }
    let filters = if narrow { for_metadata_only(&config.catalogue, &config.filter).into() } else { vec![words] };
    let buffer = live.buffer.unwrap_or_else(|| if narrow { NARROW_RING } else { ring(interfaces) });
    Settings { snaplen: live.snaplen, buffer, promiscuous: live.promiscuous, filters }
}

/// The capture thread.
struct Capture<'r> {
    run: &'r Run<'r>,
    sniffer: Sniffer,
    directory: Arc<Directory>,
    packets: Sender<Captured>,
    empty: Receiver<PacketBatch>,
    urgent: Urgent,
    batch: PacketBatch,
    next_index: u64,
    dropped: Dropped,
    /// Packets dropped when it was last said that they are.
    dropping: Option<u64>,
    /// Packets dropped a second ago.
    told_drops: u64,
    totals: (u64, u64),
    attended: Instant,
    heard: Instant,
}

impl<'r> Capture<'r> {
    fn new(
        run: &'r Run<'r>,
        sniffer: Sniffer,
        directory: Arc<Directory>,
        packets: Sender<Captured>,
        empty: Receiver<PacketBatch>,
    ) -> Self {
        let mut batch = empty.try_recv().unwrap_or_default();
        batch.clear(0);
        let now = Instant::now();
        Self {
            run,
            sniffer,
            directory,
            packets,
            empty,
            urgent: Urgent::new(&run.config.catalogue),
            batch,
            next_index: 0,
            dropped: Dropped::default(),
            dropping: None,
            told_drops: 0,
            totals: (0, 0),
            attended: now,
            heard: now,
        }
    }

    fn run(mut self) {
        self.attend();
        while !self.run.stop.load(Ordering::Relaxed) {
            let news = match self.sniffer.wait(LOOK_ROUND) {
                Ok(news) => news,
                Err(error) => {
                    self.fail(&format!("cannot wait for packets: {error}"));
                    break;
                }
            };
            while self.sniffer.read(&mut self.batch) == Rest::Full && self.hand_on() && !self.is_over() {}
            if !self.hand_on() {
                break;
            }
            if news || self.attended.elapsed() >= ATTEND {
                self.attend();
            }
        }
        self.finish();
    }

    /// Takes what the kernel counted until now: what there is no time for counts as dropped.
    fn finish(&mut self) {
        let counts = self.sniffer.close();
        let over = Instant::now();
        let mut heard = over;
        while self.sniffer.waiting() > 0 && heard.elapsed() < LOOK_ROUND && over.elapsed() < 4 * LOOK_ROUND {
            self.sniffer.read(&mut self.batch);
            if self.batch.is_empty() {
                // The kernel is about to hand on its last block.
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            heard = Instant::now();
            if over.elapsed() < LOOK_ROUND {
                self.hand_on()
            } else {
                self.drop_batch(|dropped| &mut dropped.at_end)
            };
        }
        if heard.elapsed() < LOOK_ROUND {
            self.dropped.at_end += self.sniffer.waiting();
        }
        self.hand_on_last();
        self.post(counts);
    }

    fn is_over(&self) -> bool {
        self.run.stop.load(Ordering::Relaxed)
    }

    fn fail(&self, text: &str) {
        tell_user(text);
        self.run.state.post(|report| report.failures += 1);
    }

    /// Hands the batch to the workers, or throws it away where it is full and they cannot take it; `false` when they are
    /// gone. While they are behind, batches are filled before they are handed on, so that the few that may wait hold
    /// as much as they can.
    fn hand_on(&mut self) -> bool {
        if self.batch.is_empty() {
            return self.pass_time();
        }
        self.heard = Instant::now();
        if self.packets.len() >= BEHIND && !self.batch.is_full() {
            return true;
        }
        if self.run.state.expected_lag() > MOST_LAG {
            self.drop_late();
        }
        if self.batch.is_empty() {
            return true;
        }
        let (packets, bytes) = (self.batch.len() as u64, self.batch.captured_bytes());
        let next_index = self.batch.next_index();
        // Where all batches are full and wait, this one is used again.
        let Ok(next) = self.empty.try_recv() else { return self.drop_batch(|dropped| &mut dropped.no_room) };
        match self.packets.try_send(Captured::Packets(std::mem::replace(&mut self.batch, next))) {
            Ok(()) => {
                self.totals.0 += packets;
                self.totals.1 += bytes;
                self.next_index = next_index;
                self.batch.clear(next_index);
                self.run.state.hand_over(next_index);
                true
            }
            Err(TrySendError::Full(Captured::Packets(batch))) => {
                self.batch = batch;
                self.drop_batch(|dropped| &mut dropped.no_room)
            }
            Err(_) => false,
        }
    }

    /// Throws away what would be judged too late.
    fn drop_late(&mut self) {
        let Self { batch, urgent, dropped, .. } = self;
        let all = batch.len();
        batch.retain(|packet| urgent.has(packet.data));
        let are_the_flood = batch.len() > FEW && self.run.state.expected_lag() > 2 * MOST_LAG;
        let kept = if are_the_flood { 0 } else { batch.len() };
        dropped.late += (all - kept) as u64;
        if kept == 0 {
            batch.clear(self.next_index);
        }
    }

    fn drop_batch(&mut self, cause: impl Fn(&mut Dropped) -> &mut u64) -> bool {
        *cause(&mut self.dropped) += self.batch.len() as u64;
        self.batch.clear(self.next_index);
        true
    }

    /// Hands on the last batch: now there is time to wait for the workers, if not long.
    fn hand_on_last(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let (packets, bytes) = (self.batch.len() as u64, self.batch.captured_bytes());
        let last = Captured::Packets(std::mem::take(&mut self.batch));
        match self.packets.send_timeout(last, GRACE / 2) {
            Ok(()) => {
                self.totals.0 += packets;
                self.totals.1 += bytes;
            }
            Err(_) => self.dropped.at_end += packets,
        }
    }

    /// Passes the present time on where nothing else does.
    fn pass_time(&mut self) -> bool {
        if self.heard.elapsed() < 2 * LOOK_ROUND {
            return true;
        }
        self.heard = Instant::now();
        // Packets that the kernel is about to hand on may be this much older than now.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(LOOK_ROUND);
        let now = Timestamp(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
        let sent = self.packets.try_send(Captured::Quiet { at: self.next_index, now });
        !matches!(sent, Err(TrySendError::Disconnected(_)))
    }

    /// Says once that packets are being thrown away here, and once that they no longer are.
    fn tell_drops(&mut self) {
        let sum = self.dropped.sum();
        match (self.dropping, sum > self.told_drops) {
            (None, true) => {
                let lag = self.run.state.expected_lag().as_secs_f64();
                tell_user(format_args!("cannot keep up ({lag:.1} s behind): packets are dropped and counted"));
                self.dropping = Some(sum);
            }
            (Some(_), false) => {
                let since = sum - std::mem::take(&mut self.dropping).unwrap_or_default();
                tell_user(format_args!(
                    "keeps up again; {sum} packets were dropped in all, {since} of them since that was said"
                ));
            }
            _ => {}
        }
        self.told_drops = sum;
    }

    /// Sees to interfaces and posts counts.
    fn attend(&mut self) {
        self.attended = Instant::now();
        self.tell_drops();
        let counts = self.sniffer.attend(&mut self.batch);
        say_all(self.sniffer.remarks());
        if let Some(addresses) = self.sniffer.addresses() {
            self.run.config.event.local_addresses.set(addresses);
        }
        self.post(counts);
    }

    fn post(&self, Counts { received, kernel, interface }: Counts) {
        let (packets, bytes) = self.totals;
        let live = Some(Drops { received, kernel, interface, own: self.dropped });
        let ready = self.sniffer.open_ports().0 > 0;
        let processes = self.directory.counts();
        self.run.state.post(|report| {
            (report.packets, report.bytes, report.live, report.ready) = (packets, bytes, live, ready);
            report.processes = processes;
        });
    }
}

/// The main thread while the others work.
struct Reactions<'r> {
    run: &'r Run<'r>,
    started: Instant,
    file: Option<&'r Path>,
    requests: Sender<Request>,
    waker: UnixStream,
    /// A signal asked for the end: when work was last seen to get on, and how far.
    stopping: Option<(Instant, u64)>,
    /// When the run ends whatever is still under way.
    stop_at: Option<Instant>,
    told: Instant,
}

impl Reactions<'_> {
    fn until_ended(&mut self, news: &Receiver<News>) {
        loop {
            match news.recv_timeout(Duration::from_millis(500)) {
                Ok(News::Ended) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(News::Signal(SIGHUP)) => self.hang_up(),
                Ok(News::Signal(SIGUSR1)) => self.tell(),
                Ok(News::Signal(signal)) => self.stop(signal),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.run.config.verbose > 0 && self.told.elapsed() >= TELL {
                self.tell();
            }
            let progress = self.run.state.progress();
            if let Some((at, seen)) = &mut self.stopping
                && *seen != progress
            {
                (*at, *seen) = (Instant::now(), progress);
            }
            let is_stuck = self.stopping.is_some_and(|(at, _)| at.elapsed() >= GRACE);
            let is_late = self.stop_at.is_some_and(|at| at <= Instant::now());
            if (is_late || is_stuck) && self.has_work() {
                self.give_up();
            }
        }
    }

    fn stop(&mut self, signal: i32) {
        if self.stopping.is_some() {
            std::process::exit(128 + signal);
        }
        self.stopping = Some((Instant::now(), self.run.state.progress()));
        self.stop_at = Some(Instant::now() + END_WITHIN);
        self.run.stop.store(true, Ordering::Relaxed);
        let _ = self.waker.write(&[0]);
    }

    /// Whether there is anything that could still be lost; files that are being compressed are not.
    fn has_work(&self) -> bool {
        let waiting =
            self.run.state.report().outputs.iter().any(|output| output.waiting > 0 && output.spool_bytes == 0);
        waiting || !self.run.state.is_published()
    }

    /// Ends the process, and says what was not done.
    fn give_up(&mut self) {
        let report = self.run.state.report();
        if report.unpublished > 0 && !self.run.state.is_published() {
            let packets = report.unpublished;
            tell_user(format_args!(
                "time is up: {packets} captured packets were not worked off; what they show is lost"
            ));
        }
        for output in report.outputs.iter().filter(|output| output.waiting > 0 && output.spool_bytes == 0) {
            tell_user(format_args!("output {} did not take {} events: they are lost", output.name, output.waiting));
        }
        self.tell();
        std::process::exit(i32::from(super::status::FAILED));
    }

    fn hang_up(&self) {
        let _ = self.requests.send(Request::Reopen);
        if let Some(file) = self.file {
            match config::allow_list(file) {
                Ok(allow) => drop(self.requests.send(Request::Allow(allow))),
                Err(error) => tell_user(format_args!("the allow list stays as it is: {error}")),
            }
        }
    }

    fn tell(&mut self) {
        self.told = Instant::now();
        let _ = at(self.started, self.run.state).print(&mut std::io::stderr().lock());
    }
}
