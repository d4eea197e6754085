//! Metrics for Prometheus, and whether the run is alive and ready.
//!
//! In: the counts of a moment. Out: text in Prometheus' exposition format over HTTP/1.1: `/metrics`, `/healthz` (the program
//! runs) and `/readyz` (packets can come in, and outputs take events). Bounds: [`MOST`] connections, the oldest of which
//! gives way to a new one, so that no number of idle ones keeps a probe from its answer; requests of 4 KiB, two seconds for
//! each.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What is served at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Metrics, in the order in which they are written.
    pub families: Vec<Family>,
    /// Why the run is not ready, where it is not.
    pub unready: Option<String>,
}

/// One metric.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// Its name, without prefix: `packets_total`.
    pub name: String,
    /// Whether it only grows.
    pub is_counter: bool,
    /// Name of its label; empty where it has none.
    pub label: &'static str,
    /// Values, each with that of its label.
    pub rows: Vec<(String, f64)>,
}

impl Family {
    /// A metric of one value.
    pub fn one(name: impl Into<String>, is_counter: bool, value: f64) -> Self {
        Self { name: name.into(), is_counter, label: "", rows: vec![(String::new(), value)] }
    }
}

/// A listening endpoint: opened while there is privilege, served later.
pub struct Endpoint {
    listener: TcpListener,
}

/// Connections at once.
const MOST: usize = 64;

/// Longest request that is read, and how long it may take.
const MAX_REQUEST: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(2);

/// A thread needs little: it reads a few lines and writes a page.
const STACK: usize = 128 << 10;

