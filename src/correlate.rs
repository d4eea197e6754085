//! What observations mean together: observations in packet order go in, alerts come out (contract section 4).
//!
//! One instance per run, in the publisher, because the legs of a theft are different connections and so different
//! workers. State is bounded by [`Config::limit`] and by age; packet time is the only time. The same observations in the
//! same order give the same alerts.

mod actor;
mod allow;
mod commands;
mod exchange;
mod habits;
mod issue;
mod judge;
mod lookup;
mod message;
mod neighbours;
mod raise;
mod rebind;
mod relay;
mod repeats;
mod reported;
mod sets;
mod ssrf;
mod subject;
mod table;
mod walk;

use std::hash::Hasher;
use std::sync::Arc;

pub use allow::{AllowEntry, OneOrMany};
pub use habits::{Habit, VERSION as HABITS_VERSION};

use crate::alert::{Alert, Outcome, Rule, Severity, Subject};
use crate::catalogue::Catalogue;
use crate::conn::Conn;
use crate::detect::{Command, Connection, IssuedSecrets, Signal, Signals};
use crate::id::EventId;
use crate::observe::{Observation, What};
use crate::packet::Timestamp;
use crate::proto::http;

use actor::{Actors, Assessment};
use allow::Question;
use commands::Commands;
use habits::Habits;
use issue::{Issuances, Issued};
use raise::{alert, confirmed, rebinding, relayed};
use rebind::{Lookup, Rebinds};
use relay::{Relays, Sighting};
use repeats::{AlertOf, Key, Repeat, Repeats};
use reported::Reported;
use ssrf::{Fetch, Finding, Ssrf};
use subject::{Subjects, key};
use table::Table;

/// Settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Window for repeats and for what follows an inbound request, in nanoseconds of packet time.
    pub window: i64,
    /// Longest window for repeats, in nanoseconds.
    pub window_most: i64,
    /// Who may use metadata services; the first entry that matches gives its name.
    pub allow: Vec<AllowEntry>,
    /// Most entries of each table.
    pub limit: usize,
    /// By how much the clocks of sensors whose events are read may differ from each other and from that of packets, in
    /// nanoseconds.
    pub skew: i64,
}

impl Default for Config {
    fn default() -> Self {
        let (window, window_most) = (60 * Timestamp::SECOND, 86_400 * Timestamp::SECOND);
        Self { window, window_most, allow: AllowEntry::defaults(), limit: 65_536, skew: 2 * Timestamp::SECOND }
    }
}

/// What the correlator knows of an observation beyond the matcher's verdict.
#[derive(Clone, Debug, Default)]
pub struct CorrelationResult {
    /// Signals to write with those of the verdict.
    pub signals: Signals,
    /// Allow-list entry that kept an alert back.
    pub allowed_by: Option<Arc<str>>,
    /// A request that the allow list does not cover, with the severity that it was judged to have.
    pub judged: Option<(Arc<Subject>, Rule, Severity)>,
}

/// How often bounds were met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Clients, session tokens, issued secrets and names that made room for others.
    pub evicted: u64,
    /// Inbound requests, metadata requests and redirects forgotten before their time.
    pub forgotten: u64,
    /// Repeat windows that ended early.
    pub windows_cut: u64,
    /// Alerts kept back by the allow list.
    pub allowed: u64,
    /// Alerts counted as repeats.
    pub repeats: u64,
    /// Messages whose search for targets used up the work that it may cost.
    pub searches_cut: u64,
}

/// Joins observations over time.
#[derive(Debug)]
pub struct Correlator {
    config: Config,
    catalogue: Arc<Catalogue>,
    /// Latest time of a packet, or of what came in ahead of the packets.
    now: Timestamp,
    /// Packet time at the last tick.
    ticked: Timestamp,
    actors: Actors,
    habits: Habits,
    issuances: Issuances,
    repeats: Repeats,
    relays: Relays,
    ssrf: Ssrf,
    rebinds: Rebinds,
    subjects: Subjects,
    commands: Commands,
    reported: Reported,
    /// Clients and servers with a readable request between them.
    readable: Table<(std::net::IpAddr, std::net::IpAddr), ()>,
    counters: Counters,
}

