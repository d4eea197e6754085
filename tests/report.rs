//! The report as a user gets it: from bundled captures through the real binary, opened in a real browser.
//!
//! The browser part needs Chromium, Node and the packages of `tests/report/package.json` in the folder that
//! `IMDSWATCH_REPORT_CHECK` names (else `target/report-check`, which `scripts/browser.sh` fills); it skips, visibly, where one is missing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::root;

fn imdswatch(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_imdswatch")).current_dir(root()).args(arguments).output().unwrap()
}

/// Events of the bundled captures of one group, in a file.
fn events(group: &str, folder: &Path) -> PathBuf {
    let path = folder.join(format!("{group}.ndjson"));
    let output = imdswatch(&["-r", &format!("pcaps/{group}"), "-e", "metadata", "--quiet"]);
    assert!(!output.stdout.is_empty());
    fs::write(&path, output.stdout).unwrap();
    path
}

fn report(events: &[&str], html: &Path) -> Output {
    let arguments: Vec<_> = ["report"].iter().chain(events).copied().chain(["-o", html.to_str().unwrap()]).collect();
    imdswatch(&arguments)
}

/// What the browser check needs; `None`, and a line on standard error, where something of it is missing.
fn browser() -> Option<(PathBuf, PathBuf)> {
    let folder =
        std::env::var_os("IMDSWATCH_REPORT_CHECK").map_or_else(|| root().join("target/report-check"), PathBuf::from);
    let chromium = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let chromium = chromium.iter().map(PathBuf::from).find(|path| path.exists());
    let ready =
        folder.join("node_modules/playwright-core").exists() && Command::new("node").arg("--version").output().is_ok();
    match chromium {
        Some(chromium) if ready => Some((chromium, folder)),
        _ => {
            let _ = writeln!(
                std::io::stderr(),
                "skipped: no Chromium, or nothing in {} (sh scripts/browser.sh)",
                folder.display()
            );
            None
        }
    }
}

fn assert_sound_in_a_browser(html: &Path) {
    let Some((chromium, folder)) = browser() else { return };
    fs::copy(root().join("tests/report/check.mjs"), folder.join("check.mjs")).unwrap();
    let output = Command::new("node").current_dir(&folder).arg("check.mjs").arg(chromium).arg(html).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn bundled_captures_make_a_report_that_a_browser_shows_whole() {
    let folder = tempfile::tempdir().unwrap();
    let groups = ["ssrf", "aws", "other-clouds", "signals"];
    let files: Vec<_> = groups.iter().map(|group| events(group, folder.path())).collect();
    let files: Vec<_> = files.iter().map(|path| path.to_str().unwrap()).collect();
    let html = folder.path().join("report.html");
    let output = report(&files, &html);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&html).unwrap();
    assert!(text.len() < 5_000_000, "{}", text.len());
    for part in
        ["What to revoke now", "aws iam put-role-policy --role-name ", "ASIAEXAMPLE000DEMO01", "Who spoke with whom"]
    {
        assert!(text.contains(part), "{part}");
    }
    report(&files, &html);
    assert_eq!(fs::read_to_string(&html).unwrap(), text, "the same bytes for the same input");
    assert_sound_in_a_browser(&html);
}

#[test]
fn a_report_without_theft_is_whole_too() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, html) = (folder.path().join("empty.ndjson"), folder.path().join("report.html"));
    fs::write(&empty, "").unwrap();
    assert!(report(&[empty.to_str().unwrap()], &html).status.success());
    assert!(fs::read_to_string(&html).unwrap().contains("There was no event to judge"));
}

#[test]
fn lines_that_are_no_events_are_named_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (events("aws", folder.path()), folder.path().join("bad.ndjson"));
    let mut lines = fs::read_to_string(&good).unwrap();
    lines.insert_str(0, "{\"imds\": 7}\n\nnot json but \"imds\"\n{cut off\n");
    fs::write(&bad, lines).unwrap();
    let html = folder.path().join("report.html");
    let output = report(&[bad.to_str().unwrap(), "/nonexistent.ndjson"], &html);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("bad.ndjson: line 1 is no event") && said.contains("line 3 is no event"), "{said}");
    assert!(said.contains("line 4 is no event"), "of no interest, and damaged all the same: {said}");
    assert!(said.contains("/nonexistent.ndjson"), "{said}");
    assert!(fs::read_to_string(&html).unwrap().contains("ASIAEXAMPLE000DEMO01"));
}

