//! The report: one HTML file that can be handed over and opened offline, and the same findings as a few paragraphs of text.
//!
//! ```text
//! lines of NDJSON ──► event ──► alert ──► incident ─┐
//!                       └──► tables (clients, credentials, usual clients, hours) ─► view ──► template ──► HTML
//!                                                                                    └──► text
//! ```
//!
//! In: events as this program writes them, from a file of any size or from the run itself. Out: the same bytes for the same
//! input. Nothing here reads a clock or a file. Bounds: every table; each says how much it leaves out.
//!
//! Every value is the attacker's: what acts on a display is made visible where it is read ([`visible`]), markup is
//! escaped by the template, and nothing is ever a link.

mod alert;
mod event;
mod incident;
mod picture;
mod revoke;
mod tables;
mod text;
mod time;
mod view;
mod visible;

use alert::Alert;
use event::Event;
use incident::Incidents;
use tables::Tables;

/// Something that a report says of where its events came from and of what could not be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// What it is about: `packets`, `not decoded`, a cause of drops.
    pub subject: String,
    /// What is to be said of it.
    pub text: String,
    /// Something may be missing because of it.
    pub lost: bool,
}

/// A file that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// As it was named.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal; empty where it could not be taken (standard input).
    pub sha256: String,
}

/// What is collected while events pass.
#[derive(Debug, Default)]
pub struct Collector {
    events: u64,
    unreadable: u64,
    incidents: Incidents,
    tables: Tables,
    notes: Vec<Note>,
    inputs: Vec<Input>,
}

impl Collector {
    /// Takes one line of NDJSON, with or without its line end.
    ///
    /// # Errors
    /// When it is no event; it is counted as unreadable, and the report says how many were.
    pub fn line(&mut self, line: &[u8]) -> Result<(), serde_json::Error> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(());
        }
        self.events += 1;
        let is_object = line.starts_with(b"{") && line.ends_with(b"}");
        if is_object && !tables::is_of_interest(line) {
            self.tables.pass(line);
            return Ok(());
        }
        match serde_json::from_slice::<Event>(line) {
            Ok(event) => self.event(&event),
            Err(error) => {
                self.unreadable += 1;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Adds what is known of where the events came from.
    pub fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// Adds a file that was read.
    pub fn input(&mut self, input: Input) {
        self.inputs.push(input);
    }

    /// The whole report as HTML.
    ///
    /// # Errors
    /// When the template cannot be rendered, which is a fault of the program.
    pub fn html(self) -> Result<String, minijinja::Error> {
        view::html(&view::View::of(self))
    }

    /// Incidents as text for a terminal, one paragraph each; empty where there are none.
    pub fn text(self) -> String {
        text::paragraphs(&self.incidents.finish().0)
    }

    fn event(&mut self, event: &Event) {
        self.tables.event(event);
        if event.event.kind != "alert" {
            return;
        }
        let Some(alert) = Alert::of(event) else {
            self.unreadable += 1;
            return;
        };
        self.tables.alert(&alert);
        if let Some(other) = self.incidents.add(alert) {
            self.tables.other(&other);
        }
    }
}

#[cfg(test)]
mod tests;
