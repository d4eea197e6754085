//! Every bundled capture through the program: what it writes is what lies beside the capture, byte for byte, for any
//! size of batches and any number of workers.
//!
//! `pcaps/GROUP/CASE/` holds the capture, `expected.ndjson`, `alerts.txt` (the alerts alone as the text that people read: start
//! a review there), a README that says which rules fire, which must not, and why, and, where the capture is damaged,
//! `expected.stderr`: then the exit status is 1.
//! `UPDATE_GOLDEN=1 cargo test --test golden` rewrites them; read the difference before keeping it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use common::{Case, cases, config, difference, root, run};
use imdswatch::config::Config;
use imdswatch::event::fields;

#[test]
fn each_capture_gives_what_lies_beside_it() {
    let differing = differing();
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
}

#[test]
fn batches_and_workers_show_nowhere() {
    differing();
    let runs = [("1", 1), ("2", usize::MAX), ("3", 2)];
    let runs =
        runs.map(|(threads, batch_packets)| Config { batch_packets, ..config(&["-e", "all", "--threads", threads]) });
    for case in cases() {
        let input = [root().join(&case.input)];
        let expected = fs::read(case.folder.join("expected.ndjson")).unwrap();
        for config in &runs {
            let (written, _) = run(config, &input);
            let difference = difference(&written.json, &expected);
            let (name, threads, batch) = (&case.name, config.threads, config.batch_packets);
            assert_eq!(difference, None, "{name}: {threads} workers, batches of {batch}");
        }
    }
}

#[test]
fn alerts_do_not_depend_on_which_events_are_written() {
    for case in cases() {
        let input = [root().join(&case.input)];
        let alerts = |events| {
            let (written, _) = run(&config(&["-e", events]), &input);
            let lines = written.json.split_inclusive(|byte| *byte == b'\n');
            let is_alert = |line: &&[u8]| line.windows(15).any(|part| part == b"\"type\":\"alert\",");
            lines.filter(is_alert).collect::<Vec<_>>().concat()
        };
        let expected = alerts("alerts");
        for events in ["metadata", "all"] {
            assert_eq!(difference(&alerts(events), &expected), None, "{}: {events}", case.name);
        }
    }
}

#[test]
fn each_line_holds_declared_fields_only() {
    differing();
    for case in cases() {
        let expected = fs::read(case.folder.join("expected.ndjson")).unwrap();
        for line in expected.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or_else(|| panic!("{}: a line without end", case.name));
            fields::check(line).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        }
    }
}

#[test]
fn each_case_says_which_rules_fire_and_which_must_not_and_why() {
    differing();
    for case in cases() {
        let text = fs::read_to_string(case.folder.join("README.md")).unwrap();
        let expected = fs::read_to_string(case.folder.join("expected.ndjson")).unwrap();
        let events = expected.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let fired: BTreeSet<_> = events.filter_map(|event| Some(event["rule"]["id"].as_str()?.to_owned())).collect();
        let (fires, silent) = (rules_under(&text, "Fires:"), rules_under(&text, "Must not fire:"));
        let name = &case.name;
        assert_eq!(fires, fired, "{name}: which rules fire");
        assert!(fires.is_disjoint(&silent), "{name}: a rule fires and must not");
        assert!(!fires.is_empty() || silent.contains("any rule"), "{name}: says of no rule what it does");
    }
}

/// The rules listed under a heading of a case's README, each with a reason.
fn rules_under(text: &str, heading: &str) -> BTreeSet<String> {
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    let rules = lines.take_while(|line| line.starts_with("- ")).map(|line| {
        let (rule, why) = line[2..].split_once(": ").unwrap_or_else(|| panic!("no reason: {line}"));
        assert!(why.split(' ').count() >= 3, "no reason: {line}");
        rule.trim_matches('`').to_owned()
    });
    rules.collect()
}

/// What differs from the expected files, after those were rewritten if that was asked for: before any test reads them.
fn differing() -> &'static [String] {
    static DIFFERING: OnceLock<Vec<String>> = OnceLock::new();
    DIFFERING.get_or_init(|| {
        let update = std::env::var_os("UPDATE_GOLDEN").is_some();
        cases().iter().filter_map(|case| Run::of(case).settle(case, update).err()).collect()
    })
}

/// What the program itself did with one capture.
struct Run {
    stdout: Vec<u8>,
    /// The alerts as text.
    alerts: Vec<u8>,
    stderr: Vec<u8>,
    status: Option<i32>,
}

impl Run {
    fn of(case: &Case) -> Self {
        let output = replay(case, &["-e", "all"]);
        let alerts = replay(case, &["-e", "alerts", "--format", "text"]).stdout;
        Self { stdout: output.stdout, alerts, stderr: output.stderr, status: output.status.code() }
    }

    /// Compares with the expected files, or writes them.
    fn settle(&self, case: &Case, update: bool) -> Result<(), String> {
        let failed = !self.stderr.is_empty();
        if self.status != Some(i32::from(failed)) {
            let stderr = String::from_utf8_lossy(&self.stderr);
            return Err(format!("{}: exit status {:?}, and says: {stderr}", case.name, self.status));
        }
        let (events, messages) = (case.folder.join("expected.ndjson"), case.folder.join("expected.stderr"));
        let alerts = case.folder.join("alerts.txt");
        if update {
            fs::write(&events, &self.stdout).unwrap();
            fs::write(&alerts, &self.alerts).unwrap();
            if failed {
                fs::write(&messages, &self.stderr).unwrap();
            } else if messages.exists() {
                fs::remove_file(&messages).unwrap();
            }
        }
        same(&alerts, &self.alerts)?;
        same(&events, &self.stdout)?;
        if failed || messages.exists() { same(&messages, &self.stderr) } else { Ok(()) }
    }
}

/// The program over one capture, as a user runs it.
fn replay(case: &Case, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imdswatch"));
    command.current_dir(root()).arg("-r").arg(&case.input).args(flags).arg("--quiet");
    command.output().unwrap()
}

/// Says where the file differs.
fn same(path: &Path, found: &[u8]) -> Result<(), String> {
    let expected = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    difference(found, &expected).map_or(Ok(()), |difference| Err(format!("{}: {difference}", path.display())))
}
