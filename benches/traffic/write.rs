//! Writes synthetic traffic as a capture: `cargo run --release --example traffic -- KIND N [N] FILE`.

#![allow(clippy::print_stderr)]

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

#[path = "mod.rs"]
#[allow(dead_code)]
mod traffic;

fn main() -> io::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let kind = match args.split_last().map(|(file, kind)| (file, kind.split_first())) {
        Some((file, Some((name, numbers)))) => {
            let numbers: Option<Vec<u64>> = numbers.iter().map(|n| n.parse().ok()).collect();
            numbers.and_then(|numbers| traffic::Kind::parse(name, &numbers)).zip(Some(file))
        }
        _ => None,
    };
    let Some((kind, file)) = kind else {
        eprintln!("usage: traffic http|dns|imds|churn|mix N FILE, or: traffic flows CONNECTIONS PACKETS FILE");
        return Ok(ExitCode::from(2));
    };
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file)?);
    traffic::write(kind, &mut out)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
