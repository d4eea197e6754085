//! Every bundled capture through the program: what it writes is what lies beside the capture, byte for byte, for any
//! size of batches and any number of workers.
//!
//! `pcaps/GROUP/CASE/` holds the capture, `expected.ndjson`, and, where the capture is damaged, `expected.stderr`: then
//! the exit status is 1. `UPDATE_GOLDEN=1 cargo test --test golden` rewrites both; read the difference before keeping it.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Case, assert_same, cases, config, root, run};
use imdswatch::config::Config;
use imdswatch::event::fields;

#[test]
fn each_capture_gives_what_lies_beside_it() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let differing: Vec<_> = cases().iter().filter_map(|case| Run::of(case).settle(case, update).err()).collect();
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
}

#[test]
fn batches_and_workers_show_nowhere() {
    let all = config(&["-e", "all", "--threads", "1"]);
    for case in cases() {
        let input = [root().join(&case.input)];
        let expected = fs::read(case.folder.join("expected.ndjson")).unwrap_or_default();
        for (threads, batch_packets) in [(1, 1), (2, usize::MAX), (3, 2)] {
            let (written, _) = run(&Config { threads, batch_packets, ..all.clone() }, &input);
            assert_same(
                &format!("{}: {threads} workers, batches of {batch_packets}", case.name),
                &written.json,
                &expected,
            );
        }
    }
}

#[test]
fn each_line_holds_declared_fields_only() {
    for case in cases() {
        let expected = fs::read(case.folder.join("expected.ndjson")).unwrap();
        for line in expected.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or_else(|| panic!("{}: a line without end", case.name));
            fields::check(line).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        }
    }
}

/// What the program itself did with one capture.
struct Run {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    status: Option<i32>,
}

impl Run {
    fn of(case: &Case) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imdswatch"));
        command.current_dir(root()).arg("-r").arg(&case.input).args(["-e", "all", "--quiet"]);
        let output = command.output().unwrap();
        Self { stdout: output.stdout, stderr: output.stderr, status: output.status.code() }
    }

    /// Compares with the expected files, or writes them.
    fn settle(&self, case: &Case, update: bool) -> Result<(), String> {
        let failed = !self.stderr.is_empty();
        if self.status != Some(i32::from(failed)) {
            let stderr = String::from_utf8_lossy(&self.stderr);
            return Err(format!("{}: exit status {:?}, and says: {stderr}", case.name, self.status));
        }
        let (events, messages) = (case.folder.join("expected.ndjson"), case.folder.join("expected.stderr"));
        if update {
            fs::write(&events, &self.stdout).unwrap();
            if failed {
                fs::write(&messages, &self.stderr).unwrap();
            } else if messages.exists() {
                fs::remove_file(&messages).unwrap();
            }
        }
        same(&events, &self.stdout)?;
        if failed || messages.exists() { same(&messages, &self.stderr) } else { Ok(()) }
    }
}

/// Names the first line that differs.
fn same(path: &Path, found: &[u8]) -> Result<(), String> {
    let expected = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (String::from_utf8_lossy(&expected), String::from_utf8_lossy(found));
    let pairs = expected.lines().zip(found.lines()).enumerate();
    let first = pairs.into_iter().find(|(_, (expected, found))| expected != found);
    Err(match first {
        Some((n, (expected, found))) => {
            format!("{}:{}:\n  expected {expected}\n  found    {found}", path.display(), n + 1)
        }
        None => format!("{}: {} lines instead of {}", path.display(), found.lines().count(), expected.lines().count()),
    })
}