#[test]
fn captures_are_no_events_and_what_else_lies_in_a_folder_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let html = folder.path().join("report.html");
    let capture = root().join("pcaps/aws/theft-through-curl/input.pcap");
    let output = report(&[capture.to_str().unwrap()], &html);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("imdswatch -r FILE"), "{said}");
    let evidence = folder.path().join("evidence");
    fs::create_dir(&evidence).unwrap();
    fs::copy(capture, evidence.join("a.pcap")).unwrap();
    fs::write(evidence.join("notes.txt"), "seen on Monday\n").unwrap();
    events("aws", &evidence);
    let output = report(&[evidence.to_str().unwrap()], &html);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::read_to_string(&html).unwrap().contains("ASIAEXAMPLE000DEMO01"));
}

#[test]
fn compressed_events_give_the_same_report_but_for_the_inputs_digest() {
    let folder = tempfile::tempdir().unwrap();
    let plain = events("aws", folder.path());
    let packed = folder.path().join("aws.ndjson.zst");
    fs::write(&packed, zstd::encode_all(fs::File::open(&plain).unwrap(), 1).unwrap()).unwrap();
    let of = |path: &Path| {
        let html = folder.path().join("report.html");
        assert!(report(&[path.to_str().unwrap()], &html).status.success());
        fs::read_to_string(html).unwrap().split("<caption>Inputs").next().unwrap().to_owned()
    };
    assert_eq!(of(&plain), of(&packed));
}

#[test]
fn damaged_input_is_named_with_its_place_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read_dir(root().join("pcaps/aws")).unwrap().map(|entry| entry.unwrap().path());
    let whole = whole.flat_map(|case| fs::read_dir(case).unwrap()).map(|entry| entry.unwrap().path());
    let whole = whole.filter(|path| path.extension().is_some_and(|kind| kind == "pcap")).min().unwrap();
    let (cut, html) = (folder.path().join("cut <b>.pcap"), folder.path().join("report.html"));
    let bytes = fs::read(&whole).unwrap();
    fs::write(&cut, &bytes[..bytes.len() - 5]).unwrap();
    let output = imdswatch(&["-r", cut.to_str().unwrap(), "-o", html.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = fs::read_to_string(&html).unwrap();
    let row = text.lines().find(|line| line.contains("Not read whole</th>")).expect("a row for the damage");
    assert!(row.contains("cut &lt;b&gt;.pcap: ") && row.contains("the file ends inside a record"), "{row}");
}

#[test]
fn a_device_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let plain = events("aws", folder.path());
    let output = report(&[plain.to_str().unwrap()], Path::new("/dev/null"));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no regular file"));
}

#[test]
fn a_report_that_cannot_be_written_is_said_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let html = folder.path().join("no-such-folder/report.html");
    let events = folder.path().join("events.ndjson");
    let (html, events) = (html.to_str().unwrap(), events.to_str().unwrap());
    let output = imdswatch(&["-r", "pcaps/aws", "-o", html, "-o", events]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write the report"));
    assert!(!Path::new(events).exists(), "nothing was begun");
    let output = imdswatch(&["report", "/no/such/events", "-o", html]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("/no/such/events"), "{output:?}");
}

#[test]
fn nothing_is_left_beside_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let html = folder.path().join("report.html");
    let beside = folder.path().join("report.html.part");
    fs::write(&beside, "half a report of a run that was killed").unwrap();
    let output = imdswatch(&["-r", "pcaps/aws", "-o", html.to_str().unwrap(), "--quiet"]);
    assert!(output.status.success() && html.exists() && !beside.exists(), "{output:?}");
}
