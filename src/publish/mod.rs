//! What all workers found, merged in packet order, correlated, and turned into lines: one instance per run.
//!
//! In: observations, already in order. Out: whole lines of JSON and of text. No clock, no I/O: whoever runs it takes its [`Lines`].

mod suggest;

use std::collections::HashSet;
use std::sync::Arc;

use crate::alert::{Alert, Rule, Severity};
use crate::catalogue::{self, Catalogue};
use crate::conn::{Conn, Endpoint};
use crate::correlate::{self, Correlator};
use crate::detect::{CandidateKind, Verdict};
use crate::event::mask::Runs;
use crate::event::{self, FlowContext, Masker, Said, Writer};
use crate::flow;
use crate::id::EventId;
use crate::observe::{Observation, What};
use crate::packet::Timestamp;

pub use suggest::Suggestions;

/// Which events are wanted; alerts always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Alerts only.
    Alerts,
    /// Also what touches a metadata service or names one.
    Metadata,
    /// Everything.
    All,
}

/// Settings of the publisher.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which events are wanted.
    pub wanted: Wanted,
    /// Alerts below are left out (they still count for the exit status if that is asked for).
    pub min_severity: Severity,
    /// Correlation.
    pub correlate: correlate::Config,
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

/// Lines waiting to be handed on.
#[derive(Debug, Default)]
pub struct Lines {
    /// NDJSON, whole lines.
    pub json: Vec<u8>,
    /// Number of lines in `json`.
    pub json_count: u64,
    /// Text, whole lines.
    pub text: Vec<u8>,
    /// Number of lines in `text`.
    pub text_count: u64,
}

impl Lines {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.json.clear();
        self.text.clear();
        (self.json_count, self.text_count) = (0, 0);
    }
}

