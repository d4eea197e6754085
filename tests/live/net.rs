//! Two network namespaces with a metadata service in one of them, and an imdswatch that watches in the other.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

const CREDENTIAL: &str = r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAEXAMPLEEXAMPLE00","SecretAccessKey":"wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYXX","Token":"IQoJb3JpZ2luX2VjEXAMPLEXAMPLEXAMPLE","Expiration":"2030-01-01T00:00:00Z","LastUpdated":"2026-01-01T00:00:00Z"}"#;

/// Two namespaces, `c` with the client and `s` with the service, joined by `vc` and `vs`.
pub struct Net {
    pub client: String,
    pub server: String,
    _one_at_a_time: MutexGuard<'static, ()>,
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Net {
    /// `None`, with a message, where it cannot be made.
    pub fn new() -> Option<Self> {
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let present = |tool: &str| Command::new(tool).arg("-V").stdout(Stdio::null()).status().is_ok();
        if !rustix::process::geteuid().is_root() || !present("ip") || !present("curl") {
            eprintln!("skipped: needs root, ip and curl");
            return None;
        }
        let id = std::process::id();
        let net = Self { client: format!("iwt{id}c"), server: format!("iwt{id}s"), _one_at_a_time: guard };
        if !ip(&format!("netns add {}", net.client)) || !ip(&format!("netns add {}", net.server)) {
            eprintln!("skipped: namespaces cannot be made here");
            return None;
        }
        ip(&format!("-n {} link set lo up", net.client));
        net.join();
        net.serve();
        Some(net)
    }

    /// Makes the pair of interfaces, at first and after one was removed.
    pub fn join(&self) {
        let (c, s) = (&self.client, &self.server);
        for command in [
            format!("link add vc netns {c} type veth peer name vs netns {s}"),
            format!("-n {c} addr add 10.9.0.2/24 dev vc"),
            format!("-n {c} addr add fd09::2/64 dev vc nodad"),
            format!("-n {s} addr add 10.9.0.1/24 dev vs"),
            format!("-n {s} addr add fd09::1/64 dev vs nodad"),
            format!("-n {s} addr add 169.254.169.254/32 dev vs"),
            format!("-n {s} addr add fd00:ec2::254/128 dev vs nodad"),
            format!("-n {s} link set vs up"),
        ] {
            assert!(ip(&command), "ip {command}");
        }
        self.up();
    }

    pub fn up(&self) {
        let c = &self.client;
        ip(&format!("-n {c} link set vc up"));
        ip(&format!("-n {c} route replace 169.254.169.254 via 10.9.0.1"));
        ip(&format!("-n {c} -6 route replace fd00:ec2::254 via fd09::1"));
    }

    pub fn serve(&self) {
        within(&self.server, || {
            for address in ["169.254.169.254:80", "[fd00:ec2::254]:80"] {
                let listener = TcpListener::bind(address).unwrap();
                std::thread::spawn(move || {
                    for stream in listener.incoming().flatten() {
                        std::thread::spawn(move || answer(stream));
                    }
                });
            }
        });
    }

    pub fn curl(&self, program: &Path, path: &str) -> Child {
        within(&self.client, || {
            let mut curl = Command::new(program);
            curl.args(["-s", "-m", "10", "-o", "/dev/null"]);
            curl.arg(format!("http://169.254.169.254{path}")).spawn().unwrap()
        })
    }

    /// Runs it to its end; `true` when it was answered.
    pub fn fetch(&self, path: &str) -> bool {
        self.curl("curl".as_ref(), path).wait().unwrap().success()
    }

    pub fn watch(&self, args: &[&str]) -> Watch {
        self.watch_with(|command| {
            command.args(args);
        })
    }

    pub fn watch_with(&self, change: impl FnOnce(&mut Command) + Send) -> Watch {
        let dir = tempfile::tempdir().unwrap();
        // The folder is for any user.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let (events, messages) = (dir.path().join("events"), dir.path().join("messages"));
        let files = (std::fs::File::create(&events).unwrap(), std::fs::File::create(&messages).unwrap());
        let child = within(&self.client, || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_imdswatch"));
            command.args(["-i", "vc"]).stdout(files.0).stderr(files.1);
            change(&mut command);
            command.spawn().unwrap()
        });
        let watch = Watch { child, events, messages, dir };
        // The first thing that is captured shows that it runs.
        let begun = Instant::now();
        while !std::fs::read_to_string(format!("/proc/{}/status", watch.child.id())).unwrap().contains("Seccomp:\t2") {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", watch.messages());
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(200));
        watch
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in [&self.client, &self.server] {
            ip(&format!("netns del {name}"));
        }
    }
}

/// A running imdswatch.
pub struct Watch {
    pub child: Child,
    pub events: PathBuf,
    messages: PathBuf,
    pub dir: tempfile::TempDir,
}

impl Watch {
    pub fn messages(&self) -> String {
        std::fs::read_to_string(&self.messages).unwrap()
    }

    pub fn events(&self) -> Vec<Value> {
        events(&self.events)
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// What it serves at `--metrics 127.0.0.1:9478`.
    pub fn metrics(net: &Net) -> String {
        within(&net.client, || {
            let mut stream = TcpStream::connect("127.0.0.1:9478").unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
    }

    /// Waits for a message.
    pub fn hears(&self, text: &str) {
        let begun = Instant::now();
        while !self.messages().contains(text) {
            assert!(begun.elapsed() < Duration::from_secs(10), "no `{text}` in: {}", self.messages());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it as a service manager would; returns the exit status.
    pub fn stop(&mut self) -> i32 {
        self.stop_within(Duration::from_secs(3))
    }

    pub fn stop_within(&mut self, within: Duration) -> i32 {
        let begun = Instant::now();
        self.signal(rustix::process::Signal::TERM);
        let status = self.child.wait().unwrap();
        let took = begun.elapsed();
        assert!(took < within, "took {took:?}");
        status.code().unwrap()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Events of a type, for the path.
pub fn of_type<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

pub fn ip(command: &str) -> bool {
    let words = command.split_whitespace();
    Command::new("ip").args(words).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Runs `what` on a thread inside a network namespace; what it starts lives there too.
pub fn within<T: Send>(namespace: &str, what: impl FnOnce() -> T + Send) -> T {
    let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(kind)).unwrap();
            what()
        });
        thread.join().unwrap()
    })
}

fn answer(mut stream: TcpStream) {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let _ = reader.read_line(&mut line);
    let mut header = String::new();
    while reader.read_line(&mut header).is_ok_and(|read| read > 2) {
        header.clear();
    }
    let body = if line.contains("/security-credentials/role") { CREDENTIAL } else { "role" };
    let head = format!("HTTP/1.1 200 OK\r\nServer: EC2ws\r\nContent-Length: {}\r\nConnection: close", body.len());
    let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
}

/// Copies a program. Not within this process: what another test starts meanwhile would inherit the file while it is
/// written, and nobody can run it as long as that is so.
pub fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").args([from, to]).status().unwrap().success());
}

/// Mounts tracefs where it is not: without it processes are looked up late. It stays mounted.
pub fn has_tracefs() -> bool {
    let format = "/sys/kernel/tracing/events/sock/inet_sock_set_state/format";
    if !Path::new(format).exists() {
        let _ = Command::new("mount").args(["-t", "tracefs", "nodev", "/sys/kernel/tracing"]).status();
    }
    Path::new(format).exists()
}
