//! Shared by the tests that run the whole program: the bundled captures, and replays within the test's own process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]
#![allow(dead_code, reason = "each test binary uses a part of this")]

pub mod wire;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use imdswatch::app::Report;
use imdswatch::app::replay::replay;
use imdswatch::capture;
use imdswatch::cli::Args;
use imdswatch::config::{Config, Inputs};
use imdswatch::output::{Batch, Counters, Form, Output, OutputError};

/// The project's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What lies outside the repository, in the folder that `IMDSWATCH_CORPUS` names (else `../shared`): labelled captures,
/// scorers, what a real Packetbeat wrote. `None`, and a line on standard error that no test harness swallows, where it is
/// absent: a proof that did not run must be seen not to have run.
pub fn corpus(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("IMDSWATCH_CORPUS").map_or_else(|| root().join("../shared"), PathBuf::from);
    let path = folder.join(path);
    if !path.exists() {
        let name = std::thread::current().name().unwrap_or("test").to_owned();
        let _ = writeln!(std::io::stderr(), "{name}: skipped, there is no {} (see IMDSWATCH_CORPUS)", path.display());
        return None;
    }
    Some(path)
}

/// One folder under `pcaps/`.
#[derive(Debug)]
pub struct Case {
    /// `group/name`.
    pub name: String,
    /// Where it lies.
    pub folder: PathBuf,
    /// The capture, relative to [`root`], as messages name it.
    pub input: PathBuf,
}

/// All bundled captures, by name.
pub fn cases() -> Vec<Case> {
    let mut cases = BTreeMap::new();
    for group in folders(&root().join("pcaps")) {
        for folder in folders(&group) {
            let inputs = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            let inputs: Vec<_> =
                inputs.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("input.")).collect();
            let [input] = &inputs[..] else { panic!("{} should hold one input.*", folder.display()) };
            let input = input.strip_prefix(root()).unwrap().to_owned();
            let name = folder.strip_prefix(root().join("pcaps")).unwrap().to_string_lossy().into_owned();
            cases.insert(name.clone(), Case { name, folder, input });
        }
    }
    assert!(cases.len() > 70, "only {} bundled captures", cases.len());
    cases.into_values().collect()
}

fn folders(path: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

/// The settings of a run with these flags; inputs are given later.
pub fn config(flags: &[&str]) -> Config {
    let args = ["imdswatch", "-r", "-", "--quiet"].iter().chain(flags);
    Config::resolve(&Args::parse_from(args).run).unwrap()
}

/// The same as [`config`], with a configuration file of this text.
pub fn config_with(flags: &[&str], file: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("imdswatch.toml");
    std::fs::write(&path, file).unwrap();
    let flags: Vec<_> = flags.iter().copied().chain(["-c", path.to_str().unwrap()]).collect();
    config(&flags)
}

/// Takes what a run writes.
#[derive(Debug, Default)]
pub struct Written {
    /// NDJSON.
    pub json: Vec<u8>,
    /// Text.
    pub text: Vec<u8>,
}

/// One form of what a run writes.
struct Collector<'w> {
    form: Form,
    written: &'w mut Vec<u8>,
}

impl Output for Collector<'_> {
    fn form(&self) -> Form {
        self.form
    }

    fn counters(&self) -> Arc<Counters> {
        Arc::default()
    }

    fn write(&mut self, batch: &Batch) -> Result<(), OutputError> {
        self.written.extend_from_slice(batch.in_form(self.form));
        Ok(())
    }
}

impl Written {
    fn outputs(&mut self) -> Vec<Box<dyn Output + '_>> {
        let json = Collector { form: Form::Json, written: &mut self.json };
        let text = Collector { form: Form::Text { colour: false }, written: &mut self.text };
        vec![Box::new(json), Box::new(text)]
    }
}

/// Replays `inputs` within this process.
pub fn run(config: &Config, inputs: &[PathBuf]) -> (Written, Report) {
    let config = Config { inputs: Inputs::Files(inputs.to_vec()), ..config.clone() };
    let mut written = Written::default();
    let report = replay(&config, capture::expand(inputs), written.outputs(), &AtomicBool::new(false));
    (written, report)
}

/// Where `found` first differs from `expected`: line, and both from shortly before that place. `None` when they do not.
pub fn difference(found: &[u8], expected: &[u8]) -> Option<String> {
    if found == expected {
        return None;
    }
    let (found, expected) = (String::from_utf8_lossy(found), String::from_utf8_lossy(expected));
    let mut pairs = found.lines().zip(expected.lines()).enumerate();
    let Some((line, (found, expected))) = pairs.find(|(_, (found, expected))| found != expected) else {
        return Some(format!("{} lines instead of {}", found.lines().count(), expected.lines().count()));
    };
    let same = found.chars().zip(expected.chars()).take_while(|(a, b)| a == b).count().saturating_sub(50);
    let part = |text: &str| text.chars().skip(same).take(250).collect::<String>();
    Some(format!("line {}, character {same}:\n  found    {}\n  expected {}", line + 1, part(found), part(expected)))
}
