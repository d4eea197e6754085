//! Variations of every kind of disguise, leak, tunnel and false alarm (`tests/variations`), built by Python and read by the
//! program. Every third is tried; all where `IMDSWATCH_SLOW` is set.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests fail by panicking")]

use std::process::Command;

#[test]
fn variations_are_judged_as_expected() {
    let program = env!("CARGO_BIN_EXE_imdswatch");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/variations/check.py");
    let one_in = if std::env::var_os("IMDSWATCH_SLOW").is_some() { "1" } else { "3" };
    let Ok(done) = Command::new("python3").args([script, "--bin", program, "--one-in", one_in]).output() else {
        eprintln!("skipped: no python3 here");
        return;
    };
    let said = String::from_utf8_lossy(&done.stdout);
    let unexpected: Vec<&str> = said.lines().filter(|line| !line.starts_with("known ")).collect();
    assert!(done.status.success(), "{}\n{}", unexpected.join("\n"), String::from_utf8_lossy(&done.stderr));
}
