//! Where events go: whole lines in, bytes to standard output or files out. A destination that fails is counted and
//! named once; a closed standard output ends the run quietly.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

pub mod file;
pub mod net;
pub mod receiver;

use file::RotatingFile;

/// One line per event as JSON, or one readable line per alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// NDJSON.
    Json,
    /// Text for people; `true` with colour.
    Text {
        /// ANSI colours.
        colour: bool,
    },
}

/// A destination as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    Path(PathBuf),
}

/// Why writing failed.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Standard output was closed by its reader.
    #[error("standard output was closed")]
    Closed,
    /// A destination cannot be opened.
    #[error("cannot open output {path}: {source}")]
    Open {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Standard output failed otherwise.
    #[error("cannot write to standard output: {0}")]
    Stdout(io::Error),
}

enum Target {
    Stdout(io::BufWriter<io::Stdout>),
    File(Box<RotatingFile>),
}

struct Output {
    target: Target,
    form: Form,
}

/// All destinations of a run.
pub struct Outputs {
    outputs: Vec<Output>,
}

/// What became of what was to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Lines written.
    pub lines: u64,
    /// Lines lost because a destination failed.
    pub lost: u64,
}

impl Outputs {
    /// Opens every destination. Where no form was asked for, a terminal gets text and all else NDJSON. Colour goes to
    /// terminals only, and not where `NO_COLOR` is set.
    ///
    /// # Errors
    /// [`OutputError::Open`].
    pub fn open(destinations: &[(Destination, Option<Form>, file::Rotation)]) -> Result<Self, OutputError> {
        let mut outputs = Vec::new();
        for (destination, form, rotation) in destinations {
            let terminal = *destination == Destination::Stdout && io::stdout().is_terminal();
            let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            let form = match form {
                Some(Form::Json) => Form::Json,
                None if !terminal => Form::Json,
                Some(Form::Text { .. }) | None => Form::Text { colour },
            };
            let target = match destination {
                Destination::Stdout => Target::Stdout(io::BufWriter::with_capacity(BUFFER, io::stdout())),
                Destination::Path(path) => RotatingFile::open(path.clone(), rotation.clone())
                    .map(|file| Target::File(Box::new(file)))
                    .map_err(|source| OutputError::Open { path: path.display().to_string(), source })?,
            };
            outputs.push(Output { target, form });
        }
        Ok(Self { outputs })
    }

    /// Whether any destination wants NDJSON.
    pub fn wants_json(&self) -> bool {
        self.outputs.iter().any(|o| o.form == Form::Json)
    }

    /// Whether any destination wants text, and whether with colour.
    pub fn wants_text(&self) -> Option<bool> {
        self.outputs.iter().find_map(|o| match o.form {
            Form::Text { colour } => Some(colour),
            Form::Json => None,
        })
    }

    /// Writes whole lines of JSON (each with its line end) to every destination that takes JSON.
    pub fn json(&mut self, lines: &[u8], count: u64) -> Result<(), OutputError> {
        self.write(lines, count, |form| form == Form::Json)
    }

    /// Writes whole lines of text to every destination that takes text.
    pub fn text(&mut self, lines: &[u8], count: u64) -> Result<(), OutputError> {
        self.write(lines, count, |form| matches!(form, Form::Text { .. }))
    }

    fn write(&mut self, lines: &[u8], count: u64, takes: impl Fn(Form) -> bool) -> Result<(), OutputError> {
        for output in self.outputs.iter_mut().filter(|o| takes(o.form)) {
            match &mut output.target {
                Target::Stdout(out) => out.write_all(lines).map_err(stdout_error)?,
                Target::File(file) => file.write(lines, count),
            }
        }
        Ok(())
    }

    /// Hands everything to the operating system.
    pub fn flush(&mut self) -> Result<(), OutputError> {
        for output in &mut self.outputs {
            match &mut output.target {
                Target::Stdout(out) => out.flush().map_err(stdout_error)?,
                Target::File(file) => file.flush(),
            }
        }
        Ok(())
    }

    /// Closes and opens files again (SIGHUP, after an outside log rotation).
    pub fn reopen(&mut self) {
        for output in &mut self.outputs {
            if let Target::File(file) = &mut output.target {
                file.reopen();
            }
        }
    }

    /// Lines that could not be written so far, and the messages to show (each once).
    pub fn troubles(&mut self) -> (u64, Vec<String>) {
        let files = self.outputs.iter_mut().filter_map(|o| match &mut o.target {
            Target::File(file) => Some(file),
            Target::Stdout(_) => None,
        });
        files.fold((0, Vec::new()), |(lost, mut messages), file| {
            messages.extend(file.take_message());
            (lost + file.lost(), messages)
        })
    }
}

fn stdout_error(error: io::Error) -> OutputError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => OutputError::Closed,
        _ => OutputError::Stdout(error),
    }
}

const BUFFER: usize = 64 * 1024;
