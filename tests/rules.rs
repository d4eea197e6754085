//! Detection rules in the engines of others: the rule that this product grew out of and Elastic's two rules about metadata
//! services on our events, the same rule beside our verdicts on the events of other sensors, and the rules that we export.
//!
//! Needs `python3` with `venv`, and PyPI once: the engines (`tests/rules/requirements.txt`) are installed below `target/`.
//! Where PyPI cannot be had the tests skip and say so; where `CI` is set and there is no Python they fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod common;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{config, config_with, corpus, root, run};
use imdswatch::config::Config;
use serde_json::Value;

const SOURCE_RULE: &str = "tests/rules/source-rule.eql";
const CREDENTIAL_REQUEST: &str = "tests/rules/elastic-imds-credential-request.eql";
const WEB_SSRF: &str = "tests/rules/elastic-web-ssrf.eql";

/// A Python that has the engines.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| {
        let folder = root().join("target/eql-venv");
        let python = folder.join("bin/python");
        let done = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let there = || done(Command::new(&python).args(["-c", "import eql, sigma, suricataparser"]));
        if !there() {
            let made = done(Command::new("python3").args(["-m", "venv"]).arg(&folder));
            assert!(made || std::env::var_os("CI").is_none(), "CI needs python3 with venv");
            let wanted = root().join("tests/rules/requirements.txt");
            done(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--retries", "1", "-r"]).arg(wanted));
        }
        there().then_some(python)
    });
    if python.is_none() {
        let name = std::thread::current().name().unwrap_or("test").to_owned();
        let _ = writeln!(
            std::io::stderr(),
            "{name}: skipped, no python3 with venv, or no PyPI to install the engines from"
        );
    }
    python.as_deref()
}

fn network_traffic() -> Config {
    config(&["-e", "all", "--profile", "network_traffic"])
}

