//! The spool under a real run: the program is killed again and again under load, its disk is small, its receiver is away.
//! What was once on disk must reach the receiver, and what cannot must be counted.
//!
//! Captures on `lo` and needs root; elsewhere every test says that it is skipped. `IMDSWATCH_SLOW=1` kills more often.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::panic)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use imdswatch::output::Counters;
use imdswatch::output::spool::Spool;

/// An index over HTTP that takes bulk requests.
#[derive(Default)]
struct Index {
    /// How often each id came.
    ids: Mutex<HashMap<String, u64>>,
    away: AtomicBool,
    /// Closes connections behind each answer.
    hangs_up: AtomicBool,
    requests: AtomicU64,
}

impl Index {
    fn start() -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (index, address) = (Arc::new(Self::default()), listener.local_addr().unwrap());
        let shared = Arc::clone(&index);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let index = Arc::clone(&shared);
                std::thread::spawn(move || index.serve(stream));
            }
        });
        (index, address)
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut stream = stream;
        loop {
            let (mut line, mut length, mut start) = (String::new(), 0, String::new());
            while reader.read_line(&mut line).ok()? > 2 {
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().ok()?;
                }
                if start.is_empty() {
                    start.clone_from(&line);
                }
                line.clear();
            }
            if start.is_empty() {
                return None;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            self.requests.fetch_add(1, Ordering::Relaxed);
            let (status, answer) = match self.away.load(Ordering::Relaxed) {
                true => ("503 Service Unavailable", "{}".to_owned()),
                false => ("200 OK", self.take(&body)),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            stream.write_all((head + &answer).as_bytes()).ok()?;
            if self.hangs_up.load(Ordering::Relaxed) {
                return None;
            }
        }
    }

    fn take(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body);
        let mut ids = self.ids.lock().unwrap();
        let mut items = Vec::new();
        for action in text.lines().step_by(2).filter(|line| !line.is_empty()) {
            let action: serde_json::Value = serde_json::from_str(action).unwrap();
            let count = ids.entry(action["create"]["_id"].as_str().unwrap().to_owned()).or_default();
            *count += 1;
            items.push(format!("{{\"create\":{{\"status\":{}}}}}", if *count == 1 { 201 } else { 409 }));
        }
        format!("{{\"errors\":false,\"items\":[{}]}}", items.join(","))
    }

    fn count(&self) -> usize {
        self.ids.lock().unwrap().len()
    }
}

/// Sends requests to a server of its own until it is dropped, so many a second and no more than it may: on a slow machine
/// a test takes longer, but has no more to work off.
struct Load {
    port: u16,
    /// Requests that it may still send.
    left: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(per_second: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || answer(stream));
            }
        });
        let load = Self { port, left: Arc::default(), answered: Arc::default(), stop: Arc::default() };
        let (left, answered, stop) = (Arc::clone(&load.left), Arc::clone(&load.answered), Arc::clone(&load.stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    answered.fetch_add(u64::from(request(port).is_some()), Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_micros(1_000_000 / per_second));
            }
        });
        load
    }

    /// From now on it may send so many.
    fn allow(&self, requests: u64) {
        self.left.store(requests, Ordering::Relaxed);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn request(port: u16) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(b"GET /latest/meta-data/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n").ok()?;
    stream.read_exact(&mut [0; 10]).ok()
}

fn answer(mut stream: TcpStream) -> Option<()> {
    let mut bytes = [0; 1000];
    while stream.read(&mut bytes).ok()? > 0 {
        stream.write_all(b"HTTP/1.1 200 OK\r\nServer: EC2ws\r\nContent-Length: 2\r\n\r\nok").ok()?;
    }
    Some(())
}

struct Sensor {
    dir: tempfile::TempDir,
    to: String,
    port: u16,
    more: String,
}

impl Sensor {
    /// `None`, with a message, where packets cannot be captured.
    fn new(to: SocketAddr, port: u16, more: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        Some(Self { dir: tempfile::tempdir().unwrap(), to: to.to_string(), port, more: more.to_owned() })
    }

    fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    fn messages(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("messages")).unwrap_or_default()
    }

    fn start(&self) -> Child {
        self.start_with(&self.spool())
    }

    fn start_with(&self, spool: &Path) -> Child {
        self.start_in(spool, Command::new(env!("CARGO_BIN_EXE_imdswatch")))
    }

    /// Starts it by a command that takes its arguments.
    fn start_in(&self, spool: &Path, mut command: Command) -> Child {
        let config = self.dir.path().join("imdswatch.toml");
        let text = format!(
            "spool = {spool:?}\n{}\n[[output]]\nto = \"elasticsearch+http://{}/events\"\ncompression = \"none\"\n\
             flush = \"100ms\"\nbackoff = \"300ms\"\n",
            self.more, self.to
        );
        std::fs::write(&config, text).unwrap();
        let messages = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("messages"));
        command
            .args(["-i", "lo", "-e", "all", "-c"])
            .arg(&config)
            .args(["tcp", "port", &self.port.to_string()])
            .stdout(Stdio::null())
            .stderr(messages.unwrap())
            .spawn()
            .unwrap()
    }
}

