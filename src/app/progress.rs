//! Progress of a long replay on a terminal: bytes done, rate, time left, on one line that is wiped at the end.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What the capture thread tells about how far it is.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// Bytes read of all inputs, as they lie on disk.
    pub(super) bytes: AtomicU64,
    /// Bytes of all inputs whose size is known.
    pub(super) total: AtomicU64,
    /// Packets read.
    pub(super) packets: AtomicU64,
}

/// Nothing is shown before a replay has taken this long.
const PATIENCE: Duration = Duration::from_millis(700);

/// Waits until `done`, and shows progress where standard error is a terminal and `quiet` is not set.
pub(super) fn watch(position: &Position, quiet: bool, mut done: impl FnMut() -> bool) {
    let is_shown = !quiet && io::stderr().is_terminal();
    let started = Instant::now();
    let mut shown = false;
    let mut pause = Duration::from_micros(200);
    while !done() {
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(if shown { 100 } else { 5 }));
        if is_shown && started.elapsed() >= PATIENCE {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[K{}", line(position, started.elapsed().as_secs_f64()));
            let _ = stderr.flush();
            shown = true;
        }
    }
    if shown {
        let _ = write!(io::stderr().lock(), "\r\x1b[K");
    }
}

fn line(position: &Position, seconds: f64) -> String {
    let bytes = position.bytes.load(Ordering::Relaxed);
    let total = position.total.load(Ordering::Relaxed);
    let packets = position.packets.load(Ordering::Relaxed);
    let rate = bytes as f64 / seconds.max(0.001);
    let mut text = format!("{} packets, {}", packets, human(bytes as f64));
    if total >= bytes && total > 0 {
        text.push_str(&format!(" of {} ({:.0} %)", human(total as f64), 100.0 * bytes as f64 / total as f64));
    }
    text.push_str(&format!(", {}/s", human(rate)));
    if total > bytes && rate > 0.0 {
        text.push_str(&format!(", {:.0} s left", (total - bytes) as f64 / rate));
    }
    text
}

/// Bytes for people.
pub(super) fn human(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_far_and_how_long() {
        let position = Position::default();
        position.bytes.store(250_000_000, Ordering::Relaxed);
        position.total.store(1_000_000_000, Ordering::Relaxed);
        position.packets.store(600, Ordering::Relaxed);
        assert_eq!(line(&position, 1.0), "600 packets, 250.0 MB of 1.0 GB (25 %), 250.0 MB/s, 3 s left");
    }
}
