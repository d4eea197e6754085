//! Live capture: what is opened before privilege is given up, the [capture thread](capture), the threads of
//! [`threads`](super::threads), and what is done on signals.

mod capture;

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use self::capture::Capture;
use super::identify;
use super::report::Report;
use super::run::{Request, Run, RunState, spawn};
use super::tell_user;
use super::threads::Threads;
use crate::config::{self, Config};
use crate::live::{self, Attribution, ConfineError, Helper, Settings, Sniffer, for_metadata_only};
use crate::metrics;
use crate::output::{self, Destination};
use crate::process::Lookup;
use crate::sensors::Judge;
use crate::sensors::prefilter::Prefilter;

/// Batches on the way to the workers: what a moment's stall may hold up before packets are thrown away.
const BATCHES: usize = 64;

/// Bytes of a capture ring at most and at least; all together have no more than a quarter of `--memory` where that leaves
/// them the least. What the kernel keeps out needs no room.
const RING: (u64, u64) = (16 << 20, 256 << 10);
const NARROW_RING: u64 = 2 << 20;

/// Bytes of each capture ring of so many interfaces.
fn ring(interfaces: usize, memory: u64) -> u64 {
    (memory / 4 / interfaces.max(1) as u64).clamp(RING.1, RING.0)
}

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
    let ring = ring(interfaces, config.memory);
    let buffer = live.buffer.unwrap_or(if narrow { ring.min(NARROW_RING) } else { ring });
    Settings { snaplen: live.snaplen, buffer, promiscuous: live.promiscuous, filters }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capture_rings_take_no_more_than_a_quarter_of_the_memory() {
        assert_eq!((ring(1, 512 << 20), ring(8, 512 << 20), ring(64, 512 << 20)), (16 << 20, 16 << 20, 2 << 20));
        assert_eq!((ring(1, 32 << 20), ring(64, 32 << 20)), (8 << 20, RING.1));
    }
}
