//! Where events go. Each output has a thread, a queue and counters of its own: one that is slow or fails holds up no
//! other.
//!
//! In: [`Batch`]es of rendered events. Out: bytes to standard output, files, or receivers over the network. An output that
//! fails is counted, and named once when it begins and once when it ends; a standard output that its reader closed ends
//! quietly. What receivers over the network are asked and answer stands in [`receiver`], how often and how much in
//! [`delivery`], and what waits for them on disk in [`spool`].

use std::any::Any;
use std::fmt;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

pub mod batch;
pub mod counters;
pub mod dead;
pub mod delivery;
pub mod file;
pub mod net;
pub mod network;
pub mod queue;
pub mod receiver;
pub mod spool;
pub mod stdout;

pub use batch::{Batch, Event, Filter, Kind, Label, Wanted};
pub use counters::{Counters, Counts};

use file::{FileOutput, Rotation};
use network::Network;
use stdout::Stdout;

/// Tells the user a sentence, at once.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

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
    /// A receiver over the network.
    Network(Box<network::Settings>),
    /// A report for people, written when a replay has ended.
    Report(PathBuf),
}

impl fmt::Display for Destination {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Network(network) => write!(f, "{}", network.receiver.target),
            Self::Report(path) => write!(f, "the report {}", path.display()),
        }
    }
}

/// An output as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to.
    pub destination: Destination,
    /// Form, where one was asked for.
    pub form: Option<Form>,
    /// Rotation of a file.
    pub rotation: Rotation,
    /// Which events it takes.
    pub filter: Filter,
}

/// Why an output ends, or cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Standard output was closed by its reader.
    #[error("standard output was closed")]
    Closed,
    /// A destination cannot be opened.
    #[error("cannot open output {path}")]
    Open {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// An output over the network cannot be used.
    #[error("cannot open output {name}: {text}")]
    Network {
        /// Which.
        name: String,
        /// Why.
        text: String,
    },
    /// A fault of the program.
    #[error("output {name} has ended: {text}")]
    Fault {
        /// Which.
        name: String,
        /// What its thread said at its end.
        text: String,
    },
    /// Standard output failed otherwise.
    #[error("cannot write to standard output: {0}")]
    Stdout(io::Error),
}

/// What an output needs of a confined process, beside the memory and threads that every part of it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Folders in which it makes, renames and removes files.
    pub write: Vec<PathBuf>,
    /// Files and folders that it reads.
    pub read: Vec<PathBuf>,
    /// Ends that it connects to.
    pub endpoints: Vec<receiver::Endpoint>,
    /// Whether receivers name further ends by themselves.
    pub follows: bool,
}

impl Needs {
    /// What several outputs need together.
    pub fn join(&mut self, other: Self) {
        self.write.extend(other.write);
        self.read.extend(other.read);
        self.endpoints.extend(other.endpoints);
        self.follows |= other.follows;
    }
}

/// One place that events go to. It is used by one thread, its own.
pub trait Output: Send {
    /// What it writes.
    fn form(&self) -> Form;

    /// Which events it takes.
    fn filter(&self) -> Filter {
        Filter::default()
    }

    /// What it needs of a confined process.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Its counters.
    fn counters(&self) -> Arc<Counters>;

    /// Writes the events of a batch that it takes; they are the output's from now on, which counts what becomes of them.
    ///
    /// # Errors
    /// Only when going on is pointless.
    fn write(&mut self, batch: &Batch) -> Result<(), OutputError>;

    /// Lets readers see what was written.
    ///
    /// # Errors
    /// As [`Self::write`].
    fn flush(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    /// Called when the run begins, and then about once a second, also when there is nothing to write.
    fn attend(&mut self) {}

    /// Nothing more will be written.
    ///
    /// # Errors
    /// As [`Self::write`].
    fn finish(&mut self) -> Result<(), OutputError> {
        self.flush()
    }

    /// Closes what it writes to and opens it again (SIGHUP, after an outside log rotation).
    fn reopen(&mut self) {}

    /// What the user should read, if anything happened since the last call.
    fn message(&mut self) -> Option<String> {
        None
    }
}

/// What a thread that panicked said.
pub(crate) fn panic_text(fault: &(dyn Any + Send)) -> String {
    let text = fault.downcast_ref::<&str>().copied().or_else(|| fault.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a fault of the program").to_owned()
}

/// Opens every output. Where no form was asked for, a terminal gets text and all else NDJSON. Colour goes to terminals
/// only, and not where `NO_COLOR` is set. What outputs have to tell while they work, they `say`.
///
/// # Errors
/// [`OutputError::Open`], [`OutputError::Network`].
pub fn open(settings: &[Settings], say: &Say) -> Result<Vec<Box<dyn Output>>, OutputError> {
    settings.iter().map(|settings| open_one(settings, say)).collect()
}

fn open_one(settings: &Settings, say: &Say) -> Result<Box<dyn Output>, OutputError> {
    let terminal = settings.destination == Destination::Stdout && io::stdout().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let form = match settings.form {
        Some(Form::Json) => Form::Json,
        None if !terminal => Form::Json,
        Some(Form::Text { .. }) | None => Form::Text { colour },
    };
    Ok(match &settings.destination {
        Destination::Stdout => Box::new(Stdout::new(form, settings.filter)),
        Destination::Network(network) => Network::open(network, settings.filter, say)
            .map(Box::new)
            .map_err(|text| OutputError::Network { name: settings.destination.to_string(), text })?,
        // Made by the program's edge, from what all outputs are given: see `app::handover`.
        Destination::Report(path) => {
            let source = io::Error::other("a report is made from a replay");
            return Err(OutputError::Open { path: path.display().to_string(), source });
        }
        Destination::Path(path) => FileOutput::open(path.clone(), settings.rotation.clone(), form, settings.filter)
            .map(Box::new)
            .map_err(|source| OutputError::Open { path: path.display().to_string(), source })?,
    })
}
