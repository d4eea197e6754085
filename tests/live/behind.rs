//! More than can be worked off: what is dropped is counted by its cause, how far detection is behind is said, a theft
//! that follows is alerted in seconds, and a signal ends it in seconds.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::net::{Net, Watch, of_type, within};

#[test]
fn what_is_lost_is_counted_to_the_packet() {
    let Some(net) = Net::new() else { return };
    if Command::new("tcpreplay").arg("--version").output().is_err() {
        return eprintln!("skipped: needs tcpreplay");
    }
    // A small ring, and nothing of the network's own.
    let mut watch = net.watch(&["-e", "all", "--buffer", "1M", "--threads", "1", "net", "10.8.0.0/16"]);
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("speed.pcap");
    std::fs::write(&capture, requests(2_000)).unwrap();
    let replay = |speed: &str, times: &str| {
        within(&net.server, || {
            let mut replay = Command::new("tcpreplay");
            replay.args([speed, times, "--intf1=vs"]).arg(&capture).stdout(Stdio::null());
            replay.spawn().unwrap()
        })
    };
    // More than the ring holds, while nobody reads it.
    watch.signal(rustix::process::Signal::STOP);
    assert!(replay("--topspeed", "--loop=20").wait().unwrap().success());
    watch.signal(rustix::process::Signal::CONT);
    // It ends while packets come in.
    let mut endless = replay("--pps=20000", "--loop=1000");
    std::thread::sleep(Duration::from_millis(700));
    // What was captured is worked off, which takes a program without optimisation some time.
    assert_eq!(watch.stop_within(Duration::from_secs(60)), 0, "{}", watch.messages());
    endless.kill().unwrap();
    endless.wait().unwrap();
    let text = watch.messages();
    let (captured, received) = (count(&text, "packets captured"), count(&text, "packets received by filter"));
    let (kernel, own) = (count(&text, "packets dropped by kernel"), count(&text, "packets dropped by imdswatch"));
    eprintln!("{received} received, {captured} captured, {kernel} + {own} dropped");
    assert!(received > 40_000 && kernel > 10_000, "{text}");
    assert_eq!(captured + kernel + own, received, "{text}");
}

/// A pcap file of so many requests, each a packet of its own connection.
fn requests(count: u32) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
    for n in 0..count {
        let payload = b"GET /latest/meta-data/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n";
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([0x45, 0]);
        frame.extend((40 + payload.len() as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 8, (n >> 8) as u8, n as u8, 169, 254, 169, 254]);
        frame.extend([0xc0, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        let length = frame.len() as u32;
        file.extend([1_700_000_000, n, length, length].map(u32::to_le_bytes).concat());
        file.extend(frame);
    }
    file
}

/// Sends the frames of a pcap file out of an interface, over and over.
const SEND: &str = "
import socket, struct, sys
data, at, frames = open(sys.argv[2], 'rb').read(), 24, []
while at < len(data):
    length = struct.unpack_from('<I', data, at + 8)[0]
    frames.append(data[at + 16:at + 16 + length])
    at += 16 + length
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind((sys.argv[1], 0))
print('sending', flush=True)
while True:
    for frame in frames:
        try:
            out.send(frame)
        except OSError:
            pass
";

/// Bytes that are cheap to send and dear to read.
struct Attack {
    sender: Child,
}

impl Attack {
    /// Of a kind of `benches/traffic/hostile.py`; `None`, with a message, without Python.
    fn of(kind: &str, net: &Net, dir: &Path) -> Option<Self> {
        let capture = capture(kind, dir)?;
        let mut sender = within(&net.server, || {
            let mut python = Command::new("python3");
            python.args(["-c", SEND, "vs"]).arg(capture).stdout(Stdio::piped()).spawn().unwrap()
        });
        // It takes its time to start where others have theirs.
        let mut said = [0; 7];
        sender.stdout.take().unwrap().read_exact(&mut said).unwrap();
        Some(Self { sender })
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        let _ = self.sender.kill();
        let _ = self.sender.wait();
    }
}

fn capture(kind: &str, dir: &Path) -> Option<PathBuf> {
    let path = dir.join(kind);
    let generator = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/traffic/hostile.py");
    let made = Command::new("python3").args([generator, kind, "30"]).arg(&path).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no python3 here");
        return None;
    }
    Some(path)
}

fn thefts(watch: &Watch) -> usize {
    let events = std::fs::read_to_string(&watch.events).unwrap();
    events.matches("\"id\":\"imds-credential-issued\"").count()
}