/// Events of a bundled capture that a rule matches; `None` where there is no engine.
fn hits(rule: &str, case: &str, config: &Config) -> Option<Vec<Value>> {
    let python = python()?;
    let folder = root().join("pcaps").join(case);
    let (written, _) = run(config, &[folder.join("input.pcap")]);
    assert!(!written.json.is_empty(), "{case}: no events");
    let events = tempfile::NamedTempFile::new().unwrap();
    fs::write(&events, &written.json).unwrap();
    let mut command = Command::new(python);
    let output =
        command.current_dir(root()).args(["tests/rules/eql_check.py", rule]).arg(events.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("events match"), "the engine failed: {said}");
    Some(output.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

#[track_caller]
fn assert_hit(rule: &str, case: &str, wanted: impl Fn(&Value) -> bool, what: &str) {
    if let Some(hits) = hits(rule, case, &network_traffic()) {
        assert!(hits.iter().any(wanted), "{case}: {rule} misses {what} ({} hits)", hits.len());
    }
}

#[track_caller]
fn assert_silent(rule: &str, case: &str, config: &Config) {
    if let Some(hits) = hits(rule, case, config) {
        assert!(hits.is_empty(), "{case}: {rule} matches {}", hits[0]);
    }
}

fn is_transaction(event: &Value) -> bool {
    event["event"]["kind"] == "event" && event["type"] == "http"
}

#[test]
fn the_source_rule_fires_on_its_own_tests() {
    for case in [
        "aws/theft-through-curl",
        "azure/managed-identity-token",
        "gcp/service-account-token",
        "ssrf/simulation-in-python",
    ] {
        assert_hit(SOURCE_RULE, case, is_transaction, "the request");
        assert_hit(SOURCE_RULE, case, |event| event["rule"]["id"] == "imds-credential-issued", "our alert");
    }
    assert_hit(SOURCE_RULE, "aws/v2-over-ipv6", is_transaction, "IPv6");
}

#[test]
fn the_source_rule_is_silent_on_listed_agents() {
    let agent = "profile = \"network_traffic\"\n[events]\nwrite = \"all\"\nunknown_process = \"amazon-ssm-agent\"\n";
    assert_silent(SOURCE_RULE, "aws/theft-through-curl", &config_with(&[], agent));
}

#[test]
fn the_source_rule_is_silent_on_ordinary_traffic() {
    for case in ["negative/own-path", "negative/near-addresses", "http/pipelined-negative", "negative/rule-upload"] {
        assert_silent(SOURCE_RULE, case, &network_traffic());
    }
}

#[test]
fn elastics_credential_request_rule_fires() {
    for case in ["aws/theft-through-curl", "azure/managed-identity-token", "ssrf/simulation-in-python"] {
        assert_hit(CREDENTIAL_REQUEST, case, is_transaction, "the request");
    }
    assert_silent(CREDENTIAL_REQUEST, "azure/attested-document", &network_traffic());
    assert_silent(CREDENTIAL_REQUEST, "aws/theft-through-curl", &config(&["-e", "all"]));
}

#[test]
fn elastics_web_ssrf_rule_fires() {
    for case in ["ssrf/refused", "ssrf/any-interface"] {
        assert_hit(WEB_SSRF, case, |event| event["source"]["ip"] == "203.0.113.66", "the inbound request");
    }
    assert_silent(WEB_SSRF, "http/pipelined-negative", &network_traffic());
    assert_silent(WEB_SSRF, "negative/ordinary-oauth-token", &network_traffic());
}

/// What `rules --export` prints is what its formats' own checkers take, and hits what it says.
#[test]
fn exported_rules_are_valid_and_hit_what_they_say() {
    let Some(python) = python() else { return };
    let mut command = Command::new(python);
    command.current_dir(root()).args(["scripts/check_rules.py", env!("CARGO_BIN_EXE_imdswatch")]);
    command.args(corpus("ecs-samples"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", String::from_utf8_lossy(&output.stdout));
}

/// `rule, severity`, `allowed (entry)` or `silent`: our verdict on an event of another sensor.
fn verdict(sample: &Path) -> String {
    let (written, _) = run(&config(&["-e", "metadata"]), &[sample.to_owned()]);
    let events = written.json.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let words = events.filter_map(|event| {
        let severity = match event["event"]["severity"].as_u64() {
            Some(21) => "low",
            Some(47) => "medium",
            Some(73) => "high",
            Some(99) => "critical",
            _ => return event["imds"]["allowed_by"].as_str().map(|entry| format!("allowed ({entry})")),
        };
        Some(format!("{}, {severity}", event["rule"]["id"].as_str()?))
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { "silent".to_owned() } else { words.join("; ") }
}

/// Samples on which the source rule fires, unedited, in the independent engine.
fn fired(python: &Path, samples: &[PathBuf]) -> Vec<bool> {
    // a table or an audit record is nothing that the rule could read
    let read = |sample: &PathBuf| serde_json::from_str::<Value>(&fs::read_to_string(sample).unwrap()).ok();
    let events: Vec<Option<Value>> = samples.iter().map(read).collect();
    let lines: String = events.iter().flatten().map(|event| format!("{event}\n")).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, lines).unwrap();
    let mut command = Command::new(python);
    let output =
        command.current_dir(root()).args(["tests/rules/eql_check.py", SOURCE_RULE]).arg(file.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("events match"), "the engine failed: {said}");
    let hits = output.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let hits: Vec<Value> = hits.collect();
    events.iter().map(|event| event.as_ref().is_some_and(|event| hits.contains(event))).collect()
}

/// The table in the documentation is what the engine and this program say of every sample: each on which either is not
/// silent has its row.
#[test]
fn the_table_beside_the_source_rule_is_what_both_say() {
    let (Some(folder), Some(python)) = (corpus("ecs-samples"), python()) else { return };
    let labels = fs::read_to_string(folder.join("labels.jsonl")).unwrap();
    let labels: Vec<Value> = labels.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let files: Vec<&str> = labels.iter().map(|label| label["file"].as_str().unwrap()).collect();
    let samples: Vec<PathBuf> = files.iter().map(|file| folder.join(file)).collect();
    let fired = fired(python, &samples);
    let (mut rows, mut silent) = (Vec::new(), 0);
    for ((file, label), (sample, fires)) in files.iter().zip(&labels).zip(samples.iter().zip(fired)) {
        assert_eq!(label["seed_query_fires"], fires, "{file}");
        let verdict = verdict(sample);
        if verdict == "silent" && !fires {
            silent += 1;
            continue;
        }
        let name = file.trim_start_matches("made-").split('.').next().unwrap();
        rows.push(format!("| {name} | {} | {verdict} |", if fires { "fires" } else { "silent" }));
    }
    let text = fs::read_to_string(root().join("docs/other-sensors.md")).unwrap();
    let table = text.split("## Beside the source rule").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut written: Vec<&str> =
        table.lines().filter(|line| line.starts_with("| ") && !line.contains("event |")).collect();
    written.sort_unstable();
    rows.sort();
    assert_eq!(written, rows, "docs/other-sensors.md should say:\n{}", rows.join("\n"));
    assert!(table.contains(&format!("the other {silent} ")), "{silent} are silent in both");
}
