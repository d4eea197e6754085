//! What all workers found, merged in packet order, correlated, and turned into lines: one instance per run.
//!
//! In: observations, already in order. Out: whole lines of JSON and of text. No clock, no I/O: whoever runs it takes its [`Batch`].

mod marks;
mod observer;
mod suggest;

use std::sync::Arc;

use crate::alert::{Alert, Rule, Severity};
use crate::catalogue::{self, Catalogue};
use crate::conn::{Conn, Endpoint};
use crate::correlate::{self, Correlator};
use crate::detect::{CandidateKind, Carried, Verdict};
use crate::event::{self, FlowContext, Masker, Searched, Writer};
use crate::flow;
use crate::id::EventId;
use crate::observe::{Observation, What};
use crate::output::{Batch, Kind, Label, Wanted};
use crate::packet::Timestamp;

pub use observer::{AlertCounts, AlertObserver};
pub use suggest::Suggestions;

/// Settings of the publisher.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which events are wanted.
    pub wanted: Wanted,
    /// Alerts below are left out (they still count for the exit status if that is asked for).
    pub min_severity: Severity,
    /// Correlation.
    pub correlate: correlate::Config,
    /// Whether some output wants less than [`Self::wanted`]: then each flow is said to be about metadata or not.
    pub told_apart: bool,
    /// Most conversations remembered as having to do with metadata; flows of further ones are left out under `metadata`.
    pub marks: usize,
    /// Events.
    pub event: event::Settings,
    /// Whether NDJSON is wanted at all.
    pub json: bool,
    /// Whether text is wanted, and with colour.
    pub text: Option<bool>,
    /// Whether allow-list entries are to be suggested.
    pub suggest: bool,
}

/// What was published.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Events written, alerts not among them.
    pub events: u64,
    /// Alerts raised, by rule, in the order of [`Rule::ALL`].
    pub alerts: [u64; Rule::ALL.len()],
    /// Highest severity raised.
    pub highest: Option<Severity>,
    /// Correlator.
    pub correlator: correlate::Counters,
    /// Conversations that were not marked because [`Config::marks`] are.
    pub marks_refused: u64,
}

/// Correlates and serialises.
pub struct Publisher {
    config: Config,
    catalogue: Arc<Catalogue>,
    correlator: Correlator,
    writer: Writer,
    /// For terminals, where text is wanted.
    text_writer: Option<Writer>,
    counters: Counters,
    alerts: Vec<Arc<Alert>>,
    /// Alerts of the end of the run that were not raised yet.
    last: Option<std::vec::IntoIter<Arc<Alert>>>,
    marks: marks::Marks,
    /// Texts that are known to hold no secret.
    searched: Searched,
    batch: Batch,
    alert_counts: AlertCounts,
    /// Allow-list entries to suggest, where they are asked for.
    suggestions: Option<Suggestions>,
    observers: Vec<Box<dyn AlertObserver>>,
}

impl Publisher {
    /// A publisher that has seen nothing.
    pub fn new(config: Config, catalogue: Arc<Catalogue>) -> Self {
        Self {
            correlator: Correlator::new(config.correlate.clone(), Arc::clone(&catalogue)),
            writer: Writer::new(config.event.clone()),
            text_writer: config
                .text
                .map(|colour| Writer::new(config.event.clone()).with_format(event::Format::Text { colour })),
            counters: Counters::default(),
            searched: Searched::default(),
            alerts: Vec::new(),
            last: None,
            marks: marks::Marks::default(),
            batch: Batch::default(),
            alert_counts: AlertCounts::default(),
            suggestions: config.suggest.then(Suggestions::default),
            observers: Vec::new(),
            config,
            catalogue,
        }
    }

    /// Takes the next observation in order.
    pub fn observe(&mut self, observation: &mut Observation) {
        if let What::Http(exchange) = &mut observation.what
            && exchange.1.carried == Carried::Unsearched
            && self.correlator.has_issued()
        {
            let (tx, verdict) = &mut **exchange;
            verdict.search(tx, &self.catalogue);
        }
        let observation = &*observation;
        let kind = if self.config.wanted >= Wanted::Metadata { self.kind(&observation.what) } else { None };
        let matters = match &observation.what {
            What::Flow(_) | What::Icmp(_) => false, // there are many, and they are nothing to the correlator
            What::Http(exchange) => exchange.1.matters(),
            What::Dns(_) | What::Connection(_) | What::Tokens(_) | What::Command(_) => true,
        };
        if kind.is_none() && !matters {
            return;
        }
        let id = event::observation_id(observation);
        // What is nothing to the correlator does not move its time either: alerts do not depend on which events are wanted.
        let remarks = match matters {
            true => self.correlator.observe(observation, id, &mut self.alerts),
            false => correlate::CorrelationResult::default(),
        };
        if let Some(kind) = kind {
            self.event(observation, Label { id, kind, severity: None }, &remarks);
        }
        if let (Some((subject, ..)), Some(suggestions)) = (&remarks.judged, &mut self.suggestions) {
            suggestions.judged(subject);
        }
        self.raise();
    }

