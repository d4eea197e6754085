//! Metrics for Prometheus, and whether the run is alive and ready.
//!
//! In: the counts of a moment. Out: text in Prometheus' exposition format over HTTP/1.1, one request at a time: `/metrics`,
//! `/healthz` (the program runs) and `/readyz` (packets can come in). Bound: one thread, requests of 4 KiB, two seconds
//! for each.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// What is served at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counters by name, without prefix: `packets`.
    pub counters: Vec<(&'static str, u64)>,
    /// Alerts by rule.
    pub alerts: Vec<(&'static str, u64)>,
    /// Seconds since the run began.
    pub seconds: f64,
    /// Whether packets can come in: at least one interface is open.
    pub ready: bool,
}

/// A listening endpoint: opened while there is privilege, served later.
pub struct Endpoint {
    listener: TcpListener,
}

/// Longest request that is read, and how long it may take.
const MAX_REQUEST: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(2);

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

    /// Answers requests, one after the other, for as long as the process lives.
    pub fn serve(&self, snapshot: impl Fn() -> Snapshot) {
        for connection in self.listener.incoming() {
            match connection {
                // A client that goes away has no further claim on us.
                Ok(connection) => drop(answer(connection, &snapshot)),
                // Out of descriptors, for one: not to spin.
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
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
        (b"GET" | b"HEAD", b"/readyz") if snapshot().ready => ("200 OK", "ready\n".to_owned()),
        (b"GET" | b"HEAD", b"/readyz") => ("503 Service Unavailable", "no interface is open\n".to_owned()),
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
    let mut one = |name: &str, kind: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "# TYPE imdswatch_{name} {kind}\nimdswatch_{name} {value}");
    };
    one("uptime_seconds", "gauge", &snapshot.seconds);
    one("ready", "gauge", &u8::from(snapshot.ready));
    for (name, value) in snapshot.counters.iter().filter(|(name, _)| *name != "alerts") {
        one(&format!("{name}_total"), "counter", value);
    }
    text.push_str("# TYPE imdswatch_alerts_total counter\n");
    for (rule, value) in &snapshot.alerts {
        let _ = writeln!(text, "imdswatch_alerts_total{{rule=\"{rule}\"}} {value}");
    }
    text
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
            counters: vec![("packets", 7), ("alerts", 2)],
            alerts: vec![("imds-lookup", 2)],
            seconds: 1.5,
            ready: false,
        };
        std::thread::spawn(move || endpoint.serve(snapshot));
        let metrics = get(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        for line in ["imdswatch_packets_total 7", "imdswatch_alerts_total{rule=\"imds-lookup\"} 2", "imdswatch_ready 0"]
        {
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
}
