//! Detection rules of others on our events, run by Elastic's own EQL engine (`eql` from PyPI): the rule that this product
//! grew out of, and Elastic's two rules about metadata services.
//!
//! Needs `python3` with `venv`, and PyPI once: the engine is installed below `target/`. Without them the tests skip and
//! say so; where `CI` is set they fail instead.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{config, config_with, root, run};
use imdswatch::config::Config;
use serde_json::Value;

const SOURCE_RULE: &str = "tests/rules/source-rule.eql";
const CREDENTIAL_REQUEST: &str = "tests/rules/elastic-imds-credential-request.eql";
const WEB_SSRF: &str = "tests/rules/elastic-web-ssrf.eql";

/// A Python that has the engine.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| {
        let folder = root().join("target/eql-venv");
        let python = folder.join("bin/python");
        let done = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let there = || done(Command::new(&python).args(["-c", "import eql"]));
        if !there() {
            done(Command::new("python3").args(["-m", "venv"]).arg(&folder));
            done(Command::new(&python).args(["-m", "pip", "install", "--quiet", "eql==0.9.19"]));
        }
        there().then_some(python)
    });
    if python.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs python3 with venv, and PyPI");
        eprintln!("skipped: no python3 with venv, or no PyPI to install `eql` from");
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
