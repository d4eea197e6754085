//! Rendered events on their way to the outputs: their bytes, and what an output must know of each to choose, number and
//! acknowledge it without reading it.
//!
//! In: whole lines, one event after the other. Out: the same, as a whole or event by event. Bound: whoever fills it hands
//! it on in time.

use std::sync::Arc;

use super::Form;
use crate::alert::Severity;
use crate::id::EventId;

/// Which events are written; alerts always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Alerts only.
    Alerts,
    /// Also what touches a metadata service or names one.
    #[default]
    Metadata,
    /// Everything.
    All,
}

/// What an event is, as far as outputs tell events apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An alert.
    Alert,
    /// A transaction or flow that touches a metadata service or names one.
    Metadata,
    /// Another transaction or flow.
    Other,
    /// The program's own counts.
    Stats,
}

/// What an output must know of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// `event.id`; zero for counts.
    pub id: EventId,
    /// What it is.
    pub kind: Kind,
    /// Severity of an alert.
    pub severity: Option<Severity>,
}

/// One event of a [`Batch`].
#[derive(Clone, Copy, Debug)]
pub struct Event<'b> {
    /// What it is.
    pub label: Label,
    /// One line of JSON with its line end; empty where JSON is not wanted.
    pub json: &'b [u8],
    /// One line of text with its line end; empty where the event has none.
    pub text: &'b [u8],
}

impl<'b> Event<'b> {
    /// Its line in this form.
    pub fn in_form(&self, form: Form) -> &'b [u8] {
        match form {
            Form::Json => self.json,
            Form::Text { .. } => self.text,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    label: Label,
    /// Ends of its bytes; they begin where those of the event before it end.
    json: usize,
    text: usize,
}

/// Events in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// NDJSON, whole lines.
    pub json: Vec<u8>,
    /// Text, whole lines.
    pub text: Vec<u8>,
    entries: Vec<Entry>,
}

impl Batch {
    /// Room for so many bytes of NDJSON: a batch that grows is copied again and again.
    pub fn reserve(&mut self, bytes: usize) {
        self.json.reserve(bytes);
    }

    /// What was appended to `json` and `text` since the last call is the event of this label.
    pub fn end_event(&mut self, label: Label) {
        self.entries.push(Entry { label, json: self.json.len(), text: self.text.len() });
    }

    /// Adds a copy of an event.
    pub fn push(&mut self, event: Event<'_>) {
        self.json.extend_from_slice(event.json);
        self.text.extend_from_slice(event.text);
        self.end_event(event.label);
    }

    /// The events, in order.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        let mut from = (0, 0);
        self.entries.iter().map(move |entry| {
            let (json, text) = std::mem::replace(&mut from, (entry.json, entry.text));
            Event {
                label: entry.label,
                json: self.json.get(json..entry.json).unwrap_or_default(),
                text: self.text.get(text..entry.text).unwrap_or_default(),
            }
        })
    }

    /// What is known of the events, in order.
    pub fn labels(&self) -> impl Iterator<Item = Label> {
        self.entries.iter().map(|entry| entry.label)
    }

    /// All events in this form.
    pub fn in_form(&self, form: Form) -> &[u8] {
        match form {
            Form::Json => &self.json,
            Form::Text { .. } => &self.text,
        }
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes it holds, both forms together.
    pub fn bytes(&self) -> usize {
        self.json.len() + self.text.len()
    }

    /// What an output takes of a batch: the batch itself where that is all of it.
    pub fn taken(self: &Arc<Self>, form: Form, filter: &Filter) -> Arc<Self> {
        let is_whole = match form {
            Form::Json => filter.is_open() || self.labels().all(|label| filter.takes(label)),
            // Not every event is written as text.
            Form::Text { .. } => false,
        };
        if is_whole {
            return Arc::clone(self);
        }
        Arc::new(self.filtered(|event| !event.in_form(form).is_empty() && filter.takes(event.label)))
    }

    /// A copy of the events that pass.
    pub fn filtered(&self, takes: impl Fn(&Event<'_>) -> bool) -> Self {
        let mut some = Self::default();
        self.events().filter(|event| takes(event)).for_each(|event| some.push(event));
        some
    }

    /// Empties it, with its memory.
    pub fn clear(&mut self) {
        self.json.clear();
        self.text.clear();
        self.entries.clear();
    }
}

/// Which events an output takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// By what they are.
    pub events: Wanted,
    /// Alerts below are left out.
    pub min_severity: Severity,
    /// Whether the program's own counts are taken.
    pub stats: bool,
}

impl Default for Filter {
    /// Takes everything.
    fn default() -> Self {
        Self { events: Wanted::All, min_severity: Severity::Low, stats: true }
    }
}

impl Filter {
    /// Whether the event of this label passes.
    pub fn takes(&self, label: Label) -> bool {
        match label.kind {
            Kind::Alert => label.severity.is_none_or(|severity| severity >= self.min_severity),
            Kind::Metadata => self.events >= Wanted::Metadata,
            Kind::Other => self.events >= Wanted::All,
            Kind::Stats => self.stats,
        }
    }

    fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(id: u128, kind: Kind, severity: Option<Severity>) -> Label {
        Label { id: EventId(id), kind, severity }
    }

    fn batch() -> Batch {
        let mut batch = Batch::default();
        for (n, kind, severity) in [
            (1, Kind::Alert, Some(Severity::Low)),
            (2, Kind::Metadata, None),
            (3, Kind::Other, None),
            (4, Kind::Alert, Some(Severity::Critical)),
            (5, Kind::Stats, None),
        ] {
            batch.json.extend_from_slice(format!("{{\"n\":{n}}}\n").as_bytes());
            if kind == Kind::Alert {
                batch.text.extend_from_slice(format!("alert {n}\n").as_bytes());
            }
            batch.end_event(label(n, kind, severity));
        }
        batch
    }

    #[test]
    fn each_event_has_its_own_bytes() {
        let batch = batch();
        let json: Vec<_> = batch.events().map(|event| event.json).collect();
        assert_eq!(json, [&b"{\"n\":1}\n"[..], b"{\"n\":2}\n", b"{\"n\":3}\n", b"{\"n\":4}\n", b"{\"n\":5}\n"]);
        let text: Vec<_> = batch.events().map(|event| event.text).collect();
        assert_eq!(text, [&b"alert 1\n"[..], b"", b"", b"alert 4\n", b""]);
    }

    #[test]
    fn outputs_choose_by_kind_and_severity() {
        let ids = |filter: Filter| -> Vec<u128> {
            let some = Arc::new(batch()).taken(Form::Json, &filter);
            some.events().map(|event| event.label.id.0).collect()
        };
        let all = Filter::default();
        assert_eq!(ids(all), [1, 2, 3, 4, 5]);
        assert_eq!(ids(Filter { events: Wanted::Metadata, ..all }), [1, 2, 4, 5]);
        assert_eq!(ids(Filter { events: Wanted::Alerts, stats: false, ..all }), [1, 4]);
        assert_eq!(ids(Filter { events: Wanted::Alerts, min_severity: Severity::High, stats: false }), [4]);
        let whole = Arc::new(batch());
        assert!(Arc::ptr_eq(&whole, &whole.taken(Form::Json, &all)), "nothing is copied");
        assert_eq!(whole.taken(Form::Text { colour: false }, &all).len(), 2, "only alerts have text");
    }
}
