//! Events that a receiver will never take, with its reason: one JSON object a line, for people to look at and mend.
//!
//! In: an event and a reason. Out: a file that is rotated at [`MOST`] bytes, with [`KEEP`] older ones beside it; where
//! none is wanted they are only counted. Credentials of the wire are masked before events come here.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::de::IgnoredAny;

/// A file is set aside at this size.
const MOST: u64 = 16 << 20;

/// Files that stay beside it.
const KEEP: usize = 3;

/// A reason is cut here.
const MOST_REASON: usize = 1024;

/// Different reasons that are said on standard error.
const MOST_SAID: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub struct DeadLetters {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    said: HashSet<String>,
    /// The last letter could not be written.
    failing: bool,
}

/// A letter could not be written.
#[derive(Debug, thiserror::Error)]
#[error("dead letters cannot be written to {path}: {error}")]
pub struct Unwritten {
    path: PathBuf,
    error: io::Error,
    /// Whether the one before could: then it is worth telling.
    pub is_first: bool,
}

impl DeadLetters {
    /// Letters go to this file, which is made with the first.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, state: Mutex::default() }
    }

    /// Adds a letter; returns whether its reason is a new one, worth telling.
    ///
    /// # Errors
    /// [`Unwritten`], with what the system says.
    pub fn add(&self, output: &str, event: &[u8], reason: &str) -> Result<bool, Unwritten> {
        let reason: String = reason.chars().take(MOST_REASON).collect();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &self.path {
            let written = letter(output, event, &reason).and_then(|letter| state.write(path, &letter));
            let was_failing = std::mem::replace(&mut state.failing, written.is_err());
            written.map_err(|error| Unwritten { path: path.clone(), error, is_first: !was_failing })?;
        }
        // Reasons name values; what stands before them is what is wrong.
        let kind = reason.split([':', '[', '\'']).next().unwrap_or_default().to_owned();
        Ok(state.said.len() < MOST_SAID && state.said.insert(kind))
    }
}

/// The event stands in it as it is; as text where it is no JSON.
fn letter(output: &str, event: &[u8], reason: &str) -> io::Result<Vec<u8>> {
    let mut line = b"{\"output\":".to_vec();
    serde_json::to_writer(&mut line, output)?;
    line.extend_from_slice(b",\"reason\":");
    serde_json::to_writer(&mut line, reason)?;
    if serde_json::from_slice::<IgnoredAny>(event).is_ok() {
        line.extend_from_slice(b",\"event\":");
        line.extend_from_slice(event);
    } else {
        line.extend_from_slice(b",\"text\":");
        serde_json::to_writer(&mut line, &String::from_utf8_lossy(event))?;
    }
    line.extend_from_slice(b"}\n");
    Ok(line)
}

impl State {
    fn write(&mut self, path: &Path, line: &[u8]) -> io::Result<()> {
        let mut file = self.file.take().map_or_else(|| open(path), Ok)?;
        if file.metadata()?.len() + line.len() as u64 > MOST {
            rotate(path)?;
            file = open(path)?;
        }
        let length = file.metadata()?.len();
        if let Err(error) = file.write_all(line) {
            let _ = file.set_len(length);
            return Err(error);
        }
        self.file = Some(file);
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn rotate(path: &Path) -> io::Result<()> {
    let numbered = |n: usize| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    for n in (1..KEEP).rev() {
        let _ = std::fs::rename(numbered(n), numbered(n + 1));
    }
    std::fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_say_what_was_not_taken_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead.ndjson");
        let letters = DeadLetters::new(Some(path.clone()));
        assert!(letters.add("x", br#"{"a":1}"#, "mapper_parsing_exception: a").unwrap());
        assert!(!letters.add("x", br#"{"a":2}"#, "mapper_parsing_exception: b").unwrap(), "said already");
        assert!(letters.add("x", b"no json \xff", "strange").unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["event"]["a"], 1);
        assert_eq!(lines[1]["reason"], "mapper_parsing_exception: b");
        assert_eq!(lines[2]["text"], "no json \u{fffd}");
    }

    #[test]
    fn a_full_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead.ndjson");
        File::create(&path).unwrap().set_len(MOST).unwrap();
        let letters = DeadLetters::new(Some(path.clone()));
        letters.add("x", b"{}", "why").unwrap();
        assert!(path.metadata().unwrap().len() < 100);
        assert_eq!(dir.path().join("dead.ndjson.1").metadata().unwrap().len(), MOST);
    }

    #[test]
    fn a_folder_that_is_not_there_is_told_once_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/dead.ndjson");
        let letters = DeadLetters::new(Some(path.clone()));
        let first = letters.add("x", b"{}", "why").unwrap_err();
        assert!(first.is_first && first.to_string().contains("missing/dead.ndjson"), "{first}");
        assert!(!letters.add("x", b"{}", "why").unwrap_err().is_first);
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        assert!(letters.add("x", b"{}", "why").unwrap());
    }

    #[test]
    fn where_no_file_is_wanted_they_are_only_counted() {
        assert!(DeadLetters::default().add("x", b"{}", "why").unwrap());
    }
}