impl Correlator {
    /// A correlator that has seen nothing.
    pub fn new(config: Config, catalogue: Arc<Catalogue>) -> Self {
        Self {
            now: Timestamp(i64::MIN),
            ticked: Timestamp(i64::MIN),
            actors: Actors::new(config.limit),
            habits: Habits::new(config.limit),
            issuances: Issuances::default(),
            repeats: Repeats::new(config.window, config.window_most, config.limit).with_skew(config.skew),
            relays: Relays::new(config.limit),
            ssrf: Ssrf::new(config.window, config.limit).with_skew(config.skew),
            rebinds: Rebinds::new(config.limit, config.window),
            subjects: Subjects::default(),
            commands: Commands::new(config.window, config.skew),
            reported: Reported::new(config.skew),
            readable: Table::new(config.limit),
            counters: Counters::default(),
            catalogue,
            config,
        }
    }

    /// Takes one observation, in packet order. `event_id` is the `event.id` of its own event. What it raises, and what
    /// waited for it, is appended to `alerts`.
    pub fn observe(&mut self, obs: &Observation, event_id: EventId, alerts: &mut Vec<Arc<Alert>>) -> CorrelationResult {
        self.advance(obs.time, alerts);
        let first = alerts.len();
        let remarks = match &obs.what {
            What::Http(exchange) => self.http(&exchange.0, &exchange.1, event_id, alerts),
            What::Dns(exchange) => self.dns(&exchange.0, &exchange.1, event_id, alerts),
            What::Connection(connection) => self.connection(connection, event_id, alerts),
            What::Tokens(tokens) => {
                self.carried_in_text(tokens, event_id, alerts);
                CorrelationResult::default()
            }
            What::Command(command) => self.command(command, event_id, alerts),
            What::Icmp(_) | What::Flow(_) => CorrelationResult::default(),
        };
        // what waits is held from its own time on: the clock may be ahead where events come in as they happen
        self.reported.join(first, alerts, obs.time);
        self.commands.join(first, alerts);
        remarks
    }

    /// Moves packet time on, or back where input begins that is older than what was read so far: then what waits is
    /// decided with what is known. (What comes in ahead of the packets, as starts of processes do, is no such input.)
    pub fn tick(&mut self, now: Timestamp, alerts: &mut Vec<Arc<Alert>>) {
        if now < self.ticked {
            self.finish(alerts);
            self.now = now;
        }
        self.ticked = now;
        self.advance(now, alerts);
    }

    /// Decides what waited until `now`.
    fn advance(&mut self, now: Timestamp, alerts: &mut Vec<Arc<Alert>>) {
        if now <= self.now && !self.ssrf.is_crowded() {
            return;
        }
        let now = now.max(self.now);
        self.now = now;
        let first = alerts.len();
        let mut issued = Vec::new();
        self.issuances.expire(now, &mut issued);
        self.merge(issued, alerts);
        let (mut findings, mut lookups, mut sightings) = Default::default();
        self.relays.expire(now, &mut sightings);
        self.rebinds.expire(now, &mut lookups);
        let Self { ssrf, rebinds, .. } = self;
        ssrf.expire(now, &|name| rebinds.resolved(name), &mut findings);
        self.tell(findings, lookups, sightings, alerts);
        self.reported.join(first, alerts, now);
        self.reported.expire(now, alerts);
        self.commands.join(first, alerts);
        self.commands.expire(now, alerts);
        self.repeats.expire(now, alerts);
    }

    /// Replaces the allow list.
    pub fn set_allow(&mut self, allow: Vec<AllowEntry>) {
        self.config.allow = allow;
    }

    /// The end of input: what waits is decided with what is known.
    pub fn finish(&mut self, alerts: &mut Vec<Arc<Alert>>) {
        let first = alerts.len();
        let mut issued = Vec::new();
        self.issuances.finish(&mut issued);
        self.merge(issued, alerts);
        let (mut findings, mut lookups, mut sightings) = Default::default();
        self.relays.finish(&mut sightings);
        self.rebinds.finish(&mut lookups);
        let Self { ssrf, rebinds, .. } = self;
        ssrf.finish(&|name| rebinds.resolved(name), &mut findings);
        self.tell(findings, lookups, sightings, alerts);
        self.reported.join(first, alerts, self.now);
        self.reported.finish(alerts);
        self.commands.join(first, alerts);
        self.commands.finish(alerts);
        self.repeats.finish(alerts);
    }

    /// What finds the secrets that were issued in texts.
    pub fn issued(&self) -> &IssuedSecrets {
        self.relays.issued()
    }

    /// Whether any credential or session token was issued: while not, nothing needs to be masked.
    pub fn has_issued(&self) -> bool {
        !self.relays.is_empty()
    }

