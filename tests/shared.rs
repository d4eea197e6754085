//! What lies in the corpus outside the repository (`IMDSWATCH_CORPUS`): labelled captures with their scorer, and what a
//! real Packetbeat wrote, with its comparison. The present level is a floor. Skips where they, or `python3`, are absent.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{corpus, root};
use serde_json::Value;

fn beside(path: &str) -> Option<PathBuf> {
    if Command::new("python3").arg("--version").output().is_err() {
        let _ = writeln!(std::io::stderr(), "skipped, there is no python3: {path}");
        return None;
    }
    corpus(path)
}

/// Runs a script with `--bin`, these arguments and `--json FILE`; what it prints, and what it wrote there.
fn script(script: &Path, args: &[&str]) -> (String, Value) {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("result.json");
    let mut command = Command::new("python3");
    command
        .current_dir(root())
        .arg(script)
        .args(["--bin", env!("CARGO_BIN_EXE_imdswatch"), "--json"])
        .arg(&json)
        .args(args);
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let result =
        std::fs::read(&json).unwrap_or_else(|_| panic!("{printed}{}", String::from_utf8_lossy(&output.stderr)));
    (printed, serde_json::from_slice(&result).unwrap())
}

/// Percentage of checks that hold in the groups where some do not.
const ATTACK_FLOOR: f64 = 90.0;
const WIRE_FLOOR: f64 = 90.0;
const MIXED_FLOOR: f64 = 90.0;

#[test]
fn labelled_captures_are_judged_as_their_labels_say() {
    let (Some(scorer), Some(captures)) = (beside("score/score.py"), beside("captures")) else { return };
    let (printed, result) = script(&scorer, &[captures.to_str().unwrap()]);
    let of = |what: &str, group: &str| result[what][group].as_f64().unwrap_or(0.0);
    eprintln!("{printed}");
    for group in ["client", "http", "dns", "negative", "broken"] {
        assert!(of("made", group) > 0.0);
        assert_eq!(of("passed", group), of("made", group), "{group}: {printed}");
    }
    for (group, floor) in [("attack", ATTACK_FLOOR), ("wire", WIRE_FLOOR), ("mixed", MIXED_FLOOR)] {
        let rate = 100.0 * of("passed", group) / of("made", group);
        assert!(rate >= floor, "{group}: {rate:.2} % instead of {floor} %: {printed}");
    }
}

/// Percentage of Packetbeat's events that are equal in every compared field.
#[track_caller]
fn assert_like_packetbeat(captures: &str, expected: &str, args: &[&str], floor: f64) {
    let (Some(script_path), Some(captures), Some(expected)) =
        (beside("packetbeat/compare.py"), beside(captures), beside(expected))
    else {
        return;
    };
    let args: Vec<_> = args.iter().copied().chain([captures.to_str().unwrap(), expected.to_str().unwrap()]).collect();
    let (printed, result) = script(&script_path, &args);
    let sum = |what: &str| result[what].as_object().unwrap().values().filter_map(Value::as_f64).sum::<f64>();
    let rate = 100.0 * sum("equal") / sum("total");
    eprintln!("{}: {rate:.2} %", expected.display());
    assert!(rate >= floor, "{rate:.2} % instead of {floor} %: {printed}");
}

#[test]
fn packetbeats_own_captures_are_written_as_it_writes_them() {
    assert_like_packetbeat("packetbeat/pcaps", "packetbeat/expected/default", &[], 90.0);
}

#[test]
fn labelled_captures_are_written_as_packetbeat_writes_them() {
    assert_like_packetbeat("captures", "packetbeat/expected/captures", &[], 90.0);
}

#[test]
fn its_settings_mean_the_same_once_imported() {
    let Some(settings) = beside("packetbeat/all-headers.yml") else { return };
    let imported =
        Command::new(env!("CARGO_BIN_EXE_imdswatch")).arg("import-packetbeat").arg(settings).output().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("all-headers.toml");
    std::fs::write(&config, imported.stdout).unwrap();
    let arg = format!("--arg={}", config.display());
    assert_like_packetbeat("packetbeat/pcaps", "packetbeat/expected/all-headers", &["--arg=-c", &arg], 90.0);
}