    /// What actors do again and again, for the state file: texts from the wire without any secret that was issued.
    pub fn habits(&self) -> Vec<correlate::Habit> {
        let mask = Masker::new(self.correlator.issued());
        let clean = |text: &mut String| *text = mask.text(std::mem::take(text).into()).into_owned();
        let mut habits: Vec<_> = self.correlator.habits().cloned().collect();
        for habit in &mut habits {
            habit.texts().for_each(clean);
        }
        habits
    }

    /// Takes up habits that were learned before.
    pub fn restore(&mut self, habits: Vec<correlate::Habit>) {
        self.correlator.restore(habits);
    }

    /// Whether a credential or session token was issued: from now on it may be seen leaving.
    pub fn has_issued(&self) -> bool {
        self.correlator.has_issued()
    }

    /// Packet time moved on.
    pub fn tick(&mut self, now: Timestamp) {
        self.correlator.tick(now, &mut self.alerts);
        self.raise();
    }

    /// The run is over: what the correlator still waits for is decided. There may be many alerts: each call raises a few,
    /// and says whether there are more.
    pub fn finish(&mut self) -> bool {
        let Self { correlator, last, .. } = self;
        let last = last.get_or_insert_with(|| {
            let mut alerts = Vec::new();
            correlator.finish(&mut alerts);
            alerts.into_iter()
        });
        self.alerts.extend(last.by_ref().take(64));
        let more = last.len() > 0;
        self.raise();
        more
    }

    /// Writes the program's own counters.
    pub fn stats(&mut self, time: Timestamp, counters: &[(&str, u64)]) {
        if self.config.json {
            self.writer.stats(&mut self.batch.json, time, counters);
            self.batch.end_event(Label { id: EventId(0), kind: Kind::Stats, severity: None });
        }
    }

    /// Events written since it was last cleared.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// What was published so far.
    pub fn counters(&self) -> Counters {
        let AlertCounts { by_rule: alerts, highest } = self.alert_counts;
        Counters { alerts, highest, correlator: self.correlator.counters(), ..self.counters.clone() }
    }

    /// Allow-list entries for what was seen, as TOML.
    pub fn suggestions(&self) -> String {
        let toml = self.suggestions.as_ref().map(Suggestions::toml).unwrap_or_default();
        event::plain::harmless_lines(&self.masked(toml.into()))
    }