/// Every id that stands in the spool of a program that was killed, and is not acknowledged.
fn spooled(dir: &Path) -> Vec<String> {
    let copy = tempfile::tempdir().unwrap();
    let status = Command::new("cp").arg("-a").arg(dir).arg(copy.path().join("s")).status().unwrap();
    assert!(status.success());
    let spool = Spool::open(&copy.path().join("s"), 1 << 30, Arc::new(Counters::default())).unwrap();
    let mut ids = Vec::new();
    while let Some(chunk) = spool.read(usize::MAX, 1 << 20, Duration::ZERO, Instant::now()) {
        for line in chunk.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event: serde_json::Value = serde_json::from_slice(line).unwrap();
            ids.push(event["event"]["id"].as_str().unwrap().to_owned());
        }
        spool.acknowledge(&chunk);
    }
    ids
}

/// Waits until it is so, for as long as anything still happens.
fn wait_for(what: &str, sensor: &Sensor, index: &Index, mut is_so: impl FnMut() -> bool) {
    let state = || (index.requests.load(Ordering::Relaxed), index.count(), sensor.messages().len());
    let (mut seen, mut since) = (state(), Instant::now());
    while !is_so() {
        if state() != seen {
            (seen, since) = (state(), Instant::now());
        }
        let waits = || format!("{:?}, {} segments", state(), segments(&sensor.spool()));
        assert!(since.elapsed() < Duration::from_secs(120), "not {what} ({}): {}", waits(), sensor.messages());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until nothing more comes.
fn settle(index: &Index) {
    let (mut seen, mut since) = (index.count(), Instant::now());
    while since.elapsed() < Duration::from_secs(2) {
        if index.count() != seen {
            (seen, since) = (index.count(), Instant::now());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn segments(spool: &Path) -> usize {
    ["alerts", "events"]
        .iter()
        .flat_map(|class| std::fs::read_dir(spool.join(class)).into_iter().flatten().flatten())
        .filter(|entry| entry.path().extension().is_some_and(|e| e == "seg"))
        .count()
}

fn stop(mut child: Child) -> i32 {
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    child.wait().unwrap().code().unwrap()
}

#[test]
fn what_was_on_disk_when_the_program_was_killed_reaches_the_receiver() {
    let (index, to) = Index::start();
    let load = Load::start(400);
    let Some(sensor) = Sensor::new(to, load.port, "") else { return };
    let rounds = if std::env::var_os("IMDSWATCH_SLOW").is_some() { 50 } else { 6 };
    let mut on_disk = Vec::new();
    for round in 0..rounds {
        // Every other time the receiver is away, so that more stands on disk.
        index.away.store(round % 2 == 1, Ordering::Relaxed);
        let mut child = sensor.start();
        let before = index.requests.load(Ordering::Relaxed);
        wait_for("sending", &sensor, &index, || {
            load.allow(100);
            index.requests.load(Ordering::Relaxed) > before + 2
        });
        std::thread::sleep(Duration::from_millis(100 * (round % 5)));
        child.kill().unwrap();
        child.wait().unwrap();
        on_disk.extend(spooled(&sensor.spool()));
    }
    drop(load);
    index.away.store(false, Ordering::Relaxed);
    let child = sensor.start();
    wait_for("sent", &sensor, &index, || {
        let ids = index.ids.lock().unwrap();
        on_disk.iter().all(|id| ids.contains_key(id))
    });
    settle(&index);
    assert_eq!(stop(child), 0, "{}", sensor.messages());
    assert_eq!(segments(&sensor.spool()), 0, "nothing is left: {}", sensor.messages());
    let ids = index.ids.lock().unwrap();
    let again = ids.values().filter(|count| **count > 1).count();
    eprintln!(
        "{rounds} kills: {} events on disk at them, {} taken, {again} of them sent again",
        on_disk.len(),
        ids.len()
    );
    assert!(!on_disk.is_empty(), "the kills came too early to show anything");
}

#[test]
fn a_receiver_that_is_away_gets_everything_when_it_is_back() {
    let (index, to) = Index::start();
    let load = Load::start(200);
    let Some(sensor) = Sensor::new(to, load.port, "") else { return };
    index.away.store(true, Ordering::Relaxed);
    let child = sensor.start();
    wait_for("tried", &sensor, &index, || {
        load.allow(100);
        index.requests.load(Ordering::Relaxed) > 3
    });
    assert_eq!(index.count(), 0);
    let before = load.answered.load(Ordering::Relaxed);
    load.allow(300);
    wait_for("asked", &sensor, &index, || load.answered.load(Ordering::Relaxed) >= before + 300);
    drop(load);
    index.away.store(false, Ordering::Relaxed);
    wait_for("sent", &sensor, &index, || {
        segments(&sensor.spool()) <= 2 && sensor.messages().contains("takes events again")
    });
    settle(&index);
    assert_eq!(stop(child), 0, "{}", sensor.messages());
    let text = sensor.messages();
    assert_eq!(text.matches("events wait until it takes them").count(), 1, "one message per trouble: {text}");
    assert!(index.count() > 100 && !text.contains("lost"), "{}: {text}", index.count());
    assert_eq!(segments(&sensor.spool()), 0, "{text}");
}

/// Has its own names: `receiver.invalid` is this host for as long as the file says so.
fn with_hosts(hosts: &Path, nowhere: &Path) -> Command {
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/resolv.conf && shift 2 && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh"]).args([hosts, nowhere]).arg(env!("CARGO_BIN_EXE_imdswatch"));
    command
}

#[test]
fn a_name_that_stops_resolving_is_a_trouble_until_it_resolves_again() {
    let (index, to) = Index::start();
    let load = Load::start(200);
    let Some(mut sensor) = Sensor::new(to, load.port, "") else { return };
    sensor.to = format!("receiver.invalid:{}", to.port());
    let (hosts, nowhere) = (sensor.dir.path().join("hosts"), sensor.dir.path().join("resolv.conf"));
    std::fs::write(&nowhere, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
    let known = "127.0.0.1 localhost receiver.invalid\n";
    std::fs::write(&hosts, known).unwrap();
    if !with_hosts(&hosts, &nowhere).arg("help").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: cannot have a hosts file of its own");
    }
    let child = sensor.start_in(&sensor.spool(), with_hosts(&hosts, &nowhere));
    wait_for("sent", &sensor, &index, || {
        load.allow(50);
        index.count() > 0
    });
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    index.hangs_up.store(true, Ordering::Relaxed);
    wait_for("noticed", &sensor, &index, || {
        load.allow(50);
        sensor.messages().contains("events wait until it takes them")
    });
    let taken = index.count();
    let answered = load.answered.load(Ordering::Relaxed);
    load.allow(100);
    wait_for("asked", &sensor, &index, || load.answered.load(Ordering::Relaxed) >= answered + 100);
    assert_eq!(index.count(), taken, "no way leads there: {}", sensor.messages());
    std::fs::write(&hosts, known).unwrap();
    index.hangs_up.store(false, Ordering::Relaxed);
    wait_for("sent", &sensor, &index, || sensor.messages().contains("takes events again"));
    drop(load);
    settle(&index);
    assert_eq!(stop(child), 0, "{}", sensor.messages());
    let text = sensor.messages();
    assert_eq!(text.matches("events wait until it takes them").count(), 1, "one message per trouble: {text}");
    assert!(index.count() >= taken + 100 && !text.contains("lost"), "{}: {text}", index.count());
    assert_eq!(segments(&sensor.spool()), 0, "{text}");
}

#[test]
fn a_full_disk_costs_the_oldest_events_and_every_one_is_counted() {
    let (index, to) = Index::start();
    let load = Load::start(1000);
    let Some(sensor) = Sensor::new(to, load.port, "spool_most = \"1M\"\n") else { return };
    let disk = sensor.dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&disk).status();
    if !mounted.is_ok_and(|status| status.success()) {
        return eprintln!("skipped: needs a small disk");
    }
    index.away.store(true, Ordering::Relaxed);
    let child = sensor.start_with(&disk.join("spool"));
    wait_for("full", &sensor, &index, || {
        load.allow(1000);
        sensor.messages().contains("is full")
    });
    drop(load);
    std::thread::sleep(Duration::from_millis(500));
    index.away.store(false, Ordering::Relaxed);
    wait_for("sent", &sensor, &index, || sensor.messages().contains("takes events again"));
    settle(&index);
    let status = stop(child);
    let text = sensor.messages();
    assert!(Command::new("umount").arg(&disk).status().unwrap().success());
    assert_eq!(status, 1, "{text}");
    let count = |what: &str| -> u64 {
        let line = text.lines().find(|line| line.contains(what)).unwrap_or_default();
        line.split(' ').next().unwrap_or_default().parse().unwrap_or(0)
    };
    let lost = count("events lost by") + count("alerts lost by");
    eprintln!("{lost} lost, {} taken", index.count());
    assert!(lost > 0, "{text}");
    let alerts: u64 = count(" alerts: ");
    let written = count(" events could not be written");
    assert_eq!(written, lost, "{text}");
    assert!(alerts > 0 && !text.contains("alerts lost by"), "alerts go last: {text}");
}

#[test]
fn a_second_process_on_the_same_spool_says_so_and_ends() {
    let (index, to) = Index::start();
    let load = Load::start(50);
    let Some(sensor) = Sensor::new(to, load.port, "") else { return };
    let first = sensor.start();
    wait_for("sent", &sensor, &index, || {
        load.allow(10);
        index.count() > 0
    });
    let second = sensor.start().wait().unwrap();
    assert_eq!(second.code(), Some(1));
    assert!(sensor.messages().contains("another process uses this spool"), "{}", sensor.messages());
    assert_eq!(stop(first), 0, "{}", sensor.messages());
}