/// The value of a metric.
fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("imdswatch_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// The number at the beginning of a closing line.
fn count(text: &str, what: &str) -> u64 {
    let line = text.lines().find(|line| line.ends_with(what)).unwrap_or_else(|| panic!("no {what}: {text}"));
    line.split(' ').next().unwrap().parse().unwrap()
}

/// Within which a theft is alerted, in seconds. A program built without optimisation, beside other tests, takes some
/// twenty times as long for each packet.
const ALERTED: f64 = if cfg!(debug_assertions) { 20.0 } else { 5.0 };
/// Attacks, the dearest last: one batch of that keeps a program without optimisation for half a minute.
const ATTACKS: &[&str] = if cfg!(debug_assertions) {
    &["seg_slashes", "at_signs_pct", "gzip_bomb"]
} else {
    &["seg_slashes", "at_signs_pct", "gzip_bomb", "dns_chain_meta"]
};

#[test]
fn a_theft_that_follows_an_attack_is_alerted_within_seconds() {
    let Some(net) = Net::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut watch = net.watch(&["--threads", "1", "--stats", "1", "--metrics", "127.0.0.1:9478"]);
    for kind in ATTACKS {
        let Some(attack) = Attack::of(kind, &net, dir.path()) else { return };
        std::thread::sleep(Duration::from_millis(1500));
        let under = Watch::metrics(&net);
        let behind = metric(&under, "lag_seconds");
        assert!(behind < ALERTED, "{kind}: {behind} s behind");
        drop(attack);
        let (known, asked) = (thefts(&watch), Instant::now());
        assert!(net.fetch("/latest/meta-data/iam/security-credentials/role"));
        while thefts(&watch) == known {
            assert!(asked.elapsed().as_secs_f64() < ALERTED, "{kind}: no alert; {}", Watch::metrics(&net));
            std::thread::sleep(Duration::from_millis(10));
        }
        let dropped = metric(&under, "dropped_own_total");
        eprintln!("{kind}: {behind:.1} s behind, {dropped} dropped; the theft was alerted after {:?}", asked.elapsed());
    }
    let metrics = Watch::metrics(&net);
    let causes = ["dropped_no_room_total", "dropped_late_total", "dropped_at_end_total"];
    let by_cause: f64 = causes.iter().map(|cause| metric(&metrics, cause)).sum();
    assert!((by_cause - metric(&metrics, "dropped_own_total")).abs() < 0.5, "{metrics}");
    assert!(metric(&metrics, "lag_seconds_max") < ALERTED, "{metrics}");
    assert_eq!(watch.stop_within(Duration::from_secs(10)), 0, "{}", watch.messages());
    let stats = watch.events();
    let stats = of_type(&stats, "stats");
    let last = &stats.last().unwrap()["imdswatch"]["stats"];
    assert!(["lag_ms", "dropped_late", "dropped_no_room", "dropped_kernel"].iter().all(|name| last[*name].is_u64()));
}

#[test]
fn a_signal_in_the_midst_of_an_attack_ends_it_in_seconds_and_all_is_counted() {
    let Some(net) = Net::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut watch = net.watch(&["-e", "all", "--threads", "1", "--buffer", "1M", "net", "10.0.0.0/8"]);
    let Some(_attack) = Attack::of("at_signs_pct", &net, dir.path()) else { return };
    std::thread::sleep(Duration::from_secs(3));
    let status = watch.stop_within(Duration::from_secs(15));
    let text = watch.messages();
    let (captured, received) = (count(&text, "packets captured"), count(&text, "packets received by filter"));
    let (kernel, own) = (count(&text, "packets dropped by kernel"), count(&text, "packets dropped by imdswatch"));
    let of_cause = |cause: &str| if text.contains(cause) { count(&text, cause) } else { 0 };
    let causes = ["packets dropped by full buffers", "packets dropped by lag", "packets dropped by the end of the run"];
    assert_eq!(causes.map(of_cause).iter().sum::<u64>(), own, "{text}");
    assert!(text.contains("s behind the wire at most"), "{text}");
    assert!(status == 0 || text.contains("what they show is lost"), "{status}: {text}");
    if status == 0 {
        assert_eq!(captured + kernel + own, received, "{text}");
    }
    eprintln!("{received} received, {captured} captured, {kernel} + {own} dropped, status {status}");
}
