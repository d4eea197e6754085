//! No secret value of any capture appears in anything that is written, whatever the settings.
//!
//! The values: those of the bundled captures stand here (all made up); the captures of the corpus, where it is there, bring theirs.

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

use common::{config_with, corpus, root, run};
use imdswatch::config::Config;

/// Values, or beginnings of values, that metadata services of the bundled captures gave out.
const SECRETS: &[&str] = &[
    "wJalrXUtnFEMI/K7MDENG",
    "K7MDENG/bPxRfiCYEXAMPLEKEY",
    "IQoJb3JpZ2luX2VjEXAMPLE",
    "FAKEFAKEFAKEexample/FAKEFAKE",
    "fakeFAKEfake0fakeFAKEfake0",
];

/// Settings that write as much as there is.
const LOUD: &str = r#"
[http]
send_all_headers = true
redact_authorization = false
split_cookie = true
include_body_for = ["text", "json", "html", "xml", "form", "octet-stream", "application/json", "text/plain"]
send_request = true
send_response = true
[dns]
include_authorities = true
include_additionals = true
send_request = true
send_response = true
"#;

/// The two that differ most from each other, then the others.
fn settings() -> Vec<(&'static str, Config)> {
    vec![
        ("all, loud", config_with(&["-e", "all"], LOUD)),
        ("metadata, two workers", config_with(&["-e", "metadata", "--threads", "2"], "")),
        ("all", config_with(&["-e", "all"], "")),
        ("metadata, loud", config_with(&["-e", "metadata"], LOUD)),
        ("alerts", config_with(&["-e", "alerts"], "")),
        ("all, loud, network_traffic", config_with(&["-e", "all", "--profile", "network_traffic"], LOUD)),
    ]
}

/// Where one of `secrets` appears in what is written about `input`.
fn leaks(input: &Path, secrets: &[String], settings: &[(&str, Config)]) -> Vec<String> {
    let mut leaks = Vec::new();
    for (name, config) in settings {
        let (written, report) = run(config, &[input.to_owned()]);
        let mut summary = Vec::new();
        report.print(&mut summary).unwrap();
        summary.extend_from_slice(report.suggestions().as_bytes());
        for (form, bytes) in [("NDJSON", &written.json), ("text", &written.text), ("summary", &summary)] {
            let text = String::from_utf8_lossy(bytes);
            let lines = text.lines().filter(|line| secrets.iter().any(|secret| line.contains(secret.as_str())));
            leaks.extend(lines.map(|line| {
                let at = secrets.iter().filter_map(|secret| line.find(secret.as_str())).min().unwrap_or(0);
                let from = line.char_indices().map(|(at, _)| at).rfind(|i| *i + 60 <= at).unwrap_or(0);
                let part: String = line[from..].chars().take(140).collect();
                format!("{}: {name}: {form}: …{part}…", input.display())
            }));
        }
    }
    leaks
}

fn assert_silent(inputs: impl IntoIterator<Item = PathBuf>, secrets: &[String], settings: &[(&str, Config)]) {
    let leaks: Vec<_> = inputs.into_iter().flat_map(|input| leaks(&input, secrets, settings)).collect();
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
}

#[test]
fn bundled_captures_keep_their_secrets() {
    let secrets: Vec<_> = SECRETS.iter().map(|&secret| secret.to_owned()).collect();
    let cases = common::cases();
    let holding = cases.iter().filter(|case| {
        let bytes = fs::read(root().join(&case.input)).unwrap();
        secrets.iter().any(|secret| bytes.windows(secret.len()).any(|part| part == secret.as_bytes()))
    });
    assert!(holding.count() > 30, "the captures hold what is looked for");
    assert_silent(cases.iter().map(|case| root().join(&case.input)), &secrets, &settings());
}

#[test]
fn captures_outside_the_project_keep_their_secrets() {
    let Some(captures) = corpus("captures") else { return };
    let secrets = fs::read_to_string(captures.join("secrets.txt")).unwrap();
    let secrets: Vec<_> = secrets.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect();
    let mut files = Vec::new();
    let mut folders = vec![captures];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.retain(|path| path.to_string_lossy().contains(".pcap"));
    files.sort();
    assert_silent(files, &secrets, &settings()[..2]);
}
