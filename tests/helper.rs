//! The helper process under attack: whoever has its socket can ask for paths of executables and owners of sockets, and
//! nothing else, however they ask.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Helper {
    socket: UnixStream,
    child: Child,
}

impl Helper {
    fn start() -> Self {
        let (socket, theirs) = UnixStream::pair().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_imdswatch"))
            .args(["helper", "/"])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { socket, child }
    }

    fn ask(&mut self, what: u32, number: u32) -> Vec<u8> {
        self.socket.write_all(&[what.to_ne_bytes(), number.to_ne_bytes()].concat()).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_ne_bytes(length) as usize];
        assert!(answer.len() <= 4096, "an answer of {} bytes", answer.len());
        self.socket.read_exact(&mut answer).unwrap();
        answer
    }

    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const EXECUTABLE: u32 = 1;

#[test]
fn requests_of_no_meaning_are_answered_with_nothing() {
    let mut helper = Helper::start();
    for what in [0, 3, 7, 0x7fff_ffff, u32::MAX, u32::from_ne_bytes(*b"/etc")] {
        for number in [0, 1, u32::MAX, u32::from_ne_bytes(*b"/sha")] {
            assert!(helper.ask(what, number).is_empty(), "{what} {number}");
        }
    }
    for nobody in [0, u32::MAX, 4_194_305] {
        assert!(helper.ask(EXECUTABLE, nobody).is_empty(), "{nobody}");
    }
    let own = helper.ask(EXECUTABLE, std::process::id());
    assert_eq!(String::from_utf8(own).unwrap(), std::env::current_exe().unwrap().to_string_lossy());
}

#[test]
fn bytes_of_any_kind_are_taken_for_requests_and_nothing_more() {
    let mut helper = Helper::start();
    // Not a multiple of a request: the rest is the beginning of the next one.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(8 * 1000 + 3)
    .collect();
    helper.socket.write_all(&noise).unwrap();
    for _ in 0..1000 {
        let answer = helper.answer();
        assert!(answer.is_empty() || answer.len() == 4 || answer.starts_with(b"/"), "{answer:?}");
    }
    helper.socket.write_all(&[0; 5]).unwrap();
    helper.answer();
    assert!(!helper.ask(EXECUTABLE, std::process::id()).is_empty(), "it still works");
}

#[test]
fn a_flood_that_reads_no_answers_costs_no_memory() {
    let mut helper = Helper::start();
    assert!(!helper.ask(EXECUTABLE, std::process::id()).is_empty());
    let before = helper.resident();
    helper.socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let requests = [EXECUTABLE.to_ne_bytes(), std::process::id().to_ne_bytes()].concat().repeat(8192);
    let mut sent = 0;
    let stalled = loop {
        match helper.socket.write(&requests) {
            Ok(count) => sent += count,
            Err(error) => break error.kind(),
        }
    };
    assert!(matches!(stalled, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{stalled:?}");
    let after = helper.resident();
    assert!(sent > 0 && after < before + 8 * 1024, "{before} kB, then {after} kB after {sent} bytes");
}

#[test]
fn it_ends_with_its_socket_and_leaves_no_core() {
    let mut helper = Helper::start();
    assert!(!helper.ask(EXECUTABLE, std::process::id()).is_empty());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", helper.child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    helper.socket.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(helper.child.wait().unwrap().success());
}
