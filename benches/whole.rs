//! The whole path, file to events, with the real program: `cargo bench --bench whole [-- FILE]`.
//!
//! Runs over FILE (a pcap of real traffic; without it what the corpus, `IMDSWATCH_CORPUS`, holds, else synthetic traffic) and over
//! the extremes that real traffic does not have. Each line is the median of several runs with its spread, and the most
//! memory that a run took.

#![allow(clippy::print_stdout)]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use traffic::Kind;

#[allow(dead_code)]
mod traffic;

/// Runs of each input.
fn runs() -> usize {
    if traffic::is_measuring() { 5 } else { 1 }
}

fn main() -> io::Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    fs::create_dir_all(&root)?;
    println!(
        "{:26} {:>8} {:>12} {:>9} {:>11} {:>7} {:>8}",
        "input", "seconds", "packets/s", "MB/s", "events/s", "spread", "memory"
    );
    if !traffic::is_measuring() {
        return measure("a little of everything", &generated(Kind::Mix(4), &root)?, "all", &root);
    }
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).map(PathBuf::from);
    let real = [root.join("../real-mix-1g.pcap"), root.join("../real-mix.pcap")];
    match given.into_iter().chain(real).find(|path| path.is_file()) {
        Some(path) => measure("real traffic", &path, "metadata", &root)?,
        None => {
            println!("no real traffic at hand (see benches/README.md): synthetic traffic stands in");
            measure("synthetic mix", &generated(Kind::Mix(4000), &root)?, "metadata", &root)?;
        }
    }
    for (name, kind, events) in [
        ("HTTP, all events", Kind::Http(200_000), "all"),
        ("DNS, all events", Kind::Dns(1_000_000), "all"),
        ("IMDS", Kind::Imds(60_000), "metadata"),
        ("1,000 connections", Kind::Flows(1_000, 3_000_000), "metadata"),
        ("1,000,000 connections", Kind::Flows(1_000_000, 3_000_000), "metadata"),
        ("1,000,000 short ones", Kind::Churn(1_000_000), "metadata"),
    ] {
        measure(name, &generated(kind, &root)?, events, &root)?;
    }
    Ok(())
}

/// The capture of this traffic, written once.
fn generated(kind: Kind, root: &Path) -> io::Result<PathBuf> {
    let path = root.join(format!("{kind:?}.pcap").replace(['(', ')', ',', ' '], "-"));
    if !path.is_file() {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        traffic::write(kind, &mut out)?;
        out.flush()?;
    }
    Ok(path)
}

fn measure(name: &str, capture: &Path, events: &str, root: &Path) -> io::Result<()> {
    let out = root.join("events.ndjson");
    let (mut times, mut packets, mut lines, mut memory) = (Vec::new(), 0.0, 0.0, String::new());
    for _ in 0..runs() {
        let _ = fs::remove_file(&out);
        let mut command = match Path::new("/usr/bin/time").exists() {
            true => Command::new("/usr/bin/time"),
            false => Command::new(env!("CARGO_BIN_EXE_imdswatch")),
        };
        if command.get_program() == "/usr/bin/time" {
            command.args(["-f", "memory %M", env!("CARGO_BIN_EXE_imdswatch")]);
        }
        command.arg("-r").arg(capture).args(["-e", events]).arg("-o").arg(&out);
        let start = Instant::now();
        let run = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
        times.push(start.elapsed().as_secs_f64());
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        packets =
            said.split_once(" packets,").and_then(|(n, _)| n.rsplit('\n').next()?.parse().ok()).unwrap_or(packets);
        let kilobytes = said.rsplit_once("memory ").and_then(|(_, n)| n.trim().parse::<u64>().ok());
        memory = kilobytes.map_or_else(String::new, |n| format!("{} MB", n / 1024));
        lines = fs::read(&out).map_or(0.0, |text| text.iter().filter(|b| **b == b'\n').count() as f64);
    }
    times.sort_by(f64::total_cmp);
    let at = |nth: usize| times.get(nth).copied().unwrap_or(f64::NAN);
    let (median, spread) = (at(times.len() / 2), (at(times.len() - 1) - at(0)) / at(times.len() / 2) * 100.0);
    let megabytes = fs::metadata(capture)?.len() as f64 / 1e6;
    println!(
        "{name:26} {median:>8.3} {:>12.0} {:>9.1} {:>11.0} {spread:>6.0}% {memory:>8}",
        packets / median,
        megabytes / median,
        lines / median
    );
    Ok(())
}