    /// Text for people or machines that may hold what came from the wire, without secrets that were issued so far.
    pub fn masked<'a>(&self, text: event::Text<'a>) -> event::Text<'a> {
        Masker::new(self.correlator.issued()).text(text)
    }

    /// From now on `observer` sees every alert.
    pub fn add_observer(&mut self, observer: Box<dyn AlertObserver>) {
        self.observers.push(observer);
    }

    /// Changes who may use metadata services.
    pub fn set_allow(&mut self, allow: Vec<correlate::AllowEntry>) {
        self.correlator.set_allow(allow);
    }

    /// What kind of event is written of it, where one is.
    fn kind(&mut self, what: &What) -> Option<Kind> {
        let (is_about_metadata, conn) = match what {
            What::Http(exchange) => (is_about_metadata(&exchange.1), Some(&exchange.0.conn)),
            What::Dns(exchange) => {
                let names = exchange.1.metadata_name.is_some() || !exchange.1.metadata_answers.is_empty();
                (names, Some(&exchange.0.conn))
            }
            What::Icmp(_) => (false, None),
            What::Flow(record) => (self.is_marked(record), None),
            What::Command(_) => (true, None),
            // of packets the flow is written
            What::Connection(connection) if connection.conn.told_by.is_some() => (true, None),
            What::Connection(_) | What::Tokens(_) => return None,
        };
        conn.filter(|_| is_about_metadata).into_iter().for_each(|conn| self.mark(conn));
        let kind = if is_about_metadata { Kind::Metadata } else { Kind::Other };
        (is_about_metadata || self.config.wanted == Wanted::All).then_some(kind)
    }

    fn mark(&mut self, conn: &Conn) {
        if self.config.wanted != Wanted::Metadata && !self.config.told_apart {
            return;
        }
        let is_marked = self.marks.mark(ordered(conn.client, conn.server), self.config.marks);
        self.counters.marks_refused += u64::from(!is_marked);
    }

    fn is_marked(&mut self, record: &flow::Record) -> bool {
        let (Some((a, b)), Some((_, from, to))) = (record.addresses, record.ports) else { return false };
        let (source, destination) = (Endpoint { ip: a, port: from }, Endpoint { ip: b, port: to });
        let touches = [source, destination].iter().any(|end| self.catalogue.is_metadata(end.ip, end.port));
        let over = record.last_report.then_some(record.last);
        // Asked in any case: it has to hear of the end.
        self.marks.has(ordered(source, destination), record.first, over) || touches
    }

    fn event(&mut self, observation: &Observation, label: Label, remarks: &correlate::CorrelationResult) {
        let mask = Masker::new(self.correlator.issued()).remembering(&self.searched);
        let context = event::Context { signals: remarks.signals, allowed_by: remarks.allowed_by.as_deref(), mask };
        let id = label.id;
        let json = self.config.json.then_some((&self.writer, &mut self.batch.json));
        // People read alerts; whoever asks for everything gets a line for each event too.
        let text = self.text_writer.as_ref().filter(|_| self.config.wanted == Wanted::All);
        let text = text.map(|text| (text, &mut self.batch.text));
        let mut is_written = false;
        for (writer, out) in json.into_iter().chain(text) {
            match &observation.what {
                What::Http(exchange) if !writer.is_ignored(&exchange.0.conn) => {
                    writer.http(out, id, &exchange.0, &exchange.1, &context);
                }
                What::Dns(exchange) if !writer.is_ignored(&exchange.0.conn) => {
                    writer.dns(out, id, &exchange.0, &exchange.1, &context);
                }
                What::Connection(connection) => writer.connection(out, id, connection, &context),
                What::Command(command) => writer.command(out, id, command, &context),
                What::Icmp(exchange) if !writer.is_ignored(&exchange.conn) => writer.icmp(out, id, exchange, &context),
                What::Flow(record) => writer.flow(out, id, record, &flow_context(&self.catalogue, record)),
                _ => continue,
            }
            is_written = true;
        }
        if is_written {
            self.batch.end_event(label);
        }
        self.counters.events += u64::from(is_written);
    }

    fn raise(&mut self) {
        if self.alerts.is_empty() {
            return;
        }
        let mut alerts = std::mem::take(&mut self.alerts);
        for alert in alerts.drain(..) {
            self.alert_counts.on_alert(&alert);
            self.suggestions.iter_mut().for_each(|suggestions| suggestions.on_alert(&alert));
            self.observers.iter_mut().for_each(|observer| observer.on_alert(&alert));
            if alert.severity < self.config.min_severity {
                continue;
            }
            let mask = Masker::new(self.correlator.issued()).remembering(&self.searched);
            let context = event::Context { mask, ..event::Context::default() };
            if self.config.json {
                self.writer.alert(&mut self.batch.json, &alert, &context);
            }
            if let Some(text) = &self.text_writer {
                text.alert(&mut self.batch.text, &alert, &context);
            }
            self.batch.end_event(Label { id: alert.id, kind: Kind::Alert, severity: Some(alert.severity) });
        }
        self.alerts = alerts; // with its memory
    }
}

/// Whether an exchange touches a metadata service, names one, or has what may come from one.
fn is_about_metadata(verdict: &Verdict) -> bool {
    verdict.imds.is_some()
        || verdict.shaped.is_some()
        || verdict.candidates.iter().any(|c| c.kind == CandidateKind::Attempt)
}

/// Provider and service of a flow to or from a metadata address; `unknown` where several providers share it.
fn flow_context(catalogue: &Catalogue, record: &flow::Record) -> FlowContext<'static> {
    let (Some((a, b)), Some((_, from, to))) = (record.addresses, record.ports) else {
        return FlowContext::default();
    };
    let metadata = [(b, to), (a, from)].into_iter().find(|(ip, port)| catalogue.is_metadata(*ip, *port));
    let imds = metadata.map(|(ip, port)| {
        let all = catalogue.endpoints_at(ip).iter();
        one_service(all.clone()).or_else(|| one_service(all.filter(|endpoint| endpoint.ports.contains(&port))))
    });
    let imds = imds.map(|found| found.unwrap_or(("unknown", "imds")));
    FlowContext { imds, ..FlowContext::default() }
}

/// Provider and first service of endpoints that belong to one provider.
fn one_service<'e>(
    mut endpoints: impl Iterator<Item = &'e &'static catalogue::Endpoint>,
) -> Option<(&'static str, &'static str)> {
    let first = endpoints.next()?;
    endpoints.all(|other| other.provider == first.provider).then_some((first.provider.as_str(), first.service.as_str()))
}

fn ordered(a: Endpoint, b: Endpoint) -> (Endpoint, Endpoint) {
    if a <= b { (a, b) } else { (b, a) }
}