    /// What actors do again and again, the habit that was not seen for longest first.
    pub fn habits(&self) -> impl Iterator<Item = &Habit> {
        self.habits.all()
    }

    /// Takes up habits that were learned before.
    pub fn restore(&mut self, habits: Vec<Habit>) {
        self.habits.restore(habits);
    }

    /// Counters so far.
    pub fn counters(&self) -> Counters {
        let tables = [
            self.actors.evicted(),
            self.habits.evicted(),
            self.relays.evicted(),
            self.rebinds.evicted(),
            self.readable.evicted,
        ];
        Counters {
            evicted: tables.iter().sum(),
            forgotten: self.ssrf.evicted,
            windows_cut: self.repeats.evicted,
            ..self.counters
        }
    }

    /// Raises alerts about issuances, or counts them as repeats.
    fn merge(&mut self, issued: Vec<Issued>, alerts: &mut Vec<Arc<Alert>>) {
        for (key, alert) in issued {
            match self.repeats.repeat(key, &AlertOf::new(&alert)) {
                Repeat::Counted => {
                    self.counters.repeats += 1;
                    continue;
                }
                Repeat::Told if !self.reported.waits_for(&alert) => continue,
                Repeat::Told | Repeat::New => {}
            }
            self.repeats.open(key, &alert, 0, self.now, alerts);
            alerts.push(alert);
        }
    }

    /// Turns what was found out into alerts.
    fn tell(
        &mut self,
        findings: Vec<Finding>,
        lookups: Vec<Lookup>,
        sightings: Vec<Sighting>,
        alerts: &mut Vec<Arc<Alert>>,
    ) {
        for lookup in lookups {
            let has_other_use = self.catalogue.has_other_use(lookup.address.0);
            alerts.push(Arc::new(rebinding(&lookup, has_other_use)));
        }
        for finding in findings {
            match finding.fetches.is_empty() {
                true => self.attempt(&finding, alerts),
                false => alerts.extend(confirmed(&finding).map(Arc::new)),
            }
        }
        for sighting in sightings {
            alerts.extend(relayed(&sighting).map(Arc::new));
        }
    }

    /// `ssrf-attempt`.
    fn attempt(&mut self, finding: &Finding, alerts: &mut Vec<Arc<Alert>>) {
        let rule = Rule::SsrfAttempt;
        let subject = finding.inbound.clone();
        let http = subject.http.as_deref();
        let user_agent = http.map(|http| http.user_agent.as_deref().unwrap_or_default().as_bytes());
        let asked = Question { user_agent, ..self.question(&subject.conn, finding.candidate.path.as_deref()) };
        if self.allowed(&asked).is_some() {
            self.counters.allowed += 1;
            return;
        }
        let mut signals = Signals::default();
        match http.and_then(|http| http.status) {
            None => signals.add(Signal::Unanswered),
            Some(404) => signals.add(Signal::NotFound),
            Some(400..) => signals.add(Signal::Refused),
            Some(_) => {}
        }
        let host = format!("{:?}", finding.candidate.host);
        let path = finding.candidate.path.as_deref().unwrap_or("/");
        let whose = Assessment::default();
        let key = repeat_key((rule, rule.base_severity()), &subject.conn, &whose, signals, &[&host, path]);
        let time = finding.end;
        self.raise((key, &finding.inbound.conn), time, 0, alerts, |_| {
            let mut chain = finding.between.clone();
            if !chain.is_empty() {
                chain.insert(0, subject.link("request", subject.start));
                chain.sort_by_key(|link| link.time);
            }
            let outcome = if signals == Signals::default() { Outcome::Unknown } else { subject.outcome() };
            let mut signals = signals;
            if finding.cut {
                signals.add(Signal::SearchCut);
            }
            let message = message::attempt(finding);
            Alert { chain, outcome, ..alert(rule, rule.base_severity(), subject, signals, time, message) }
        });
    }