impl Endpoint {
    /// Listens at `address`.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address)? })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers requests for as long as the process lives.
    pub fn serve(&self, snapshot: impl Fn() -> Snapshot + Send + Sync + 'static) {
        let snapshot = Arc::new(snapshot);
        let connections = Arc::new(Connections::default());
        for connection in self.listener.incoming() {
            let Some(connection) = connection.ok().and_then(|connection| connections.enter(connection)) else {
                // Out of descriptors, for one: not to spin.
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            let (snapshot, connections) = (Arc::clone(&snapshot), Arc::clone(&connections));
            let (number, connection) = connection;
            let thread = thread::Builder::new().name("metrics".into()).stack_size(STACK);
            let started = thread.spawn(move || {
                // A client that goes away has no further claim on us.
                let _ = answer(connection, &*snapshot);
                connections.leave(number);
            });
            if started.is_err() {
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// Connections that are open, oldest first.
#[derive(Default)]
struct Connections {
    open: Mutex<(u64, VecDeque<(u64, TcpStream)>)>,
}

impl Connections {
    fn open(&self) -> MutexGuard<'_, (u64, VecDeque<(u64, TcpStream)>)> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in; where there are too many, the oldest is closed.
    fn enter(&self, connection: TcpStream) -> Option<(u64, TcpStream)> {
        let other = connection.try_clone().ok()?;
        let mut open = self.open();
        open.0 += 1;
        let number = open.0;
        open.1.push_back((number, other));
        while open.1.len() > MOST {
            if let Some((_, oldest)) = open.1.pop_front() {
                let _ = oldest.shutdown(Shutdown::Both);
            }
        }
        Some((number, connection))
    }

    fn leave(&self, number: u64) {
        self.open().1.retain(|(other, _)| *other != number);
    }
}

fn answer(mut connection: TcpStream, snapshot: &impl Fn() -> Snapshot) -> io::Result<()> {
    connection.set_write_timeout(Some(PATIENCE))?;
    let request = read_head(&mut connection)?;
    let mut words = request.split(|byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let (status, text) = match (method, path) {
        (b"GET" | b"HEAD", b"/metrics") => ("200 OK", exposition(&snapshot())),
        (b"GET" | b"HEAD", b"/healthz") => ("200 OK", "ok\n".to_owned()),
        (b"GET" | b"HEAD", b"/readyz") => match snapshot().unready {
            None => ("200 OK", "ready\n".to_owned()),
            Some(why) => ("503 Service Unavailable", format!("{why}\n")),
        },
        (b"GET" | b"HEAD", _) => ("404 Not Found", "there are /metrics, /healthz and /readyz\n".to_owned()),
        _ => ("405 Method Not Allowed", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        text.len()
    );
    let body = if method == b"HEAD" { "" } else { &text };
    connection.write_all([head.as_str(), body].concat().as_bytes())
}

/// Reads up to the blank line.
fn read_head(connection: &mut TcpStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() >= MAX_REQUEST {
            return Err(io::ErrorKind::TimedOut.into());
        }
        connection.set_read_timeout(Some(left))?;
        match connection.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => head.extend_from_slice(piece.get(..read).unwrap_or_default()),
        }
    }
    Ok(head)
}

/// Prometheus' text format, version 0.0.4.
fn exposition(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for Family { name, is_counter, label, rows } in &snapshot.families {
        let kind = if *is_counter { "counter" } else { "gauge" };
        let _ = writeln!(text, "# TYPE imdswatch_{name} {kind}");
        for (value_of_label, value) in rows {
            let _ = match label.is_empty() {
                true => writeln!(text, "imdswatch_{name} {value}"),
                false => writeln!(text, "imdswatch_{name}{{{label}=\"{}\"}} {value}", escaped(value_of_label)),
            };
        }
    }
    text
}

/// The value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(address: SocketAddr, request: &str) -> String {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        connection.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn serves_metrics_and_health_and_survives_nonsense() {
        let endpoint = Endpoint::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = endpoint.address().unwrap();
        let snapshot = || Snapshot {
            families: vec![
                Family::one("packets_total", true, 7.0),
                Family {
                    name: "alerts_total".into(),
                    is_counter: true,
                    label: "rule",
                    rows: vec![("imds-lookup".into(), 2.0), ("a\"b\n".into(), 1.5)],
                },
            ],
            unready: Some("no interface is open".into()),
        };
        thread::spawn(move || endpoint.serve(snapshot));
        let metrics = get(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        for line in [
            "imdswatch_packets_total 7",
            "imdswatch_alerts_total{rule=\"imds-lookup\"} 2",
            "imdswatch_alerts_total{rule=\"a\\\"b\\n\"} 1.5",
        ] {
            assert!(metrics.contains(&format!("\n{line}\n")), "{metrics}");
        }
        assert_eq!(metrics.matches("# TYPE imdswatch_alerts_total").count(), 1);
        assert!(get(address, "GET /healthz HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200"));
        assert!(get(address, "GET /readyz HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 503"));
        assert!(get(address, "GET /other HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 404"));
        assert!(get(address, "POST /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 405"));
        drop(TcpStream::connect(address).unwrap());
        assert!(get(address, "HEAD /metrics HTTP/1.0\r\n\r\n").ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_thousand_idle_connections_keep_nobody_waiting() {
        let endpoint = Endpoint::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = endpoint.address().unwrap();
        thread::spawn(move || endpoint.serve(Snapshot::default));
        let mut idle = Vec::new();
        for n in 0..1000 {
            let mut connection = TcpStream::connect(address).unwrap();
            if n % 2 == 0 {
                let _ = connection.write_all(b"GET /metrics HTTP/1.1\r\nX: ");
            }
            idle.push(connection);
        }
        // The first one follows all others at once. Where tests share few cores any may have to wait for its turn.
        let took: Vec<Duration> = (0..5)
            .map(|_| {
                let began = Instant::now();
                assert!(get(address, "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200"));
                began.elapsed()
            })
            .collect();
        eprintln!("/healthz took {took:?} beside 1,000 idle connections");
        assert!(took.iter().all(|time| *time < Duration::from_secs(1)), "{took:?}");
        assert!(took.iter().min().is_some_and(|time| *time < Duration::from_millis(100)), "{took:?}");
        let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
        assert!(threads < 500, "{threads} threads");
        drop(idle);
    }
}