/// Correlates and serialises.
pub struct Publisher {
    config: Config,
    catalogue: Arc<Catalogue>,
    correlator: Correlator,
    writer: Writer,
    /// For terminals, where text is wanted.
    text_writer: Option<Writer>,
    /// Runs of text that need not be searched for secrets again.
    runs: Runs,
    /// What alerts repeat of the event of the observation that raised them.
    said: Said,
    counters: Counters,
    alerts: Vec<Arc<Alert>>,
    /// Alerts of the end of the run that were not raised yet.
    last: Option<std::vec::IntoIter<Arc<Alert>>>,
    /// Conversations that carried something about metadata: their flows are written too.
    marked: HashSet<(Endpoint, Endpoint), foldhash::fast::FixedState>,
    lines: Lines,
    /// Allow-list entries to suggest.
    seen: Suggestions,
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
            runs: Runs::default(),
            said: Said::default(),
            counters: Counters::default(),
            alerts: Vec::new(),
            last: None,
            marked: HashSet::default(),
            lines: Lines::default(),
            seen: Suggestions::default(),
            config,
            catalogue,
        }
    }

    /// Takes the next observation in order.
    pub fn observe(&mut self, observation: &mut Observation) {
        if let What::Http(exchange) = &mut observation.what
            && exchange.1.unsearched
            && self.correlator.has_issued()
        {
            let (tx, verdict) = &mut **exchange;
            verdict.search(tx, &self.catalogue);
        }
        let observation = &*observation;
        let is_wanted = self.config.wanted >= Wanted::Metadata && self.is_wanted(&observation.what);
        let matters = match &observation.what {
            What::Flow(_) | What::Icmp(_) => false, // there are many, and they are nothing to the correlator
            What::Http(exchange) => exchange.1.matters(),
            What::Dns(_) | What::Connection(_) | What::Tokens(_) => true,
        };
        if !is_wanted && !matters {
            return;
        }
        let id = event::observation_id(observation);
        // What is nothing to the correlator does not move its time either: alerts do not depend on which events are wanted.
        let remarks = match matters {
            true => self.correlator.observe(observation, id, &mut self.alerts),
            false => correlate::Remarks::default(),
        };
        if is_wanted {
            self.event(observation, id, &remarks);
        }
        if let Some((subject, rule, severity)) = remarks.judged.as_ref().filter(|_| self.config.suggest) {
            self.seen.judged(subject, *rule, *severity);
        }
        self.raise();
        self.said.forget();
    }

    /// What actors do again and again, for the state file: texts from the wire without any secret that was issued.
    pub fn habits(&self) -> Vec<correlate::Habit> {
        let issued = |token| self.correlator.is_issued(token);
        let mask = Masker::new(&issued, &self.runs);
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
            self.writer.stats(&mut self.lines.json, time, counters);
            self.lines.json_count += 1;
        }
    }

    /// Lines written since they were last cleared.
    pub fn lines(&mut self) -> &mut Lines {
        &mut self.lines
    }

    /// What was published so far.
    pub fn counters(&self) -> Counters {
        Counters { correlator: self.correlator.counters(), ..self.counters.clone() }
    }

    /// Allow-list entries for what was seen, as TOML.
    pub fn suggestions(&self) -> String {
        self.seen.toml()
    }

    /// Changes who may use metadata services.
    pub fn set_allow(&mut self, allow: Vec<correlate::AllowEntry>) {
        self.correlator.set_allow(allow);
    }

    fn is_wanted(&mut self, what: &What) -> bool {
        let all = self.config.wanted == Wanted::All;
        match what {
            What::Http(exchange) => {
                let matters = is_about_metadata(&exchange.1);
                if matters {
                    self.mark(&exchange.0.conn);
                }
                all || matters
            }
            What::Dns(exchange) => {
                let matters = exchange.1.metadata_name.is_some() || !exchange.1.metadata_answers.is_empty();
                if matters {
                    self.mark(&exchange.0.conn);
                }
                all || matters
            }
            What::Icmp(_) => all,
            What::Flow(record) => all || self.is_marked(record),
            What::Connection(_) | What::Tokens(_) => false,
        }
    }

    fn mark(&mut self, conn: &Conn) {
        if self.config.wanted != Wanted::Metadata {
            return;
        }
        let key = ordered(conn.client, conn.server);
        if self.marked.len() < self.config.marks {
            self.marked.insert(key);
        } else if !self.marked.contains(&key) {
            self.counters.marks_refused += 1;
        }
    }

    fn is_marked(&mut self, record: &flow::Record) -> bool {
        let (Some((a, b)), Some((_, from, to))) = (record.addresses, record.ports) else { return false };
        let (source, destination) = (Endpoint { ip: a, port: from }, Endpoint { ip: b, port: to });
        let touches = [source, destination].iter().any(|end| self.catalogue.is_metadata(end.ip, end.port));
        let key = ordered(source, destination);
        touches || if record.last_report { self.marked.remove(&key) } else { self.marked.contains(&key) }
    }

    fn event(&mut self, observation: &Observation, id: EventId, remarks: &correlate::Remarks) {
        let correlator = &self.correlator;
        let issued = |token| correlator.is_issued(token);
        let mask = if correlator.has_issued() { Masker::new(&issued, &self.runs) } else { Masker::default() };
        let context = event::Context { signals: remarks.signals, allowed_by: remarks.allowed_by.as_deref(), mask };
        let json = self.config.json.then_some((&self.writer, &mut self.lines.json, &mut self.lines.json_count));
        // People read alerts; whoever asks for everything gets a line for each event too.
        let text = self.text_writer.as_ref().filter(|_| self.config.wanted == Wanted::All);
        let text = text.map(|text| (text, &mut self.lines.text, &mut self.lines.text_count));
        let mut is_written = false;
        for (writer, out, count) in json.into_iter().chain(text) {
            match &observation.what {
                What::Http(exchange) if !writer.is_ignored(&exchange.0.conn) => {
                    writer.http(out, id, &exchange.0, &exchange.1, &context, &mut self.said);
                }
                What::Dns(exchange) if !writer.is_ignored(&exchange.0.conn) => {
                    writer.dns(out, id, &exchange.0, &exchange.1, &context);
                }
                What::Icmp(exchange) if !writer.is_ignored(&exchange.conn) => writer.icmp(out, id, exchange, &context),
                What::Flow(record) => writer.flow(out, id, record, &flow_context(&self.catalogue, record)),
                _ => continue,
            }
            *count += 1;
            is_written = true;
        }
        self.counters.events += u64::from(is_written);
    }

    fn raise(&mut self) {
        if self.alerts.is_empty() {
            return;
        }
        let mut alerts = std::mem::take(&mut self.alerts);
        for alert in alerts.drain(..) {
            if let Some(count) = self.counters.alerts.get_mut(alert.rule as usize) {
                *count += 1;
            }
            self.counters.highest = self.counters.highest.max(Some(alert.severity));
            if self.config.suggest {
                self.seen.raised(&alert);
            }
            if alert.severity < self.config.min_severity {
                continue;
            }
            let correlator = &self.correlator;
            let issued = |token| correlator.is_issued(token);
            let mask = if correlator.has_issued() { Masker::new(&issued, &self.runs) } else { Masker::default() };
            let context = event::Context { mask, ..event::Context::default() };
            if self.config.json {
                self.writer.alert(&mut self.lines.json, &alert, &context, &self.said);
                self.lines.json_count += 1;
            }
            if let Some(text) = &self.text_writer {
                text.alert(&mut self.lines.text, &alert, &context, &Said::default());
                self.lines.text_count += 1;
            }
        }
        self.alerts = alerts; // with its memory
    }
}

/// Whether an exchange touches a metadata service or names one.
fn is_about_metadata(verdict: &Verdict) -> bool {
    verdict.imds.is_some() || verdict.candidates.iter().any(|c| c.kind == CandidateKind::Attempt)
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