    /// `imds-command`.
    fn command(&mut self, command: &Command, event_id: EventId, alerts: &mut Vec<Arc<Alert>>) -> CorrelationResult {
        let allowed_by = self.allowed(&self.question(&command.conn, Some(&command.imds.path)));
        if allowed_by.is_some() {
            self.counters.allowed += 1;
            return CorrelationResult { allowed_by, ..CorrelationResult::default() };
        }
        let rule = Rule::ImdsCommand;
        let severity = commands::severity(command);
        let key = commands::repeat_key(command, severity);
        let this = AlertOf { time: command.time, id: None, each: false, seen_by: None };
        if self.repeats.repeat(key, &this) != Repeat::New {
            self.counters.repeats += 1;
            return CorrelationResult::default();
        }
        let subject = commands::subject(command, event_id);
        let signals = subject.signals;
        if !command.is_mention {
            let fetch = Fetch { subject: subject.clone(), first: command.time, sdk: false };
            self.ssrf.leg(fetch, self.now);
        }
        let alert = alert(rule, severity, subject, signals, command.time, commands::message(command));
        self.repeats.open(key, &Arc::new(alert.clone()), 0, self.now, alerts);
        self.commands.hold(alert, &command.conn, command.time, alerts);
        CorrelationResult::default()
    }

    /// `imds-connection`: a connection without a readable request, unless the two have talked readably.
    fn connection(
        &mut self,
        connection: &Connection,
        event_id: EventId,
        alerts: &mut Vec<Arc<Alert>>,
    ) -> CorrelationResult {
        let conn = &connection.conn;
        if self.readable.peek(&(conn.client.ip, conn.server.ip)).is_some() {
            self.reported.connected(connection, event_id);
            return CorrelationResult::default();
        }
        let allowed_by = self.allowed(&self.question(conn, None));
        if allowed_by.is_some() {
            self.counters.allowed += 1;
            return CorrelationResult { allowed_by, ..CorrelationResult::default() };
        }
        let mut signals = Signals::default();
        if conn.process.as_ref().is_some_and(|process| crate::detect::command::is_tool(&process.name)) {
            signals.add(Signal::ToolProcess);
        }
        let rule = Rule::ImdsConnection;
        let why = format!("{:?}", connection.why);
        let key = repeat_key((rule, Severity::Low), conn, &Assessment::default(), signals, &[&why]);
        self.raise((key, conn), connection.last, 0, alerts, |_| {
            let subject = subject::of_connection(connection, event_id);
            alert(rule, Severity::Low, subject, signals, connection.last, message::connection(connection))
        });
        CorrelationResult { signals, ..CorrelationResult::default() }
    }

    /// Raises the alert that `make` makes about `conn`, or counts it as a repeat. `from` is the number of its first window.
    fn raise(
        &mut self,
        (key, conn): (Key, &Conn),
        time: Timestamp,
        from: usize,
        alerts: &mut Vec<Arc<Alert>>,
        make: impl FnOnce(&mut Self) -> Alert,
    ) {
        let seen_by = Some(repeats::seen_by(conn));
        let repeat = self.repeats.repeat(key, &AlertOf { time, id: None, each: false, seen_by });
        if repeat == Repeat::Counted {
            self.counters.repeats += 1;
            return;
        }
        let alert = Arc::new(make(self));
        if repeat == Repeat::Told && !self.reported.waits_for(&alert) {
            return;
        }
        self.repeats.open(key, &alert, from, self.now, alerts);
        alerts.push(alert);
    }

    fn question<'a>(&self, conn: &'a Conn, path: Option<&'a str>) -> Question<'a> {
        let process = conn.process.as_deref();
        Question { now: self.now, client: conn.client.ip, process, user_agent: None, client_form: None, path }
    }

    /// Name of the allow-list entry that matches.
    fn allowed(&self, asked: &Question<'_>) -> Option<Arc<str>> {
        self.config.allow.iter().find(|entry| entry.matches(asked)).map(|entry| entry.name.as_str().into())
    }
}

/// First byte of the exchange and the end of its answer, as far as seen.
fn span(tx: &http::Transaction) -> (Timestamp, Timestamp) {
    let (request, response) = (tx.request.as_ref(), tx.response.as_ref());
    let first = request.or(response).map_or_else(Timestamp::default, |message| message.first);
    (first, response.or(request).map_or(first, |message| message.last))
}

/// What makes two alerts repeats of one thing. `first-seen` does not tell a first from its repeats.
fn repeat_key(
    (rule, severity): (Rule, Severity),
    conn: &Conn,
    asked: &Assessment,
    mut signals: Signals,
    what: &[&str],
) -> Key {
    signals.remove(Signal::FirstSeen);
    key(|hasher| {
        use std::hash::Hash;
        (rule, severity, conn.client.ip, conn.server, asked.actor, signals).hash(hasher);
        for part in what {
            hasher.write(part.as_bytes());
            hasher.write_u8(0);
        }
    })
}

#[cfg(test)]
mod tests;
